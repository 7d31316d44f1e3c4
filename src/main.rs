//! The rhythmite binary.
fn main() {}
