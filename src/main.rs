//! The `leanfs` command.

fn main() {}
