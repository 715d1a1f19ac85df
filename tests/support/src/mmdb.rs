//! Small GeoIP files in MaxMind's format. Tests cannot use the real ones, which may not be
//! redistributed and change every week.

use std::fs;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

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
    let network = |number: u32, organization| json!({"autonomous_system_number": number, "autonomous_system_organization": organization});

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

/// Writes one file of networks and their records. An IPv4 network is written as `::a.b.c.d`, with 96
/// added to its prefix.
///
/// The format is MaxMind's, version 2.0 (<https://maxmind.github.io/MaxMind-DB/>): a binary tree over
/// the bits of the addresses, the records that its leaves point to, and the metadata.
///
/// # Panics
/// If it cannot be written.
pub fn write(path: &Path, database_type: &str, records: &[(&str, Value)]) {
    let mut tree = vec![[Branch::Empty; 2]];
    let mut data = Vec::new();
    for (network, record) in records {
        let (address, prefix) = network.split_once('/').expect("a network");
        let address: Ipv6Addr = address.parse().expect("an address");
        let prefix: u32 = prefix.parse().expect("a length");
        let mut node = 0;
        for bit in 1..=prefix {
            let side = usize::from(address.to_bits() >> (128 - bit) & 1 == 1);
            let next = match tree[node][side] {
                Branch::Node(next) => next,
                _ => tree.len(),
            };
            if bit == prefix {
                tree[node][side] = Branch::Record(data.len());
            } else if next == tree.len() {
                tree[node][side] = Branch::Node(next);
                tree.push([Branch::Empty; 2]);
            }
            node = next;
        }
        encode("", record, &mut data);
    }
    let nodes = tree.len();
    let mut file = Vec::new();
    for branch in tree.into_iter().flatten() {
        let number = match branch {
            Branch::Empty => nodes,
            Branch::Node(node) => node,
            Branch::Record(offset) => nodes + 16 + offset,
        };
        file.extend(u32::try_from(number).expect("a small file").to_be_bytes());
    }
    file.extend([0; 16]);
    file.extend(data);
    file.extend(b"\xab\xcd\xefMaxMind.com");
    let metadata = json!({
        "binary_format_major_version": 2, "binary_format_minor_version": 0, "build_epoch": 0,
        "database_type": database_type, "description": {}, "ip_version": 6, "languages": [],
        "node_count": nodes, "record_size": 32,
    });
    encode("", &metadata, &mut file);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).expect("a folder");
    }
    fs::write(path, file).expect("room for the file");
}

/// What a bit of an address leads to.
#[derive(Clone, Copy)]
enum Branch {
    Empty,
    Node(usize),
    Record(usize),
}

/// Appends the value of the member `name`, which decides the type of a whole number.
fn encode(name: &str, value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => unreachable!("the format has no null"),
        Value::Bool(value) => control(14, usize::from(*value), out),
        Value::Number(number) => match number.as_u64() {
            Some(number) => {
                let kind = match name {
                    "build_epoch" => 9,
                    "node_count" | "autonomous_system_number" => 6,
                    _ => 5,
                };
                let bytes = number.to_be_bytes();
                // Leading zeros are left out.
                let bytes = &bytes[number.leading_zeros() as usize / 8..];
                control(kind, bytes.len(), out);
                out.extend(bytes);
            }
            None => {
                control(3, 8, out);
                out.extend(number.as_f64().expect("a number").to_be_bytes());
            }
        },
        Value::String(text) => {
            control(2, text.len(), out);
            out.extend(text.as_bytes());
        }
        Value::Array(elements) => {
            control(11, elements.len(), out);
            elements.iter().for_each(|element| encode(name, element, out));
        }
        Value::Object(members) => {
            control(7, members.len(), out);
            for (name, value) in members {
                encode(name, &name.as_str().into(), out);
                encode(name, value, out);
            }
        }
    }
}

/// Appends the type and the size of a value.
fn control(kind: u8, size: usize, out: &mut Vec<u8>) {
    let (first, more) = if size < 29 { (size, None) } else { (29, Some(size - 29)) };
    let byte = |size: usize| u8::try_from(size).expect("a size of at most 284");
    // Types above 7 have a byte of their own.
    if kind > 7 {
        out.extend([byte(first), kind - 7]);
    } else {
        out.push(kind << 5 | byte(first));
    }
    out.extend(more.map(byte));
}
