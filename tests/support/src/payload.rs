//! The payloads with which AWS services invoke the functions.

use std::collections::HashMap;
use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

/// The payload that API Gateway's HTTP API (version 2.0) makes of a request. A body that is not UTF-8
/// is sent as base64, as the gateway does with whatever is not declared to be text.
#[must_use]
pub fn gateway_request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Value {
    let headers: HashMap<String, &str> =
        headers.iter().map(|(name, value)| (name.to_lowercase(), *value)).collect();
    let (body, encoded) = match std::str::from_utf8(body) {
        Ok(text) => (text.to_owned(), false),
        Err(_) => (BASE64.encode(body), true),
    };
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": headers,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "api",
            "domainName": "api.execute-api.eu-west-1.amazonaws.com",
            "domainPrefix": "api",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
                "userAgent": "auth0",
            },
            "requestId": "JKJaXmPLvHcESHA=",
            "routeKey": "$default",
            "stage": "$default",
            "time": "12/Mar/2026:19:03:58 +0000",
            "timeEpoch": 1_773_342_238_000_i64,
        },
        "body": body,
        "isBase64Encoded": encoded,
    })
}

/// A log stream's post of this body. `authorization` is the whole header value. Auth0 does not
/// compress; what stands between may, so a body that looks like gzip is declared as such.
#[must_use]
pub fn webhook_post(authorization: &str, body: &[u8]) -> Value {
    let mut headers = vec![("authorization", authorization), ("content-type", "application/json")];
    if body.starts_with(&[0x1f, 0x8b]) {
        headers.push(("content-encoding", "gzip"));
    }
    gateway_request("POST", "/auth0/logs", &headers, body)
}

/// One tick of EventBridge's schedule.
#[must_use]
pub fn tick() -> Value {
    json!({
        "version": "0",
        "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "123456789012",
        "time": "2026-03-12T19:03:00Z",
        "region": "eu-west-1",
        "resources": ["arn:aws:events:eu-west-1:123456789012:rule/poll"],
        "detail": {},
    })
}

/// A message of the retry queue, one of the `Records` of an invocation.
#[must_use]
pub fn sqs_record(id: &str, receipt_handle: &str, body: &str, attributes: &Value) -> Value {
    json!({
        "messageId": id,
        "receiptHandle": receipt_handle,
        "body": body,
        "attributes": attributes,
        "messageAttributes": {},
        "md5OfBody": "",
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:retry",
        "awsRegion": "eu-west-1",
    })
}

/// The body compressed for `Content-Encoding: gzip`.
///
/// # Panics
/// Never: writing to memory does not fail.
#[must_use]
pub fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).expect("writing to memory");
    encoder.finish().expect("writing to memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateway_request_keeps_text_and_encodes_other_bytes_as_base64() {
        let text = gateway_request("POST", "/auth0/logs", &[("X-A", "b")], b"{}");
        assert_eq!((&text["body"], &text["isBase64Encoded"]), (&json!("{}"), &json!(false)));
        assert_eq!(text["headers"]["x-a"], "b");
        let packed = gateway_request("POST", "/auth0/logs", &[], &gzip(b"{}"));
        assert_eq!(packed["isBase64Encoded"], true);
    }

    #[test]
    fn webhook_post_declares_a_compressed_body() {
        assert!(webhook_post("Bearer x", b"{}")["headers"]["content-encoding"].is_null());
        let packed = webhook_post("Bearer x", &gzip(b"{}"));
        assert_eq!(packed["headers"]["content-encoding"], "gzip");
    }
}
