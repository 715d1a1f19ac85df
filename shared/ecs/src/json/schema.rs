//! Objects whose known leaves are fields: which shape each value needs, and which of them the fields find.

use std::net::IpAddr;

use super::lex::{Lexer, SyntaxError, ValueKind};
use super::read::decode;
use super::write::{AsWritten, Key, List, Object};
use chrono::{DateTime, NaiveDate};

/// The known members of an object.
#[derive(Debug)]
pub(crate) struct Schema {
    /// A power of two of slots, so many that hardly two members share one.
    slots: Vec<Vec<Known>>,
}

/// A known member.
#[derive(Debug)]
pub(crate) struct Known {
    name: &'static str,
    pub(crate) node: Node,
    /// Where its place in the output is remembered, if it is.
    pub(crate) place: Option<usize>,
}

/// The kind of a known member.
#[derive(Debug)]
pub(crate) enum Node {
    Leaf(Leaf),
    Object(Schema),
}

/// The values that a field takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaf {
    /// Any scalar, or an array of scalars.
    Text,
    /// A boolean and nothing else: OpenSearch refuses the rest.
    Boolean,
    /// An address and nothing else.
    Ip,
    // Engines take any scalar here, and leave out of the index what is malformed.
    Long,
    Date,
}

impl Schema {
    /// No members yet; there may be a few or many.
    pub(crate) fn new(many: bool) -> Self {
        Self { slots: std::iter::repeat_with(Vec::new).take(if many { 512 } else { 16 }).collect() }
    }

    /// Every name in an event is looked up: this takes a fraction of what a hash does.
    #[inline]
    fn slot(&self, name: &str) -> usize {
        let bytes = name.as_bytes();
        let [first, .., last] = bytes else { return bytes.len() };
        let middle = bytes.get(bytes.len() / 2).unwrap_or(first);
        let mixed = usize::from(*first) ^ usize::from(*middle) << 2 ^ usize::from(*last) << 4;
        (mixed ^ bytes.len() << 5) & (self.slots.len() - 1)
    }

    /// Adds the leaf at `path`.
    ///
    /// # Panics
    /// If a part of the path is a leaf.
    pub(crate) fn insert(&mut self, path: &'static str, leaf: Leaf) {
        let (name, rest) = path.split_once('.').map_or((path, None), |(a, b)| (a, Some(b)));
        if self.get(name).is_none() {
            let node = rest.map_or(Node::Leaf(leaf), |_| Node::Object(Self::new(false)));
            let slot = self.slot(name);
            #[expect(clippy::indexing_slicing, reason = "a slot is one of them")]
            self.slots[slot].push(Known { name, node, place: None });
        }
        match (self.get_mut(name).map(|known| &mut known.node), rest) {
            (Some(Node::Object(inner)), Some(rest)) => inner.insert(rest, leaf),
            (Some(Node::Leaf(_)), None) => {}
            _ => unreachable!("{path} is inside a leaf, or one is in it: no test passes then"),
        }
    }

    /// Has the place of the member at `path` remembered under this number.
    ///
    /// # Panics
    /// If there is no such member.
    #[expect(clippy::expect_used, reason = "the table is wrong then, and every test fails")]
    pub(crate) fn remember(&mut self, path: &str, place: usize) {
        let (name, rest) = path.split_once('.').map_or((path, None), |(a, b)| (a, Some(b)));
        let known = self.get_mut(name).expect(path);
        match (rest, &mut known.node) {
            (None, _) => known.place = Some(place),
            (Some(rest), Node::Object(inner)) => inner.remember(rest, place),
            (Some(_), Node::Leaf(_)) => unreachable!("{path} is inside a leaf"),
        }
    }

    #[inline(always)]
    pub(crate) fn get(&self, name: &str) -> Option<&Known> {
        self.slots.get(self.slot(name))?.iter().find(|known| is_same(known.name, name))
    }

    /// The same, for a name that had to be changed.
    #[cold]
    pub(crate) fn get_changed(&self, name: &str) -> Option<&Known> {
        self.get(name)
    }

    fn get_mut(&mut self, name: &str) -> Option<&mut Known> {
        let slot = self.slot(name);
        self.slots.get_mut(slot)?.iter_mut().find(|known| known.name == name)
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
            let known = self.get(&decode(json.slice(name.start, name.end() - 1)));
            match (known.map(|known| &known.node), kind) {
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
    /// Whether engines take the value that comes next in `json`: of an array, its first element decides.
    #[inline]
    pub(crate) fn takes(&self, kind: ValueKind, json: &Lexer<'_>) -> bool {
        use ValueKind::{Array, Boolean, Null, Object};
        match (self, kind) {
            // Elasticsearch (9.2) refuses some that have a zone, in spite of `ignore_malformed`.
            (Self::Leaf(Leaf::Ip), _) => json.clone().token(kind).is_ok_and(is_address),
            (Self::Leaf(leaf), _) if *leaf != Leaf::Boolean => kind != Object,
            (_, Null) | (Self::Leaf(_), Boolean) | (Self::Object(_), Object) => true,
            (Self::Leaf(_), _) => false,
            (Self::Object(_), Array) => {
                let mut json = json.clone();
                match json.next_element(&mut true) {
                    Ok(true) => matches!(json.peek(), Ok(Object | Null)),
                    // Nothing of it is kept, or what is broken is an error for the one who copies it.
                    _ => true,
                }
            }
            (Self::Object(_), _) => false,
        }
    }
}

fn is_address(token: &str) -> bool {
    token == "null" || decode(token).parse::<IpAddr>().is_ok()
}

/// Whether two names are equal. Most have up to 16 bytes, for which a call of `memcmp` is the larger part.
#[inline]
fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    match one.len() == other.len() {
        true if one.len() > 16 => one == other,
        true if one.len() >= 8 => {
            one.first_chunk::<8>() == other.first_chunk()
                && one.last_chunk::<8>() == other.last_chunk()
        }
        true if one.len() >= 4 => {
            one.first_chunk::<4>() == other.first_chunk()
                && one.last_chunk::<4>() == other.last_chunk()
        }
        same_length => same_length && one.iter().eq(other),
    }
}

impl Leaf {
    /// Whether a search in the field finds this value.
    pub(crate) fn finds(self, token: &str) -> bool {
        // Up to 18 digits are an `i64` for certain.
        let is_digits = |text: &str| text.len() < 19 && text.bytes().all(|b| b.is_ascii_digit());
        let is_long = |text: &str| text.parse::<i64>().is_ok();
        match self {
            Self::Text | Self::Boolean | Self::Ip => true,
            Self::Long | Self::Date if is_digits(token) => true,
            _ if token.starts_with('[') => false,
            Self::Long => is_long(&decode(token)),
            Self::Date => {
                let text = decode(token);
                is_long(&text)
                    || DateTime::parse_from_rfc3339(&text).is_ok()
                    || text.parse::<NaiveDate>().is_ok()
            }
        }
    }
}
