//! uap-core's rules: which of them matches an agent first, and what it says.
//!
//! There are about 1,200 rules in three ordered lists, all of them regular expressions, and
//! compiling them takes longer than a function's whole start. So the build script
//! (`build/main.rs`) compiles them to static programs, and works out which literals each requires:
//! a pass over the agent leaves the few rules whose literals may be in it, and these are tried.

use std::borrow::Cow;
use std::ops::Range;

use super::grams::{END, SLOTS, START, fold, slot, without_digits};
use super::program::{Agent, Class, Groups, Matcher};
use super::step::Step::{
    self, Boundary, Byte, Class as In, End, Jump, Match, Or, Run, Save, Start,
};

include!(concat!(env!("OUT_DIR"), "/rules.rs"));

/// One of uap-core's rules.
struct Rule {
    program: &'static [Step],
    /// The class of bytes that a match begins with.
    first: Option<u16>,
    /// Replacement for the name; the first group where there is none.
    name: Option<&'static str>,
    /// Replacements for the parts of the version; groups two to five where there are none.
    version: [Option<&'static str>; 4],
}

/// What the first rule that matches says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) name: String,
    /// The parts up to the first that is missing, joined by dots.
    pub(super) version: Option<String>,
}

impl Rule {
    /// Nothing if the rule leaves no name.
    fn found(&self, groups: &Groups<'_>) -> Option<Found> {
        let part = |replacement: Option<&str>, group| match replacement {
            Some(replacement) => groups.fill(replacement).map(Cow::Owned),
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

/// What the first rule of a kind that matches says.
pub(super) fn find(
    kind: &Range<usize>,
    candidates: &Candidates,
    agent: &Agent<'_>,
    matcher: &mut Matcher,
) -> Option<Found> {
    candidates.0.iter().filter(|index| kind.contains(index)).find_map(|index| {
        let rule = RULES.get(*index)?;
        let first = rule.first.and_then(|class| CLASSES.get(usize::from(class)));
        let groups = matcher.find(rule.program, &CLASSES, first, agent)?;
        Some(rule.found(&groups))
    })?
}

/// The same by another engine and with no filter, for comparison.
#[cfg(test)]
pub(super) fn find_by(
    expressions: &[regex::bytes::Regex],
    kind: &Range<usize>,
    agent: &Agent<'_>,
) -> Option<Found> {
    let (index, captures) = kind.clone().find_map(|index| {
        let captures = expressions[index].captures(agent.image())?;
        Some((index, captures))
    })?;
    RULES[index].found(&Groups::of(agent, &captures))
}

/// A rule that may match where a gram occurs, and further grams of the same literal.
struct Entry {
    rule: u16,
    grams: [u16; 3],
}

/// The rules that may match an agent, in order; all others cannot.
pub(super) struct Candidates(pub(super) Vec<usize>);

impl Candidates {
    pub(super) fn of(agent: &Agent<'_>) -> Self {
        let mut folded = Vec::with_capacity(agent.image().len() + 2);
        folded.push(START);
        folded.extend(agent.image().iter().map(|byte| fold(*byte)));
        folded.push(END);

        let mut grams = Grams([0; SLOTS / 64]);
        let mut hits = Vec::with_capacity(32);
        for gram in folded.array_windows() {
            for slot in [Some(*gram), without_digits(*gram)].into_iter().flatten().map(slot) {
                let entries = list(ENTRIES, &SLOT_STARTS, slot.into());
                if grams.insert(slot) && !entries.is_empty() {
                    hits.push(entries);
                }
            }
        }

        let hits = hits.into_iter().flatten().filter(|entry| grams.contain(&entry.grams));
        let mut rules: Vec<usize> = hits
            .map(|entry| entry.rule)
            .chain(UNFILTERED.iter().copied())
            .map(usize::from)
            .collect();
        rules.sort_unstable();
        rules.dedup();
        rules.retain(|rule| {
            let further = list(FURTHER, &FURTHER_STARTS, *rule);
            further.is_empty() || further.iter().any(|literal| grams.contain(literal))
        });
        Self(rules)
    }
}

/// The grams of an agent.
struct Grams([u64; SLOTS / 64]);

impl Grams {
    /// Whether it was not there yet.
    fn insert(&mut self, slot: u16) -> bool {
        let Some(word) = self.0.get_mut(usize::from(slot / 64)) else { return false };
        let bit = 1 << (slot % 64);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    fn contain(&self, slots: &[u16; 3]) -> bool {
        slots.iter().all(|slot| {
            self.0.get(usize::from(slot / 64)).is_some_and(|word| word >> (slot % 64) & 1 == 1)
        })
    }
}

/// One of several lists that stand one after the other.
fn list<T>(all: &'static [T], starts: &'static [u16], index: usize) -> &'static [T] {
    let bounds = starts.get(index).zip(starts.get(index + 1));
    bounds.and_then(|(start, end)| all.get(usize::from(*start)..usize::from(*end))).unwrap_or(&[])
}

/// What a rule says of a match by another engine.
#[allow(dead_code, reason = "for examples/compare.rs, which includes this module")]
pub(super) fn found(index: usize, groups: &Groups<'_>) -> Option<Found> {
    RULES.get(index)?.found(groups)
}
