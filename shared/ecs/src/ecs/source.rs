//! `source`, `client`, `network` and `related`: where an event came from.

use std::borrow::Cow;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;

use super::details::is_scalar;
use super::user::People;
use crate::geoip::{Geo, GeoIp, Location, Network, Place, RecordKey};
use crate::input::event::Event;
use crate::input::members::{MemberId, Moved};
use crate::json::change::Change;
use crate::json::read::{decode, member};
use crate::json::write::{AsText, Literal, Object};
use crate::key;

/// GeoIP records whose members of `source` are kept.
const CACHED_PLACES: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// The GeoIP files, with the members of `source` that were rendered for recent records.
#[derive(Debug)]
pub(super) struct Places {
    geoip: GeoIp,
    rendered: Mutex<LruCache<RecordKey, Arc<str>>>,
    /// The members that addresses and places are read from, next to `ip`.
    client_ip: MemberId,
    location_info: MemberId,
}

/// An IP address, and what came with it.
struct Address<'a> {
    /// As it is written.
    text: Cow<'a, str>,
    ip: IpAddr,
    port: Option<u16>,
    /// Whether the value as received was something else.
    differs: bool,
}

impl<'a> Address<'a> {
    /// The address in a value: a plain one, or one in any of the forms of [`extract`].
    fn read(token: &'a str) -> Option<Self> {
        let text = decode(token);
        match text.parse::<IpAddr>() {
            Ok(ip) if ip.to_canonical() == ip => {
                Some(Self { text, ip, port: None, differs: false })
            }
            _ => {
                let (ip, port) = extract(&text)?;
                Some(Self { text: ip.to_string().into(), ip, port, differs: true })
            }
        }
    }
}

/// The first address of a list, which may be JSON, without port, brackets, quotes, zone and white space. An
/// IPv4 address that is mapped into IPv6 is an IPv4 address.
#[cold]
fn extract(received: &str) -> Option<(IpAddr, Option<u16>)> {
    let is_json = |rest: &&str| rest.trim_start().starts_with(['"', 'n']);
    let list = received.strip_prefix('[').filter(is_json).unwrap_or(received);
    let is_between = |c: char| matches!(c, ',' | '"' | '\'') || c.is_whitespace();
    extract_one(list.split(is_between).find(|text| !text.is_empty() && *text != "null")?)
}

/// The address in one element of a list. A bad port is left out.
fn extract_one(text: &str) -> Option<(IpAddr, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (host, rest) = bracketed.split_once(']')?;
            let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) };
            (host, port)
        }
        // A second colon makes it an IPv6 address.
        None => match text.split_once(':').filter(|(_, port)| !port.contains(':')) {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let ip: IpAddr = host.split('%').next()?.parse().ok()?;
    Some((ip.to_canonical(), port.and_then(|port| port.parse().ok())))
}

/// `source`, `client`, `network` and `related`.
pub(super) fn write_addresses(
    doc: &mut Object<'_>,
    event: &mut Event<'_>,
    places: &Places,
    people: &People<'_>,
) {
    let (ip, client_ip) = (event.moved(Moved::Ip), event.token(places.client_ip));
    let (source, client) = (ip.and_then(Address::read), client_ip.and_then(Address::read));
    // The text of a bad client address stays in auth0.logs.data.client_ip.
    if ip.is_some() && source.is_none() || client_ip.is_some() && client.is_none() {
        event.changes.note(Change::BadAddress);
    }
    doc.object(key!("source"), |object| {
        if let Some(source) = &source {
            object.put(key!("ip"), Literal(&source.text));
            object.maybe(key!("port"), source.port.map(i64::from));
        }
        if source.as_ref().is_none_or(|source| source.differs) {
            object.maybe(key!("address"), ip.map(AsText));
        }
        if !places.geoip.has_city()
            && let Some(info) = event.token(places.location_info)
        {
            write_location_info(info, object);
        }
        if let Some(source) = &source {
            places.write(source.ip, object);
        }
    });
    if let Some(client) = &client {
        doc.object(key!("client"), |object| object.put(key!("ip"), Literal(&client.text)));
    }
    if let Some(source) = &source {
        let version = if source.ip.is_ipv4() { "ipv4" } else { "ipv6" };
        doc.object(key!("network"), |network| network.put(key!("type"), Literal(version)));
    }
    write_related(doc, people, source.as_ref(), client.as_ref());
}

/// `related`: every address and user of the event, each once, in fields to search.
fn write_related(
    doc: &mut Object<'_>,
    people: &People<'_>,
    source: Option<&Address<'_>>,
    client: Option<&Address<'_>>,
) {
    let client = client.filter(|client| source.is_none_or(|source| source.ip != client.ip));
    doc.object(key!("related"), |related| {
        related.list(key!("ip"), |list| {
            for address in [source, client].into_iter().flatten() {
                list.push(Literal(&address.text));
            }
        });
        related.list(key!("user"), |list| people.write_related(list));
    });
}

impl Places {
    pub(super) fn new(geoip: GeoIp, client_ip: MemberId, location_info: MemberId) -> Self {
        let rendered = Mutex::new(LruCache::new(CACHED_PLACES));
        Self { geoip, rendered, client_ip, location_info }
    }

    /// `geo` and `as` of an address, from the GeoIP files.
    fn write(&self, ip: IpAddr, source: &mut Object<'_>) {
        let Some(records) = self.geoip.lookup(ip) else { return };
        let mut cache = self.rendered.lock().unwrap_or_else(PoisonError::into_inner);
        let rendered = cache.get_or_insert(records.key(), || {
            let place = records.place();
            let members = Object::render(|source| {
                if let Some(Place { geo, network }) = place {
                    write_geo(source, geo.as_ref());
                    write_network(source, network.as_ref());
                }
            });
            members.into()
        });
        source.rendered(rendered);
    }
}

/// `geo` of the `location_info` of a pulled event.
fn write_location_info(info: &str, source: &mut Object<'_>) {
    let text = |name| member(info, name).filter(|value| is_scalar(value)).map(decode);
    let texts = ["city_name", "continent_code", "country_code", "country_name", "time_zone"];
    let texts = texts.map(text);
    let [city, continent, country_code, country, zone] = texts.each_ref().map(Option::as_deref);
    let degrees = |name, limit: f64| {
        let number: f64 = decode(member(info, name)?).parse().ok()?;
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
    write_geo(source, Some(&geo));
}

/// The English name of a continent, as in MaxMind's files.
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

fn write_geo(source: &mut Object<'_>, geo: Option<&Geo<'_>>) {
    let Some(geo) = geo else { return };
    source.object(key!("geo"), |object| {
        object.maybe(key!("city_name"), geo.city_name);
        object.maybe(key!("continent_name"), geo.continent_name);
        object.maybe(key!("country_iso_code"), geo.country_iso_code);
        object.maybe(key!("country_name"), geo.country_name);
        object.maybe(key!("postal_code"), geo.postal_code);
        object.maybe(key!("region_iso_code"), geo.region_iso_code.as_deref());
        object.maybe(key!("region_name"), geo.region_name);
        object.maybe(key!("timezone"), geo.timezone);
        if let Some(Location { lat, lon }) = geo.location {
            object.object(key!("location"), |location| {
                location.put(key!("lat"), lat);
                location.put(key!("lon"), lon);
            });
        }
    });
}

fn write_network(source: &mut Object<'_>, network: Option<&Network<'_>>) {
    let Some(network) = network else { return };
    source.object(key!("as"), |object| {
        object.maybe(key!("number"), network.number.map(i64::from));
        object.object(key!("organization"), |organization| {
            organization.maybe(key!("name"), network.organization_name);
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_found_in_every_form() {
        for (received, ip, port) in [
            ("198.51.100.4:52344", "198.51.100.4", Some(52_344)),
            ("[2001:db8::5]:443", "2001:db8::5", Some(443)),
            ("[2001:db8::5]", "2001:db8::5", None),
            ("fe80::5%eth0", "fe80::5", None),
            ("[fe80::5%1]:80", "fe80::5", Some(80)),
            (" 198.51.100.4\t", "198.51.100.4", None),
            ("198.51.100.4, 10.0.0.1", "198.51.100.4", None),
            ("198.51.100.4:80,10.0.0.1", "198.51.100.4", Some(80)),
            (r#"["198.51.100.4","10.0.0.1"]"#, "198.51.100.4", None),
            (r#"[ "[::1]:8080" ]"#, "::1", Some(8_080)),
            ("::ffff:198.51.100.4", "198.51.100.4", None),
            ("[::ffff:198.51.100.4]:80", "198.51.100.4", Some(80)),
            ("198.51.100.4:", "198.51.100.4", None),
            ("198.51.100.4:70000", "198.51.100.4", None),
            ("198.51.100.4:http", "198.51.100.4", None),
            ("[2001:db8::5]:", "2001:db8::5", None),
            (r#"["","198.51.100.4"]"#, "198.51.100.4", None),
            (r#"[null, "198.51.100.4:80"]"#, "198.51.100.4", Some(80)),
            ("198.51.100.4 10.0.0.1", "198.51.100.4", None),
            (", 198.51.100.4", "198.51.100.4", None),
            ("[::1]:80 [::2]", "::1", Some(80)),
            ("[::1],[::2]", "::1", None),
            ("\"198.51.100.4\"", "198.51.100.4", None),
            ("'198.51.100.4'", "198.51.100.4", None),
        ] {
            assert_eq!(extract(received), Some((ip.parse().unwrap(), port)), "{received}");
        }
        for other in [
            "",
            "localhost",
            "100.223.435",
            "99.xxx.xxx.xxx",
            "[2001:db8::5",
            "[2001:db8::5]443",
            "unknown, 198.51.100.4",
            "[1,2]",
            "[]",
            "[null]",
            ",",
            "{\"a\":1}",
            "198.51.100.4/24",
        ] {
            assert_eq!(extract(other), None, "{other}");
        }
    }

    #[test]
    fn plain_address_is_written_as_received() {
        for plain in ["198.51.100.4", "2001:DB8::5", "::1"] {
            let token = format!("\"{plain}\"");
            let address = Address::read(&token).unwrap();
            assert_eq!((&*address.text, address.differs), (plain, false));
        }
    }
}
