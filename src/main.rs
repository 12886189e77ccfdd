//! The `vaultlab` program.
fn main() {}
