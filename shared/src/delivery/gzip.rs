//! Compression of what leaves the function.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

/// Compresses with little effort: JSON shrinks to a fifth, and time is paid for.
#[expect(clippy::expect_used, reason = "a Vec takes every write")]
pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    encoder.write_all(bytes).expect("writing to a Vec cannot fail");
    encoder.finish().expect("writing to a Vec cannot fail")
}
