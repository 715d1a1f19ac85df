//! Small GeoIP files in MaxMind's format. Tests cannot use the real ones, which may not be
//! redistributed and change every week.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use maxminddb_writer::Database;
use maxminddb_writer::metadata::IpVersion;
use maxminddb_writer::paths::IpAddrWithMask;
use serde::Serialize;
use serde_json::json;

/// Writes `city.mmdb` and `asn.mmdb` into a folder, and returns their paths. They contain:
///
/// - `81.2.69.142/31` (London), which yields exactly the `source.geo` of the integration's sample
///   event, and has no AS;
/// - `89.160.20.0/24` and `2001:218::/32` (Linköping, Tokyo), with time zone, postal code and AS;
/// - `10.0.0.0/8`, which no real file has, to show that a private address gets nothing anyway.
///
/// # Panics
/// If the folder cannot be written to.
#[must_use]
pub fn write_samples(folder: &Path) -> (PathBuf, PathBuf) {
    let london = json!({
        "continent": {"code": "EU", "names": {"de": "Europa", "en": "Europe"}},
        "country": {"iso_code": "GB", "names": {"en": "United Kingdom"}},
        "subdivisions": [{"iso_code": "ENG", "names": {"en": "England"}}],
        "city": {"names": {"en": "London"}},
        "location": {"accuracy_radius": 10, "latitude": 51.5142, "longitude": -0.0931},
    });
    let linköping = json!({
        "continent": {"names": {"en": "Europe"}},
        "country": {"iso_code": "SE", "names": {"en": "Sweden"}},
        "subdivisions": [{"iso_code": "E", "names": {"en": "Östergötland County"}}],
        "city": {"names": {"en": "Linköping"}},
        "postal": {"code": "582 28"},
        "location": {"latitude": 58.4167, "longitude": 15.6167, "time_zone": "Europe/Stockholm"},
    });
    let tokyo = json!({
        "continent": {"names": {"en": "Asia"}},
        "country": {"iso_code": "JP", "names": {"en": "Japan"}},
        "location": {"latitude": 35.68536, "longitude": 139.75309, "time_zone": "Asia/Tokyo"},
    });
    let network = |autonomous_system_number, autonomous_system_organization| Network {
        autonomous_system_number,
        autonomous_system_organization,
    };

    let (city, asn) = (folder.join("city.mmdb"), folder.join("asn.mmdb"));
    let places = [
        ("::81.2.69.142/127", london.clone()),
        ("::89.160.20.0/120", linköping),
        ("2001:218::/32", tokyo),
        ("::10.0.0.0/104", london),
    ];
    write(&city, "GeoLite2-City", &places);
    let networks = [
        ("::89.160.20.0/120", network(29518, "Bredband2 AB")),
        ("2001:218::/32", network(2914, "NTT America, Inc.")),
        ("::10.0.0.0/104", network(1, "Private")),
    ];
    write(&asn, "GeoLite2-ASN", &networks);
    (city, asn)
}

/// An AS record. It is not a JSON value, because the number is a 32-bit integer in MaxMind's files.
#[derive(Serialize)]
pub struct Network {
    /// The number of the autonomous system.
    pub autonomous_system_number: u32,
    /// Its owner.
    pub autonomous_system_organization: &'static str,
}

/// Writes one file of networks and their records. An IPv4 network is written as `::a.b.c.d`, with 96
/// added to its prefix.
///
/// # Panics
/// If it cannot be written.
pub fn write(path: &Path, database_type: &str, records: &[(&str, impl Serialize)]) {
    let mut database = Database::default();
    database.metadata.ip_version = IpVersion::V6;
    database.metadata.database_type = database_type.to_owned();
    database.metadata.binary_format_major_version = 2;
    for (network, record) in records {
        let record = database.insert_value(record).expect("a record");
        database.insert_node(network.parse::<IpAddrWithMask>().expect("a network"), record);
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).expect("a folder");
    }
    database.write_to(File::create(path).expect("a file")).expect("room for the file");
}
