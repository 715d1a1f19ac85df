//! Documents → engine or queue.

pub mod bulk;
pub mod frames;
mod gzip;
pub mod incoming;
pub mod intake;
pub mod queue;
mod refused;
pub mod report;
pub mod rollover;
pub mod ship;
pub mod shipment;
#[cfg(test)]
mod stand_in;
pub mod verdict;
mod write;
