//! Tests of text shapes.
