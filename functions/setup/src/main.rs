//! Installs the index template and the lifecycle at deploy time.

fn main() {}
