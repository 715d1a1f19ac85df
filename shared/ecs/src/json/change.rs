//! What the mapper had to change so that an engine accepts the document: said in the document itself
//! (`tags`, `error.message`), and reason enough to keep the whole event in `event.original`.

/// One kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    StringCut,
    NumberAsText,
    ContainerAsText,
    DuplicateName,
    NameAdjusted,
    Repaired,
    DetailsWrapped,
    TypeMismatch,
    BadDate,
    BadAddress,
    IdDerived,
}

/// All kinds, with what the document says of each.
const TEXTS: [(Change, &str); 11] = [
    (Change::StringCut, "a string was longer than an index term and is cut"),
    (Change::NumberAsText, "a number had too many digits and is kept as text"),
    (
        Change::ContainerAsText,
        "a value was nested too deep, or where text belongs, and is kept as JSON text",
    ),
    (Change::DuplicateName, "an object had two members of one name and the first is kept"),
    (Change::NameAdjusted, "a name could not be indexed and was changed"),
    (Change::Repaired, "the event was no valid JSON (encoding or nesting) and was repaired"),
    (Change::DetailsWrapped, "details was no object and is kept in details.value"),
    (
        Change::TypeMismatch,
        "a value did not fit its field and is kept in a field of the same name with _text",
    ),
    (Change::BadDate, "date was missing or no date; @timestamp is the time of receipt"),
    (Change::BadAddress, "an address was no IP address and is kept as text"),
    (Change::IdDerived, "log_id was missing or unusable and the id was derived"),
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

    /// What the document says: one clause for each change.
    pub(crate) fn message(self) -> String {
        let said: Vec<&str> =
            TEXTS.iter().filter(|(change, _)| self.has(*change)).map(|(_, text)| *text).collect();
        said.join("; ")
    }
}
