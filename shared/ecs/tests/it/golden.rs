//! Each sample event of `events/auth0` has its accepted document in `snapshots/`, reviewed field by field and
//! changed only on purpose (`cargo insta review`).

use std::fs;
use std::path::{Path, PathBuf};

use auth0_ecs::geoip::GeoIp;
use auth0_ecs::input::split;
use auth0_ecs::{DocumentKind, Input, Mapper, MapperSettings, Piece};
use chrono::DateTime;
use serde_json::{Value, json};

use crate::geoip_files::geoip;

fn mapper(preserve_original_event: bool, geoip: GeoIp) -> Mapper {
    let settings = MapperSettings {
        namespace: "default",
        tags: &[],
        preserve_original_event,
        agent_name: "webhook",
        ephemeral_id: "c332091a-27ef-4163-97f1-602c0c5722d2",
    };
    Mapper::new(&settings, geoip)
}

/// The document of a sample event.
fn document(mapper: &Mapper, event: &[u8], input: Input) -> Value {
    let received = DateTime::from_timestamp(1_748_613_971, 0).unwrap();
    let pieces: Vec<&[u8]> = split::split(event).collect();
    assert_eq!(pieces.len(), 1, "a sample is one event");
    let mut out = Vec::new();
    let document = mapper.document(Piece { raw: pieces[0], input, received }, &mut out);
    assert_eq!(document.kind, DocumentKind::Event);
    without_constant(serde_json::from_slice(&out).unwrap())
}

/// Takes out what is the same in all documents of a process, so that no snapshot holds the version.
fn without_constant(mut document: Value) -> Value {
    let members = document.as_object_mut().unwrap();
    let constant = ["agent", "data_stream", "ecs"].map(|name| members.remove(name).unwrap());
    let expected = [
        json!({
            "type": "auth0-log-streams", "version": env!("CARGO_PKG_VERSION"), "name": "webhook",
            "ephemeral_id": "c332091a-27ef-4163-97f1-602c0c5722d2",
        }),
        json!({"type": "logs", "dataset": "auth0.logs", "namespace": "default"}),
        json!({"version": "8.11.0"}),
    ];
    assert_eq!(constant, expected);
    document
}

/// The sample events, one per type. (The batches next to them are for `make run`.)
fn samples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events/auth0");
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| is_sample(file));
    files.sort();
    assert!(files.len() > 30, "{files:?}");
    files
}

fn is_sample(file: &Path) -> bool {
    let name = file.file_name().unwrap().to_str().unwrap();
    name.ends_with(".json") && !name.starts_with("batch") && name != "object.json"
}

fn is_pulled(file: &Path) -> bool {
    file.to_str().unwrap().ends_with(".pulled.json")
}

#[test]
fn each_sample_event_gives_its_accepted_document() {
    // Pulled events carry their place, which is used if there are no GeoIP files.
    let of_stream = mapper(false, geoip());
    let of_api = mapper(false, GeoIp::open(None, None).unwrap());
    for file in samples() {
        let event = fs::read(&file).unwrap();
        let document = if is_pulled(&file) {
            document(&of_api, &event, Input::ManagementApi)
        } else {
            document(&of_stream, &event, Input::HttpEndpoint)
        };
        assert!(
            document.get("error").is_none_or(|error| error.get("message").is_none())
                || file.file_stem().unwrap() == "pwd_leak",
            "a sample needs no changes"
        );
        let name = file.file_name().unwrap().to_str().unwrap();
        insta::with_settings!({ snapshot_suffix => name }, {
            insta::assert_json_snapshot!(document);
        });
    }
}

/// The contract: the document that Elastic's integration publishes for this event, except for `agent`,
/// `elastic_agent`, `event.agent_id_status`, `event.ingested` and the namespace.
#[test]
fn failed_login_gives_the_document_of_the_integration() {
    let event = fs::read(samples().into_iter().find(|file| file.ends_with("f.json")).unwrap());
    let event = event.unwrap();
    let mut document = document(&mapper(true, geoip()), &event, Input::HttpEndpoint);
    assert_eq!(document["event"]["original"].as_str().unwrap().as_bytes(), event.trim_ascii());
    // Fields beyond the integration are additions, not changes.
    let root = document.as_object_mut().unwrap();
    assert_eq!(root.remove("related"), Some(json!({"ip": ["81.2.69.143"]})));
    assert_eq!(
        root.remove("error"),
        Some(json!({"type": "callback-url-mismatch"})),
        "details.error.type"
    );
    insta::assert_json_snapshot!(document);
}

#[test]
fn stream_and_pulled_forms_of_an_event_give_one_document() {
    let mapper = mapper(false, geoip());
    for file in samples().iter().filter(|file| !is_pulled(file)) {
        let stream: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        let mut pulled = stream["data"].clone();
        let members = pulled.as_object_mut().unwrap();
        members.insert("_id".to_owned(), stream["log_id"].clone());
        if let Some(mobile) = members.remove("is_mobile") {
            members.insert("isMobile".to_owned(), mobile);
        }
        let of_stream = document(&mapper, stream.to_string().as_bytes(), Input::HttpEndpoint);
        let mut of_pulled = document(&mapper, pulled.to_string().as_bytes(), Input::ManagementApi);
        assert_eq!(of_pulled["input"]["type"], "auth0_management_api");
        of_pulled["input"]["type"] = json!("http_endpoint");
        // A document that was changed keeps the event as received.
        let original = |document: &mut Value| document["event"]["original"].take();
        let (mut of_stream, mut of_pulled) = (of_stream, of_pulled);
        original(&mut of_stream);
        original(&mut of_pulled);
        assert_eq!(of_stream, of_pulled, "{}", file.display());
    }
}

/// Auth0's API condenses the user agent and adds the place.
#[test]
fn pulled_sample_differs_from_its_stream_form_only_where_auth0_does() {
    let mapper = mapper(false, geoip());
    for file in samples().iter().filter(|file| is_pulled(file)) {
        let stream = PathBuf::from(file.to_str().unwrap().replace(".pulled", ""));
        let documents = [(&stream, Input::HttpEndpoint), (file, Input::ManagementApi)];
        let [of_stream, of_pulled] = documents.map(|(file, input)| {
            let mut document = document(&mapper, &fs::read(file).unwrap(), input);
            document["input"].take();
            document["user_agent"].take();
            let data = document["auth0"]["logs"]["data"].as_object_mut().unwrap();
            data.remove("location_info");
            document
        });
        assert_eq!(of_stream, of_pulled, "{}", file.display());
    }
}

#[test]
fn address_of_every_form_has_its_place() {
    let mapper = mapper(false, geoip());
    for ip in [
        "89.160.20.112",
        "89.160.20.112:52344",
        " 89.160.20.112 ",
        "89.160.20.112, 10.0.0.1",
        "::ffff:89.160.20.112",
        "[::ffff:89.160.20.112]:443",
    ] {
        let event = json!({"log_id": "1", "date": "2026-05-02T08:00:00Z", "type": "f", "ip": ip});
        let document = document(&mapper, event.to_string().as_bytes(), Input::HttpEndpoint);
        assert_eq!(document["source"]["ip"], "89.160.20.112", "{ip}");
        assert_eq!(document["source"]["geo"]["city_name"], "Linköping", "{ip}");
        assert_eq!(document["source"]["as"]["number"], 29518, "{ip}");
    }
}
