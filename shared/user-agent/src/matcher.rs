//! Matches one rule at a time, compiling it the first time that it is tried.
//!
//! Only the bounded backtracker of `regex-automata` is used. The crate `regex` builds several engines
//! per expression, which takes twice the time and seven times the memory; see `docs/decisions.md`.

use std::borrow::Cow;
use std::collections::HashMap;

use regex_automata::nfa::thompson;
use regex_automata::nfa::thompson::backtrack::{BoundedBacktracker, Cache, Config};
use regex_automata::util::captures::Captures;
use regex_automata::util::syntax;

use super::haystack::Haystack;
use super::rules::Rule;

/// Upper bound for the backtracker's bitmap of visited states and places, in bytes. It takes as much as
/// a rule and an agent need: 400 KB for the largest rule and the longest agent.
const MAX_VISITED: usize = 1 << 20;

/// The rules compiled so far, by index.
#[derive(Debug, Default)]
pub(super) struct Matcher {
    compiled: HashMap<usize, BoundedBacktracker>,
    /// Scratch space, shared by all rules.
    cache: Option<Cache>,
}

impl Matcher {
    /// Returns the groups of the leftmost match.
    ///
    /// Takes time in proportion to the rule's size times the agent's length, at most.
    pub(super) fn captures<'a>(
        &mut self,
        index: usize,
        rule: &Rule,
        haystack: &'a Haystack<'_>,
    ) -> Option<Groups<'a>> {
        let regex = self.compiled.entry(index).or_insert_with(|| compile(rule));
        let cache = self.cache.get_or_insert_with(|| regex.create_cache());
        regex.reset_cache(cache);
        let mut captures = regex.create_captures();
        #[expect(clippy::expect_used, reason = "an invariant")]
        regex
            .try_captures(cache, haystack.bytes(), &mut captures)
            .expect("every rule takes the longest haystack, which a test checks");
        captures.is_match().then_some(Groups { haystack, captures })
    }

    /// Returns the number of states of all rules compiled so far.
    #[cfg(test)]
    pub(super) fn states(&self) -> usize {
        self.compiled.values().map(|regex| regex.get_nfa().states().len()).sum()
    }
}

/// Compiles a rule for bytes: see [`Haystack`].
#[expect(clippy::expect_used, reason = "an invariant")]
pub(super) fn compile(rule: &Rule) -> BoundedBacktracker {
    BoundedBacktracker::builder()
        .configure(Config::new().visited_capacity(MAX_VISITED))
        .syntax(rule.syntax())
        .thompson(thompson::Config::new().utf8(false))
        .build(rule.pattern)
        .expect("the build script parsed every rule, and tests compile them all")
}

impl Rule {
    pub(super) fn syntax(&self) -> syntax::Config {
        syntax::Config::new().unicode(false).utf8(false).case_insensitive(self.ignore_case)
    }
}

/// The groups of a match.
pub(super) struct Groups<'a> {
    pub(super) haystack: &'a Haystack<'a>,
    pub(super) captures: Captures,
}

impl Groups<'_> {
    /// Returns a group's text, or `None` if it is empty or not part of the match.
    pub(super) fn get(&self, group: usize) -> Option<Cow<'_, str>> {
        let span = self.captures.get_group(group)?;
        (!span.is_empty()).then(|| self.haystack.slice(span.range()))
    }

    /// Replaces `$1` to `$9` in a replacement. Returns `None` if only white space is left.
    pub(super) fn expand(&self, replacement: &str) -> Option<String> {
        let mut parts = replacement.split('$');
        let mut expanded = parts.next()?.to_owned();
        for part in parts {
            let mut rest = part.chars();
            match rest.next().and_then(|digit| digit.to_digit(10)) {
                Some(group @ 1..) => {
                    expanded.push_str(&self.get(usize::try_from(group).ok()?).unwrap_or_default());
                    expanded.push_str(rest.as_str());
                }
                Some(0) | None => {
                    expanded.push('$');
                    expanded.push_str(part);
                }
            }
        }
        let trimmed = expanded.trim();
        (!trimmed.is_empty()).then(|| trimmed.to_owned())
    }
}
