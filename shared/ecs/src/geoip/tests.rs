use std::fs;

use insta::assert_snapshot;
use serde_json::json;
use support::mmdb;
use temp_dir::TempDir;

use super::*;

/// The sample files, opened. Dropping the folder deletes them.
fn samples() -> (TempDir, GeoIp) {
    let folder = TempDir::new().unwrap();
    let (city, asn) = mmdb::write_samples(folder.path());
    let geoip = GeoIp::open(Some(&city), Some(&asn)).unwrap();
    (folder, geoip)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The place of an address in the files.
fn place(geoip: &GeoIp, ip: IpAddr) -> Option<Place<'_>> {
    geoip.lookup(ip)?.place()
}

fn london() -> Geo<'static> {
    Geo {
        continent_name: Some("Europe"),
        country_iso_code: Some("GB"),
        country_name: Some("United Kingdom"),
        region_iso_code: Some("GB-ENG".to_owned()),
        region_name: Some("England"),
        city_name: Some("London"),
        location: Some(Location { lat: 51.5142, lon: -0.0931 }),
        ..Geo::default()
    }
}

#[test]
fn sample_address_gives_the_place_of_the_sample() {
    let (_folder, geoip) = samples();
    let found = place(&geoip, ip("81.2.69.143")).unwrap();
    assert_eq!(found, Place { geo: Some(london()), network: None });
}

#[test]
fn place_and_network_come_from_both_files() {
    let (_folder, geoip) = samples();
    let found = place(&geoip, ip("89.160.20.112")).unwrap();
    let geo = found.geo.unwrap();
    assert_eq!(geo.city_name, Some("Linköping"));
    assert_eq!(geo.region_iso_code.as_deref(), Some("SE-E"));
    assert_eq!(geo.postal_code, Some("582 28"));
    assert_eq!(geo.timezone, Some("Europe/Stockholm"));
    let network = Network { number: Some(29518), organization_name: Some("Bredband2 AB") };
    assert_eq!(found.network, Some(network));
}

#[test]
fn ipv6_address_is_found_without_the_fields_its_record_lacks() {
    let (_folder, geoip) = samples();
    let geo = place(&geoip, ip("2001:218::1")).unwrap().geo.unwrap();
    assert_eq!((geo.country_name, geo.city_name), (Some("Japan"), None));
    assert_eq!((geo.region_iso_code, geo.region_name), (None, None));
}

#[test]
fn ipv4_mapped_address_is_looked_up_as_ipv4() {
    let (_folder, geoip) = samples();
    let mapped = place(&geoip, ip("::ffff:81.2.69.143"));
    assert_eq!(mapped, place(&geoip, ip("81.2.69.143")));
    assert!(mapped.is_some());
}

#[test]
fn unknown_address_has_no_place() {
    let (_folder, geoip) = samples();
    assert_eq!(place(&geoip, ip("8.8.8.8")), None);
    assert_eq!(place(&geoip, ip("2a00::1")), None);
}

#[test]
fn private_address_has_no_place_whatever_the_files_say() {
    let (_folder, geoip) = samples();
    assert_eq!(place(&geoip, ip("10.1.2.3")), None);
    assert_eq!(place(&geoip, ip("::ffff:10.1.2.3")), None);
}

#[test]
fn reserved_and_public_addresses_are_told_apart() {
    let reserved = [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.7",
        "203.0.113.9",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fc00::1",
        "fd12:3456::1",
        "ff02::1",
        "2001:db8::1",
        "3fff::1",
        "64:ff9b::1",
    ];
    for address in reserved {
        assert!(is_reserved(ip(address)), "{address}");
    }
    let public = [
        "81.2.69.143",
        "1.1.1.1",
        "11.0.0.1",
        "100.63.255.255",
        "100.128.0.1",
        "172.15.0.1",
        "172.32.0.1",
        "192.0.1.1",
        "198.17.0.1",
        "198.20.0.1",
        "223.255.255.255",
        "2001:218::1",
        "2606:4700::1111",
        "2a00:1450::1",
        "3ffe::1",
    ];
    for address in public {
        assert!(!is_reserved(ip(address)), "{address}");
    }
}

#[test]
fn both_files_are_optional() {
    let (folder, _) = samples();
    let (city, asn) = (folder.path().join("city.mmdb"), folder.path().join("asn.mmdb"));
    let address = ip("89.160.20.112");
    let nothing = GeoIp::open(None, None).unwrap();
    assert_eq!(place(&nothing, address), None);
    let city = GeoIp::open(Some(&city), None).unwrap();
    let found = place(&city, address).unwrap();
    assert!(found.geo.is_some() && found.network.is_none());
    let asn = GeoIp::open(None, Some(&asn)).unwrap();
    let found = place(&asn, address).unwrap();
    assert!(found.geo.is_none() && found.network.is_some());
}

#[test]
fn country_file_serves_as_city_file() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("country.mmdb");
    let record = json!({"country": {"iso_code": "GB", "names": {"en": "United Kingdom"}}});
    mmdb::write(&path, "GeoLite2-Country", &[("::81.2.69.142/127", record)]);
    let geoip = GeoIp::open(Some(&path), None).unwrap();
    let geo = place(&geoip, ip("81.2.69.143")).unwrap().geo.unwrap();
    assert_eq!((geo.country_iso_code, geo.city_name), (Some("GB"), None));
}

#[test]
fn record_of_another_shape_counts_as_absent() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("odd.mmdb");
    let records = [
        ("::81.2.69.142/127", json!({"country": "GB"})),
        ("::89.160.20.0/120", json!({"location": {"latitude": 200.0, "longitude": 0.5}})),
    ];
    mmdb::write(&path, "GeoLite2-City", &records);
    let geoip = GeoIp::open(Some(&path), None).unwrap();
    assert_eq!(place(&geoip, ip("81.2.69.143")), None);
    assert_eq!(place(&geoip, ip("89.160.20.112")), None);
}

#[test]
fn unusable_file_is_named_with_the_reason() {
    let (folder, _) = samples();
    let path = |name: &str| folder.path().join(name);
    let error = |city: Option<&str>, asn: Option<&str>| {
        let (city, asn) = (city.map(path), asn.map(path));
        let error = GeoIp::open(city.as_deref(), asn.as_deref()).unwrap_err();
        error.to_string().replace(&*folder.path().to_string_lossy(), "/opt/geoip")
    };
    fs::write(path("empty.mmdb"), "").unwrap();
    fs::write(path("text.mmdb"), "no such format").unwrap();
    let whole = fs::read(path("city.mmdb")).unwrap();
    fs::write(path("half.mmdb"), &whole[..whole.len() / 2]).unwrap();

    assert_snapshot!(error(Some("gone.mmdb"), None), @"GeoIP file /opt/geoip/gone.mmdb cannot be opened: No such file or directory (os error 2)");
    assert_snapshot!(error(Some("empty.mmdb"), None), @"GeoIP file /opt/geoip/empty.mmdb is broken or not in MaxMind's format: invalid database: could not find MaxMind DB metadata in file");
    assert_snapshot!(error(Some("text.mmdb"), None), @"GeoIP file /opt/geoip/text.mmdb is broken or not in MaxMind's format: invalid database: could not find MaxMind DB metadata in file");
    assert_snapshot!(error(Some("half.mmdb"), None), @"GeoIP file /opt/geoip/half.mmdb is broken or not in MaxMind's format: invalid database: could not find MaxMind DB metadata in file");
    assert_snapshot!(error(None, Some(".")), @"GeoIP file /opt/geoip/. is broken or not in MaxMind's format: memory map error: No such device (os error 19)");
    assert_snapshot!(error(Some("asn.mmdb"), None), @r#"GeoIP file /opt/geoip/asn.mmdb is of type "GeoLite2-ASN", but a City, Country or Enterprise file is needed here"#);
    assert_snapshot!(error(None, Some("city.mmdb")), @r#"GeoIP file /opt/geoip/city.mmdb is of type "GeoLite2-City", but an ASN or ISP file is needed here"#);
}
