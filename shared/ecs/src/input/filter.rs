//! Which events are wanted, by their type. The rest is left out before anything is made of it.

use std::borrow::Cow;

use hashbrown::HashSet;

use super::event::{holds_something, is_object_as_text};
use super::types::{LOG_TYPES, LogType, find};
use crate::json::lex::{Lexer, SyntaxError, ValueKind};
use crate::json::read::{decode, decode_name};
use crate::json::repair::repair;

/// The name for all types that the table does not have.
const UNKNOWN: &str = "unknown";

/// Types, named by their codes or by Auth0's filter categories.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypeSet {
    codes: HashSet<&'static str>,
    /// Whether the types that the table does not have are named.
    has_unknown: bool,
}

/// Names that are neither codes of types nor categories.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown event types: {}", quoted(.0))]
pub struct UnknownNamesError(Vec<String>);

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}

impl TypeSet {
    /// Reads a list of codes (`seacft`), filter categories (`Token Exchange - Success`, in any case) and
    /// `unknown`, separated by commas.
    ///
    /// # Errors
    /// All names that are none of these.
    pub fn parse(list: &str) -> Result<Self, UnknownNamesError> {
        let mut set = Self::default();
        let mut wrong = Vec::new();
        for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            if name == UNKNOWN {
                set.has_unknown = true;
            } else if let Some(log_type) = find(name) {
                set.codes.insert(log_type.code);
            } else {
                let is_named = |log_type: &&LogType| log_type.filter().eq_ignore_ascii_case(name);
                let mut named = LOG_TYPES.iter().filter(is_named).peekable();
                if named.peek().is_none() {
                    wrong.push(name.to_owned());
                }
                set.codes.extend(named.map(|log_type| log_type.code));
            }
        }
        if wrong.is_empty() { Ok(set) } else { Err(UnknownNamesError(wrong)) }
    }

    fn is_empty(&self) -> bool {
        self.codes.is_empty() && !self.has_unknown
    }
}

/// Which types are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypeFilter {
    /// If any are named, only these are wanted. Types that the table does not have are wanted anyway.
    pub include: TypeSet,
    /// These are not, even if they are in the other set.
    pub exclude: TypeSet,
}

impl TypeFilter {
    /// Returns whether every event is wanted.
    #[must_use]
    pub fn takes_all(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// Returns whether a piece of a body is wanted. What is not an event always is: it becomes an error
    /// document.
    #[must_use]
    pub fn takes(&self, piece: &[u8]) -> bool {
        if self.takes_all() {
            return true;
        }
        let of_text = std::str::from_utf8(piece).ok().map(Head::read);
        match of_text {
            Some(Ok(head)) => self.takes_type(&head),
            Some(Err(_)) | None => {
                Head::read(&repair(piece)).map_or(true, |head| self.takes_type(&head))
            }
        }
    }

    fn takes_type(&self, head: &Head<'_>) -> bool {
        if !head.is_event {
            return true;
        }
        match head.code.as_deref().and_then(find) {
            Some(LogType { code, .. }) => {
                !self.exclude.codes.contains(code)
                    && (self.include.is_empty() || self.include.codes.contains(code))
            }
            None => !self.exclude.has_unknown,
        }
    }
}

/// What the filter has to know of a piece.
#[derive(Debug, Default)]
struct Head<'t> {
    /// The first type that holds something, as the mapper reads it.
    code: Option<Cow<'t, str>>,
    /// Whether it stands outside of the data, so that one in there goes before it.
    is_code_outer: bool,
    /// Whether this may be a log event. An event of an Event Stream has a type, too.
    is_event: bool,
}

impl<'t> Head<'t> {
    /// Reads the whole text, because what is broken at its end is not an event either.
    fn read(text: &'t str) -> Result<Self, SyntaxError> {
        let mut json = Lexer::new(text);
        let mut head = Self { is_event: true, ..Self::default() };
        match json.peek()? {
            ValueKind::Object => head.read_members(&mut json, true)?,
            kind => {
                head.is_event = false;
                json.skip(kind)?;
            }
        }
        json.finish()?;
        Ok(head)
    }

    fn read_members(&mut self, json: &mut Lexer<'t>, is_outer: bool) -> Result<(), SyntaxError> {
        let mut is_first = true;
        while let Some(name) = json.next_name(&mut is_first)? {
            let kind = json.peek()?;
            match (&*decode_name(&name), kind) {
                ("data", ValueKind::Object) if is_outer => self.read_members(json, false)?,
                ("data", _) if is_outer => self.is_event &= !is_object_as_text(json.token(kind)?),
                ("type", _) => {
                    let token = json.token(kind)?;
                    let goes_first = self.code.is_none() || self.is_code_outer && !is_outer;
                    if holds_something(token) && goes_first {
                        self.code = Some(decode(token));
                        self.is_code_outer = is_outer;
                    }
                }
                ("specversion", _) if is_outer => {
                    self.is_event = false;
                    json.skip(kind)?;
                }
                _ => json.skip(kind)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(include: &str, exclude: &str) -> TypeFilter {
        let [include, exclude] = [include, exclude].map(|list| TypeSet::parse(list).unwrap());
        TypeFilter { include, exclude }
    }

    fn event(code: &str) -> Vec<u8> {
        format!(r#"{{"log_id":"1","data":{{"ip":"192.0.2.1","type":"{code}"}}}}"#).into_bytes()
    }

    #[test]
    fn codes_and_categories_name_types() {
        let by_code = filter("", "seacft, ss");
        assert!(!by_code.takes(&event("seacft")) && !by_code.takes(&event("ss")));
        assert!(by_code.takes(&event("s")));
        let by_category = filter("login - failure", "");
        assert!(by_category.takes(&event("fp")) && !by_category.takes(&event("s")));
        assert!(filter("Signup - Success", "").takes(&event("ss")), "Auth0's category");
        let both = filter("Login - Failure", "fp");
        assert!(both.takes(&event("fu")) && !both.takes(&event("fp")));
    }

    #[test]
    fn pulled_and_repaired_events_are_filtered_alike() {
        let filter = filter("", "s");
        for piece in [
            br#"{"type":"s","date":"x"}"#.as_slice(),
            br#"{"type":"","data":{"\u0074ype":"s"}}"#,
            br#"{"type":"f","data":{"type":"s"}}"#,
            br#"{"data":{"type":"s"},"type":"f"}"#,
            b"{\"data\":{\"type\":\"s\",\"x\":\"\xff\"}}",
            b"{\"data\":{\"type\":\"s\",\"x\":\"\\ud800\"}}",
        ] {
            assert!(!filter.takes(piece), "{}", String::from_utf8_lossy(piece));
        }
        assert!(filter.takes(br#"{"data":{"type":"f","details":{"type":"s"}}}"#));
    }

    #[test]
    fn unknown_type_is_left_out_only_if_it_is_named() {
        for kept in [filter("s", ""), filter("", "s"), filter("s", "f")] {
            assert!(kept.takes(&event("brand_new")) && kept.takes(br#"{"log_id":"1"}"#));
        }
        assert!(!filter("", "unknown").takes(&event("brand_new")));
        assert!(filter("", "unknown").takes(&event("s")));
        assert!(!filter("unknown", "").takes(&event("s")));
    }

    #[test]
    fn broken_piece_is_never_left_out() {
        let filter = filter("f", "s,unknown");
        for piece in [
            br#"{"log_id":"1","data":"{\"type\":\"s\"}"}"#.as_slice(),
            br#"{"log_id":"1","data":{"type":"s""#,
            br#"{"data":{"type":"s"}} x"#,
            br#""text""#,
            b"s",
            br#"{"specversion":"1.0","type":"user.created","data":{"object":{}}}"#,
        ] {
            assert!(filter.takes(piece), "{}", String::from_utf8_lossy(piece));
        }
    }

    #[test]
    fn all_wrong_names_are_reported() {
        let error = TypeSet::parse("s,Logins,xyz,").unwrap_err();
        assert_eq!(error.to_string(), r#"unknown event types: "Logins", "xyz""#);
        assert!(TypeSet::parse("").unwrap().is_empty());
    }
}
