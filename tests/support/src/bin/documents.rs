//! Prints the documents of the benchmark's events, one a line: `documents EVENTS BYTES [CITY ASN]`.

#![expect(clippy::print_stdout, reason = "a tool for a benchmark")]

use std::path::Path;

use auth0_ecs::geoip::GeoIp;
use auth0_ecs::input::split;
use auth0_ecs::{Input, Mapper, MapperSettings, Piece};
use chrono::DateTime;
use support::batch::batch;

#[expect(clippy::expect_used, reason = "a tool for a benchmark")]
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number =
        |index: usize| arguments.get(index).and_then(|n| n.parse().ok()).expect("a number");
    let file = |index: usize| arguments.get(index).map(Path::new);
    let settings = MapperSettings {
        namespace: "default",
        tags: &["production".to_owned()],
        preserve_original_event: false,
        agent_name: "webhook",
        ephemeral_id: "0123456789abcdef0123456789abcdef",
    };
    let mapper = Mapper::new(&settings, GeoIp::open(file(2), file(3)).expect("GeoIP files"));
    let received = DateTime::from_timestamp(1_763_780_800, 0).expect("a time");
    for raw in split::split(&batch(number(0), number(1))) {
        let mut document = Vec::new();
        mapper.document(Piece { raw, input: Input::HttpEndpoint, received }, &mut document);
        println!("{}", String::from_utf8_lossy(&document));
    }
}
