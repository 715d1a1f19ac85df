//! HTTP status → what happens to the documents. No I/O.
//!
//! | status        | of an item   | of the response                                         |
//! | ------------- | ------------ | ------------------------------------------------------- |
//! | 200, 201      | stored       | 200: see the items; 201: retry                          |
//! | 400, 413      | refused      | split; a single document is refused                     |
//! | 401           | unauthorized | unauthorized (see [`Engine::send`](crate::engine::client::Engine::send)) |
//! | 403, 404      | unauthorized | unauthorized                                            |
//! | 409           | duplicate    | retry                                                   |
//! | 429, 5xx      | retry        | retry                                                   |
//! | anything else | refused      | retry                                                   |

use super::bulk::Item;

/// What happens to one document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is new, in this backing index.
    Stored { index: String },
    /// It was already in this backing index.
    Duplicate { index: String },
    /// It is sent again; with the reason.
    Retry(String),
    /// The operator has to act first; with the reason.
    Unauthorized(String),
    /// The engine will never take it; with the reason.
    Refused(String),
}

/// What happens to all documents of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResponseVerdict {
    /// Each item has a verdict of its own.
    SeeItems,
    /// They are sent again in smaller requests.
    Split,
    /// The operator has to act first.
    Unauthorized,
    /// They are sent again.
    Retry,
}

pub(super) fn of_item(item: Item) -> Verdict {
    let Item { index, status, error, .. } = item;
    let error = error.unwrap_or_default();
    let reason = || format!("HTTP {status} {}: {}", error.kind, without_values(&error.reason));
    match status {
        200 | 201 => Verdict::Stored { index },
        409 => Verdict::Duplicate { index },
        429 | 500.. => Verdict::Retry(reason()),
        401 | 403 | 404 => Verdict::Unauthorized(reason()),
        _ => Verdict::Refused(reason()),
    }
}

pub(super) const fn of_response(status: u16) -> ResponseVerdict {
    match status {
        200 => ResponseVerdict::SeeItems,
        400 | 413 => ResponseVerdict::Split,
        403 | 404 => ResponseVerdict::Unauthorized,
        _ => ResponseVerdict::Retry,
    }
}

/// Engines quote the offending value ("Preview of field's value: '…'"), which is payload and must not
/// reach a log line. What is left names the field and the problem.
fn without_values(reason: &str) -> &str {
    reason.split_once(" Preview of field").map_or(reason, |(before, _)| before)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(status: u16) -> Verdict {
        let item = format!(
            r#"{{"_index":"i-000001","_id":"a","status":{status},"error":{{"type":"t","reason":"r"}}}}"#
        );
        of_item(serde_json::from_str(&item).unwrap())
    }

    #[test]
    fn item_with_200_or_201_is_stored() {
        assert_eq!(item(200), Verdict::Stored { index: "i-000001".into() });
        assert_eq!(item(201), Verdict::Stored { index: "i-000001".into() });
    }

    #[test]
    fn item_with_409_is_a_duplicate() {
        assert_eq!(item(409), Verdict::Duplicate { index: "i-000001".into() });
    }

    #[test]
    fn item_with_429_or_5xx_is_retried() {
        assert_eq!(item(429), Verdict::Retry("HTTP 429 t: r".into()));
        assert_eq!(item(503), Verdict::Retry("HTTP 503 t: r".into()));
    }

    #[test]
    fn item_with_401_403_or_404_waits_for_the_operator() {
        for status in [401, 403, 404] {
            assert_eq!(item(status), Verdict::Unauthorized(format!("HTTP {status} t: r")));
        }
    }

    #[test]
    fn item_with_another_4xx_is_refused() {
        assert_eq!(item(400), Verdict::Refused("HTTP 400 t: r".into()));
        assert_eq!(item(413), Verdict::Refused("HTTP 413 t: r".into()));
    }

    #[test]
    fn response_status_decides_for_all_items() {
        assert_eq!(of_response(200), ResponseVerdict::SeeItems);
        assert_eq!([400, 413].map(of_response), [ResponseVerdict::Split; 2]);
        assert_eq!([403, 404].map(of_response), [ResponseVerdict::Unauthorized; 2]);
        assert_eq!([201, 302, 409, 429, 503].map(of_response), [ResponseVerdict::Retry; 5]);
    }

    #[test]
    fn reason_does_not_repeat_the_value() {
        let reason = "failed to parse field [x] of type [ip]. Preview of field's value: 'secret'";
        assert_eq!(without_values(reason), "failed to parse field [x] of type [ip].");
    }
}
