use serde_json::{Value, json};

use super::document::*;
use crate::geoip::GeoIp;
use crate::input::origin::Input;
use chrono::DateTime;

fn mapper() -> Mapper {
    let settings = MapperSettings {
        namespace: "test",
        tags: &["production".to_owned()],
        preserve_original_event: false,
        agent_name: "webhook",
        ephemeral_id: "1",
    };
    Mapper::new(&settings, GeoIp::open(None, None).unwrap())
}

fn piece(raw: &[u8]) -> Piece<'_> {
    let received = DateTime::from_timestamp(1_750_000_000, 0).unwrap();
    Piece { raw, input: Input::HttpEndpoint, received }
}

fn mapped_text(event: &str) -> (Value, Document) {
    let mut out = Vec::new();
    let document = mapper().document(piece(event.as_bytes()), &mut out);
    (serde_json::from_slice(&out).unwrap(), document)
}

/// The document of an event with these members in its data.
fn mapped(mut data: Value) -> Value {
    data["log_id"] = json!("900");
    data["date"] = json!("2026-03-14T10:05:13.013Z");
    let (document, found) = mapped_text(&json!({"log_id": "900", "data": data}).to_string());
    assert_eq!(found.id, "900");
    document
}

fn data(document: &Value) -> &Value {
    &document["auth0"]["logs"]["data"]
}

#[test]
fn login_times_are_read_from_every_form_of_number() {
    for (number, date) in [
        ("1773482703200", Some("2026-03-14T10:05:03.200Z")),
        ("1.7734827032e12", Some("2026-03-14T10:05:03.200Z")),
        ("1773482703200.9", Some("2026-03-14T10:05:03.200Z")),
        ("\"1773482703200\"", Some("2026-03-14T10:05:03.200Z")),
        ("1e30", None),
        ("253402300800000", None),
        ("\"yesterday\"", None),
        ("{\"a\":1}", None),
    ] {
        let details = format!("{{\"initiatedAt\":{number},\"stats\":{{\"loginsCount\":7}}}}");
        let (document, _) = mapped_text(&format!(
            "{{\"log_id\":\"900\",\"type\":\"s\",\"date\":\"2026-03-14T10:05:13Z\",\
             \"details\":{details}}}"
        ));
        let login = &data(&document)["login"];
        assert_eq!(login.get("initiatedAt").and_then(Value::as_str), date, "{number}");
        assert_eq!(login["stats"]["loginsCount"], 7);
    }
}

#[test]
fn login_is_written_for_every_type_with_times() {
    let details = json!({
        "initiatedAt": 1_773_482_700_000_i64, "completedAt": 1_773_482_703_200_i64, "elapsedTime": 12,
        "stats": {"loginsCount": 3},
    });
    let times = json!({
        "initiatedAt": "2026-03-14T10:05:00.000Z", "completedAt": "2026-03-14T10:05:03.200Z",
        "elapsedTime": 12,
    });
    for code in ["ss", "ssa", "scoa", "scv", "sdel", "sdelsa", "passkey_challenge_started", "new"] {
        let document = mapped(json!({"type": code, "details": details}));
        assert_eq!(data(&document)["login"], times, "{code}");
    }
    let mut of_login = times;
    of_login["stats"] = json!({"loginsCount": 3});
    assert_eq!(data(&mapped(json!({"type": "s", "details": details})))["login"], of_login);
    for details in [json!({"a": 1}), json!({"stats": {"loginsCount": 3}})] {
        assert!(data(&mapped(json!({"type": "f", "details": details}))).get("login").is_none());
    }
}

#[test]
fn location_info_is_the_place_without_a_city_file() {
    let info = json!({
        "country_code": "SE", "country_code3": "SWE", "country_name": "Sweden",
        "city_name": "Linköping", "latitude": "58.4167", "longitude": 15.6167,
        "time_zone": "Europe/Stockholm", "continent_code": "EU",
    });
    let document = mapped(json!({"type": "s", "ip": "89.160.20.112", "location_info": info}));
    assert_eq!(
        document["source"],
        json!({"ip": "89.160.20.112", "geo": {
            "city_name": "Linköping", "continent_name": "Europe", "country_iso_code": "SE",
            "country_name": "Sweden", "timezone": "Europe/Stockholm",
            "location": {"lat": 58.4167, "lon": 15.6167},
        }})
    );
    assert_eq!(data(&document)["location_info"], info);
    let wrong = json!({"latitude": 91, "longitude": "x", "continent_code": "XX"});
    assert!(mapped(json!({"type": "s", "location_info": wrong})).get("source").is_none());
}

#[test]
fn user_name_that_is_an_email_address_gives_email_and_domain() {
    let user = |name: &str| mapped(json!({"user_name": name, "user_id": "auth0|1"}))["user"].take();
    assert_eq!(
        user("Anna.Berg@mail.example.com"),
        json!({"id": "auth0|1", "name": "Anna.Berg@mail.example.com",
            "email": "Anna.Berg@mail.example.com", "domain": "mail.example.com"})
    );
    for name in ["anna", "anna@", "@example.com", "anna@localhost", "a b@example.com", "a@b..c"] {
        assert_eq!(user(name), json!({"id": "auth0|1", "name": name}));
    }
}

#[test]
fn user_name_of_every_form_gives_what_identifies_the_user() {
    for (name, user, related) in [
        (
            json!("Kim+shop@mail.example.com"),
            json!({"name": "Kim+shop@mail.example.com", "email": "Kim+shop@mail.example.com",
                "domain": "mail.example.com"}),
            json!(["Kim+shop@mail.example.com", "Kim+shop"]),
        ),
        (json!("+46700000099"), json!({"name": "+46700000099"}), json!(["+46700000099"])),
        (json!(46_700_000_099_i64), json!({"name": "46700000099"}), json!(["46700000099"])),
        (json!("CORP\\kim"), json!({"name": "CORP\\kim"}), json!(["CORP\\kim"])),
        (json!("9b1d4e07"), json!({"name": "9b1d4e07"}), json!(["9b1d4e07"])),
        (json!("kim@localhost"), json!({"name": "kim@localhost"}), json!(["kim@localhost"])),
        (json!("*"), Value::Null, Value::Null),
        (json!("***************"), Value::Null, Value::Null),
        (json!("***@*******.***"), Value::Null, Value::Null),
        (json!("k***m@example.com"), Value::Null, Value::Null),
        (json!("k**@example.com"), Value::Null, Value::Null),
        (json!("k*@example.com"), Value::Null, Value::Null),
        (json!("** **"), Value::Null, Value::Null),
        (json!("* *"), Value::Null, Value::Null),
        (json!("a*b"), json!({"name": "a*b"}), json!(["a*b"])),
        (json!(""), Value::Null, Value::Null),
        (Value::Null, Value::Null, Value::Null),
    ] {
        let mut document = mapped(json!({"type": "fp", "user_name": name}));
        assert_eq!(document["user"].take(), user, "{name}");
        assert_eq!(document["related"]["user"].take(), related, "{name}");
        assert!(document.get("error").is_none());
        let is_masked = name.as_str().is_some_and(|name| name.contains('*')) && user.is_null();
        assert_eq!(data(&document).get("user_name"), is_masked.then_some(&name), "{name}");
    }
}

#[test]
fn masked_id_is_nobodys() {
    let masked = "samlp|corp|*****";
    let document = mapped(json!({"type": "s", "user_id": masked}));
    assert_eq!(data(&document)["user_id"], masked);
    assert!(document.get("user").is_none() && document.get("related").is_none());
    assert!(data(&mapped(json!({"type": "s", "user_id": "a|1"}))).get("user_id").is_none());

    let ids = json!([masked, "auth0|7b", masked]);
    let kim = json!({"id": "auth0|7b"});
    for (path, body, target) in [
        ("users/samlp%7Ccorp%7C*****", json!({}), Value::Null),
        ("user-blocks/samlp|corp|*****", json!({}), Value::Null),
        ("organizations/org_1/members/samlp|corp|*****/roles", json!({}), Value::Null),
        ("roles/rol_1/users", json!({"users": ids}), kim.clone()),
        ("organizations/org_1/members", json!({"members": ids}), kim),
        ("tickets/password-change", json!({"user_id": masked}), Value::Null),
    ] {
        let mut document = requested("post", &format!("/api/v2/{path}"), &body, &json!({}));
        assert_eq!(document["user"]["target"].take(), target, "{path}");
        assert!(!document["related"].to_string().contains('*'), "{path}");
    }

    // Whoever has an id that is not masked is somebody else.
    let auth = json!({"user": {"user_id": "auth0|7a", "name": "Ada"}});
    let details = json!({"request": {"path": "/api/v2/clients", "auth": auth}});
    let document = mapped(json!({"type": "sapi", "user_id": masked, "details": details}));
    assert!(document.get("user").is_none());
    assert_eq!(document["related"]["user"], json!(["Ada", "auth0|7a"]));
}

/// The document of a request to the Management API.
fn requested(method: &str, path: &str, body: &Value, response: &Value) -> Value {
    mapped(json!({
        "type": "sapi", "user_id": "auth0|7a", "details": {
            "request": {
                "method": method, "path": path, "body": body, "channel": "https://manage.auth0.com/",
                "auth": {"user": {"user_id": "auth0|7a", "name": "Ada Admin", "email": "ada@example.com"}},
            },
            "response": {"statusCode": 200, "body": response},
        },
    }))
}

#[test]
fn event_of_the_management_api_says_who_acted_on_whom() {
    let roles = json!({"roles": ["rol_1"]});
    let document = requested("post", "/api/v2/users/auth0%7C7b/roles", &roles, &json!({}));
    assert_eq!(
        document["user"],
        json!({"id": "auth0|7a", "name": "Ada Admin", "email": "ada@example.com",
            "domain": "example.com", "target": {"id": "auth0|7b"}})
    );
    assert_eq!(
        document["related"]["user"],
        json!(["Ada Admin", "ada@example.com", "ada", "auth0|7a", "auth0|7b"])
    );
    assert_eq!(document["auth0"]["logs"]["channel"], "https://manage.auth0.com/");
}

#[test]
fn target_is_found_in_path_and_bodies() {
    let kim = json!({"user_id": "auth0|7b", "name": "Kim", "email": "kim@example.com"});
    let nothing = json!({});
    for (path, body, response, target) in [
        (
            "users/auth0%7C7b",
            json!({"blocked": true}),
            kim.clone(),
            json!({"id": "auth0|7b", "name": "Kim", "email": "kim@example.com"}),
        ),
        (
            "users/auth0|7b?fields=name",
            json!({"email": "new@example.com"}),
            json!("gone"),
            json!({"id": "auth0|7b", "email": "new@example.com"}),
        ),
        (
            "users",
            json!({"email": "kim@example.com"}),
            kim.clone(),
            json!({"id": "auth0|7b", "name": "Kim", "email": "kim@example.com"}),
        ),
        (
            "users",
            json!({"email": "kim@example.com", "name": "***"}),
            json!({"statusCode": 409}),
            json!({"email": "kim@example.com"}),
        ),
        ("users/sms%7C%2B46/identities", kim.clone(), kim.clone(), json!({"id": "sms|+46"})),
        ("users/%FF%FE/roles", nothing.clone(), nothing.clone(), Value::Null),
        ("user-blocks/auth0%7C7b", nothing.clone(), nothing.clone(), json!({"id": "auth0|7b"})),
        (
            "roles/rol_1/users",
            json!({"users": ["auth0|7b"]}),
            nothing.clone(),
            json!({"id": "auth0|7b"}),
        ),
        (
            "roles/rol_1/users",
            json!({"users": ["auth0|7b", "auth0|7c"]}),
            nothing.clone(),
            json!({"id": ["auth0|7b", "auth0|7c"]}),
        ),
        ("roles/rol_1/permissions", json!({"users": ["x"]}), nothing.clone(), Value::Null),
        (
            "organizations/org_1/members",
            json!({"members": ["auth0|7b"]}),
            nothing.clone(),
            json!({"id": "auth0|7b"}),
        ),
        (
            "organizations/org_1/members/auth0%7C7b/roles",
            nothing.clone(),
            nothing.clone(),
            json!({"id": "auth0|7b"}),
        ),
        (
            "tickets/password-change",
            json!({"email": "kim@example.com", "connection_id": "con_1"}),
            nothing.clone(),
            json!({"email": "kim@example.com"}),
        ),
        (
            "tickets/email-verification",
            json!({"user_id": "auth0|7b", "email": "kim@example.com"}),
            nothing.clone(),
            json!({"id": "auth0|7b", "email": "kim@example.com"}),
        ),
        (
            "jobs/verification-email",
            json!({"user_id": "auth0|7b"}),
            nothing.clone(),
            json!({"id": "auth0|7b"}),
        ),
        ("jobs/users-exports", json!({"connection_id": "con_1"}), nothing.clone(), Value::Null),
        (
            "organizations/org_1/invitations",
            json!({"inviter": {"name": "Ada"}, "invitee": {"email": "kim@example.com"}}),
            nothing.clone(),
            json!({"email": "kim@example.com"}),
        ),
        (
            "organizations/org_1/invitations/uinv_1",
            nothing.clone(),
            json!({"id": "uinv_1", "invitee": {"email": "kim@example.com"}}),
            json!({"email": "kim@example.com"}),
        ),
        ("device-credentials", kim.clone(), nothing.clone(), json!({"id": "auth0|7b"})),
        ("tenants/settings", json!({"users": [1]}), kim.clone(), Value::Null),
        ("users-by-email", nothing.clone(), json!([kim]), Value::Null),
    ] {
        let mut document = requested("post", &format!("/api/v2/{path}"), &body, &response);
        assert_eq!(document["user"]["target"].take(), target, "{path}");
        let organization = path.starts_with("organizations/").then_some("org_1");
        assert_eq!(document["organization"]["id"].as_str(), organization, "{path}");
        assert!(document.get("error").is_none(), "{path}");
    }
    let target = |path: &str| requested("get", path, &nothing, &kim)["user"]["target"].take();
    assert_eq!(target("/scim/v2/users/x"), Value::Null, "not the Management API");
    let by_name = requested("get", "/api/v2/organizations/name/nordic", &nothing, &nothing);
    assert!(by_name.get("organization").is_none());
}

#[test]
fn actor_fills_in_only_what_the_event_lacks() {
    let of = |own: Value, actor: Value| {
        let mut own = own;
        own["type"] = json!("sapi");
        own["details"] = json!({"request": {"path": "/api/v2/clients", "auth": {"user": actor}}});
        let mut document = mapped(own);
        (document["user"].take(), document["related"]["user"].take())
    };
    let ada = json!({"user_id": "auth0|7a", "name": "Ada", "email": "ada@example.com"});
    let whole = json!({"id": "auth0|7a", "name": "Ada", "email": "ada@example.com", "domain": "example.com"});
    assert_eq!(of(json!({}), ada.clone()).0, whole);
    assert_eq!(of(json!({"user_name": "Ada"}), ada.clone()).0, whole);
    assert_eq!(of(json!({}), json!("auth0|7a")).0, json!({"id": "auth0|7a"}));
    assert_eq!(of(json!({}), json!({})).0, Value::Null);
    // Two people are not made into one.
    let related = json!(["auth0|1", "Ada", "ada@example.com", "ada", "auth0|7a"]);
    assert_eq!(of(json!({"user_id": "auth0|1"}), ada.clone()), (json!({"id": "auth0|1"}), related));
    let (user, _) = of(json!({"user_name": "kim@example.com"}), ada);
    assert_eq!(user["id"], Value::Null);
    let masked = json!({"user_id": "auth0|7a", "name": "***", "email": "**@*******.***"});
    assert_eq!(of(json!({}), masked).0, json!({"id": "auth0|7a"}));
}

#[test]
fn organization_of_the_event_goes_before_that_of_the_path() {
    let details = json!({"request": {"path": "/api/v2/organizations/org_2/invitations"}});
    let document = mapped(json!({"type": "sapi", "organization_id": "org_1", "details": details}));
    assert_eq!(document["organization"], json!({"id": "org_1"}));
}

#[test]
fn related_lists_each_user_and_address_once() {
    let both = mapped(json!({"user_name": "anna", "user_id": "auth0|1", "ip": "81.2.69.143",
        "client_ip": "2a02:cf40::1"}));
    assert_eq!(
        both["related"],
        json!({"ip": ["81.2.69.143", "2a02:cf40::1"], "user": ["anna", "auth0|1"]})
    );
    assert_eq!(both["client"]["ip"], "2a02:cf40::1");
    assert_eq!(both["network"]["type"], "ipv4");
    let same = mapped(json!({"user_name": "anna", "user_id": "anna", "ip": "81.2.69.143",
        "client_ip": "81.2.69.143"}));
    assert_eq!(same["related"], json!({"ip": ["81.2.69.143"], "user": ["anna"]}));
    assert!(mapped(json!({"type": "fn"})).get("related").is_none());
}

#[test]
fn bad_address_is_kept_as_text() {
    let document = mapped(json!({"ip": "81.2.69.x", "client_ip": "unknown"}));
    assert_eq!(document["source"], json!({"address": "81.2.69.x"}));
    assert_eq!(data(&document)["client_ip"], "unknown");
    assert!(document.get("client").is_none() && document.get("network").is_none());
    let message = document["error"]["message"].as_str().unwrap();
    assert_eq!(message, "an address was not an IP address and is kept as text");
    assert!(document["tags"].as_array().unwrap().contains(&json!("mapping_adjusted")));
    assert!(document["event"]["original"].as_str().unwrap().contains("81.2.69.x"));
}

#[test]
fn address_with_more_around_it_is_found_and_its_text_kept() {
    for (received, source) in [
        (json!("[2001:db8::7]:8443"), json!({"ip": "2001:db8::7", "port": 8_443})),
        (json!("198.51.100.4, 10.0.0.1"), json!({"ip": "198.51.100.4"})),
        (json!("::ffff:198.51.100.4"), json!({"ip": "198.51.100.4"})),
        (json!(["198.51.100.4", "10.0.0.1"]), json!({"ip": "198.51.100.4"})),
        (json!([null, "", "198.51.100.4"]), json!({"ip": "198.51.100.4"})),
        (json!("198.51.100.4:70000"), json!({"ip": "198.51.100.4"})),
    ] {
        let document = mapped(json!({"ip": received, "client_ip": "198.51.100.4:80"}));
        let mut source = source;
        source["address"] =
            received.as_str().map_or_else(|| json!(received.to_string()), Value::from);
        assert_eq!(document["source"], source);
        assert_eq!(document["client"], json!({"ip": "198.51.100.4"}));
        assert_eq!(data(&document)["client_ip"], "198.51.100.4:80");
        assert_eq!(document["related"]["ip"][0], source["ip"]);
        assert!(document.get("error").is_none(), "nothing is lost");
    }
}

#[test]
fn date_of_every_form_is_the_timestamp() {
    for date in [
        json!("2026-03-14 10:05:13.013"),
        json!("2026-03-14T11:05:13.013+01:00"),
        json!(1_773_482_713_013_i64),
        json!("1773482713013"),
        json!(1_773_482_713.013),
    ] {
        let event = json!({"log_id": "900", "data": {"type": "s", "date": date}});
        let (document, found) = mapped_text(&event.to_string());
        assert_eq!(document["@timestamp"], "2026-03-14T10:05:13.013Z", "{date}");
        assert_eq!(data(&document)["date"], "2026-03-14T10:05:13.013Z");
        assert!(found.date.is_some() && document.get("error").is_none());
    }
}

#[test]
fn organization_fingerprints_and_traces_have_ecs_fields() {
    let document = mapped(json!({
        "organization_id": "org_1", "organization_name": "nordic-retail",
        "security_context": {"ja3": "772b", "ja4": "t13d"},
        "references": {"trace_id": "4bf9", "correlation_id": "c"},
    }));
    assert_eq!(document["organization"], json!({"id": "org_1", "name": "nordic-retail"}));
    assert_eq!(document["tls"]["client"]["ja3"], "772b");
    assert_eq!(document["auth0"]["logs"]["ja4"], "t13d");
    assert_eq!(document["trace"]["id"], "4bf9");
}

#[test]
fn details_that_analysts_group_by_are_copied() {
    let document = mapped(json!({"type": "sertft", "details": {
        "familyId": "f1", "session_id": "s1", "device_id": "d1",
        "body": {"grant_type": "refresh_token"}, "transaction": {"id": "t1"},
        "request": {"method": "patch", "path": "/api/v2/users"},
        "response": {"statusCode": "204"}, "error": {"type": "invalid_grant"},
    }}));
    let logs = &document["auth0"]["logs"];
    for (name, value) in [
        ("family_id", "f1"),
        ("session_id", "s1"),
        ("device_id", "d1"),
        ("grant_type", "refresh_token"),
        ("transaction_id", "t1"),
    ] {
        assert_eq!(logs[name], value, "{name}");
    }
    let http = json!({"request": {"method": "patch"}, "response": {"status_code": 204}});
    assert_eq!(document["http"], http);
    assert_eq!(document["url"]["path"], "/api/v2/users");
    assert_eq!(document["error"], json!({"type": "invalid_grant"}));
    assert_eq!(document["log"]["level"], "error");
}

#[test]
fn wrapped_member_is_named() {
    let document = mapped(json!({"type": "sapi", "auth0_client": ["a", 1], "query": "q"}));
    assert_eq!(data(&document)["auth0_client"], json!({"value": ["a", 1]}));
    assert_eq!(
        document["error"]["message"],
        "auth0_client was not an object and is kept in auth0_client.value; \
         query was not an object and is kept in query.value"
    );
}

#[test]
fn unknown_code_is_still_an_event() {
    let (document, found) =
        mapped_text(r#"{"log_id":"900","type":"brand_new","date":"2026-03-14T10:05:13Z"}"#);
    assert_eq!(found.kind, DocumentKind::UnknownType);
    assert_eq!(document["event"]["action"], "unknown-brand_new");
    assert_eq!(document["event"]["type"], json!(["info"]));
    assert_eq!(document["event"]["outcome"], "unknown");
    let expected = json!({"type": "brand_new", "type_id": "brand_new",
        "date": "2026-03-14T10:05:13.000Z"});
    assert_eq!(data(&document), &expected);
    assert_eq!(document["tags"], json!(["forwarded", "auth0-logstream", "production"]));
}

#[test]
fn error_document_keeps_text_and_visible_log_id() {
    let cut = r#"{"log_id": "90020260314", "data": {"type": "s", "desc"#;
    let (document, found) = mapped_text(cut);
    assert_eq!(found.kind, DocumentKind::NotJson);
    assert_eq!(found.date, None);
    assert_ne!(found.id, "90020260314", "the event may yet arrive whole");
    assert_eq!(data(&document)["log_id"], "90020260314");
    assert_eq!(document["event"]["id"], found.id);
    assert_eq!(document["event"]["kind"], "pipeline_error");
    assert_eq!(document["event"]["original"], cut);
    let tags = json!(["forwarded", "auth0-logstream", "production", "preserve_original_event"]);
    assert_eq!(document["tags"], tags);
    assert_eq!(document["@timestamp"], "2025-06-15T15:06:40.000Z");
    assert!(document["error"]["message"].as_str().unwrap().starts_with("not valid JSON: "));

    for (text, kind) in [
        ("[1]", DocumentKind::NotAnEvent),
        ("{\"a\":1}", DocumentKind::NotAnEvent),
        ("\"\\ud800\"", DocumentKind::NotAnEvent),
        ("nonsense", DocumentKind::NotJson),
    ] {
        let (document, found) = mapped_text(text);
        assert_eq!(found.kind, kind, "{text}");
        assert_eq!(document["event"]["original"], text);
        assert!(document.get("auth0").is_none());
    }
}

type Substitute = fn(&Mapper, Piece<'_>, &str, &mut Vec<u8>) -> Document;

/// Returns the document that is kept instead of an event.
fn substitute(raw: &[u8], write: Substitute) -> (Value, Document) {
    let mapper = mapper();
    let event = mapper.document(piece(raw), &mut Vec::new());
    let mut out = Vec::new();
    let kept = write(&mapper, piece(raw), "illegal", &mut out);
    assert_eq!((kept.date, kept.kind), (event.date, event.kind));
    (serde_json::from_slice(&out).unwrap(), kept)
}

#[test]
fn refused_event_is_kept_under_an_id_of_its_own() {
    let raw = br#"{"log_id":"900","data":{"type":"s","date":"2026-03-14T10:05:13Z"}}"#;
    let (document, kept) = substitute(raw, Mapper::refused_document);
    assert_eq!(kept.id, "900-refused", "the event itself may yet be stored");
    assert_eq!(document["@timestamp"], "2026-03-14T10:05:13.000Z");
    assert_eq!(document["event"]["id"], "900");
    assert_eq!(data(&document)["log_id"], "900");
    assert_eq!(document["error"]["message"], "illegal");
    assert_eq!(document["event"]["original"].as_str().unwrap().as_bytes(), raw);
    assert_eq!(
        document["tags"],
        json!(["forwarded", "auth0-logstream", "production", "preserve_original_event"])
    );
    assert!(Mapper::holds_whole(raw));
    let long = json!({"log_id": "y".repeat(512), "type": "s"}).to_string();
    let (_, kept) = substitute(long.as_bytes(), Mapper::refused_document);
    assert!(kept.id.starts_with("sha256-"), "{}", kept.id);
}

#[test]
fn error_document_of_a_refused_event_is_bounded_and_says_so() {
    let long = json!({"log_id": "900", "type": "s", "x": "ä\u{1}".repeat(100_000)}).to_string();
    let (document, kept) = substitute(long.as_bytes(), Mapper::refused_document);
    assert_eq!(kept.id, "900-refused");
    let original = document["event"]["original"].as_str().unwrap();
    assert!(long.starts_with(original) && (131_000..=131_072).contains(&original.len()));
    let tags = json!([
        "forwarded",
        "auth0-logstream",
        "production",
        "preserve_original_event",
        "original_cut"
    ]);
    assert_eq!(document["tags"], tags);
    assert!(!Mapper::holds_whole(long.as_bytes()));
    assert!(document.to_string().len() < 1_000_000);
}

#[test]
fn document_of_a_dead_letter_has_nothing_of_the_event_but_its_ids() {
    let raw = br#"{"log_id":"900","type":"s","user_name":"${jndi:ldap://x}"}"#;
    let (document, kept) = substitute(raw, Mapper::dead_letter_document);
    assert_eq!(kept.id, "900-dead-letter");
    assert_eq!(document["event"]["id"], "900");
    assert_eq!(document["event"]["kind"], "pipeline_error");
    assert!(!document.to_string().contains("jndi"), "{document}");
}

#[test]
fn unusable_log_id_gives_the_same_derived_id_each_time() {
    let long = "x".repeat(513);
    let with_id = |id: &Value| json!({"log_id": id, "data": {"type": "s"}}).to_string();
    let mut seen = Vec::new();
    let unusable = [json!({"$oid": "1"}), json!(["1"]), json!(" "), json!(true), Value::Null];
    for id in unusable.into_iter().chain([json!(long)]) {
        let (document, first) = mapped_text(&with_id(&id));
        let (_, second) = mapped_text(&with_id(&id));
        assert_eq!(first, second);
        assert!(first.id.starts_with("sha256-") && !seen.contains(&first.id), "{id}");
        assert!(document["error"]["message"].as_str().unwrap().contains("id was derived"));
        seen.push(first.id);
    }
    let other = |id: &str| format!(r#"{{"log_id":"{id}","type":"f"}}"#);
    assert!(!seen.contains(&mapped_text(&other(" ")).1.id), "a blank does not identify an event");
    assert!(seen.contains(&mapped_text(&other(&long)).1.id), "a long id does");
    let (document, _) = mapped_text(&with_id(&json!(long)));
    assert_eq!(data(&document)["log_id"], long);
    assert_eq!(mapped_text(&with_id(&json!(900))).1.id, "900");
    assert_eq!(mapped_text(&with_id(&json!("y".repeat(512)))).1.id, "y".repeat(512));
}
