//! What a rule's expression is compiled to. The build script writes it, the matcher walks it.

/// One step of a program; after it comes the next, unless it says otherwise.
#[derive(Clone, Copy)]
pub(crate) enum Step {
    /// This byte.
    Byte(u8),
    /// A byte of this class.
    Class(u16),
    /// So many bytes of a class in a row: as many as possible first if greedy, as few otherwise.
    Run { class: u16, least: u16, most: u16, greedy: bool },
    /// The place goes into this slot: slot 2n - 2 is where group n begins, 2n - 1 where it ends.
    Save(u8),
    /// The next step, and if that fails, the step at this index.
    Or(u16),
    /// The step at this index.
    Jump(u16),
    /// The agent begins here.
    Start,
    /// The agent ends here.
    End,
    /// A word begins or ends here.
    Boundary,
    /// All of it matches.
    Match,
}

/// The groups that rules can refer to, by `$1` to `$9`.
pub(crate) const GROUPS: usize = 9;
