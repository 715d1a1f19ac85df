//! Objects whose known leaves are fields: which shape each value needs, and which of them the fields find.

use std::net::IpAddr;

use chrono::{DateTime, NaiveDate};
use hashbrown::HashMap;

use super::lex::{Lexer, SyntaxError, ValueKind};
use super::read::decode;
use super::write::{AsWritten, Key, List, Object};

/// The known members of an object.
#[derive(Debug, Default)]
pub(crate) struct Schema(HashMap<&'static str, Node>);

/// A known member.
#[derive(Debug)]
pub(crate) enum Node {
    Leaf(Leaf),
    Object(Schema),
}

/// What a field takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaf {
    /// Any scalar, or an array of scalars.
    Text,
    /// A boolean and nothing else: OpenSearch refuses the rest.
    Boolean,
    // Engines take any scalar here, and leave out of the index what is malformed.
    Long,
    Date,
    Ip,
}

impl Schema {
    /// Adds the leaf at `path`.
    ///
    /// # Panics
    /// If a part of the path is a leaf.
    pub(crate) fn insert(&mut self, path: &'static str, leaf: Leaf) {
        let Some((name, rest)) = path.split_once('.') else {
            self.0.insert(path, Node::Leaf(leaf));
            return;
        };
        match self.0.entry(name).or_insert_with(|| Node::Object(Self::default())) {
            Node::Object(inner) => inner.insert(rest, leaf),
            Node::Leaf(_) => unreachable!("{path} is inside a leaf: no test passes then"),
        }
    }

    #[inline]
    pub(crate) fn get(&self, name: &str) -> Option<&Node> {
        self.0.get(name)
    }

    /// Writes those members of `object` that no field finds. The names in it are the ones in the document.
    pub(crate) fn write_others(&self, object: &str, out: &mut Object<'_>) {
        #[expect(clippy::expect_used, reason = "the copier wrote it")]
        self.try_write_others(object, out).expect("the text of an object");
    }

    fn try_write_others(&self, object: &str, out: &mut Object<'_>) -> Result<(), SyntaxError> {
        let mut json = Lexer::new(object);
        let mut is_first = true;
        while let Some(name) = json.next_name(&mut is_first)? {
            let key = Key(json.slice(name.start, name.end()));
            let kind = json.peek()?;
            let token = json.token(kind)?;
            match (self.get(&decode(json.slice(name.start, name.end() - 1))), kind) {
                (Some(Node::Leaf(leaf)), _) if leaf.finds(token) => {}
                (Some(Node::Object(inner)), ValueKind::Object) => {
                    out.object(key, |out| inner.try_write_others(token, out))?;
                }
                (Some(Node::Object(inner)), ValueKind::Array) => {
                    out.list(key, |out| inner.write_others_of_elements(token, out))?;
                }
                _ => out.put(key, AsWritten(token)),
            }
        }
        Ok(())
    }

    fn write_others_of_elements(&self, array: &str, out: &mut List<'_>) -> Result<(), SyntaxError> {
        let mut json = Lexer::new(array);
        let mut is_first = true;
        while json.next_element(&mut is_first)? {
            let kind = json.peek()?;
            let token = json.token(kind)?;
            out.object(|out| self.try_write_others(token, out))?;
        }
        Ok(())
    }
}

impl Node {
    /// Whether engines take the value that comes next in `json`.
    #[inline]
    pub(crate) fn takes(&self, kind: ValueKind, json: &Lexer<'_>) -> bool {
        use ValueKind::{Array, Null, Object};
        match (self, kind) {
            (Self::Leaf(leaf), _) => leaf.takes(kind, json),
            (Self::Object(_), Null | Object) => true,
            (Self::Object(_), Array) => all_elements(json, |kind| matches!(kind, Null | Object)),
            (Self::Object(_), _) => false,
        }
    }
}

/// Whether all elements of the array that comes next are of the `wanted` kinds.
fn all_elements(json: &Lexer<'_>, wanted: impl Fn(ValueKind) -> bool) -> bool {
    let mut json = json.clone();
    let mut is_first = true;
    while let Ok(true) = json.next_element(&mut is_first) {
        match json.peek() {
            Ok(kind) if wanted(kind) && json.skip(kind).is_ok() => {}
            // What is broken is an error for the one who copies it.
            _ => return false,
        }
    }
    true
}

impl Leaf {
    /// Whether engines take the value that comes next in `json`.
    #[inline]
    pub(crate) fn takes(self, kind: ValueKind, json: &Lexer<'_>) -> bool {
        use ValueKind::{Array, Boolean, Null, Object};
        match (self, kind) {
            (_, Null) | (Self::Boolean, Boolean) => true,
            (Self::Boolean, _) | (_, Object) => false,
            (_, Array) => all_elements(json, |kind| !matches!(kind, Array | Object)),
            _ => true,
        }
    }

    /// Whether a search in the field finds this value.
    pub(crate) fn finds(self, token: &str) -> bool {
        let is_long = |text: &str| text.parse::<i64>().is_ok();
        match self {
            Self::Text | Self::Boolean => true,
            _ if token.starts_with('[') => false,
            Self::Long => is_long(&decode(token)),
            Self::Date => {
                let text = decode(token);
                is_long(&text)
                    || DateTime::parse_from_rfc3339(&text).is_ok()
                    || text.parse::<NaiveDate>().is_ok()
            }
            Self::Ip => decode(token).parse::<IpAddr>().is_ok(),
        }
    }
}
