//! uap-core's rules: which of them matches an agent first, and what it says.
//!
//! There are about 1,200 rules in three ordered lists, all of them regular expressions, and
//! compiling them takes longer than a function's whole start. So the build script
//! (`build/main.rs`) works out which literals a rule requires. A pass over the agent leaves the few
//! rules whose literals may be in it; these are compiled when they are first tried, and kept.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use regex_automata::nfa::thompson::backtrack::Cache;

use super::expression::{Agent, Expression, Groups};
use super::grams::{END, SLOTS, START, fold, slot};

include!(concat!(env!("OUT_DIR"), "/rules.rs"));

/// One of uap-core's rules.
struct Rule {
    pattern: &'static str,
    ignore_case: bool,
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

/// The rules, compiled as far as they were needed, and room to match them in.
pub(super) struct Rules {
    compiled: Vec<Option<Box<Expression>>>,
    cache: Option<Cache>,
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let compiled = self.compiled.iter().flatten().count();
        f.debug_struct("Rules").field("compiled", &compiled).finish_non_exhaustive()
    }
}

impl Rules {
    pub(super) fn new() -> Self {
        Self { compiled: RULES.iter().map(|_| None).collect(), cache: None }
    }

    /// What the first of the candidates in `kind` that matches says.
    pub(super) fn find(
        &mut self,
        kind: Range<usize>,
        candidates: &Candidates,
        agent: &Agent<'_>,
    ) -> Option<Found> {
        let (rule, groups) =
            candidates.within(&kind).find_map(|index| self.matches(index, agent))?;
        rule.found(&groups)
    }

    fn matches<'a>(
        &mut self,
        index: usize,
        agent: &'a Agent<'_>,
    ) -> Option<(&'static Rule, Groups<'a>)> {
        let rule = RULES.get(index)?;
        let compiled = self.compiled.get_mut(index)?;
        if compiled.is_none() {
            *compiled = Expression::new(rule.pattern, rule.ignore_case).map(Box::new);
        }
        let expression = compiled.as_deref_mut()?;
        let groups = expression.find(rule.pattern, rule.ignore_case, agent, &mut self.cache)?;
        Some((rule, groups))
    }
}

/// A rule that may match where a gram occurs, and further grams of the same literal.
struct Entry {
    rule: u16,
    grams: [u16; 3],
}

/// The rules that may match an agent, in order; all others cannot.
pub(super) struct Candidates(Vec<usize>);

impl Candidates {
    pub(super) fn of(agent: &Agent<'_>) -> Self {
        let mut folded = Vec::with_capacity(agent.image().len() + 2);
        folded.push(START);
        folded.extend(agent.image().iter().map(|byte| fold(*byte)));
        folded.push(END);

        let mut grams = Grams([0; SLOTS / 64]);
        let mut hits = Vec::with_capacity(32);
        for gram in folded.array_windows() {
            let slot = slot(*gram);
            if grams.insert(slot) {
                let entries = list(ENTRIES, &SLOT_STARTS, slot.into());
                if !entries.is_empty() {
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

    fn within(&self, kind: &Range<usize>) -> impl Iterator<Item = usize> {
        self.0.iter().copied().filter(move |rule| kind.contains(rule))
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
