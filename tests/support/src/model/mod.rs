//! A world in one process: stand-ins for the engine and for AWS under the real functions, in a time that
//! passes only while nothing else happens. Hundreds of cases take seconds.
//!
//! A stand-in claims no more than its comments give the source of. What it cannot know (how an engine
//! words a refusal, whether it accepts a document) is left to the end-to-end tests.

pub mod aws;
pub mod engine;
pub mod runtime;
