//! The format of a message in the retry queue, written and read without the product's code, so that a
//! test notices when the format changes: messages outlive a deployment.
//!
//! Base64 of gzip of a JSON header on a line of its own and, for each event, its length in bytes, a
//! line end, its bytes and a line end.

use std::io::{Read as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::read::GzDecoder;
use serde_json::Value;

use crate::payload::gzip;

/// The body of a message with these events.
///
/// # Panics
/// Never: writing to memory does not fail.
#[must_use]
pub fn pack<'a>(header: &Value, events: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut frames = format!("{header}\n").into_bytes();
    for event in events {
        writeln!(frames, "{}", event.len()).expect("writing to memory");
        frames.extend_from_slice(event);
        frames.push(b'\n');
    }
    BASE64.encode(gzip(&frames))
}

/// The header and the events of a message.
///
/// # Panics
/// If the body does not have the format.
#[must_use]
pub fn unpack(body: &str) -> (Value, Vec<Vec<u8>>) {
    let packed = BASE64.decode(body).expect("base64");
    let mut frames = Vec::new();
    GzDecoder::new(packed.as_slice()).read_to_end(&mut frames).expect("gzip");
    let (header, mut rest) = split_line(&frames);
    let mut events = Vec::new();
    while !rest.is_empty() {
        let (length, after) = split_line(rest);
        let length: usize = std::str::from_utf8(length).unwrap().parse().expect("a length");
        events.push(after[..length].to_vec());
        assert_eq!(after[length], b'\n');
        rest = &after[length + 1..];
    }
    (serde_json::from_slice(header).expect("the header is JSON"), events)
}

fn split_line(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| *byte == b'\n').expect("a line end");
    (&text[..end], &text[end + 1..])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parked_message_unpacks_to_what_was_packed() {
        let header = json!({ "version": 1 });
        let events: [&[u8]; 3] = [b"{}", b"", b"two\nlines"];
        assert_eq!(unpack(&pack(&header, events)), (header, events.map(<[u8]>::to_vec).to_vec()));
    }
}
