//! HTTP/1.1 by hand, for servers whose faults are about connections (reset, cut, silent), and the form of
//! `_bulk` bodies.

use std::io::Read as _;

use bytes::{Bytes, BytesMut};
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What a server does about a request.
pub(crate) enum Reply {
    /// Answers with these bytes.
    Whole(Vec<u8>),
    /// Answers with these bytes and ends the connection.
    Cut(Vec<u8>),
    /// Resets the connection.
    Reset,
    /// Stays silent.
    Never,
}

impl Reply {
    /// Does it; returns whether the connection goes on.
    pub(crate) async fn send(self, stream: &mut TcpStream) -> bool {
        match self {
            Self::Whole(bytes) => stream.write_all(&bytes).await.is_ok(),
            Self::Cut(bytes) => {
                stream.write_all(&bytes).await.ok();
                stream.shutdown().await.ok();
                false
            }
            Self::Reset => {
                stream.set_zero_linger().ok();
                false
            }
            Self::Never => {
                // Wait until the other side gives up.
                stream.read_u8().await.ok();
                false
            }
        }
    }
}

/// A request as it arrived.
pub(crate) struct Request {
    /// The request line and the headers, without the empty line.
    pub(crate) head: String,
    pub(crate) body: Bytes,
}

impl Request {
    pub(crate) fn method(&self) -> &str {
        self.head.split(' ').next().unwrap_or_default()
    }

    pub(crate) fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    pub(crate) fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let lines = self.head.lines().skip(1);
        lines.filter_map(|line| line.split_once(':').map(|(name, value)| (name, value.trim())))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let named = |(header, _): &(&str, &str)| header.eq_ignore_ascii_case(name);
        self.headers().find(named).map(|(_, value)| value)
    }

    pub(crate) fn is_bulk(&self) -> bool {
        self.target().split('?').next().is_some_and(|path| path.ends_with("/_bulk"))
    }

    /// The data stream that a `_bulk` path names: `/<stream>/_bulk`.
    pub(crate) fn stream(&self) -> &str {
        self.target().split('/').nth(1).unwrap_or_default()
    }

    /// Head and body, without what is no text.
    pub(crate) fn text(&self) -> String {
        format!("{}\n\n{}", self.head, String::from_utf8_lossy(&self.plain_body()))
    }

    pub(crate) fn plain_body(&self) -> Bytes {
        if self.header("content-encoding") == Some("gzip") {
            let mut plain = Vec::new();
            let whole = GzDecoder::new(self.body.as_ref()).read_to_end(&mut plain);
            whole.expect("a body that says gzip is gzip");
            plain.into()
        } else {
            self.body.clone()
        }
    }
}

/// Reads the next request of a connection; `None` at its end.
pub(crate) async fn read_request(stream: &mut TcpStream, buffer: &mut BytesMut) -> Option<Request> {
    let end = loop {
        if let Some(end) = find(buffer, b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&buffer.split_to(end + 4)[..end]).into_owned();
    let mut request = Request { head, body: Bytes::new() };
    assert!(request.header("transfer-encoding").is_none(), "no client here sends chunks");
    if request.header("expect").is_some() {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.ok()?;
    }
    let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    while buffer.len() < length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    request.body = buffer.split_to(length).freeze();
    Some(request)
}

/// Where the pattern begins.
pub(crate) fn find(text: &[u8], pattern: &[u8]) -> Option<usize> {
    text.windows(pattern.len()).position(|window| window == pattern)
}

/// A response whose connection stays open.
pub(crate) fn render(status: u16, content_type: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status} Status\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// One action of a `_bulk` body and its source, both with their line ends.
pub(crate) struct BulkItem<'a> {
    pub(crate) action: Value,
    pub(crate) bytes: &'a [u8],
}

impl BulkItem<'_> {
    /// The error of an engine. It has an `_index`, even if only the path names one.
    pub(crate) fn refusal(&self, stream: &str, status: u16) -> Value {
        let (name, target) = self.action.as_object().unwrap().iter().next().unwrap();
        let index = target["_index"].as_str().unwrap_or(stream);
        let kind = if status == 429 { "rejected_execution_exception" } else { "exception" };
        json!({ name: {
            "_index": index,
            "_id": target["_id"],
            "status": status,
            "error": { "type": kind, "reason": "the proxy says so" },
        } })
    }
}

/// The items of a `_bulk` body.
pub(crate) fn bulk_items(body: &[u8]) -> Vec<BulkItem<'_>> {
    let mut rest = body;
    let mut items = Vec::new();
    while !rest.is_empty() {
        let line = line_length(rest);
        let action: Value = serde_json::from_slice(&rest[..line]).expect("an action is JSON");
        let source = if action.get("delete").is_some() { 0 } else { line_length(&rest[line..]) };
        let (bytes, after) = rest.split_at(line + source);
        items.push(BulkItem { action, bytes });
        rest = after;
    }
    items
}

/// The length of the first line with its line end.
fn line_length(text: &[u8]) -> usize {
    text.iter().position(|byte| *byte == b'\n').map_or(text.len(), |at| at + 1)
}
