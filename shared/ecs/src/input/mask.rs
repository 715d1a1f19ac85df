//! User data of an event → asterisks or hashes, in the event's own bytes, before anything else sees them.
//!
//! Auth0 does this on request for the events of a stream, but not for those of the Management API. The values
//! that it replaces are those of the members in the table "PII obfuscation" of its documentation, wherever they
//! stand: <https://auth0.com/docs/customize/log-streams>. The table has first and last names (`first_name`,
//! `given_name`, `last_name`, `family_name`, `name`), `email`, phone numbers (`phone`, `phone_number`,
//! `old_phone_number`, `new_phone_number`), `address`, and user names (`username`, `user_name`). It says
//! that masking writes asterisks; neither how many, nor which xxHash in which notation, is documented.
//!
//! On top of these, we replace the other spellings that Auth0's own events and SCIM have (`PERSONAL`),
//! and e-mail addresses and phone numbers in any other text (`contact`).
//!
//! Masking twice gives what masking once gave, so that an event may pass here again.

use std::borrow::Cow;
use std::fmt;

use memchr::memchr3;
use sha2::{Digest as _, Sha256};

use super::contact::{Contact, Contacts};
use super::log_id::visible_log_id;
use crate::json::lex::{Lexer, Name, SyntaxError, ValueKind};
use crate::json::read::{decode, decode_name};
use crate::json::repair::repair;
use crate::json::write::write_str;

/// What stands in place of a masked value, however long that was.
const MASK: &str = "*****";

/// What a keyed hash starts with; [`HASH_DIGITS`] hexadecimal digits follow.
const HASH_PREFIX: &str = "hmac-sha256-";

/// Half of the hash: 128 bits have no collisions among people.
const HASH_DIGITS: usize = 32;

/// What a note in place of a text that cannot be masked starts with.
const NOTE_PREFIX: &str = "withheld by MaskUserData: ";

/// Values nested deeper are not looked into. Events that are nested deeper are repaired first.
const MAX_DEPTH: usize = 128;

/// Names of members whose values are personal: in lowercase, without `_` and `-`, in byte order.
const PERSONAL: [&str; 28] = [
    "address",
    "addresses",
    "birthdate",
    "email",
    "emailaddress",
    "emails",
    "familyname",
    "firstname",
    "fullname",
    "givenname",
    "lastname",
    "loginhint",
    "middlename",
    "newemail",
    "newphonenumber",
    // As Auth0 writes it in events of type `fcu`.
    "newuername",
    "newusername",
    "nickname",
    "oldemail",
    "oldphonenumber",
    "oldusername",
    "phone",
    "phonenumber",
    "phonenumbers",
    "picture",
    "preferredusername",
    // The recipient of a message.
    "to",
    "username",
];

/// Names that are a person's, unless the object that has them is one of [`THINGS`].
const NAMES: [&str; 2] = ["displayname", "name"];

/// Members whose values have the name of something that is not a person.
const THINGS: [&str; 12] = [
    "action",
    "actionerror",
    "auth0client",
    "client",
    "connection",
    "error",
    "feature",
    "organization",
    "prompts",
    "resourceserver",
    "role",
    "roles",
];

/// How user data is replaced.
#[derive(Clone, Debug)]
pub enum Masker {
    /// By asterisks: nothing of a value is left.
    Mask,
    /// By a hash with this key: equal values have equal hashes.
    Hash(HashKey),
}

/// The key of HMAC-SHA-256 (RFC 2104), made ready for use. It does not print.
#[derive(Clone)]
pub struct HashKey(Box<KeyedStates>);

/// The hash's states after the padded key.
#[derive(Clone)]
struct KeyedStates {
    inner: Sha256,
    outer: Sha256,
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey")
    }
}

impl HashKey {
    /// Takes a key of any length.
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        let mut block = [0; 64];
        let digest;
        let key = if key.len() > block.len() {
            digest = Sha256::digest(key);
            digest.as_slice()
        } else {
            key
        };
        for (byte, key) in block.iter_mut().zip(key) {
            *byte = *key;
        }
        let padded = |pad: u8| Sha256::new().chain_update(block.map(|byte| byte ^ pad));
        Self(Box::new(KeyedStates { inner: padded(0x36), outer: padded(0x5c) }))
    }

    fn hash(&self, text: &[u8]) -> [u8; 32] {
        let inner = self.0.inner.clone().chain_update(text).finalize();
        self.0.outer.clone().chain_update(inner).finalize().into()
    }
}

impl Masker {
    /// Returns a piece of a body with its user data replaced. What is not a JSON object cannot be masked
    /// reliably: a note with its length and hash stands in its place, and with its log id if it shows one.
    #[must_use]
    pub fn apply<'p>(&self, piece: &'p [u8]) -> Cow<'p, [u8]> {
        if let Ok(text) = std::str::from_utf8(piece) {
            match self.mask_object(text) {
                Ok(Some(masked)) => return Cow::Owned(masked),
                Ok(None) => return Cow::Borrowed(piece),
                Err(_) if is_note(piece) => return Cow::Borrowed(piece),
                Err(_) => {}
            }
        }
        let repaired = repair(piece);
        match self.mask_object(&repaired) {
            Ok(masked) => Cow::Owned(masked.unwrap_or_else(|| repaired.into_bytes())),
            Err(_) => Cow::Owned(self.note(piece).into_bytes()),
        }
    }

    /// Masks the text of a JSON object; `None` if there is nothing to mask.
    fn mask_object(&self, text: &str) -> Result<Option<Vec<u8>>, SyntaxError> {
        let mut pass = Pass::new(self, text);
        match pass.json.peek()? {
            ValueKind::Object => pass.mask_text(),
            _ => Err(SyntaxError::ExpectedValue),
        }
    }

    /// Replaces a personal value. One that shows nothing stays.
    fn replace<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if shows_nothing(text) || is_hash(text) {
            return Cow::Borrowed(text);
        }
        Cow::Owned(self.substitute(text))
    }

    fn substitute(&self, text: &str) -> String {
        match self {
            Self::Mask => MASK.to_owned(),
            Self::Hash(key) => format!("{HASH_PREFIX}{}", hex(&key.hash(text.as_bytes()))),
        }
    }

    /// The note in place of a text that cannot be masked.
    fn note(&self, text: &[u8]) -> String {
        let hash = match self {
            Self::Mask => format!("sha256-{}", hex(&Sha256::digest(text))),
            Self::Hash(key) => format!("{HASH_PREFIX}{}", hex(&key.hash(text))),
        };
        let note = format!("{NOTE_PREFIX}{} bytes, {hash}", text.len());
        match visible_log_id(text) {
            Some(id) => format!("{note}, \"log_id\":\"{id}\""),
            None => note,
        }
    }
}

/// Whether a text holds nothing but what masking leaves.
fn shows_nothing(text: &str) -> bool {
    text.bytes().all(|byte| b"*@. ".contains(&byte))
}

fn is_hash(text: &str) -> bool {
    text.strip_prefix(HASH_PREFIX).is_some_and(is_hex)
}

fn is_hex(text: &str) -> bool {
    text.len() == HASH_DIGITS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The first half of a hash in hexadecimal digits.
pub(crate) fn hex(hash: &[u8]) -> String {
    hash.iter().take(HASH_DIGITS / 2).map(|byte| format!("{byte:02x}")).collect()
}

/// Returns whether this is the note that stands in place of a text that could not be masked.
pub(crate) fn is_note(piece: &[u8]) -> bool {
    let is_whole = || {
        let note = std::str::from_utf8(piece).ok()?.strip_prefix(NOTE_PREFIX)?;
        let (length, rest) = note.split_once(" bytes, ")?;
        let (hash, id) = rest.split_once(", ").map_or((rest, None), |(hash, id)| (hash, Some(id)));
        let digits = hash.strip_prefix(HASH_PREFIX).or_else(|| hash.strip_prefix("sha256-"))?;
        // Nothing else may hide in it.
        let is_id = |id: &str| {
            let log_id = visible_log_id(id.as_bytes());
            log_id.is_some_and(|log_id| id == format!("\"log_id\":\"{log_id}\""))
        };
        let is_number = length.bytes().all(|byte| byte.is_ascii_digit());
        Some(is_number && is_hex(digits) && id.is_none_or(is_id))
    };
    is_whole().unwrap_or(false)
}

/// One pass over a JSON text.
struct Pass<'m, 't> {
    masker: &'m Masker,
    json: Lexer<'t>,
    out: Vec<u8>,
    /// How much of the text is in `out`.
    copied: usize,
}

/// What is known of a value from where it stands.
#[derive(Clone, Copy)]
struct Place {
    /// All of it is personal.
    personal: bool,
    /// A name in it is not a person's.
    thing: bool,
    /// An identifier in it is a phone number or address, not that of an API.
    enrollment: bool,
    depth: usize,
}

impl Place {
    const TOP: Self = Self { personal: false, thing: false, enrollment: false, depth: 0 };

    /// The place of a member's value.
    fn member(self, name: &str) -> Self {
        let mut plain = name.to_ascii_lowercase();
        plain.retain(|c| c != '_' && c != '-');
        let plain = plain.as_str();
        let is_name = NAMES.contains(&plain) && !self.thing;
        let is_identifier = self.enrollment && plain == "identifier";
        Self {
            personal: self.personal
                || is_name
                || is_identifier
                || PERSONAL.binary_search(&plain).is_ok(),
            // `details.error.payload` is an error, too.
            thing: THINGS.contains(&plain) || self.thing && plain == "payload",
            enrollment: plain == "enrollment",
            depth: self.depth + 1,
        }
    }

    const fn element(self) -> Self {
        Self { depth: self.depth + 1, ..self }
    }
}

impl<'m, 't> Pass<'m, 't> {
    const fn new(masker: &'m Masker, text: &'t str) -> Self {
        Self { masker, json: Lexer::new(text), out: Vec::new(), copied: 0 }
    }

    /// Masks the whole text; `None` if there is nothing to mask.
    fn mask_text(mut self) -> Result<Option<Vec<u8>>, SyntaxError> {
        self.mask_value(Place::TOP)?;
        self.json.finish()?;
        if self.copied == 0 {
            return Ok(None);
        }
        self.out.extend_from_slice(self.json.slice(self.copied, self.json.at()).as_bytes());
        Ok(Some(self.out))
    }

    fn mask_value(&mut self, place: Place) -> Result<(), SyntaxError> {
        if place.depth > MAX_DEPTH {
            return Err(SyntaxError::NestedTooDeep);
        }
        let kind = self.json.peek()?;
        match kind {
            ValueKind::Object => {
                let mut is_first = true;
                while let Some(name) = self.json.next_name(&mut is_first)? {
                    let decoded = decode_name(&name);
                    self.mask_name(&name, &decoded);
                    self.mask_value(place.member(&decoded))?;
                }
                Ok(())
            }
            ValueKind::Array => {
                let mut is_first = true;
                while self.json.next_element(&mut is_first)? {
                    self.mask_value(place.element())?;
                }
                Ok(())
            }
            ValueKind::String => {
                let start = self.json.at();
                let text = decode(self.json.token(kind)?);
                let masked = if place.personal {
                    self.masker.replace(&text)
                } else {
                    mask_any_text(self.masker, &text)
                };
                if masked != text {
                    self.put(start, self.json.at(), &masked);
                }
                Ok(())
            }
            ValueKind::Number if place.personal => {
                let start = self.json.at();
                let token = self.json.token(kind)?;
                let masked = self.masker.substitute(token);
                self.put(start, self.json.at(), &masked);
                Ok(())
            }
            ValueKind::Number | ValueKind::Boolean | ValueKind::Null => self.json.skip(kind),
        }
    }

    /// A name of a member may be an address, too.
    fn mask_name(&mut self, name: &Name<'_>, decoded: &str) {
        let masked = replace_in_text(self.masker, decoded);
        if masked != decoded {
            self.put(name.start, name.start + name.raw.len() + "\"\"".len(), &masked);
        }
    }

    /// Writes a string instead of the token between two positions.
    fn put(&mut self, start: usize, end: usize, text: &str) {
        self.out.extend_from_slice(self.json.slice(self.copied, start).as_bytes());
        write_str(&mut self.out, text);
        self.copied = end;
    }
}

/// Masks a text that is not personal as a whole. It may be JSON itself, such as a request's body.
fn mask_any_text<'t>(masker: &Masker, text: &'t str) -> Cow<'t, str> {
    if !looks_like_json(text) {
        return replace_in_text(masker, text);
    }
    match Pass::new(masker, text).mask_text() {
        Ok(None) => Cow::Borrowed(text),
        Ok(Some(masked)) => Cow::Owned(String::from_utf8_lossy(&masked).into_owned()),
        // Cut, or nested too deep: there may be names in it.
        Err(_) => Cow::Owned(masker.note(text.as_bytes())),
    }
}

fn looks_like_json(text: &str) -> bool {
    let text = text.trim_ascii_start();
    let inner = |open| text.strip_prefix(open).map(str::trim_ascii_start);
    inner('{').is_some_and(|inner| inner.starts_with('"'))
        || inner('[').is_some_and(|inner| inner.starts_with(['"', '{', '[']))
}

/// Replaces the e-mail addresses and phone numbers in a text.
fn replace_in_text<'t>(masker: &Masker, text: &'t str) -> Cow<'t, str> {
    if memchr3(b'@', b'%', b'+', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let mut out = String::new();
    let mut copied = 0;
    for Contact { range, value } in Contacts::new(text) {
        out.push_str(text.get(copied..range.start).unwrap_or_default());
        out.push_str(&masker.substitute(&value));
        copied = range.end;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(text.get(copied..).unwrap_or_default());
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use support::draw::{one, seeds};

    use super::*;

    const KEY: &[u8] = b"a key of the tests";

    fn maskers() -> [Masker; 2] {
        [Masker::Mask, Masker::Hash(HashKey::new(KEY))]
    }

    fn masked(event: &Value) -> Value {
        let text = event.to_string();
        serde_json::from_slice(&Masker::Mask.apply(text.as_bytes())).unwrap()
    }

    /// Test cases 1, 2 and 6 of RFC 4231.
    #[test]
    fn hash_is_hmac_sha256() {
        for (key, text, hash) in [
            (&[0x0b; 20][..], "Hi There", "b0344c61d8db38535ca8afceaf0bf12b"),
            (b"Jefe", "what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c7"),
            (
                &[0xaa; 131],
                "Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f",
            ),
        ] {
            assert_eq!(hex(&HashKey::new(key).hash(text.as_bytes())), hash);
        }
    }

    #[test]
    fn names_are_sorted() {
        assert!(PERSONAL.is_sorted());
        let is_plain = |name: &&str| name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        assert!(PERSONAL.iter().chain(&NAMES).chain(&THINGS).all(is_plain));
    }

    #[test]
    fn personal_members_are_masked_wherever_they_are() {
        let event = json!({ "log_id": "1", "data": {
            "type": "ss",
            "user_name": "anna",
            "user_id": "auth0|1",
            "email": "anna@example.com",
            "ip": "192.0.2.1",
            "client_name": "Shop",
            "details": {
                "first_name": "Anna", "lastName": "Berg", "nickname": "an", "picture": "https://x/y",
                "phone": 46701740605_u64, "address": { "street": "Road 1", "zip": 12345 },
                "body": { "name": { "familyName": "Berg" }, "userName": "anna", "email_verified": true },
                "emails": [{ "value": "x", "primary": true }, null],
                "request": { "auth": { "user": { "name": "Anna Berg", "user_id": "a|1" } } },
            },
        } });
        assert_eq!(
            masked(&event),
            json!({ "log_id": "1", "data": {
                "type": "ss",
                "user_name": "*****",
                "user_id": "auth0|1",
                "email": "*****",
                "ip": "192.0.2.1",
                "client_name": "Shop",
                "details": {
                    "first_name": "*****", "lastName": "*****", "nickname": "*****", "picture": "*****",
                    "phone": "*****", "address": { "street": "*****", "zip": "*****" },
                    "body": { "name": { "familyName": "*****" }, "userName": "*****", "email_verified": true },
                    "emails": [{ "value": "*****", "primary": true }, null],
                    "request": { "auth": { "user": { "name": "*****", "user_id": "a|1" } } },
                },
            } })
        );
    }

    #[test]
    fn phone_numbers_without_plus_are_masked_where_they_are_known_to_be() {
        let event = json!({ "data": { "details": {
            "to": "46701740605",
            "body": { "to": 46701740605_u64 },
            "authenticator": { "type": "sms" },
            "enrollment": { "_id": "dev_1", "identifier": "46701740605", "name": "46701740605" },
            "request": { "body": { "identifier": "https://api.example.com/" } },
        } } });
        let mut expected = event.clone();
        let details = &mut expected["data"]["details"];
        details["to"] = json!("*****");
        details["body"]["to"] = json!("*****");
        details["enrollment"]["identifier"] = json!("*****");
        details["enrollment"]["name"] = json!("*****");
        assert_eq!(masked(&event), expected);
        let spaced = masked(&json!({ "description": "Sent to +46 70 174 06 05." }));
        assert_eq!(spaced["description"], "Sent to *****.");
    }

    #[test]
    fn names_of_things_stay() {
        let event = json!({ "data": {
            "auth0_client": { "name": "auth0.js" },
            "details": {
                "prompts": [{ "name": "prompt-authenticate", "user_name": "anna" }],
                "error": { "payload": { "name": "CallbackMismatchError" } },
                "action_error": { "name": "TypeError" },
                "body": { "organization": { "name": "acme", "display_name": "Acme" } },
            },
        } });
        let mut expected = event.clone();
        expected["data"]["details"]["prompts"][0]["user_name"] = json!("*****");
        assert_eq!(masked(&event), expected);
    }

    #[test]
    fn addresses_and_numbers_are_masked_in_any_text() {
        let event = json!({
            "description": "Mail to anna@example.com or +46701740605 failed",
            "user_id": "samlp|corp|anna@example.com",
            "details": {
                "path": "/api/v2/users-by-email?email=anna%40example.com",
                "anna@example.com": 1,
                "body": r#"{"name":"Anna","note":"anna@example.com","n":1}"#,
                "cut": r#"{"name":"Anna"#,
            },
        });
        let found = masked(&event);
        assert_eq!(found["description"], "Mail to ***** or ***** failed");
        assert_eq!(found["user_id"], "samlp|corp|*****");
        assert_eq!(found["details"]["path"], "/api/v2/users-by-email?email=*****");
        assert_eq!(found["details"]["*****"], 1);
        assert_eq!(found["details"]["body"], r#"{"name":"*****","note":"*****","n":1}"#);
        assert!(is_note(found["details"]["cut"].as_str().unwrap().as_bytes()));
    }

    #[test]
    fn equal_values_have_equal_hashes() {
        let event = r#"{"user_name":"anna@example.com","email":"\u0061nna@example.com",
            "description":"anna@example.com","path":"x=anna%40example.com"}"#;
        let masker = Masker::Hash(HashKey::new(KEY));
        let found: Value = serde_json::from_slice(&masker.apply(event.as_bytes())).unwrap();
        let hash = found["user_name"].as_str().unwrap();
        assert!(is_hash(hash), "{hash}");
        assert_eq!(found["email"], hash);
        assert_eq!(found["description"], hash);
        assert_eq!(found["path"], format!("x={hash}"));
        let other = Masker::Hash(HashKey::new(b"another")).apply(event.as_bytes()).into_owned();
        assert!(!String::from_utf8(other).unwrap().contains(hash));
    }

    #[test]
    fn what_shows_nothing_stays_as_it_is() {
        let event = br#"{ "user_name" : "********", "email": "***@***.***", "name": "", "a": 1 }"#;
        for masker in maskers() {
            assert!(matches!(masker.apply(event), Cow::Borrowed(_)));
        }
        let partly = masked(&json!({ "phone_number": "********0605", "name": "a***" }));
        assert_eq!(partly, json!({ "phone_number": "*****", "name": "*****" }));
    }

    #[test]
    fn text_that_cannot_be_masked_becomes_a_note() {
        for masker in maskers() {
            for text in [
                "{\"log_id\":\"9001\",\"data\":{\"user_name\":\"anna",
                "anna@example.com",
                "\"anna\"",
                "",
                "withheld by MaskUserData: anna",
                "withheld by MaskUserData: 1 bytes, sha256-0123456789abcdef0123456789abcdef, anna",
            ] {
                let note = masker.apply(text.as_bytes()).into_owned();
                assert!(is_note(&note), "{}", String::from_utf8_lossy(&note));
                assert!(!String::from_utf8_lossy(&note).contains("anna"));
                assert!(matches!(masker.apply(&note), Cow::Borrowed(_)), "once is enough");
                assert_eq!(visible_log_id(&note).is_some(), text.contains("9001"));
            }
        }
    }

    #[test]
    fn event_in_need_of_repair_is_masked() {
        let deep = format!("{{\"a\":{}{{\"name\":\"Anna\"}}{}}}", "[".repeat(500), "]".repeat(500));
        for piece in [
            b"{\"user_name\":\"anna\xff\"}".as_slice(),
            br#"{"user_name":"anna\ud800"}"#,
            b"{\"user_name\":\"an\tna\"}",
            deep.as_bytes(),
        ] {
            let found = Masker::Mask.apply(piece);
            let text = std::str::from_utf8(&found).unwrap();
            assert!(serde_json::from_str::<Value>(text).is_ok(), "{text}");
            assert!(!text.to_lowercase().contains("an"), "{text}");
        }
    }

    #[test]
    fn key_does_not_print() {
        assert_eq!(format!("{:?}", Masker::Hash(HashKey::new(KEY))), "Hash(HashKey)");
    }

    #[test]
    fn masking_twice_gives_what_once_gave() {
        let signs = ["+", "@", ".", "%", "_", " ", "{", "}", "[", "]", "\"", ":", "*", "-"];
        let kinds: [&[&str]; 6] =
            [&["a", "b", "c"], &signs, &["40"], &["2B"], &["12345678"], &[".com", "acom"]];
        seeds(1_000, |rng| {
            let text: String = (0..rng.usize(..=14))
                .map(|_| {
                    let kind = one(rng, &kinds);
                    *one(rng, kind)
                })
                .collect();
            let name = *one(rng, &["a", "name", "user_name", "error", "description"]);
            let is_json = rng.bool();
            let piece = if is_json { json!({ name: { "x": text } }).to_string() } else { text };
            for masker in maskers() {
                let once = masker.apply(piece.as_bytes());
                let twice = masker.apply(&once);
                let [twice, once] = [&twice, &once].map(|bytes| String::from_utf8_lossy(bytes));
                assert_eq!(twice, once, "{piece}");
            }
        });
    }
}
