//! The nodekiln command.
fn main() {}
