//! uap-core's rules: which one matches an agent first, and what it says.
//!
//! The rules are about 1,200 regular expressions in three ordered lists. Compiling and trying all of
//! them would take longer than a function's whole start. The build script (`build/main.rs`) works
//! out which literals each rule requires, so one pass over the agent leaves only a few candidates.

use std::borrow::Cow;
use std::ops::Range;

use super::grams::{END, SLOTS, START, fold, mask_digits, slot};
use super::haystack::Haystack;
use super::matcher::{Groups, Matcher};

// BROWSER_RULES, OS_RULES and DEVICE_RULES (ranges of RULES), RULES, and the prefilter's tables.
include!(concat!(env!("OUT_DIR"), "/rules.rs"));

/// One of uap-core's rules.
pub(super) struct Rule {
    pub(super) pattern: &'static str,
    pub(super) ignore_case: bool,
    /// Replacement for the name; `None` stands for group 1.
    name: Option<&'static str>,
    /// Replacements for the version's parts; `None` stands for groups 2 to 5.
    version: [Option<&'static str>; 4],
}

/// What the first matching rule says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) name: String,
    /// The parts up to the first missing one, joined by dots.
    pub(super) version: Option<String>,
}

impl Rule {
    /// Returns `None` if the name is empty.
    pub(super) fn found(&self, groups: &Groups<'_>) -> Option<Found> {
        let part = |replacement: Option<&str>, group| match replacement {
            Some(replacement) => groups.expand(replacement).map(Cow::Owned),
            None => groups.get(group),
        };
        let mut version = None::<String>;
        for (replacement, group) in self.version.iter().zip(2..) {
            let Some(text) = part(*replacement, group) else { break };
            match &mut version {
                None => version = Some(text.into_owned()),
                Some(version) => {
                    version.push('.');
                    version.push_str(&text);
                }
            }
        }
        Some(Found { name: part(self.name, 1)?.into_owned(), version })
    }
}

/// Returns what the first matching rule of a list says. Later rules are not tried even if it yields
/// no name.
pub(super) fn find(
    list: &Range<usize>,
    candidates: &Candidates,
    haystack: &Haystack<'_>,
    matcher: &mut Matcher,
) -> Option<Found> {
    candidates.0.iter().filter(|index| list.contains(index)).find_map(|index| {
        #[expect(clippy::expect_used, reason = "an invariant")]
        let rule = RULES.get(*index).expect("the tables name rules by index");
        let groups = matcher.captures(*index, rule, haystack)?;
        Some(rule.found(&groups))
    })?
}

/// A rule that may match where a gram occurs, and more grams of the same literal.
struct Entry {
    rule: u16,
    grams: [u16; 3],
}

/// The rules that may match an agent, in order. No other rule can match it.
pub(super) struct Candidates(Vec<usize>);

impl Candidates {
    pub(super) fn of(haystack: &Haystack<'_>) -> Self {
        let mut folded = Vec::with_capacity(haystack.bytes().len() + 2);
        folded.push(START);
        folded.extend(haystack.bytes().iter().map(|byte| fold(*byte)));
        folded.push(END);

        let mut grams = GramSet([0; SLOTS / 64]);
        let mut hits = Vec::with_capacity(32);
        for gram in folded.array_windows() {
            for slot in [Some(*gram), mask_digits(*gram)].into_iter().flatten().map(slot) {
                let entries = sublist(ENTRIES, &SLOT_STARTS, slot.into());
                if grams.insert(slot) && !entries.is_empty() {
                    hits.push(entries);
                }
            }
        }

        let hits = hits.into_iter().flatten().filter(|entry| grams.contains_all(&entry.grams));
        let mut rules: Vec<usize> = hits
            .map(|entry| entry.rule)
            .chain(UNFILTERED.iter().copied())
            .map(usize::from)
            .collect();
        rules.sort_unstable();
        rules.dedup();
        rules.retain(|rule| {
            let further = sublist(FURTHER, &FURTHER_STARTS, *rule);
            further.is_empty() || further.iter().any(|literal| grams.contains_all(literal))
        });
        Self(rules)
    }
}

/// The grams of an agent: one bit per slot.
struct GramSet([u64; SLOTS / 64]);

impl GramSet {
    /// Returns `true` if the slot was not in the set yet.
    fn insert(&mut self, slot: u16) -> bool {
        #[expect(clippy::expect_used, reason = "an invariant")]
        let word = self.0.get_mut(usize::from(slot / 64)).expect("slots are below SLOTS");
        let bit = 1 << (slot % 64);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    fn contains_all(&self, slots: &[u16; 3]) -> bool {
        slots.iter().all(|slot| {
            self.0.get(usize::from(slot / 64)).is_some_and(|word| word >> (slot % 64) & 1 == 1)
        })
    }
}

/// Returns one of several lists that are stored one after the other.
#[expect(clippy::expect_used, reason = "an invariant")]
fn sublist<T>(all: &'static [T], starts: &'static [u16], index: usize) -> &'static [T] {
    let bounds = starts.get(index).zip(starts.get(index + 1));
    let (start, end) = bounds.expect("the build script writes one start per list, and the end");
    all.get(usize::from(*start)..usize::from(*end)).expect("starts ascend to the length")
}
