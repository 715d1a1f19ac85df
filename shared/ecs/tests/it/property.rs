//! The invariants over hostile events and broken bytes, from a fixed seed. `make fuzz` looks further.

use support::draw::{one, seeds};
use support::hostile::{Drawn, cases};
use support::invariants::{check, mapper};

#[test]
fn hostile_event_gives_a_document_that_keeps_the_invariants() {
    let mapper = mapper();
    for case in cases(500) {
        let checked =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&mapper, &case.raw)));
        let text = || format!("{}: {}", case.name, String::from_utf8_lossy(&case.raw));
        let Ok(documents) = checked else { panic!("{}", text()) };
        if let Some(code) = &case.code {
            let type_id = format!("\"type_id\":\"{code}\"");
            assert!(matches!(&*documents, [document] if document.contains(&type_id)), "{}", text());
        }
    }
}

/// Bodies of several pieces, whole and with bytes removed, inserted and replaced.
#[test]
fn broken_body_gives_documents_that_keep_the_invariants() {
    let mapper = mapper();
    let mut drawn = Drawn::new();
    let separators = [
        "\n",
        "\r\n",
        ",",
        "",
        "\n\n",
        "]",
        "[",
        "\n{\"total\":1,\"logs\":[",
        "],\"start\":0}",
        "\n{\"detail-type\":\"Auth0 log\",\"detail\":",
        "}",
    ];
    seeds(256, |rng| {
        let mut body = Vec::new();
        for _ in 0..rng.usize(..4) {
            body.extend_from_slice(drawn.value(6).as_bytes());
            body.extend_from_slice(one(rng, &separators).as_bytes());
        }
        for _ in 0..rng.usize(..4) {
            let at = rng.usize(..=body.len());
            match rng.u8(..4) {
                0 => body.truncate(at),
                1 => body.insert(at, rng.u8(..)),
                2 if at < body.len() => drop(body.remove(at)),
                _ if at < body.len() => body[at] = rng.u8(..),
                _ => {}
            }
        }
        check(&mapper, &body);
    });
}
