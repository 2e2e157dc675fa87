//! Unit tests on the mock platform.
