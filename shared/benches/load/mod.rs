//! The complete mapper, and the unit of work that is measured.

use std::path::Path;

use auth0_ecs::geoip::GeoIp;
use auth0_ecs::input::split;
use auth0_ecs::{Input, Mapper, MapperSettings};
use chrono::DateTime;
use shared::delivery::bulk::Batch;
use shared::delivery::incoming::Incoming;

/// Builds the mapper like a function, with GeoIP files if there are any.
pub(crate) fn mapper(
    preserve_original_event: bool,
    city: Option<&Path>,
    asn: Option<&Path>,
) -> Mapper {
    let settings = MapperSettings {
        namespace: "default",
        tags: &["production".to_owned()],
        preserve_original_event,
        agent_name: "webhook",
        ephemeral_id: "0123456789abcdef0123456789abcdef",
    };
    Mapper::new(&settings, GeoIp::open(city, asn).unwrap())
}

/// Turns a body into a `_bulk` request, and returns the size of the request in bytes.
pub(crate) fn map(mapper: &Mapper, body: &[u8]) -> usize {
    let received = DateTime::from_timestamp(1_763_780_800, 0).unwrap();
    let mut batch = Batch::default();
    for piece in split::split(body) {
        let event = Incoming { raw: piece, input: Input::HttpEndpoint, received, source: 0 };
        batch.push(event, |out| mapper.document(event.piece(), out));
    }
    batch.len()
}
