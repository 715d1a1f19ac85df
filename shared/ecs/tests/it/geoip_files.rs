//! Small files in MaxMind's format, with the places of some addresses of the sample events.

use auth0_ecs::geoip::GeoIp;
use serde_json::json;
use support::mmdb;

/// London and Linköping, and the network of the latter.
pub(crate) fn geoip() -> GeoIp {
    let folder = temp_dir::TempDir::new().unwrap();
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
    mmdb::write(
        &city,
        "GeoLite2-City",
        &[("::81.2.69.142/127", london), ("::89.160.20.112/124", linkoping)],
    );
    let asn = folder.path().join("asn.mmdb");
    let bredband = json!({
        "autonomous_system_number": 29518, "autonomous_system_organization": "Bredband2 AB",
    });
    mmdb::write(&asn, "GeoLite2-ASN", &[("::89.160.0.0/113", bredband)]);
    // The files are mapped into memory: they may go from the folder.
    GeoIp::open(Some(&city), Some(&asn)).unwrap()
}
