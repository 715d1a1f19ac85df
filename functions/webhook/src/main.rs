//! Receives Auth0's custom webhook log stream.

fn main() {}
