//! The format of a parked message, written and read.
//!
//! A message is `base64(gzip(frames))`: a JSON line with what mapping needs to know, then for each
//! event its length in bytes on a line, its bytes as received, and a line break.

use std::io::{self, Read as _};
use std::ops::Range;

use auth0_ecs::Input;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use chrono::{DateTime, Utc};
use flate2::read::GzDecoder;
use serde::{Deserialize, Serialize};

use super::gzip::gzip;

/// SQS takes 256 KiB (1 MiB in some regions since 2025), attributes included.
const MAX_MESSAGE: usize = 256 * 1024;

/// Upper bound for an unpacked message, in bytes. It is the limit of a body, so that no message can
/// exhaust the memory.
const MAX_UNPACKED: u64 = 64 * 1024 * 1024;

/// An event exceeds the size of a message even when compressed; holds its size in bytes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of {0} bytes does not fit into a message")]
pub struct EventTooLargeError(usize);

/// Why a message cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// It is not Base64.
    #[error("the message is not Base64")]
    Base64(#[from] base64::DecodeError),
    /// The decoded message is not gzip.
    #[error("the message is not gzip")]
    Gzip(#[from] io::Error),
    /// The unpacked message does not have the form that this module writes. The parser's own error is
    /// left out: it could quote an event.
    #[error("the message's frames are broken: {0}")]
    Frames(&'static str),
}

/// The events of a message and what mapping needs to know of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// How they reached us.
    pub input: Input,
    /// When they reached us.
    pub received: DateTime<Utc>,
    bytes: Vec<u8>,
    events: Vec<Range<usize>>,
}

impl Parked {
    /// Returns the events' bytes as received.
    #[expect(clippy::expect_used, reason = "read_message has checked each range")]
    pub fn events(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.events.iter().map(|range| self.bytes.get(range.clone()).expect("a checked range"))
    }
}

#[derive(Deserialize, Serialize)]
struct Header {
    version: u8,
    input: Input,
    received_at: DateTime<Utc>,
    /// Why the events are dead letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// How the events of a message were received, and why they are in it.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// How they reached us.
    pub input: Input,
    /// When they reached us.
    pub received: DateTime<Utc>,
    /// For dead letters: why the engine refused them.
    pub reason: Option<&'a str>,
}

/// Packs the events into messages, halving them until each part fits.
pub(super) fn pack(
    events: &[&[u8]],
    origin: Origin<'_>,
) -> Result<Vec<String>, EventTooLargeError> {
    let mut messages = Vec::new();
    let mut waiting = vec![events];
    while let Some(events) = waiting.pop() {
        if events.is_empty() {
            continue;
        }
        let message = message(events, origin);
        match events {
            _ if message.len() <= MAX_MESSAGE => messages.push(message),
            [event] => return Err(EventTooLargeError(event.len())),
            _ => {
                let (first, second) = events.split_at(events.len() / 2);
                waiting.extend([second, first]);
            }
        }
    }
    Ok(messages)
}

#[expect(clippy::expect_used, reason = "the header has no map and no fallible serializer")]
fn message(events: &[&[u8]], origin: Origin<'_>) -> String {
    let header = Header {
        version: 1,
        input: origin.input,
        received_at: origin.received,
        reason: origin.reason.map(str::to_owned),
    };
    let mut frames = serde_json::to_vec(&header).expect("a header can be serialized");
    frames.push(b'\n');
    for event in events {
        frames.extend_from_slice(event.len().to_string().as_bytes());
        frames.push(b'\n');
        frames.extend_from_slice(event);
        frames.push(b'\n');
    }
    BASE64_STANDARD.encode(gzip(&frames))
}

/// Reads a message's body.
///
/// # Errors
/// It does not have the form that [`Queue::send`](super::queue::Queue::send) writes.
pub fn read_message(body: &str) -> Result<Parked, MessageError> {
    let packed = BASE64_STANDARD.decode(body.trim())?;
    let mut bytes = Vec::new();
    GzDecoder::new(&*packed).take(MAX_UNPACKED).read_to_end(&mut bytes)?;
    let mut at = 0;
    let line = take_line(&bytes, &mut at).ok_or(MessageError::Frames("no header"))?;
    let header: Header =
        serde_json::from_slice(line).map_err(|_| MessageError::Frames("invalid header"))?;
    if header.version != 1 {
        return Err(MessageError::Frames("the version is not 1"));
    }
    let mut events = Vec::new();
    while at < bytes.len() {
        let line = take_line(&bytes, &mut at).and_then(|line| std::str::from_utf8(line).ok());
        let length: Option<usize> = line.and_then(|line| line.parse().ok());
        let end = length.and_then(|length| at.checked_add(length));
        let end = end.filter(|end| bytes.get(*end) == Some(&b'\n'));
        let Some(end) = end else {
            return Err(MessageError::Frames("an event's length does not fit"));
        };
        events.push(at..end);
        at = end + 1;
    }
    Ok(Parked { input: header.input, received: header.received_at, bytes, events })
}

/// Returns the bytes up to the next line break, and moves `at` past it.
fn take_line<'b>(bytes: &'b [u8], at: &mut usize) -> Option<&'b [u8]> {
    let rest = bytes.get(*at..)?;
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    *at += end + 1;
    rest.get(..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin<'static> {
        let received = DateTime::from_timestamp_millis(1_635_908_765_696).unwrap();
        Origin { input: Input::ManagementApi, received, reason: None }
    }

    #[test]
    fn packed_events_are_read_byte_for_byte() {
        let events: [&[u8]; 4] = [b"{\"a\":\n1}", b"\xff\x00\n\n", b"", b"7\n"];
        let packed = pack(&events, origin()).unwrap();
        assert_eq!(packed.len(), 1);
        let parked = read_message(&packed[0]).unwrap();
        assert_eq!(parked.events().collect::<Vec<_>>(), events);
        assert_eq!((parked.input, parked.received), (Input::ManagementApi, origin().received));
    }

    #[test]
    fn message_is_split_under_the_limit_without_loss() {
        let events: Vec<Vec<u8>> = (0..40)
            .map(|_| std::iter::repeat_with(|| fastrand::u8(..)).take(30_000).collect())
            .collect();
        let slices: Vec<&[u8]> = events.iter().map(Vec::as_slice).collect();
        let packed = pack(&slices, origin()).unwrap();
        assert!(packed.len() > 1 && packed.iter().all(|m| m.len() <= MAX_MESSAGE));
        let mut read: Vec<Vec<u8>> = Vec::new();
        for message in &packed {
            read.extend(read_message(message).unwrap().events().map(<[u8]>::to_vec));
        }
        assert_eq!(read, events);
    }

    #[test]
    fn event_beyond_the_limit_is_an_error() {
        let event: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(300_000).collect();
        let error = pack(&[&event], origin()).unwrap_err();
        assert_eq!(error, EventTooLargeError(300_000));
    }

    #[test]
    fn foreign_message_is_an_error() {
        let frames = |text: &str| BASE64_STANDARD.encode(gzip(text.as_bytes()));
        let header =
            r#"{"version":1,"input":"http_endpoint","received_at":"2026-01-01T00:00:00Z"}"#;
        for body in [
            "",
            "hello",
            &frames("hello"),
            &frames(&format!("{header}\n9\nabc\n")),
            &frames(&format!("{header}\nx\n")),
            &frames(&header.replace('1', "2")),
        ] {
            assert!(read_message(body).is_err(), "{body}");
        }
        assert_eq!(read_message(&frames(&format!("{header}\n"))).unwrap().events().len(), 0);
    }
}
