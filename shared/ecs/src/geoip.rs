//! IP address → place and network, from files in MaxMind's format (City and ASN), both optional.
//!
//! The files are memory-mapped and opened once: a cold start reads only their metadata, and a lookup only
//! the pages it needs. A file that cannot be used is an error at start.

#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use maxminddb::{LookupResult, MaxMindDbError, Mmap, Reader};
use serde::Deserialize;

/// Why a GeoIP file cannot be used. Each message names the file.
#[derive(Debug, thiserror::Error)]
pub enum GeoIpError {
    /// The file is missing or cannot be read.
    #[error("GeoIP file {} cannot be opened: {source}", path.display())]
    Unreadable {
        /// As configured.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The file is not in MaxMind's format, or truncated.
    #[error("GeoIP file {} is broken or not in MaxMind's format: {source}", path.display())]
    Broken {
        /// As configured.
        path: PathBuf,
        /// What is wrong.
        source: MaxMindDbError,
    },
    /// The file is valid but of another type, such as an ASN file given as City.
    #[error("GeoIP file {} is of type {found:?}, but {wanted} is needed here", path.display())]
    WrongType {
        /// As configured.
        path: PathBuf,
        /// `database_type` of its metadata.
        found: String,
        /// The types that are accepted.
        wanted: &'static str,
    },
}

/// What is known about an address: at least one of the two.
#[derive(Clone, Debug, PartialEq)]
pub struct Place<'a> {
    /// For `source.geo`.
    pub geo: Option<Geo<'a>>,
    /// For `source.as`.
    pub network: Option<Network<'a>>,
}

/// The fields of ECS `geo`. Names are English, as from Elasticsearch's geoip processor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Geo<'a> {
    /// `continent_name`, such as `Europe`.
    pub continent_name: Option<&'a str>,
    /// `country_iso_code`, such as `GB`.
    pub country_iso_code: Option<&'a str>,
    /// `country_name`, such as `United Kingdom`.
    pub country_name: Option<&'a str>,
    /// `region_iso_code`: country and subdivision, such as `GB-ENG`.
    pub region_iso_code: Option<String>,
    /// `region_name`: the most specific subdivision, such as `England`.
    pub region_name: Option<&'a str>,
    /// `city_name`, such as `London`.
    pub city_name: Option<&'a str>,
    /// `postal_code`.
    pub postal_code: Option<&'a str>,
    /// `timezone`, such as `Europe/London`.
    pub timezone: Option<&'a str>,
    /// `location`.
    pub location: Option<Location>,
}

/// A `geo_point` in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Location {
    /// North is positive.
    pub lat: f64,
    /// East is positive.
    pub lon: f64,
}

/// The fields of ECS `as`, read from the record of an address.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Network<'a> {
    /// `number`.
    #[serde(rename = "autonomous_system_number")]
    pub number: Option<u32>,
    /// `organization.name`.
    #[serde(rename = "autonomous_system_organization")]
    pub organization_name: Option<&'a str>,
}

/// The opened files.
#[derive(Debug)]
pub struct GeoIp {
    city: Option<Reader<Mmap>>,
    asn: Option<Reader<Mmap>>,
}

impl GeoIp {
    /// Opens the given files: `city` of type City, Country or Enterprise, `asn` of type ASN or ISP.
    ///
    /// # Errors
    /// A file is missing, broken or of another type.
    pub fn open(city: Option<&Path>, asn: Option<&Path>) -> Result<Self, GeoIpError> {
        let city = city.map(|path| {
            open(path, &["City", "Country", "Enterprise"], "a City, Country or Enterprise file")
        });
        let asn = asn.map(|path| open(path, &["ASN", "ISP"], "an ASN or ISP file"));
        Ok(Self { city: city.transpose()?, asn: asn.transpose()? })
    }

    /// Returns whether there is a file for `source.geo`.
    #[must_use]
    pub const fn has_city(&self) -> bool {
        self.city.is_some()
    }

    /// Returns the records of an address. Private, local and other reserved addresses have none, whatever a
    /// file says. An IPv4-mapped IPv6 address is looked up as IPv4.
    #[must_use]
    pub fn lookup(&self, ip: IpAddr) -> Option<Records<'_>> {
        let ip = ip.to_canonical();
        if is_reserved(ip) {
            return None;
        }
        let records =
            Records { city: find(self.city.as_ref(), ip), asn: find(self.asn.as_ref(), ip) };
        (records.key() != RecordKey::default()).then_some(records)
    }
}

/// The records of an address in the files, not yet decoded.
#[derive(Debug)]
pub struct Records<'a> {
    city: Option<LookupResult<'a, Mmap>>,
    asn: Option<LookupResult<'a, Mmap>>,
}

/// The positions of the records in the files. Many addresses share them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RecordKey {
    city: Option<usize>,
    asn: Option<usize>,
}

impl<'a> Records<'a> {
    /// The key for a cache of places.
    #[must_use]
    pub fn key(&self) -> RecordKey {
        let [city, asn] = [&self.city, &self.asn].map(|found| found.as_ref()?.offset());
        RecordKey { city, asn }
    }

    /// Decodes the records; `None` if they hold nothing.
    #[must_use]
    pub fn place(&self) -> Option<Place<'a>> {
        let place = Place {
            geo: decode::<CityRecord<'_>>(self.city.as_ref())
                .map(Geo::from)
                .filter(|geo| *geo != Geo::default()),
            network: decode(self.asn.as_ref()).filter(|network| *network != Network::default()),
        };
        (place.geo.is_some() || place.network.is_some()).then_some(place)
    }
}

fn open(path: &Path, types: &[&str], wanted: &'static str) -> Result<Reader<Mmap>, GeoIpError> {
    #[expect(
        unsafe_code,
        reason = "a mapped file must not be changed or cut while it is open: these files are part of \
                  a Lambda layer or package, which is read-only"
    )]
    // SAFETY: see the reason above.
    let opened = unsafe { Reader::open_mmap(path) };
    let reader = opened.map_err(|error| match error {
        MaxMindDbError::Io(source) => GeoIpError::Unreadable { path: path.into(), source },
        source => GeoIpError::Broken { path: path.into(), source },
    })?;
    let found = &reader.metadata().database_type;
    if types.iter().any(|name| found.contains(name)) {
        Ok(reader)
    } else {
        Err(GeoIpError::WrongType { path: path.into(), found: found.clone(), wanted })
    }
}

/// A record that cannot be read counts as absent, as in [`decode`]: enrichment must not fail an event.
fn find(file: Option<&Reader<Mmap>>, ip: IpAddr) -> Option<LookupResult<'_, Mmap>> {
    file?.lookup(ip).ok()
}

fn decode<'a, T: Deserialize<'a>>(record: Option<&LookupResult<'a, Mmap>>) -> Option<T> {
    record?.decode().ok()?
}

/// The fields that are read from a City record. Everything else is skipped, not decoded.
#[derive(Deserialize)]
struct CityRecord<'a> {
    #[serde(borrow, default)]
    continent: Named<'a>,
    #[serde(borrow, default)]
    country: Named<'a>,
    #[serde(borrow, default)]
    subdivisions: Vec<Named<'a>>,
    #[serde(borrow, default)]
    city: Named<'a>,
    #[serde(borrow, default)]
    postal: Postal<'a>,
    #[serde(borrow, default)]
    location: Coordinates<'a>,
}

#[derive(Clone, Copy, Default, Deserialize)]
struct Named<'a> {
    iso_code: Option<&'a str>,
    #[serde(borrow, default)]
    names: Names<'a>,
}

#[derive(Clone, Copy, Default, Deserialize)]
struct Names<'a> {
    en: Option<&'a str>,
}

#[derive(Default, Deserialize)]
struct Postal<'a> {
    code: Option<&'a str>,
}

#[derive(Default, Deserialize)]
struct Coordinates<'a> {
    latitude: Option<f64>,
    longitude: Option<f64>,
    time_zone: Option<&'a str>,
}

impl<'a> From<CityRecord<'a>> for Geo<'a> {
    fn from(record: CityRecord<'a>) -> Self {
        let CityRecord { continent, country, subdivisions, city, postal, location } = record;
        // Ordered from the largest to the most specific.
        let region = subdivisions.last().copied().unwrap_or_default();
        Self {
            continent_name: continent.names.en,
            country_iso_code: country.iso_code,
            country_name: country.names.en,
            region_iso_code: country
                .iso_code
                .zip(region.iso_code)
                .map(|(country, region)| format!("{country}-{region}")),
            region_name: region.names.en,
            city_name: city.names.en,
            postal_code: postal.code,
            timezone: location.time_zone,
            location: location
                .latitude
                .zip(location.longitude)
                .filter(|(lat, lon)| lat.abs() <= 90.0 && lon.abs() <= 180.0)
                .map(|(lat, lon)| Location { lat, lon }),
        }
    }
}

/// Returns whether an address is not on the public internet, by IANA's special-purpose registries.
fn is_reserved(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_reserved_v4(ip),
        IpAddr::V6(ip) => is_reserved_v6(ip),
    }
}

fn is_reserved_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_documentation()
        || a == 0
        || (a == 100 && b & 0xc0 == 64) // shared between a carrier's customers
        || (a == 192 && b == 0 && c == 0) // protocol assignments
        || (a == 198 && b & 0xfe == 18) // benchmarks
        || a >= 224 // multicast, reserved, broadcast
}

fn is_reserved_v6(ip: Ipv6Addr) -> bool {
    let [a, b, ..] = ip.segments();
    // All public addresses are in 2000::/3, except for two blocks for documentation.
    a & 0xe000 != 0x2000 || (a == 0x2001 && b == 0xdb8) || (a == 0x3fff && b < 0x1000)
}
