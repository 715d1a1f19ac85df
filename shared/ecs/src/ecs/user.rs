//! `user` and `user_agent`: who did it, and to whom.

use hashbrown::HashSet;
use user_agent::UserAgent;

use super::details::Details;
use super::management::Management;
use super::person::{Email, Person, is_masked};
use crate::input::event::Event;
use crate::input::members::Moved;
use crate::json::write::{AsText, List, Object, Text};
use crate::key;

/// The people of an event.
#[derive(Debug)]
pub(super) struct People<'a> {
    /// Who acted.
    user: Person<'a>,
    /// The id and the name of the event's user, each if it is masked.
    masked: [Option<&'a str>; 2],
    management: Option<Box<Management>>,
}

impl<'a> People<'a> {
    /// `written` has the details of the event.
    pub(super) fn read(event: &Event<'a>, written: &[u8]) -> Self {
        let read = |member| match event.moved(member).map(|token| (token, Text::of(token))) {
            Some((token, text)) if is_masked(text.as_str()) => (None, Some(token)),
            found => (found.map(|(_, text)| text), None),
        };
        let (id, masked_id) = read(Moved::UserId);
        let (name, masked_name) = read(Moved::UserName);
        let email = name.clone().and_then(Email::read);
        let mut user = Person { id, name, email };
        let mut management = Management::read(Details::of(event), written);
        if let Some(management) = &mut management
            // The same person's id would be masked, too.
            && (masked_id.is_none() || management.actor.id.is_none())
            && user.may_be(&management.actor)
        {
            user = user.or(std::mem::take(&mut management.actor));
        }
        Self { user, masked: [masked_id, masked_name], management }
    }

    /// The JSON text of the id and of the name of the event's user, each if it is masked.
    pub(super) const fn masked(&self) -> [Option<&'a str>; 2] {
        self.masked
    }

    /// Where a request to the Management API was made.
    pub(super) fn channel(&self) -> Option<&Text<'_>> {
        self.management.as_ref()?.channel.as_ref()
    }

    /// The organization that a request to the Management API is about.
    pub(super) fn organization(&self) -> Option<&Text<'_>> {
        self.management.as_ref()?.organization.as_ref()
    }

    /// `user.*`.
    pub(super) fn write(&self, doc: &mut Object<'_>) {
        doc.object(key!("user"), |user| {
            user.maybe(key!("id"), self.user.id.as_ref());
            user.maybe(key!("name"), self.user.name.as_ref());
            if let Some(email) = &self.user.email {
                user.put(key!("email"), email.address());
                user.put(key!("domain"), &email.domain());
            }
            if let Some(management) = &self.management {
                user.object(key!("target"), |target| write_target(target, management));
            }
        });
    }

    /// The elements of `related.user`, each once.
    pub(super) fn write_related(&self, list: &mut List<'_>) {
        match &self.management {
            None => self.user.write_related(list),
            Some(management) => {
                let people = [&self.user, &management.actor, &management.target];
                let texts: Vec<_> = people.into_iter().flat_map(Person::texts).flatten().collect();
                let mut seen = HashSet::new();
                for text in texts.iter().chain(&management.more_targets) {
                    if seen.insert(text.as_str()) {
                        list.push(text);
                    }
                }
            }
        }
    }
}

fn write_target(target: &mut Object<'_>, management: &Management) {
    let Person { id, name, email } = &management.target;
    if management.more_targets.is_empty() {
        target.maybe(key!("id"), id.as_ref());
    } else {
        target.list(key!("id"), |list| {
            id.iter().chain(&management.more_targets).for_each(|id| list.push(id));
        });
    }
    target.maybe(key!("name"), name.as_ref());
    target.maybe(key!("email"), email.as_ref().map(Email::address));
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
