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
    slots: Vec<Vec<(&'static str, Node)>>,
}

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
    /// No members yet; there may be a few or many.
    pub(crate) fn new(many: bool) -> Self {
        Self { slots: std::iter::repeat_with(Vec::new).take(if many { 512 } else { 16 }).collect() }
    }

    /// Every name in an event is looked up: this takes a fraction of what a hash does.
    #[inline]
    fn slot(&self, name: &str) -> usize {
        let bytes = name.as_bytes();
        let at = |index: usize| usize::from(bytes.get(index).copied().unwrap_or_default());
        let mixed = at(0) ^ at(bytes.len() / 2) << 2 ^ at(bytes.len().wrapping_sub(1)) << 4;
        (mixed ^ bytes.len() << 5) & (self.slots.len() - 1)
    }

    /// Adds the leaf at `path`.
    ///
    /// # Panics
    /// If a part of the path is a leaf.
    pub(crate) fn insert(&mut self, path: &'static str, leaf: Leaf) {
        let (name, rest) = path.split_once('.').map_or((path, None), |(a, b)| (a, Some(b)));
        let slot = self.slot(name);
        let Some(same_slot) = self.slots.get_mut(slot) else { return };
        let at = same_slot.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
            let node = rest.map_or(Node::Leaf(leaf), |_| Node::Object(Self::new(false)));
            same_slot.push((name, node));
            same_slot.len() - 1
        });
        match (same_slot.get_mut(at), rest) {
            (Some((_, Node::Object(inner))), Some(rest)) => inner.insert(rest, leaf),
            (Some((_, Node::Leaf(_))), None) => {}
            _ => unreachable!("{path} is inside a leaf, or one is in it: no test passes then"),
        }
    }

    #[inline]
    pub(crate) fn get(&self, name: &str) -> Option<&Node> {
        let same_slot = self.slots.get(self.slot(name))?;
        same_slot.iter().find(|(known, _)| *known == name).map(|(_, node)| node)
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
    /// Whether engines take the value that comes next in `json`: of an array, its first element decides.
    #[inline]
    pub(crate) fn takes(&self, kind: ValueKind, json: &Lexer<'_>) -> bool {
        use ValueKind::{Array, Boolean, Null, Object};
        match (self, kind) {
            (_, Null) | (Self::Leaf(Leaf::Boolean), Boolean) | (Self::Object(_), Object) => true,
            (Self::Leaf(leaf), _) => *leaf != Leaf::Boolean && kind != Object,
            (Self::Object(_), Array) => {
                let mut json = json.clone();
                let first = json.next_element(&mut true).and_then(|_| json.peek());
                matches!(first, Ok(Object | Null))
            }
            (Self::Object(_), _) => false,
        }
    }
}

impl Leaf {
    /// Whether a search in the field finds this value.
    pub(crate) fn finds(self, token: &str) -> bool {
        let is_long = |text: &str| text.parse::<i64>().is_ok();
        match self {
            Self::Text | Self::Boolean => true,
            Self::Long | Self::Date if is_long(token) => true,
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
