//! The members of an event's `data` that are known by name, and what becomes of each.
//!
//! The names come from the table of fields; the reader gets them as a value, so that nothing here depends
//! on ECS.

use hashbrown::HashSet;

use crate::json::schema::Schema;

/// What a member of `auth0.logs.data` may hold, so that every engine accepts it in its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Text or keyword: a scalar or an array of scalars. Anything else becomes JSON text.
    Text,
    /// A boolean.
    Boolean,
    /// An object whose members are scalars.
    Record,
    /// An object with any content: `flat_object`, `flattened`.
    Flat,
}

/// A member's place in [`Tokens`](super::event::Event), and in the set of names written so far.
pub(crate) type MemberId = usize;

/// Members that move to another place of the document. Their values are remembered, not copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    LogId,
    /// `_id` of a pulled event, used if there is no `log_id`.
    PulledId,
    /// `log_id` outside of `data`, used if there is none in it.
    OuterLogId,
    Date,
    Type,
    Ip,
    UserId,
    UserName,
    UserAgent,
}

impl Moved {
    const NAMED: [(&'static str, Self); 8] = [
        ("log_id", Self::LogId),
        ("_id", Self::PulledId),
        ("date", Self::Date),
        ("type", Self::Type),
        ("ip", Self::Ip),
        ("user_id", Self::UserId),
        ("user_name", Self::UserName),
        ("user_agent", Self::UserAgent),
    ];

    const COUNT: usize = Self::UserAgent as usize + 1;

    pub(crate) const fn id(self) -> MemberId {
        self as usize
    }
}

/// What becomes of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The event itself, in the envelope of a stream event.
    Data,
    /// In the envelope, the mark of a `CloudEvents` event; anywhere else a member like any other.
    EventStream,
    /// Copied to the field of this name below `auth0.logs.data`.
    Stays { id: MemberId, field: &'static str, shape: Shape },
    /// Remembered for another place of the document.
    Moves(MemberId),
    /// Dropped: it says nothing about the event.
    Dropped,
}

#[derive(Debug)]
struct Known {
    /// The last byte of the name: most names of one length differ in it, and comparing it is cheap.
    last: Option<u8>,
    name: &'static str,
    fate: Fate,
}

/// The known members.
#[derive(Debug)]
pub(crate) struct Members {
    /// By the length of their names, which few share.
    by_length: [Vec<Known>; LONGEST_NAME + 1],
    /// Names below `auth0.logs.data` that a member of an event must not take.
    reserved: HashSet<&'static str>,
    /// The schemas of the members of [`Shape::Flat`].
    schemas: Vec<(&'static str, Schema)>,
}

const LONGEST_NAME: usize = 32;

/// Ids are bits of a `u64`.
pub(crate) const MAX_MEMBERS: usize = 64;

impl Members {
    /// `stays` are the members that are fields of the same name; `reserved`, all other names below
    /// `auth0.logs.data` that have a field; `schemas`, those of the members of [`Shape::Flat`].
    pub(crate) fn new(
        stays: impl Iterator<Item = (&'static str, Shape)>,
        reserved: impl Iterator<Item = &'static str>,
        schemas: impl Iterator<Item = (&'static str, Schema)>,
    ) -> Self {
        let mut known = Self {
            by_length: [const { Vec::new() }; LONGEST_NAME + 1],
            reserved: reserved.collect(),
            schemas: schemas.collect(),
        };
        known.insert("data", Fate::Data);
        known.insert("$event_schema", Fate::Dropped);
        known.insert("specversion", Fate::EventStream);
        for (name, moved) in Moved::NAMED {
            known.insert(name, Fate::Moves(moved.id()));
        }
        for (id, (field, shape)) in (Moved::COUNT..).zip(stays) {
            assert!(id < MAX_MEMBERS, "a member id is a bit of a u64");
            let fate = Fate::Stays { id, field, shape };
            known.insert(field, fate);
            known.reserved.insert(field);
            if field == "is_mobile" {
                // The name in pulled events.
                known.insert("isMobile", fate);
            }
        }
        known
    }

    #[expect(clippy::expect_used, reason = "the table is wrong then, and every test fails")]
    fn insert(&mut self, name: &'static str, fate: Fate) {
        let same_length = self.by_length.get_mut(name.len()).expect("a name of at most 32 bytes");
        same_length.push(Known { last: name.bytes().last(), name, fate });
    }

    #[inline]
    pub(crate) fn fate(&self, name: &str) -> Option<Fate> {
        let same_length = self.by_length.get(name.len())?;
        let last = name.bytes().last();
        let found = same_length.iter().find(|known| known.last == last && known.name == name);
        found.map(|known| known.fate)
    }

    /// The id of a member whose value is remembered.
    pub(crate) fn id(&self, name: &str) -> Option<MemberId> {
        match self.fate(name)? {
            Fate::Stays { id, .. } | Fate::Moves(id) => Some(id),
            Fate::Data | Fate::EventStream | Fate::Dropped => None,
        }
    }

    /// The schema of a member of [`Shape::Flat`].
    #[expect(clippy::expect_used, reason = "the table is wrong then, and every test fails")]
    pub(crate) fn schema(&self, name: &str) -> &Schema {
        let found = self.schemas.iter().find(|(member, _)| *member == name);
        found.map(|(_, schema)| schema).expect("a schema for each flat member")
    }

    pub(crate) fn is_reserved(&self, name: &str) -> bool {
        self.reserved.contains(name)
    }
}
