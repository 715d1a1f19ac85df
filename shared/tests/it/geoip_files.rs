//! Small files in MaxMind's format, with the places of some addresses of the sample events.

use std::path::Path;

use auth0_ecs::geoip::GeoIp;
use maxminddb_writer::Database;
use maxminddb_writer::paths::IpAddrWithMask;
use serde::Serialize;
use serde_json::json;

/// London and Linköping, and the network of the latter.
pub(crate) fn geoip() -> GeoIp {
    let folder = tempfile::tempdir().unwrap();
    let city = folder.path().join("city.mmdb");
    let london = json!({
        "city": {"names": {"en": "London"}},
        "continent": {"code": "EU", "names": {"en": "Europe"}},
        "country": {"iso_code": "GB", "names": {"en": "United Kingdom"}},
        "location": {"latitude": 51.5142, "longitude": -0.0931},
        "subdivisions": [{"iso_code": "ENG", "names": {"en": "England"}}],
    });
    let linkoping = json!({
        "city": {"names": {"en": "Linköping"}},
        "continent": {"code": "EU", "names": {"en": "Europe"}},
        "country": {"iso_code": "SE", "names": {"en": "Sweden"}},
        "location": {"latitude": 58.4167, "longitude": 15.6167, "time_zone": "Europe/Stockholm"},
        "postal": {"code": "582 22"},
        "subdivisions": [{"iso_code": "E", "names": {"en": "Östergötland County"}}],
    });
    write(&city, "GeoLite2-City", &[("81.2.69.142/31", london), ("89.160.20.112/28", linkoping)]);
    let asn = folder.path().join("asn.mmdb");
    let bredband =
        Asn { autonomous_system_number: 29518, autonomous_system_organization: "Bredband2 AB" };
    write(&asn, "GeoLite2-ASN", &[("89.160.0.0/17", bredband)]);
    // The files are mapped into memory: they may go from the folder.
    GeoIp::open(Some(&city), Some(&asn)).unwrap()
}

/// Its number has to be one of 32 bits, as in MaxMind's files.
#[derive(Serialize)]
struct Asn {
    autonomous_system_number: u32,
    autonomous_system_organization: &'static str,
}

fn write(path: &Path, database_type: &str, records: &[(&str, impl Serialize)]) {
    let mut database = Database::default();
    database.metadata.database_type = database_type.to_owned();
    database.metadata.binary_format_major_version = 2;
    for (network, record) in records {
        let record = database.insert_value(record).unwrap();
        database.insert_node(network.parse::<IpAddrWithMask>().unwrap(), record);
    }
    std::fs::write(path, database.write_to(Vec::new()).unwrap()).unwrap();
}
