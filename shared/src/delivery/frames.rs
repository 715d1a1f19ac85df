//! The format of a parked message, written and read.
//!
//! A message is `base64(gzip(frames))`: a JSON line with what mapping needs to know, then for each
//! event its length in bytes on a line, its bytes as received, and a line break.
//!
//! An event that is too large even so is a message that SQS does not take. Its text is cut into parts, each
//! a message of its own: a JSON line with id, number and count, then the piece of text. Whoever has all
//! parts puts the pieces together and has the message.
//!
//! Messages outlive a deployment, so that each release reads the messages of the one before, and a release
//! that was rolled back those of the one after: the version stays 1 while new members of the header can be
//! ignored.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::ops::Range;

use auth0_ecs::Input;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use chrono::{DateTime, Utc};
use flate2::read::GzDecoder;
use serde::{Deserialize, Serialize};

use super::gzip::gzip;

/// SQS takes 1 MiB; `MaximumMessageSize` in `template.yaml` says the same.
const MAX_MESSAGE: usize = 1024 * 1024;

/// Upper bound for the frames of a message with several events, in bytes. Ten messages of one invocation
/// are unpacked at once, and compression can be a thousandfold.
const MAX_FRAMES: usize = 8 * 1024 * 1024;

/// Upper bound for an unpacked message, in bytes. Only a single event comes near it; a body has the same
/// limit.
const MAX_UNPACKED: usize = 64 * 1024 * 1024;

/// Room for the first line of a part, in bytes.
const MAX_PART_HEADER: usize = 128;

/// Why a message cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// It is not Base64.
    #[error("the message is not Base64")]
    Base64(#[from] base64::DecodeError),
    /// The decoded message is not gzip.
    #[error("the message is not gzip")]
    Gzip(#[from] io::Error),
    /// It would exceed the memory.
    #[error("the unpacked message exceeds {MAX_UNPACKED} bytes")]
    TooLarge,
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
    /// Returns the size of the unpacked message, in bytes.
    #[must_use]
    pub const fn unpacked_size(&self) -> usize {
        self.bytes.len()
    }

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
    /// The number of events. Messages of earlier releases lack it.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<usize>,
    /// Why the events are dead letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// How the events of a message were received, and why they are in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin<'a> {
    /// How they reached us.
    pub(super) input: Input,
    /// When they reached us.
    pub(super) received: DateTime<Utc>,
    /// For dead letters: why the engine refused them.
    pub(super) reason: Option<&'a str>,
}

/// Events as the messages to send.
#[derive(Debug, Default)]
pub(super) struct Packed {
    /// Each fits SQS.
    pub(super) messages: Vec<String>,
    /// For each event that does not fit a message, its parts.
    pub(super) in_parts: Vec<Vec<String>>,
}

/// Packs the events into messages, halving them until each fits.
pub(super) fn pack(events: &[&[u8]], origin: Origin<'_>) -> Packed {
    let mut packed = Packed::default();
    let mut waiting = vec![events];
    while let Some(events) = waiting.pop() {
        if events.is_empty() {
            continue;
        }
        let size: usize = events.iter().map(|event| event.len()).sum();
        let has_room = size <= MAX_FRAMES || events.len() == 1;
        let message = has_room.then(|| message(events, origin));
        match (message, events) {
            (Some(message), _) if message.len() <= MAX_MESSAGE => packed.messages.push(message),
            (Some(message), [_]) => packed.in_parts.push(parts(&message)),
            _ => {
                let (first, second) = events.split_at(events.len() / 2);
                waiting.extend([second, first]);
            }
        }
    }
    packed
}

/// The first line of a part.
#[derive(Debug, Deserialize, Serialize)]
struct PartHeader {
    /// The same in all parts of a message.
    id: String,
    /// From 1.
    part: usize,
    of: usize,
}

#[expect(
    clippy::expect_used,
    reason = "Base64 is ASCII, and the header has no fallible serializer"
)]
fn parts(message: &str) -> Vec<String> {
    let id = format!("{:032x}", fastrand::u128(..));
    let pieces = message.as_bytes().chunks(MAX_MESSAGE - MAX_PART_HEADER);
    let of = pieces.len();
    let part = |(index, piece)| {
        let header = PartHeader { id: id.clone(), part: index + 1, of };
        let header = serde_json::to_string(&header).expect("a header can be serialized");
        format!("{header}\n{}", std::str::from_utf8(piece).expect("Base64 is ASCII"))
    };
    pieces.enumerate().map(part).collect()
}

/// One part of a message that SQS does not take in one piece.
#[derive(Debug)]
pub struct Part<'a> {
    header: PartHeader,
    text: &'a str,
}

impl<'a> Part<'a> {
    /// Reads a message's body as a part; `None` if it is a whole message, or not ours.
    #[must_use]
    pub fn read(body: &'a str) -> Option<Self> {
        let (header, text) = body.split_once('\n')?;
        Some(Self { header: serde_json::from_str(header).ok()?, text: text.trim() })
    }

    /// Returns the id that all parts of a message have in common.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.header.id
    }

    /// Puts the parts of one message together, in any order; `None` while one is missing. SQS may deliver
    /// a part twice.
    #[must_use]
    pub fn join<'p>(parts: impl Iterator<Item = &'p Self>) -> Option<String>
    where
        'a: 'p,
    {
        let texts: BTreeMap<usize, &Self> = parts.map(|part| (part.header.part, part)).collect();
        let of = texts.values().next()?.header.of;
        let is_whole = texts.keys().copied().eq(1..=of);
        is_whole.then(|| texts.values().map(|part| part.text).collect())
    }
}

#[expect(clippy::expect_used, reason = "the header has no map and no fallible serializer")]
fn message(events: &[&[u8]], origin: Origin<'_>) -> String {
    let header = Header {
        version: 1,
        input: origin.input,
        received_at: origin.received,
        count: Some(events.len()),
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
/// It does not have the form that `Queue::send` writes.
pub fn read_message(body: &str) -> Result<Parked, MessageError> {
    let packed = BASE64_STANDARD.decode(body.trim())?;
    let bytes = unpack(&packed, MAX_UNPACKED)?;
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
    if header.count.is_some_and(|count| count != events.len()) {
        return Err(MessageError::Frames("events are missing"));
    }
    Ok(Parked { input: header.input, received: header.received_at, bytes, events })
}

/// Undoes gzip, unless that gives more than `limit` bytes.
fn unpack(packed: &[u8], limit: usize) -> Result<Vec<u8>, MessageError> {
    let mut bytes = Vec::new();
    // One byte more tells a message that ends at the limit from one that is cut there.
    GzDecoder::new(packed).take(limit as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > limit { Err(MessageError::TooLarge) } else { Ok(bytes) }
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

    fn noise(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        fastrand::fill(&mut bytes);
        bytes
    }

    fn frames(text: &str) -> String {
        BASE64_STANDARD.encode(gzip(text.as_bytes()))
    }

    const HEADER: &str =
        r#"{"version":1,"input":"http_endpoint","received_at":"2026-01-01T00:00:00Z"}"#;

    #[test]
    fn packed_events_are_read_byte_for_byte() {
        let events: [&[u8]; 4] = [b"{\"a\":\n1}", b"\xff\x00\n\n", b"", b"7\n"];
        let packed = pack(&events, origin());
        assert_eq!((packed.messages.len(), packed.in_parts.len()), (1, 0));
        let parked = read_message(&packed.messages[0]).unwrap();
        assert_eq!(parked.events().collect::<Vec<_>>(), events);
        assert_eq!((parked.input, parked.received), (Input::ManagementApi, origin().received));
    }

    #[test]
    fn message_is_split_under_the_limit_without_loss() {
        let events: Vec<Vec<u8>> = (0..40).map(|_| noise(30_000)).collect();
        let slices: Vec<&[u8]> = events.iter().map(Vec::as_slice).collect();
        let Packed { messages, in_parts } = pack(&slices, origin());
        assert!(messages.len() > 1 && messages.iter().all(|m| m.len() <= MAX_MESSAGE));
        assert!(in_parts.is_empty());
        let mut read: Vec<Vec<u8>> = Vec::new();
        for message in &messages {
            read.extend(read_message(message).unwrap().events().map(<[u8]>::to_vec));
        }
        assert_eq!(read, events);
    }

    #[test]
    fn message_is_split_before_it_exhausts_the_memory_of_its_reader() {
        let event = vec![b' '; 1024 * 1024];
        let Packed { messages, .. } = pack(&[event.as_slice(); 20], origin());
        let read: Vec<Parked> = messages.iter().map(|text| read_message(text).unwrap()).collect();
        assert!(read.iter().all(|parked| parked.unpacked_size() <= MAX_FRAMES + 1024));
        assert_eq!(read.iter().map(|parked| parked.events().len()).sum::<usize>(), 20);
    }

    #[test]
    fn event_beyond_the_limit_goes_in_parts_and_its_neighbors_in_a_message() {
        let large = noise(1_600_000);
        let Packed { messages, in_parts } = pack(&[b"{}", &large, b"[]"], origin());
        let neighbors = messages.iter().flat_map(|message| {
            let parked = read_message(message).unwrap();
            parked.events().map(<[u8]>::to_vec).collect::<Vec<_>>()
        });
        assert_eq!(neighbors.collect::<Vec<_>>(), [b"{}", b"[]"]);
        let [texts] = in_parts.as_slice() else { panic!("{} events in parts", in_parts.len()) };
        assert!(texts.len() == 3 && texts.iter().all(|text| text.len() <= MAX_MESSAGE));
        let mut parts: Vec<_> = texts.iter().map(|text| Part::read(text).unwrap()).collect();
        assert!(parts.iter().all(|part| part.id() == parts[0].id()));
        assert_eq!(Part::join(parts[1..].iter()), None);
        assert_eq!(Part::join(parts[..2].iter()), None);
        parts.push(Part::read(&texts[0]).unwrap());
        parts.reverse();
        let parked = read_message(&Part::join(parts.iter()).unwrap()).unwrap();
        assert_eq!(parked.events().collect::<Vec<_>>(), [large]);
    }

    #[test]
    fn whole_message_is_not_a_part() {
        let Packed { messages, .. } = pack(&[b"{}"], origin());
        for body in ["", "hello", "{}\nhello", &messages[0]] {
            assert!(Part::read(body).is_none(), "{body}");
        }
    }

    #[test]
    fn foreign_message_is_an_error() {
        for body in [
            "",
            "hello",
            &frames("hello"),
            &frames(&format!("{HEADER}\n9\nabc\n")),
            &frames(&format!("{HEADER}\nx\n")),
            &frames(&HEADER.replace("version\":1", "version\":2")),
        ] {
            assert!(read_message(body).is_err(), "{body}");
        }
    }

    #[test]
    fn message_of_the_release_before_is_read() {
        let parked = read_message(&frames(&format!("{HEADER}\n2\n{{}}\n"))).unwrap();
        assert_eq!(parked.events().collect::<Vec<_>>(), [b"{}"]);
        assert_eq!(read_message(&frames(&format!("{HEADER}\n"))).unwrap().events().len(), 0);
    }

    #[test]
    fn message_with_fewer_events_than_its_header_says_is_an_error() {
        let header = HEADER.replace('}', r#","count":2}"#);
        let whole = frames(&format!("{header}\n2\n{{}}\n0\n\n"));
        assert_eq!(read_message(&whole).unwrap().events().len(), 2);
        let error = read_message(&frames(&format!("{header}\n2\n{{}}\n"))).unwrap_err();
        assert!(matches!(error, MessageError::Frames("events are missing")), "{error}");
    }

    #[test]
    fn unpacked_message_is_bounded_and_not_cut() {
        assert_eq!(unpack(&gzip(b"12345"), 5).unwrap(), b"12345");
        let error = unpack(&gzip(b"123456"), 5).unwrap_err();
        assert!(matches!(error, MessageError::TooLarge), "{error}");
    }
}
