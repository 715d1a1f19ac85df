//! Finds the literals that a string must contain for an expression to match it.

use std::collections::BTreeSet;
use std::mem;

use regex_syntax::hir::{Class, ClassBytes, Hir, HirKind, Look, Repetition};

use crate::grams::{DIGIT, END, START, fold};

/// Alternatives, folded to lower case: a match contains one of them.
pub(crate) type Literals = BTreeSet<Vec<u8>>;

/// Beyond this number of alternatives an expression is taken apart instead of spelled out.
const MAX_ALTERNATIVES: usize = 400;
/// A class with more members counts as "anything".
const MAX_MEMBERS: usize = 8;
/// Repetitions are spelled out up to this number.
const MAX_REPETITIONS: u32 = 6;

/// Returns all sets of literals that an expression requires. Every member has at least one gram.
pub(crate) fn required(hir: &Hir) -> Vec<Literals> {
    Shape::of(hir).into_required()
}

/// What all matches of an expression have in common: each is one of `prefix` (if `exact`), or it
/// begins with one of `prefix`, ends with one of `suffix` and contains one of each set in `required`.
struct Shape {
    exact: bool,
    prefix: Literals,
    suffix: Literals,
    required: Vec<Literals>,
}

impl Shape {
    fn of(hir: &Hir) -> Self {
        match hir.kind() {
            HirKind::Look(Look::Start) => Self::exact([vec![START]].into()),
            HirKind::Look(Look::End) => Self::exact([vec![END]].into()),
            HirKind::Empty | HirKind::Look(_) => Self::exact([vec![]].into()),
            HirKind::Literal(literal) => {
                Self::exact([literal.0.iter().map(|byte| fold(*byte)).collect()].into())
            }
            HirKind::Class(class) => {
                let Some(class) = byte_class(class) else { return Self::anything() };
                let bytes = class.ranges().iter().flat_map(|range| range.start()..=range.end());
                let mut members: Literals = bytes.map(|byte| vec![fold(byte)]).collect();
                if (b'0'..=b'9').all(|digit| members.contains(&vec![digit])) {
                    members.retain(|member| !member.iter().all(u8::is_ascii_digit));
                    members.insert(vec![DIGIT]);
                }
                if members.len() <= MAX_MEMBERS { Self::exact(members) } else { Self::anything() }
            }
            HirKind::Repetition(repetition) => Self::of_repetition(repetition),
            HirKind::Capture(capture) => Self::of(&capture.sub),
            HirKind::Concat(parts) => {
                parts.iter().map(Self::of).fold(Self::exact([vec![]].into()), Self::then)
            }
            HirKind::Alternation(parts) => Self::either(parts.iter().map(Self::of).collect()),
        }
    }

    fn of_repetition(repetition: &Repetition) -> Self {
        let times = |n: u32| {
            (0..n).map(|_| Self::of(&repetition.sub)).fold(Self::exact([vec![]].into()), Self::then)
        };
        match repetition.max {
            Some(max) if max <= MAX_REPETITIONS => {
                Self::either((repetition.min..=max).map(times).collect())
            }
            _ if repetition.min == 0 => Self::anything(),
            _ => {
                let mut end = Self::anything();
                end.suffix = Self::of(&repetition.sub).suffix;
                times(repetition.min.min(MAX_REPETITIONS)).then(end)
            }
        }
    }

    fn exact(literals: Literals) -> Self {
        Self { exact: true, prefix: literals.clone(), suffix: literals, required: vec![] }
    }

    fn anything() -> Self {
        Self { exact: false, ..Self::exact([vec![]].into()) }
    }

    fn then(mut self, mut next: Self) -> Self {
        let joined = joined(&self.suffix, &next.prefix);
        if self.exact
            && next.exact
            && let Some(joined) = joined
        {
            return Self::exact(joined);
        }
        let mut required = mem::take(&mut self.required);
        required.append(&mut next.required);
        match &joined {
            Some(joined) if !self.exact && !next.exact => push_useful(&mut required, joined),
            Some(_) => {}
            None => {
                push_useful(&mut required, &self.suffix);
                push_useful(&mut required, &next.prefix);
            }
        }
        let prefix = if self.exact { joined.clone().unwrap_or(self.prefix) } else { self.prefix };
        let suffix = if next.exact { joined.unwrap_or(next.suffix) } else { next.suffix };
        Self { exact: false, prefix, suffix, required }
    }

    fn either(shapes: Vec<Self>) -> Self {
        let union = |side: fn(&Self) -> &Literals| {
            let union: Literals = shapes.iter().flat_map(side).cloned().collect();
            if union.len() <= MAX_ALTERNATIVES { Some(union) } else { None }
        };
        let (prefix, suffix) = (union(|shape| &shape.prefix), union(|shape| &shape.suffix));
        if shapes.iter().all(|shape| shape.exact)
            && let Some(literals) = prefix
        {
            return Self::exact(literals);
        }
        // One set for all branches, made of the best set of each; none if a branch has none.
        let best = shapes.into_iter().map(|shape| {
            let shortest = |set: &Literals| set.iter().map(Vec::len).min();
            shape.into_required().into_iter().max_by_key(shortest)
        });
        let required = best.collect::<Option<Vec<_>>>().map(|sets| sets.into_iter().flatten());
        Self {
            required: required.map(Iterator::collect).into_iter().collect(),
            prefix: prefix.unwrap_or_else(|| [vec![]].into()),
            suffix: suffix.unwrap_or_else(|| [vec![]].into()),
            exact: false,
        }
    }

    fn into_required(mut self) -> Vec<Literals> {
        push_useful(&mut self.required, &self.prefix);
        push_useful(&mut self.required, &self.suffix);
        self.required
    }
}

/// Returns a class as one of bytes. The parser makes a Unicode class of `a|b`, which is ASCII still.
fn byte_class(class: &Class) -> Option<ClassBytes> {
    match class {
        Class::Bytes(class) => Some(class.clone()),
        Class::Unicode(class) => class.to_byte_class(),
    }
}

/// Returns each of the first followed by each of the second, or `None` if these are too many.
fn joined(first: &Literals, second: &Literals) -> Option<Literals> {
    (first.len() * second.len() <= MAX_ALTERNATIVES).then(|| {
        first.iter().flat_map(|a| second.iter().map(move |b| [&a[..], b].concat())).collect()
    })
}

/// Adds a set if each of its members has a gram.
fn push_useful(required: &mut Vec<Literals>, set: &Literals) {
    if set.iter().all(|literal| literal.len() >= 3) && !required.contains(set) {
        required.push(set.clone());
    }
}
