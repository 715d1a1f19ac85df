//! What the mapper changed so that engines accept the document. The document says so (`tags`,
//! `error.message`), and keeps the whole event in `event.original`.

/// One kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    StringCut,
    NumberAsText,
    ContainerAsText,
    DuplicateName,
    NameAdjusted,
    Repaired,
    /// A value was put into an object, as its member `value`.
    Wrapped,
    TypeMismatch,
    BadDate,
    BadAddress,
    IdDerived,
    OuterLogId,
    OuterMember,
}

/// Every kind but [`Change::Wrapped`], with its clause in `error.message`.
const TEXTS: [(Change, &str); 12] = [
    (Change::StringCut, "a string was longer than an index term and was cut"),
    (Change::NumberAsText, "a number had too many digits and is kept as text"),
    (
        Change::ContainerAsText,
        "a value was nested too deep, or stood where text belongs, and is kept as JSON text",
    ),
    (Change::DuplicateName, "an object had two members of the same name; the first is kept"),
    (Change::NameAdjusted, "a name could not be indexed and was changed"),
    (Change::Repaired, "the event was not valid JSON (encoding or nesting) and was repaired"),
    (
        Change::TypeMismatch,
        "a value did not fit its field and is kept in a field of the same name with the suffix _text",
    ),
    (Change::BadDate, "date was missing or not a date; @timestamp is the time of receipt"),
    (Change::BadAddress, "an address was not an IP address and is kept as text"),
    (Change::IdDerived, "log_id was missing or unusable; the id was derived"),
    (Change::OuterLogId, "log_id differed outside and inside of data; the one in data is the id"),
    (Change::OuterMember, "a member differed outside and inside of data; the one in data is kept"),
];

/// The set of changes made to one event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes(u16);

impl Changes {
    pub(crate) const fn note(&mut self, change: Change) {
        self.0 |= 1 << change as u16;
    }

    pub(crate) const fn has(self, change: Change) -> bool {
        self.0 & (1 << change as u16) != 0
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The text of `error.message`: one clause per change, and per member that was wrapped.
    pub(crate) fn message(self, wrapped: &[&str]) -> String {
        let said = TEXTS.iter().filter(|(change, _)| self.has(*change));
        let said = said.map(|(_, text)| (*text).to_owned());
        let wrapped = wrapped
            .iter()
            .map(|name| format!("{name} was not an object and is kept in {name}.value"));
        said.chain(wrapped).collect::<Vec<_>>().join("; ")
    }
}
