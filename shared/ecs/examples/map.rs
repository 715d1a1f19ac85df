//! Prints the documents of the events on standard input, one a line:
//! `cargo run -q -p auth0-ecs --example map < events/auth0/batch.jsonl`.
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a tool for a terminal"
)]

use std::io::Read as _;

use auth0_ecs::geoip::GeoIp;
use auth0_ecs::input::split;
use auth0_ecs::{Input, Mapper, MapperSettings, Piece};
use chrono::Utc;

fn main() {
    let mut body = Vec::new();
    std::io::stdin().read_to_end(&mut body).expect("standard input can be read");
    let settings = MapperSettings {
        namespace: "default",
        tags: &[],
        preserve_original_event: std::env::args().any(|arg| arg == "--preserve-original-event"),
        agent_name: "map",
        ephemeral_id: "example",
    };
    let geoip = GeoIp::open(None, None).expect("no file is opened");
    let mapper = Mapper::new(&settings, geoip);
    for raw in split::split(&body) {
        let mut document = Vec::new();
        let piece = Piece { raw, input: Input::HttpEndpoint, received: Utc::now() };
        mapper.document(piece, &mut document);
        println!("{}", String::from_utf8_lossy(&document));
    }
}
