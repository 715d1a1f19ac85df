//! `user` and `user_agent`: who did it, and to whom.

use std::borrow::Cow;

use user_agent::UserAgent;

use super::details::{Details, is_scalar};
use super::management::Management;
use crate::input::event::Event;
use crate::input::members::Moved;
use crate::json::read::{decode, members};
use crate::json::write::{AsText, List, Object};
use crate::key;

/// The people of an event.
#[derive(Debug)]
pub(super) struct People<'a> {
    /// Who acted.
    user: Person<'a>,
    /// Whether the name of the event's user is masked.
    is_masked: bool,
    management: Option<Box<Management>>,
}

/// What is known of a person. No text is masked, and none is empty.
#[derive(Debug, Default)]
pub(super) struct Person<'a> {
    pub(super) id: Option<Cow<'a, str>>,
    name: Option<Cow<'a, str>>,
    email: Option<Email<'a>>,
}

/// An e-mail address.
#[derive(Debug)]
struct Email<'a> {
    address: Cow<'a, str>,
    /// Position of its `@`.
    at: usize,
}

impl<'a> People<'a> {
    /// `written` has the details of the event.
    pub(super) fn read(event: &Event<'a>, written: &[u8]) -> Self {
        let name = event.moved(Moved::UserName).map(decode);
        let is_masked = name.as_deref().is_some_and(is_masked);
        let name = name.filter(|_| !is_masked);
        let email = name.clone().and_then(Email::read);
        let mut user = Person { id: event.moved(Moved::UserId).map(decode), name, email };
        let mut management = Management::read(Details::of(event), written);
        if let Some(management) = &mut management
            && user.may_be(&management.actor)
        {
            user = user.or(std::mem::take(&mut management.actor));
        }
        Self { user, is_masked, management }
    }

    pub(super) const fn is_masked(&self) -> bool {
        self.is_masked
    }

    /// The organization that a request to the Management API is about.
    pub(super) fn organization(&self) -> Option<&str> {
        self.management.as_ref()?.organization.as_deref()
    }

    /// `user.*`.
    pub(super) fn write(&self, doc: &mut Object<'_>) {
        doc.object(key!("user"), |user| {
            user.maybe(key!("id"), self.user.id.as_deref());
            user.maybe(key!("name"), self.user.name.as_deref());
            if let Some(email) = &self.user.email {
                user.put(key!("email"), &*email.address);
                user.put(key!("domain"), email.domain());
            }
            if let Some(management) = &self.management {
                user.object(key!("target"), |target| management.write_target(target));
            }
        });
    }

    /// The elements of `related.user`, each once.
    pub(super) fn write_related(&self, list: &mut List<'_>) {
        let push = |list: &mut List<'_>, texts: &[Option<&str>]| {
            for (index, text) in texts.iter().enumerate() {
                let earlier = texts.get(..index).unwrap_or_default();
                if let Some(text) = *text
                    && !earlier.contains(&Some(text))
                {
                    list.push(text);
                }
            }
        };
        match &self.management {
            None => push(list, &self.user.texts()),
            Some(management) => {
                let people = [&self.user, &management.actor, &management.target];
                let more = management.more_targets.iter().map(|id| Some(id.as_str()));
                let texts = people.into_iter().flat_map(Person::texts).chain(more);
                push(list, &texts.collect::<Vec<_>>());
            }
        }
    }
}

impl Management {
    fn write_target(&self, target: &mut Object<'_>) {
        let Person { id, name, email } = &self.target;
        if self.more_targets.is_empty() {
            target.maybe(key!("id"), id.as_deref());
        } else {
            target.list(key!("id"), |list| {
                let more = self.more_targets.iter().map(String::as_str);
                id.as_deref().into_iter().chain(more).for_each(|id| list.push(id));
            });
        }
        target.maybe(key!("name"), name.as_deref());
        target.maybe(key!("email"), email.as_ref().map(|email| &*email.address));
    }
}

impl Person<'static> {
    pub(super) fn with_id(id: Option<String>) -> Self {
        Self { id: id.map(Cow::Owned), ..Self::default() }
    }

    /// The person in an object of the Management API; `None` if the value is not an object.
    pub(super) fn of_object(value: &str) -> Option<Self> {
        value.starts_with('{').then_some(())?;
        let [id, name, email] = members(value, ["user_id", "name", "email"]).map(|value| {
            let text = decode(value.filter(|value| is_scalar(value))?).into_owned();
            Some(Cow::Owned(text)).filter(|text| !is_masked(text))
        });
        Some(Self { id, name, email: email.and_then(Email::read) })
    }
}

impl<'a> Person<'a> {
    /// Fills in what is missing.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            id: self.id.or(other.id),
            name: self.name.or(other.name),
            email: self.email.or(other.email),
        }
    }

    /// Whether nothing says that these are two people.
    fn may_be(&self, other: &Self) -> bool {
        match (&self.id, &other.id) {
            (Some(id), Some(other)) => id == other,
            _ => {
                let email = other.email.as_ref().map(|email| &email.address);
                self.name
                    .as_ref()
                    .is_none_or(|name| Some(name) == other.name.as_ref() || Some(name) == email)
            }
        }
    }

    /// All that people search for.
    fn texts(&self) -> [Option<&str>; 4] {
        let email = self.email.as_ref();
        let address = email.map(|email| &*email.address);
        [self.name.as_deref(), address, email.map(Email::local), self.id.as_deref()]
    }
}

impl<'a> Email<'a> {
    /// `None` if the text is not an e-mail address.
    fn read(address: Cow<'a, str>) -> Option<Self> {
        let (local, domain) = address.rsplit_once('@')?;
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

    fn local(&self) -> &str {
        self.address.get(..self.at).unwrap_or_default()
    }

    fn domain(&self) -> &str {
        self.address.get(self.at + 1..).unwrap_or_default()
    }
}

/// Whether a text has been masked with asterisks, as Auth0 does on request: whole, or but for a few
/// characters.
fn is_masked(text: &str) -> bool {
    memchr::memchr(b'*', text.as_bytes()).is_some()
        && (text.contains("***") || text.bytes().all(|byte| b"*@.".contains(&byte)))
}

/// `user_agent.*`; `token` is the agent as received.
pub(super) fn write_user_agent(doc: &mut Object<'_>, token: &str, parsed: &UserAgent) {
    doc.object(key!("user_agent"), |agent| {
        agent.put(key!("original"), AsText(token));
        agent.put(key!("name"), parsed.name.as_str());
        agent.maybe(key!("version"), parsed.version.as_deref());
        agent.object(key!("device"), |device| device.put(key!("name"), parsed.device.as_str()));
        if let Some(system) = &parsed.os {
            agent.object(key!("os"), |os| {
                os.put(key!("name"), system.name.as_str());
                os.maybe(key!("version"), system.version.as_deref());
                os.maybe(key!("full"), system.full.as_deref());
            });
        }
    });
}
