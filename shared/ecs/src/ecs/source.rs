//! `source`, `client`, `network` and `related`: where an event came from.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError};

use super::document::{Mapper, close, scalar_member};
use crate::geoip::{Geo, Location, Network, Place};
use crate::input::event::Event;
use crate::json::change::{Change, Changes};
use crate::json::text::{decode, member, write_plain, write_str, write_text};

/// A value that is an IP address.
struct Address<'a> {
    text: Cow<'a, str>,
    ip: IpAddr,
}

impl<'a> Address<'a> {
    fn read(token: &'a str) -> Option<Self> {
        let text = decode(token);
        let ip = text.parse().ok()?;
        Some(Self { text, ip })
    }
}

/// `source`, `client`, `network` and `related`.
pub(super) fn write_addresses(
    mapper: &Mapper,
    out: &mut Vec<u8>,
    event: &Event<'_>,
    changes: &mut Changes,
) {
    let source = event.ip.and_then(Address::read);
    let client = event.client_ip.and_then(Address::read);
    if client.is_none() && event.client_ip.is_some() {
        // The text itself stays in auth0.logs.data.client_ip.
        changes.note(Change::BadAddress);
    }
    let location_info = event.location_info.filter(|_| !mapper.has_city_file);
    let located = location_info.map(LocationInfo::read);
    let geo = located.as_ref().and_then(LocationInfo::geo);

    if event.ip.is_some() || geo.is_some() {
        out.extend_from_slice(b",\"source\":{");
        if let Some(source) = &source {
            out.extend_from_slice(b"\"ip\":");
            write_plain(out, &source.text);
            out.push(b',');
        } else if let Some(token) = event.ip {
            changes.note(Change::BadAddress);
            out.extend_from_slice(b"\"address\":");
            write_text(out, token);
            out.push(b',');
        }
        if let Some(geo) = geo {
            write_geo(out, &geo);
        }
        if let Some(source) = &source {
            mapper.write_place(source.ip, out);
        }
        close(out);
    }
    if let Some(client) = &client {
        out.extend_from_slice(b",\"client\":{\"ip\":");
        write_plain(out, &client.text);
        out.push(b'}');
    }
    if let Some(source) = &source {
        let kind: &[u8] = if source.ip.is_ipv4() { b"ipv4" } else { b"ipv6" };
        out.extend_from_slice(b",\"network\":{\"type\":\"");
        out.extend_from_slice(kind);
        out.extend_from_slice(b"\"}");
    }
    write_related(out, event, source.as_ref(), client.as_ref());
}

impl Mapper {
    /// `source.geo` and `source.as`, from the GeoIP files.
    fn write_place(&self, ip: IpAddr, out: &mut Vec<u8>) {
        let Some(records) = self.geoip.lookup(ip) else { return };
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = places.get(&records.key()) {
            out.extend_from_slice(known);
            return;
        }
        let mut text = Vec::new();
        if let Some(Place { geo, network }) = records.place() {
            if let Some(geo) = geo {
                write_geo(&mut text, &geo);
            }
            if let Some(network) = network {
                write_network(&mut text, &network);
            }
        }
        out.extend_from_slice(&text);
        places.put(records.key(), Arc::new(text));
    }
}

/// `related.user` and `related.ip`: every name and address of the event in one field to search.
fn write_related(
    out: &mut Vec<u8>,
    event: &Event<'_>,
    source: Option<&Address<'_>>,
    client: Option<&Address<'_>>,
) {
    let client = client.filter(|client| source.is_none_or(|source| source.ip != client.ip));
    let id = event.user_id.filter(|id| event.user_name != Some(id));
    if source.or(client).is_none() && event.user_name.or(id).is_none() {
        return;
    }
    out.extend_from_slice(b",\"related\":{\"ip\":[");
    for address in [source, client].into_iter().flatten() {
        write_plain(out, &address.text);
        out.push(b',');
    }
    close_list(out, "\"ip\":[");
    out.extend_from_slice(b"\"user\":[");
    for token in [event.user_name, id].into_iter().flatten() {
        write_text(out, token);
        out.push(b',');
    }
    close_list(out, "\"user\":[");
    close(out);
}

/// Ends a member that is a list, or takes it back where the list is empty.
fn close_list(out: &mut Vec<u8>, opening: &str) {
    if out.last() == Some(&b',') {
        out.pop();
        out.extend_from_slice(b"],");
    } else {
        out.truncate(out.len() - opening.len());
    }
}

/// A pulled event's `location_info`.
struct LocationInfo<'a> {
    token: &'a str,
    texts: [Option<Cow<'a, str>>; 5],
}

impl<'a> LocationInfo<'a> {
    fn read(token: &'a str) -> Self {
        let text = |name| scalar_member(token, name).map(decode);
        let texts = ["city_name", "continent_code", "country_code", "country_name", "time_zone"];
        Self { token, texts: texts.map(text) }
    }

    fn geo(&self) -> Option<Geo<'_>> {
        let [city, continent, country_code, country, zone] =
            self.texts.each_ref().map(Option::as_deref);
        let degrees = |name, limit: f64| {
            let number: f64 = decode(member(self.token, name)?).parse().ok()?;
            (number.abs() <= limit).then_some(number)
        };
        let location = degrees("latitude", 90.0)
            .zip(degrees("longitude", 180.0))
            .map(|(lat, lon)| Location { lat, lon });
        let geo = Geo {
            continent_name: continent.and_then(continent_name),
            country_iso_code: country_code,
            country_name: country,
            city_name: city,
            timezone: zone,
            location,
            ..Geo::default()
        };
        (geo != Geo::default()).then_some(geo)
    }
}

/// The English names that MaxMind's files have for the continents' codes.
fn continent_name(code: &str) -> Option<&'static str> {
    Some(match code {
        "AF" => "Africa",
        "AN" => "Antarctica",
        "AS" => "Asia",
        "EU" => "Europe",
        "NA" => "North America",
        "OC" => "Oceania",
        "SA" => "South America",
        _ => return None,
    })
}

fn write_geo(out: &mut Vec<u8>, geo: &Geo<'_>) {
    let texts = [
        ("city_name", geo.city_name),
        ("continent_name", geo.continent_name),
        ("country_iso_code", geo.country_iso_code),
        ("country_name", geo.country_name),
        ("postal_code", geo.postal_code),
        ("region_iso_code", geo.region_iso_code.as_deref()),
        ("region_name", geo.region_name),
        ("timezone", geo.timezone),
    ];
    out.extend_from_slice(b"\"geo\":{");
    for (name, value) in texts {
        if let Some(value) = value {
            write_plain(out, name);
            out.push(b':');
            write_str(out, value);
            out.push(b',');
        }
    }
    if let Some(Location { lat, lon }) = geo.location {
        out.extend_from_slice(format!("\"location\":{{\"lat\":{lat},\"lon\":{lon}}},").as_bytes());
    }
    close(out);
    out.push(b',');
}

fn write_network(out: &mut Vec<u8>, network: &Network<'_>) {
    out.extend_from_slice(b"\"as\":{");
    if let Some(number) = network.number {
        out.extend_from_slice(format!("\"number\":{number},").as_bytes());
    }
    if let Some(name) = network.organization_name {
        out.extend_from_slice(b"\"organization\":{\"name\":");
        write_str(out, name);
        out.extend_from_slice(b"},");
    }
    close(out);
    out.push(b',');
}
