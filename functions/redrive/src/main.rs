//! Writes parked events from the retry queue.

fn main() {}
