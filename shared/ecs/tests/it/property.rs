//! The invariants over hostile events and broken bytes, from a fixed seed. `make fuzz` looks further.

use proptest::prelude::*;

use support::hostile::{cases, random_value, runner};
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
    let mut runner = runner();
    let separator = prop::sample::select(vec![
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
    ]);
    let pieces = prop::collection::vec((random_value(), separator), 0..4);
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 0..4);
    runner
        .run(&(pieces, edits), |(pieces, edits)| {
            let mut body: Vec<u8> = pieces
                .iter()
                .flat_map(|(piece, end)| [piece.as_str(), end])
                .flat_map(str::bytes)
                .collect();
            for (index, byte, kind) in edits {
                let at = index.index(body.len() + 1);
                match kind {
                    0 => body.truncate(at),
                    1 => body.insert(at, byte),
                    2 if at < body.len() => drop(body.remove(at)),
                    _ if at < body.len() => body[at] = byte,
                    _ => {}
                }
            }
            check(&mapper, &body);
            Ok(())
        })
        .unwrap();
}
