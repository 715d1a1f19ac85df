//! Events that nobody should send and anybody could: valid enough to be read, each with something that
//! an engine rejects or that would harm it. They are bytes, because a JSON tree cannot hold two members
//! of one name or half a surrogate pair. The end-to-end tests index the same events into both engines.

use fastrand::Rng;

use crate::draw::{any_text, one, text};

/// An event and what is odd about it.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its description, for the message of a failed test.
    pub name: String,
    /// The event, which may not be UTF-8.
    pub raw: Vec<u8>,
    /// The code of the event's type, if the document must have it.
    pub code: Option<String>,
}

/// Members that the mapper or the index template knows, and some that neither does.
#[rustfmt::skip]
const MEMBERS: &[&str] = &[
    "$event_schema", "_id", "agent_id", "audience", "auth0_client", "body", "classification",
    "client_id", "client_ip", "client_name", "connection", "connection_id", "data", "date",
    "date_text", "description", "details", "email", "environment_name", "external_agent_id",
    "hostname", "identity_user_id", "ip", "isMobile", "is_mobile", "is_mobile_text",
    "location_info", "location_info_text", "log_id", "login", "mtls_thumbprint_sha256",
    "organization_id", "organization_name", "query", "references", "scope", "security_context",
    "session_connection", "something", "specversion", "strategy", "strategy_type", "tenant_name", "title",
    "tracking_id", "transaction_linking_id", "type", "type_id", "user_agent", "user_id",
    "user_name",
];

/// Members of members that the mapper knows.
#[rustfmt::skip]
const INNER: &[(&str, &str)] = &[
    ("details", "error"), ("details", "request"), ("details", "response"), ("details", "stats"),
    ("details", "initiatedAt"), ("details", "completedAt"), ("details", "elapsedTime"),
    ("details", "familyId"), ("details", "session_id"), ("details", "device_id"),
    ("details", "grantType"), ("details", "grant_type"), ("details", "body"),
    ("details", "transaction"), ("details", "value"), ("details", "first_factor"),
    ("details", "prompts"), ("details", "expires_at"), ("details", "error_text"),
    ("location_info", "latitude"), ("location_info", "country_code"),
    ("location_info", "city_name"), ("references", "trace_id"), ("security_context", "ja3"),
    ("security_context", "ja4"), ("auth0_client", "env"), ("auth0_client", "name"),
];

/// Details with a field that holds `@`.
const DEEP: &[&str] = &[
    r#"{"request":{"ip":@,"body":{"enabled":@}}}"#,
    r#"{"request":{"auth":{"user":@}}}"#,
    r#"{"prompts":[{"stats":{"loginsCount":@},"initiatedAt":@,"session":@},@]}"#,
    r#"{"error":[@,{"message":@}]}"#,
];

/// Values that fit some fields and not others: JSON texts, not all of them valid.
fn small_values() -> Vec<String> {
    let plain = [
        "null",
        "true",
        "false",
        "0",
        "-0",
        "-1",
        "1.5",
        "1.6359e12",
        "1e400",
        "-1e-400",
        "1e999999999999",
        "9223372036854775808",
        "123456789012345678901234567890",
        r#""""#,
        r#"" ""#,
        r#""text""#,
        r#""true""#,
        r#""5""#,
        r#""1e400""#,
        r#""NaN""#,
        r#""81.2.69.143""#,
        r#""81.2.69.143, 10.0.0.1""#,
        r#""unknown""#,
        r#""1.2.3""#,
        r#""::1""#,
        r#""fe80::1%eth0""#,
        r#""::ffff:81.2.69.143""#,
        r#""2021-11-03T03:06:05.696Z""#,
        r#""2021-11-03T25:06:05Z""#,
        r#""yesterday""#,
        r#""0000-00-00T00:00:00Z""#,
        r#""+12021-11-03T03:06:05Z""#,
        r#""-0001-01-01T00:00:00Z""#,
        r#""9999-12-31T23:59:59.999999999Z""#,
        "1635908765696",
        "1e30",
        "8.64e15",
        "-8.64e15",
        r#""\u0000""#,
        r#""a\u0000b""#,
        r#""\ud800""#,
        r#""\udc00\ud800x""#,
        r#""\ud83d\ude00""#,
        r#""\"\\\/\b\f\n\r\t""#,
        "\"tab\tin it\"",
        "\"line\u{2028}\u{7f}\u{feff}\"",
        "[]",
        "[[]]",
        "[null]",
        r#"[1,"a",true,null,1.5]"#,
        r#"[[["x"]],"y"]"#,
        r#"[{"a":1},{"a":"b"},3]"#,
        "{}",
        r#"{"a":{}}"#,
        r#"{"a":1}"#,
        r#"{"a":{"b":{"c":[1]}}}"#,
        r#"{"":1}"#,
        r#"{" ":{"":2}}"#,
        r#"{".":1}"#,
        r#"{"..":1,"...":2}"#,
        r#"{"a.b":1,"a":{"b":2}}"#,
        r#"{".a":1,"a.":2,"a..b":3}"#,
        r#"{"a":1,"a":2}"#,
        r#"{"a":{"b":1},"a":{"c":2}}"#,
        r#"{"\u0061":1,"a":2}"#,
        r#"{"a\u0000b":1}"#,
        r#"{"\ud800":1}"#,
        r#"{"\n":1,"\t":2}"#,
        r#"{"latitude.x":1,"country_code":{"a":1},"trace_id.y":2,"ja3":["a"]}"#,
        r#"{"type":"x","message":{"a":1},"method":{"a":1},"path":[],"statusCode":"200"}"#,
        r#"{"statusCode":1e400,"method":1e400,"path":false,"id":{"a":1},"loginsCount":"7.9"}"#,
        r#"{"lat":91,"lon":181,"latitude":"91","longitude":1e5,"country_code":5}"#,
        r#"{"latitude":90,"longitude":-180,"continent_code":"XX","time_zone":["a"]}"#,
        r#"{"path":"/api/v2/users/%FF%00%7C/roles","channel":{"a":1},"auth":{"user":["a"]}}"#,
        r#"{"path":"/api/v2/users","auth":{"user":{"user_id":1e400,"name":{"a":1},"email":"@@.."}},"body":{"name":true}}"#,
        r#"{"path":"/api/v2/roles/r/users?x","auth":{"user":"\u0000"},"body":{"users":["a\u0000","\ud83d\ude00",""]}}"#,
        r#"{"path":"/api/v2/organizations/org_%22%0A/members","auth":1,"body":{"members":[{"a":1}],"user_id":7}}"#,
    ];
    let mut values: Vec<String> = plain.map(str::to_owned).to_vec();
    values.push("7".repeat(400));
    values.push(nested("{\"a\":", 20, "}"));
    values.push(nested("[", 20, "]"));
    values.push(nested("{\"a\":[", 13, "]}"));
    values
}

/// More bytes than Lucene takes for a term (32,766). Longer texts would only make tests slower.
const TOO_LONG: usize = 33_000;

/// Values that are harmful by their size.
fn large_values() -> Vec<String> {
    let keys = |from: usize, to: usize| {
        let keys: Vec<_> = (from..to).map(|i| format!("\"key number {i}\":{i}")).collect();
        keys.join(",")
    };
    let mut values = vec![
        "7".repeat(2_000),
        format!("0.{}", "7".repeat(2_000)),
        format!("\"{}\"", "x".repeat(TOO_LONG)),
        format!("\"{}\"", "words and words ".repeat(TOO_LONG / 16)),
        format!("\"{}\"", "\u{1f600}".repeat(TOO_LONG / 4)),
        format!("\"{}\"", "\\u00e9".repeat(TOO_LONG / 2)),
        format!("[\"{}\",1]", "x".repeat(TOO_LONG)),
        format!("{{\"a\":{{\"b\":\"{}\"}}}}", "x".repeat(32_740)),
        format!("{{\"{}\":1}}", "k".repeat(TOO_LONG)),
        format!("{{\"{}\":{{\"{0}\":\"{}\"}}}}", "k".repeat(TOO_LONG), "x".repeat(TOO_LONG)),
        format!("{{{}}}", keys(0, 1_500)),
        format!("[{}1]", "1,".repeat(10_000)),
        // Twenty long names and a long value have to fit into one term.
        nested(&format!("{{\"{}\":", "n".repeat(600)), 20, "}")
            .replace("1}", &format!("\"{}\"}}", "x".repeat(TOO_LONG))),
    ];
    for levels in [21, 25, 101, 900, 1_100, 10_000] {
        values.push(nested("{\"a\":", levels, "}"));
        values.push(nested("[", levels, "]"));
        values.push(nested("[{\"a\":", levels / 2, "}]"));
    }
    values
}

fn nested(open: &str, levels: usize, close: &str) -> String {
    format!("{}1{}", open.repeat(levels), close.repeat(levels))
}

/// Names as they are written between their quotes.
#[rustfmt::skip]
fn odd_names() -> Vec<String> {
    let mut names: Vec<String> = [
        "", " ", "\\t", ".", "..", " . ", "a.b", ".a", "a.", "a..b", "type.id", "type_id", "user.id",
        "is.mobile", "location_info.latitude", "details.error", "details", "login.stats", "log.id",
        "\\u0069p", "\\u0024event_schema", "\\u0074ype_id", "d\\u0061ta", "\\u0000", "a\\u0000b",
        "\\ud800", "\\ud83d\\ude00", "_id", "_source", "_index", "_routing", "_ignored",
        "@timestamp", "@timestamp.x", "auth0", "event", "tags", "date_text", "type_id_text",
        "latitude.x", "trace_id.y.z", "ja3.", "\\\"", "\\\\", "*", "?", "a*b", "#", "a b", "-",
        "__proto__", "null", "\u{feff}", "\u{202e}x", "é\u{301}",
    ].map(str::to_owned).to_vec();
    names.push("k".repeat(TOO_LONG));
    names.push("é.".repeat(1_000));
    names
}

/// The data of an ordinary event, except `log_id`.
fn ordinary(code: &str) -> Vec<(String, String)> {
    [
        ("date", "\"2026-03-14T10:05:13.013Z\"".to_owned()),
        ("type", format!("\"{code}\"")),
        ("description", "\"Successful login\"".to_owned()),
        ("ip", "\"81.2.69.143\"".to_owned()),
        ("user_agent", "\"curl/8.9.1\"".to_owned()),
        ("user_id", "\"auth0|65f2c1d07a3b9e0012ab34cd\"".to_owned()),
        ("user_name", "\"anna.berg@example.com\"".to_owned()),
        ("client_id", "\"Xh4kQ2mVbT7pLz9RcN3wYs6JdF8gAe1U\"".to_owned()),
        ("details", "{\"initiatedAt\":1773482703200,\"stats\":{\"loginsCount\":42}}".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// Sets a member, or adds it.
fn set(members: &mut Vec<(String, String)>, name: &str, value: String) {
    match members.iter_mut().find(|(member, _)| member == name) {
        Some((_, old)) => *old = value,
        None => members.push((name.to_owned(), value)),
    }
}

fn object(members: &[(String, String)]) -> String {
    let members: Vec<_> =
        members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

/// Collects cases; each has a `log_id` of its own.
struct Cases {
    cases: Vec<Case>,
}

impl Cases {
    fn log_id(&self) -> String {
        format!("\"900202603141005130130000000000000000000{:017}\"", self.cases.len())
    }

    fn push(&mut self, name: String, code: Option<&str>, raw: impl Into<Vec<u8>>) {
        self.cases.push(Case { name, raw: raw.into(), code: code.map(str::to_owned) });
    }

    /// An event in the stream's form with these members in its data.
    fn stream(&mut self, name: String, code: Option<&str>, mut data: Vec<(String, String)>) {
        let log_id = self.log_id();
        if !data.iter().any(|(name, _)| name == "log_id") {
            data.push(("log_id".to_owned(), log_id.clone()));
        }
        let raw = format!("{{\"log_id\":{log_id},\"data\":{}}}", object(&data));
        self.push(name, code, raw);
    }

    /// An ordinary event with one member changed.
    fn with(&mut self, member: &str, value: &str) {
        let mut data = ordinary("s");
        set(&mut data, member, value.to_owned());
        let code = (member != "type" && member != "data").then_some("s");
        self.stream(format!("{member}: {}", start(value)), code, data);
    }
}

fn start(text: &str) -> String {
    text.chars().take(60).collect()
}

/// All systematic cases, and this number of random ones from a fixed seed.
pub fn cases(random: usize) -> Vec<Case> {
    let mut cases = Cases { cases: Vec::new() };
    for value in small_values() {
        for member in MEMBERS {
            cases.with(member, &value);
        }
        for (member, inner) in INNER {
            cases.with(member, &format!("{{\"{inner}\":{value}}}"));
        }
        // A field of each type in a field, and in a list of objects.
        for path in DEEP {
            cases.with("details", &path.replace('@', &value));
        }
    }
    for value in large_values() {
        for member in [
            "details",
            "description",
            "client_name",
            "location_info",
            "ip",
            "type",
            "user_name",
            "user_agent",
            "is_mobile",
            "scope",
            "something",
            "date",
        ] {
            cases.with(member, &value);
        }
        cases.with("details", &format!("{{\"error\":{{\"type\":{value}}}}}"));
        cases.with("security_context", &format!("{{\"ja3\":{value}}}"));
    }
    names(&mut cases);
    ids(&mut cases);
    encodings(&mut cases);
    let mut drawn = Drawn::new();
    for _ in 0..random {
        let mut members = drawn.members();
        if drawn.rng.bool() {
            cases.stream("random".to_owned(), None, members);
        } else {
            members.push(("log_id".to_owned(), cases.log_id()));
            cases.push("random, pulled".to_owned(), None, object(&members));
        }
    }
    cases.cases
}

fn names(cases: &mut Cases) {
    for name in odd_names() {
        for value in ["1", "\"x\"", "{\"a\":1}", "[{\"a\":1}]"] {
            let odd = format!("{{\"{name}\":{value}}}");
            let label = format!("name {} of {value}", start(&name));
            let log_id = cases.log_id();
            let data = object(&ordinary("s"));
            let raw = format!("{{\"log_id\":{log_id},\"data\":{data},\"{name}\":{value}}}");
            cases.push(format!("{label} next to data"), None, raw);
            let mut data = ordinary("s");
            data.push((name.clone(), value.to_owned()));
            cases.stream(format!("{label} in data"), None, data);
            for member in ["details", "location_info", "references", "auth0_client", "something"] {
                cases.with(member, &odd);
            }
            cases.with("details", &format!("{{\"error\":{odd}}}"));
        }
    }
}

/// Odd ids. Each event has unique content, so that an id made of it is unique too.
fn ids(cases: &mut Cases) {
    let own = |cases: &Cases| cases.cases.len();
    let texts = |n: usize| {
        vec![
            format!("\"id {n} {}\"", "x".repeat(600)),
            format!("\"id {n} {}\"", "é".repeat(260)),
            format!("\"{}\"", "x".repeat(512 - 10) + &format!("{n:010}")),
            format!("{n}00000"),
            format!("{n}.5e3"),
            format!("[\"id {n}\"]"),
            format!("{{\"$oid\":\"id {n}\"}}"),
            "true".to_owned(),
            "null".to_owned(),
            "\"\"".to_owned(),
            "\" \"".to_owned(),
            format!("\"_id {n}\""),
            format!("\"../id?{n}&#%\""),
            format!("\"id\\u0000{n}\""),
            format!("\"id\\n{n}\\t\""),
            format!("\"\\ud800 {n}\""),
            format!("\"é\u{1f600} {n}\""),
        ]
    };
    for index in 0..texts(0).len() {
        for (in_envelope, in_data) in [(true, true), (true, false), (false, true)] {
            let n = own(cases);
            let id = texts(n)[index].clone();
            let mut data = ordinary("s");
            data.push(("n".to_owned(), n.to_string()));
            if in_data {
                data.push(("log_id".to_owned(), id.clone()));
            }
            let envelope = if in_envelope { format!("\"log_id\":{id},") } else { String::new() };
            let raw = format!("{{{envelope}\"data\":{}}}", object(&data));
            let name = format!("id {} ({in_envelope}, {in_data})", start(&id));
            cases.push(name, Some("s"), raw);
        }
    }
    let n = own(cases);
    cases.push("no id".to_owned(), None, format!("{{\"data\":{{\"type\":\"s\",\"n\":{n}}}}}"));
    cases.push("only _id".to_owned(), None, format!("{{\"_id\":\"id {n}\",\"type\":\"s\"}}"));
    cases.push("two ids".to_owned(), None, format!("{{\"log_id\":\"a{n}\",\"log_id\":\"b{n}\"}}"));
}

/// Bytes that are not an event, not JSON or not text, and events in a broken encoding.
fn encodings(cases: &mut Cases) {
    for text in [
        "null",
        "true",
        "5",
        "1e400",
        "\"text\"",
        "{}",
        "{\"a\":1}",
        "{\"data\":null}",
        "{\"data\":5}",
        "{\"data\":{}}",
        "{",
        "{\"log_id\":",
        "{\"log_id\":\"cut",
        "}",
        "]",
        "nonsense",
        "{\"type\":\"s\",}",
        "{'type':'s'}",
        "{\"type\":\"s\"}}",
        "{\"type\":NaN}",
        "\u{0}",
        "{\"type\":\"s\"} trailing",
        "<html>",
    ] {
        cases.push(format!("piece {text}"), None, text);
    }
    cases.push("long line of nothing".to_owned(), None, "x".repeat(100_000));
    cases.push("open brackets".to_owned(), None, "[".repeat(10_000));
    cases.push("nested pulled event".to_owned(), None, nested("{\"data\":", 10_000, "}"));
    for (label, bytes) in [
        ("latin 1", &b"\xe9t\xe9"[..]),
        ("a cut character", b"caf\xc3"),
        ("a surrogate as UTF-8", b"\xed\xa0\x80"),
        ("an overlong NUL", b"\xc0\x80"),
        ("beyond Unicode", b"\xf4\x90\x80\x80"),
        ("control characters", b"a\x00\x01\x1f\x7f"),
    ] {
        for place in ["@value", "@name", "@details", "@id"] {
            let log_id = cases.log_id();
            let id = log_id.trim_matches('"').to_owned();
            let template = match place {
                "@value" => format!(
                    "{{\"log_id\":{log_id},\"data\":{{\"type\":\"s\",\"client_name\":\"@\"}}}}"
                ),
                "@name" => format!("{{\"log_id\":{log_id},\"data\":{{\"type\":\"s\",\"@\":1}}}}"),
                "@details" => format!(
                    "{{\"log_id\":{log_id},\"data\":{{\"type\":\"s\",\"details\":{{\"@\":\"@\"}}}}}}"
                ),
                _ => format!("{{\"log_id\":\"{id}@\",\"data\":{{\"type\":\"s\"}}}}"),
            };
            let raw: Vec<u8> = template
                .as_bytes()
                .iter()
                .flat_map(|byte| if *byte == b'@' { bytes } else { std::slice::from_ref(byte) })
                .copied()
                .collect();
            cases.push(format!("{label} in {place}"), None, raw);
        }
    }
}

/// Events and values drawn from a fixed seed.
pub struct Drawn {
    rng: Rng,
    small: Vec<String>,
    names: Vec<String>,
}

impl Drawn {
    /// A generator that yields the same values in each run.
    pub fn new() -> Self {
        Self { rng: Rng::with_seed(7), small: small_values(), names: odd_names() }
    }

    /// The members of an event's data. None is an id: an event has to be found by its own.
    fn members(&mut self) -> Vec<(String, String)> {
        let count = self.rng.usize(..14);
        let members = (0..count).map(|_| (self.name(), self.value(6)));
        members.filter(|(name, _)| !["log_id", "_id", "data"].contains(&name.as_str())).collect()
    }

    fn name(&mut self) -> String {
        match self.rng.u8(..10) {
            0 => one(&mut self.rng, &self.names).clone(),
            1 => text(&mut self.rng, &["a", "b", "c", ".", "_"], 3),
            _ => (*one(&mut self.rng, MEMBERS)).to_owned(),
        }
    }

    /// Any JSON text with at most this number of levels.
    pub fn value(&mut self, levels: usize) -> String {
        let count = self.rng.usize(..6);
        match self.rng.u8(..5) {
            0 if levels > 0 => {
                let values: Vec<_> = (0..count).map(|_| self.value(levels - 1)).collect();
                format!("[{}]", values.join(","))
            }
            1 if levels > 0 => {
                let members = (0..count).map(|_| (self.inner_name(), self.value(levels - 1)));
                object(&members.collect::<Vec<_>>())
            }
            _ => self.leaf(),
        }
    }

    fn inner_name(&mut self) -> String {
        let names: Vec<_> = self.names.iter().filter(|name| name.len() < 1_000).collect();
        match self.rng.u8(..5) {
            0 => (*one(&mut self.rng, &names)).clone(),
            _ => text(&mut self.rng, &["a", "b", "c", "d"], 2),
        }
    }

    fn leaf(&mut self) -> String {
        let rng = &mut self.rng;
        match rng.u8(..11) {
            0 => {
                let escapes = (0..rng.usize(..=4)).map(|_| match rng.u8(..4) {
                    0 => format!("\\u{:04X}", rng.u16(0xD800..=0xDFFF)),
                    _ => format!("\\u{:04x}", rng.u16(..)),
                });
                format!("\"{}\"", escapes.collect::<String>())
            }
            1 => serde_json::Value::from(any_text(rng, 20)).to_string(),
            2 => serde_json::Value::from(any_text(rng, 100)).to_string(),
            3 => Some(f64::from_bits(rng.u64(..)))
                .filter(|number| number.is_finite())
                .map_or("0".to_owned(), |number| format!("{number:e}")),
            4 => rng.i64(..).to_string(),
            _ => one(rng, &self.small).clone(),
        }
    }
}

impl Default for Drawn {
    fn default() -> Self {
        Self::new()
    }
}
