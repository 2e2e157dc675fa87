//! Programs of all kinds, on the mock platform.
