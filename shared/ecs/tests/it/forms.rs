//! The forms of a body, one test for each row of the table in `docs/architecture.md`.

use auth0_ecs::input::split;
use auth0_ecs::{DocumentKind, Input, Piece};
use chrono::DateTime;
use serde_json::{Value, json};
use support::invariants::mapper;

/// Two events as a log stream sends them.
fn events() -> [Value; 2] {
    ["9001", "9002"].map(|id| {
        let data = json!({"date": "2026-05-02T08:00:00.000Z", "type": "fp", "log_id": id});
        json!({"log_id": id, "data": data})
    })
}

/// An event as `EventBridge` delivers it.
fn delivered(detail: &Value) -> Value {
    json!({
        "version": "0", "id": "6f1d", "detail-type": "Auth0 log",
        "source": "aws.partner/auth0.com/example/auth0.logs", "account": "111122223333",
        "time": "2026-05-02T08:00:01Z", "region": "eu-north-1", "resources": [], "detail": detail,
    })
}

/// The documents of a body, with the kind of each.
fn documents(body: &str) -> Vec<(Value, DocumentKind)> {
    let mapper = mapper();
    let document = |raw: &[u8]| {
        let mut out = Vec::new();
        let piece = Piece { raw, input: Input::EventBridge, received: DateTime::UNIX_EPOCH };
        let found = mapper.document(piece, &mut out);
        (serde_json::from_slice(&out).unwrap(), found.kind)
    };
    split::split(body.as_bytes()).map(document).collect()
}

/// Checks that the body has the two events, and that each has the document of its form in a log stream.
fn has_both_events(body: &str) {
    let lines = events().map(|event| event.to_string()).join("\n");
    let (found, wanted) = (documents(body), documents(&lines));
    assert_eq!(found.len(), 2, "{body}");
    assert_eq!(found, wanted, "{body}");
    assert!(found.iter().all(|(_, kind)| *kind == DocumentKind::Event));
    assert_eq!(found[0].0["event"]["id"], "9001");
    assert_eq!(found[0].0["input"]["type"], "aws_eventbridge");
}

#[test]
fn json_lines_give_each_event() {
    let [one, two] = events();
    has_both_events(&format!("{one}\n{two}\n"));
}

#[test]
fn pretty_printed_objects_give_each_event() {
    let [one, two] = events();
    has_both_events(&format!("{one:#}\n{two:#}\n"));
}

#[test]
fn objects_on_one_line_give_each_event() {
    let [one, two] = events();
    has_both_events(&format!("{one}{two}"));
}

#[test]
fn lines_that_end_in_a_comma_give_each_event() {
    let [one, two] = events();
    has_both_events(&format!("{one},\n{two},\n"));
}

#[test]
fn json_array_gives_its_elements() {
    has_both_events(&json!(events()).to_string());
}

#[test]
fn one_event_is_a_body() {
    let [one, _] = events();
    assert_eq!(documents(&one.to_string()).len(), 1);
}

#[test]
fn pulled_events_give_the_documents_of_their_stream_form() {
    has_both_events(&json!(events().map(|event| event["data"].clone())).to_string());
}

#[test]
fn json_object_gives_its_logs() {
    has_both_events(&json!({"logs": events()}).to_string());
}

#[test]
fn page_with_totals_gives_its_logs() {
    let data = events().map(|event| event["data"].clone());
    let logs = json!(data);
    has_both_events(&format!(r#"{{"start":0,"limit":2,"length":2,"total":9,"logs":{logs}}}"#));
    has_both_events(&json!({"start": 0, "limit": 2, "length": 2, "logs": data}).to_string());
}

#[test]
fn object_with_logs_and_scalars_gives_its_logs() {
    let logs = json!(events());
    for page in [
        format!(r#"{{"tenant":"nordic","logs":{logs}}}"#),
        format!(r#"{{"logs":{logs},"next":"https://example.com/?from=9002"}}"#),
        format!(r#"{{"start":"0","total":null,"logs":{logs}}}"#),
    ] {
        has_both_events(&page);
    }
}

#[test]
fn array_of_pages_gives_their_logs() {
    let [one, two] = events();
    has_both_events(&json!([{"logs": [one]}, {"logs": [two], "total": 2}]).to_string());
}

#[test]
fn eventbridge_envelope_gives_the_stream_event_in_its_detail() {
    has_both_events(&events().map(|event| delivered(&event).to_string()).join("\n"));
}

#[test]
fn eventbridge_envelope_gives_the_bare_event_in_its_detail() {
    has_both_events(&events().map(|event| delivered(&event["data"]).to_string()).join("\n"));
}

#[test]
fn forms_may_follow_each_other() {
    let [one, two] = events();
    has_both_events(&format!("{}\n{{\"logs\":[{two}]}}\n[]\n", delivered(&one)));
    has_both_events(&format!("[{one}]\n{}\n", delivered(&two)));
    has_both_events(&format!("{{\"logs\":[{one}],\"total\":1}}\n{two}"));
}

#[test]
fn event_with_data_as_text_is_an_error_document_that_says_so() {
    let [one, _] = events();
    let body = json!({"log_id": one["log_id"], "data": one["data"].to_string()}).to_string();
    let found = documents(&body);
    let [(document, kind)] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(*kind, DocumentKind::NotAnEvent);
    assert_eq!(document["error"]["message"], "data is an object as text: send it as an object");
    assert_eq!(document["event"]["original"], body);
    assert_ne!(document["event"]["id"], "9001", "the event itself can still be stored");
}

#[test]
fn event_of_an_event_stream_is_an_error_document_that_names_the_remedy() {
    let created = json!({
        "specversion": "1.0", "type": "user.created", "source": "urn:auth0:example",
        "id": "evt_1", "time": "2026-05-02T08:00:00.000Z",
        "data": {"object": {"user_id": "auth0|7", "email": "kim@example.com"}},
    });
    for body in [created.to_string(), delivered(&created).to_string()] {
        let found = documents(&body);
        let [(document, kind)] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(*kind, DocumentKind::NotAnEvent);
        assert_eq!(document["event"]["kind"], "pipeline_error");
        assert_eq!(document["event"]["original"], created.to_string());
        let message = document["error"]["message"].as_str().unwrap();
        assert!(message.contains("create a log stream"), "{message}");
    }
}
