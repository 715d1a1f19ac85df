//! Reads Auth0's logs by checkpoint.

fn main() {}
