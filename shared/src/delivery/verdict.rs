//! The answer to a `_bulk` request → one verdict per document. No I/O.
//!
//! HTTP 200 proves nothing: every item has its own status, matched by position after the count and
//! the ids have been checked. An answer that fails the check says nothing about any document.

use serde::Deserialize;

/// What the engine said of one document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// 201: it is new, in this backing index.
    Stored { index: String },
    /// 409: it was there already, in this backing index.
    Duplicate { index: String },
    /// 429, 5xx: later, with the reason.
    Retry(String),
    /// 401, 403, 404: the operator has to see to it first, with the reason.
    Forbidden(String),
    /// Any other 4xx: never, with the reason.
    Refused(String),
}

/// Asks for what [`verdicts`] reads, and no more.
pub(crate) const FILTER: &str = "filter_path=items.*._id,items.*._index,items.*.status,\
                                 items.*.error.type,items.*.error.reason,error";

#[derive(Deserialize)]
struct Answer {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    create: Created,
}

#[derive(Deserialize)]
struct Created {
    _id: Option<String>,
    _index: String,
    status: u16,
    error: Option<Reason>,
}

#[derive(Default, Deserialize)]
struct Reason {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    reason: String,
}

/// The verdicts on the documents with these ids; why none can be told, where the answer is cut,
/// not the engine's, or about other documents.
pub(crate) fn verdicts<'a>(
    answer: &[u8],
    ids: impl ExactSizeIterator<Item = &'a str>,
) -> Result<Vec<Verdict>, String> {
    let answer: Answer = serde_json::from_slice(answer)
        .map_err(|error| format!("the answer to _bulk is not what an engine answers: {error}"))?;
    if answer.items.len() != ids.len() {
        return Err(format!(
            "the answer to _bulk has {} items for {} documents",
            answer.items.len(),
            ids.len()
        ));
    }
    answer
        .items
        .into_iter()
        .zip(ids)
        .map(|(Item { create }, id)| match &create._id {
            Some(answered) if answered != id => {
                Err("the answer to _bulk is about other documents".to_owned())
            }
            _ => Ok(verdict(create)),
        })
        .collect()
}

fn verdict(item: Created) -> Verdict {
    let Created { _index: index, status, error, .. } = item;
    let Reason { kind, reason } = error.unwrap_or_default();
    let said = || format!("HTTP {status} {kind}: {}", without_values(&reason));
    match status {
        200 | 201 => Verdict::Stored { index },
        409 => Verdict::Duplicate { index },
        429 | 500.. => Verdict::Retry(said()),
        401 | 403 | 404 => Verdict::Forbidden(said()),
        _ => Verdict::Refused(said()),
    }
}

/// Engines quote the offending value ("Preview of field's value: '…'"), which is payload: it belongs
/// into no log line. What is left names the field and the kind of trouble.
fn without_values(reason: &str) -> &str {
    reason.split_once(" Preview of field").map_or(reason, |(before, _)| before)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(items: &str, ids: &[&str]) -> Result<Vec<Verdict>, String> {
        let answer = format!("{{\"took\":1,\"errors\":true,\"items\":[{items}]}}");
        verdicts(answer.as_bytes(), ids.iter().copied())
    }

    #[test]
    fn each_status_has_its_verdict() {
        let item = |id: &str, status: u16| {
            format!(
                r#"{{"create":{{"_index":".ds-logs-000001","_id":"{id}","status":{status},
                   "error":{{"type":"t","reason":"r"}}}}}}"#
            )
        };
        let ids = ["a", "b", "c", "d", "e", "f"];
        let statuses = [201, 409, 429, 503, 403, 400];
        let items: Vec<_> = ids.iter().zip(statuses).map(|(id, s)| item(id, s)).collect();
        let index = ".ds-logs-000001".to_owned();
        assert_eq!(
            read(&items.join(","), &ids).unwrap(),
            [
                Verdict::Stored { index: index.clone() },
                Verdict::Duplicate { index },
                Verdict::Retry("HTTP 429 t: r".into()),
                Verdict::Retry("HTTP 503 t: r".into()),
                Verdict::Forbidden("HTTP 403 t: r".into()),
                Verdict::Refused("HTTP 400 t: r".into()),
            ]
        );
    }

    #[test]
    fn an_answer_that_does_not_fit_says_nothing() {
        let item = r#"{"create":{"_index":"i","_id":"a","status":201}}"#;
        assert!(read(item, &["a"]).is_ok());
        assert!(read(item, &["a", "b"]).unwrap_err().contains("1 items for 2"));
        assert!(read(item, &["b"]).unwrap_err().contains("other documents"));
        for answer in ["", "<html>", "{}", "{\"items\":[{\"create\":{\"_in", "{\"errors\":false}"] {
            assert!(verdicts(answer.as_bytes(), ["a"].into_iter()).is_err(), "{answer}");
        }
    }

    #[test]
    fn a_reason_does_not_repeat_the_value() {
        let reason = "failed to parse field [x] of type [ip]. Preview of field's value: 'secret'";
        assert_eq!(without_values(reason), "failed to parse field [x] of type [ip].");
    }
}
