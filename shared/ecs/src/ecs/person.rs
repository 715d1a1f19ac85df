//! A person, as far as an event says who that is.

use memchr::memchr;

use super::details::is_scalar;
use crate::json::read::members;
use crate::json::write::{List, Text};

/// What is known of a person. No text is masked, and none is empty.
#[derive(Debug, Default)]
pub(super) struct Person<'a> {
    pub(super) id: Option<Text<'a>>,
    pub(super) name: Option<Text<'a>>,
    pub(super) email: Option<Email<'a>>,
}

/// An e-mail address.
#[derive(Debug)]
pub(super) struct Email<'a> {
    address: Text<'a>,
    /// Position of its `@`.
    at: usize,
}

impl Person<'static> {
    /// The person in an object of the Management API; `None` if the value is not an object.
    pub(super) fn of_object(value: &str) -> Option<Self> {
        value.starts_with('{').then_some(())?;
        let [id, name, email] = members(value, ["user_id", "name", "email"])
            .map(|value| identity(Text::of(value.filter(|value| is_scalar(value))?).into_owned()));
        Some(Self { id, name, email: email.and_then(Email::read) })
    }
}

impl Person<'_> {
    /// Fills in what is missing.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            id: self.id.or(other.id),
            name: self.name.or(other.name),
            email: self.email.or(other.email),
        }
    }

    /// Whether nothing says that these are two people.
    pub(super) fn may_be(&self, other: &Self) -> bool {
        match (&self.id, &other.id) {
            (Some(id), Some(other)) => id.as_str() == other.as_str(),
            _ => self.name.as_ref().map(Text::as_str).is_none_or(|name| {
                let email = other.email.as_ref().map(|email| email.address().as_str());
                other.name.as_ref().map(Text::as_str) == Some(name) || email == Some(name)
            }),
        }
    }

    /// The elements of `related.user` for a user whose address, if any, is the name.
    pub(super) fn write_related(&self, list: &mut List<'_>) {
        let name = self.name.as_ref();
        let local = self.email.as_ref().map(Email::local);
        let is_id =
            |text: &Text<'_>| self.id.as_ref().is_some_and(|id| id.as_str() == text.as_str());
        if let Some(name) = name {
            list.push(name);
        }
        if let Some(local) = &local {
            list.push(local);
        }
        if let Some(id) = &self.id
            && !name.is_some_and(is_id)
            && !local.as_ref().is_some_and(is_id)
        {
            list.push(id);
        }
    }

    /// All that people search for: name, address, its local part, id.
    pub(super) fn texts(&self) -> [Option<Text<'_>>; 4] {
        let email = self.email.as_ref();
        let address = email.map(|email| email.address().clone());
        [self.name.clone(), address, email.map(Email::local), self.id.clone()]
    }
}

impl<'a> Email<'a> {
    /// `None` if the text is not an e-mail address.
    pub(super) fn read(address: Text<'a>) -> Option<Self> {
        let (local, domain) = address.as_str().rsplit_once('@')?;
        let is_plain = |text: &str| {
            let is_special = |byte: u8| byte <= b' ' || byte == b'@' || byte == 0x7f;
            !text.is_empty()
                && !text.bytes().any(is_special)
                && (text.is_ascii()
                    || !text.contains(|c: char| c.is_whitespace() || c.is_control()))
        };
        let has_labels = domain.contains('.')
            && !domain.starts_with('.')
            && !domain.ends_with('.')
            && !domain.contains("..");
        let at = local.len();
        (is_plain(local) && is_plain(domain) && has_labels).then_some(Self { address, at })
    }

    pub(super) const fn address(&self) -> &Text<'a> {
        &self.address
    }

    fn local(&self) -> Text<'_> {
        self.address.part(0..self.at)
    }

    pub(super) fn domain(&self) -> Text<'_> {
        self.address.part(self.at + 1..self.address.as_str().len())
    }
}

/// A text, unless it is masked.
pub(super) fn identity(text: Text<'_>) -> Option<Text<'_>> {
    (!is_masked(text.as_str())).then_some(text)
}

/// Whether a text has been masked with asterisks, as Auth0 does on request: whole, or but for a few
/// characters.
pub(super) fn is_masked(text: &str) -> bool {
    memchr(b'*', text.as_bytes()).is_some()
        && (text.contains("**")
            || text.contains('@')
            || text.bytes().all(|byte| b"*. ".contains(&byte)))
}
