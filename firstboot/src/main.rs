//! The nodekiln-firstboot command.
fn main() {}
