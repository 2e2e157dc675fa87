//! The OCI binary.
fn main() {}
