//! Matching: an agent against a rule's program.
//!
//! This is the bounded backtracker of RE2 and of the crate `regex`: it tries alternatives in the
//! order that Perl would, and remembers the forks that it has seen at each place, so that no
//! expression takes longer than its size times the agent's length. It exists beside that crate
//! because its programs are made at build time: a rule costs neither time nor memory before it is
//! tried.

use std::borrow::Cow;

use super::step::{GROUPS, Step};

/// The longest agent that is matched, in bytes; what follows is not looked at. The longest one in
/// uap-core's tests has 492.
const LONGEST_AGENT: usize = 1024;

/// A set of bytes, one bit each.
pub(super) struct Class(pub(super) [u64; 4]);

impl Class {
    fn contains(&self, byte: u8) -> bool {
        self.0.get(usize::from(byte / 64)).is_some_and(|word| word >> (byte % 64) & 1 == 1)
    }
}

/// An agent with one byte for each character: uap-core counts characters, its rules are all ASCII,
/// and so any other character is as good as the next.
pub(super) struct Agent<'a> {
    text: &'a str,
    image: Cow<'a, [u8]>,
}

impl<'a> Agent<'a> {
    /// As much of an agent as is matched.
    pub(super) fn cut(text: &str) -> &str {
        text.get(..text.floor_char_boundary(LONGEST_AGENT)).unwrap_or(text)
    }

    pub(super) fn new(text: &'a str) -> Self {
        let text = Self::cut(text);
        let image = if text.is_ascii() {
            Cow::Borrowed(text.as_bytes())
        } else {
            let byte = |character: char| u8::try_from(character).ok().filter(u8::is_ascii);
            text.chars().map(|character| byte(character).unwrap_or(0xff)).collect()
        };
        Self { text, image }
    }

    pub(super) fn image(&self) -> &[u8] {
        &self.image
    }

    /// The characters from one place in the image to another.
    fn between(&self, start: usize, end: usize) -> Cow<'a, str> {
        match self.image {
            Cow::Borrowed(_) => self.text.get(start..end).unwrap_or_default().into(),
            Cow::Owned(_) => self.text.chars().skip(start).take(end - start).collect(),
        }
    }
}

/// A match: where its groups begin and end.
pub(super) struct Groups<'a> {
    pub(super) agent: &'a Agent<'a>,
    pub(super) places: [Option<usize>; 2 * GROUPS],
}

#[cfg(test)]
impl<'a> Groups<'a> {
    /// From the match of another engine.
    pub(super) fn of(agent: &'a Agent<'_>, captures: &regex::bytes::Captures<'_>) -> Self {
        let mut places = [None; 2 * GROUPS];
        for (group, ends) in captures.iter().skip(1).zip(places.as_chunks_mut().0) {
            *ends = [group.map(|group| group.start()), group.map(|group| group.end())];
        }
        Self { agent, places }
    }
}

impl Groups<'_> {
    /// A group's text, the first being 1; nothing if it is empty or did not take part.
    pub(super) fn get(&self, group: usize) -> Option<Cow<'_, str>> {
        let [start, end] = *self.places.as_chunks().0.get(group.checked_sub(1)?)?;
        let text = self.agent.between(start?, end?);
        (!text.is_empty()).then_some(text)
    }

    /// A replacement with `$1` to `$9` filled in; nothing if that leaves it empty.
    pub(super) fn fill(&self, replacement: &str) -> Option<String> {
        let mut parts = replacement.split('$');
        let mut filled = parts.next()?.to_owned();
        for part in parts {
            let mut rest = part.chars();
            match rest.next().and_then(|digit| digit.to_digit(10)) {
                Some(group @ 1..) => {
                    filled.push_str(&self.get(usize::try_from(group).ok()?).unwrap_or_default());
                    filled.push_str(rest.as_str());
                }
                Some(0) | None => {
                    filled.push('$');
                    filled.push_str(part);
                }
            }
        }
        let trimmed = filled.trim();
        (!trimmed.is_empty()).then(|| trimmed.to_owned())
    }
}

/// Room to match in, used again and again.
#[derive(Debug, Default)]
pub(super) struct Matcher {
    /// The forks and runs' ends that were tried, by step and place, one bit each.
    tried: Vec<u64>,
    /// What is to be tried once the path in hand has failed, the last first.
    pending: Vec<Pending>,
    places: [Option<usize>; 2 * GROUPS],
}

#[derive(Debug)]
enum Pending {
    /// Go on with a step at a place.
    Step(usize, usize),
    /// Go on after the run of this step, which may end anywhere from one place to the other.
    Run { run: usize, from: usize, to: usize, greedy: bool },
    /// Put back a place that was saved.
    Restore(usize, Option<usize>),
}

impl Matcher {
    /// Where a program first matches, beginning with a byte of the class `first` if there is one.
    pub(super) fn find<'a>(
        &mut self,
        program: &[Step],
        classes: &[Class],
        first: Option<&Class>,
        agent: &'a Agent<'_>,
    ) -> Option<Groups<'a>> {
        let image = agent.image();
        self.tried.clear();
        self.tried.resize((program.len() * (image.len() + 1)).div_ceil(64), 0);
        self.places = [None; 2 * GROUPS];
        let last = if matches!(program.first(), Some(Step::Start)) { 0 } else { image.len() };
        let may_begin = |place: &usize| match (first, image.get(*place)) {
            (Some(first), Some(byte)) => first.contains(*byte),
            (first, _) => first.is_none(),
        };
        let mut places = (0..=last).filter(may_begin);
        let found = places.any(|place| self.matches_at(program, classes, image, place));
        found.then_some(Groups { agent, places: self.places })
    }

    fn matches_at(
        &mut self,
        program: &[Step],
        classes: &[Class],
        image: &[u8],
        place: usize,
    ) -> bool {
        self.pending.clear();
        self.pending.push(Pending::Step(0, place));
        while let Some(pending) = self.pending.pop() {
            let (step, place) = match pending {
                Pending::Step(step, place) => (step, place),
                Pending::Run { run, from, to, greedy } => {
                    let place = if greedy { to } else { from };
                    if from < to {
                        let (from, to) = if greedy { (from, to - 1) } else { (from + 1, to) };
                        self.pending.push(Pending::Run { run, from, to, greedy });
                    }
                    if !self.is_new(run, place, image.len()) {
                        continue;
                    }
                    (run + 1, place)
                }
                Pending::Restore(slot, place) => {
                    if let Some(saved) = self.places.get_mut(slot) {
                        *saved = place;
                    }
                    continue;
                }
            };
            if self.walk(program, classes, image, step, place) {
                return true;
            }
        }
        false
    }

    /// Follows one path to its end; whether that is a match.
    fn walk(
        &mut self,
        program: &[Step],
        classes: &[Class],
        image: &[u8],
        mut at: usize,
        mut place: usize,
    ) -> bool {
        let is_in = |class: u16, byte: u8| {
            classes.get(usize::from(class)).is_some_and(|class| class.contains(byte))
        };
        loop {
            let Some(step) = program.get(at).copied() else { return false };
            at += 1;
            match step {
                Step::Byte(byte) if image.get(place) == Some(&byte) => place += 1,
                Step::Class(class) if image.get(place).is_some_and(|byte| is_in(class, *byte)) => {
                    place += 1;
                }
                Step::Byte(_) | Step::Class(_) => return false,
                Step::Run { class, least, most, greedy } => {
                    let rest = image.get(place..).unwrap_or_default();
                    let run = rest.iter().take(most.into()).take_while(|byte| is_in(class, **byte));
                    let (from, to) = (place + usize::from(least), place + run.count());
                    if from <= to {
                        self.pending.push(Pending::Run { run: at - 1, from, to, greedy });
                    }
                    return false;
                }
                Step::Save(slot) => {
                    if let Some(saved) = self.places.get_mut(usize::from(slot)) {
                        self.pending.push(Pending::Restore(slot.into(), *saved));
                        *saved = Some(place);
                    }
                }
                Step::Or(other) => {
                    if !self.is_new(at - 1, place, image.len()) {
                        return false;
                    }
                    self.pending.push(Pending::Step(other.into(), place));
                }
                Step::Jump(other) => at = other.into(),
                Step::Start if place == 0 => {}
                Step::End if place == image.len() => {}
                Step::Boundary if is_boundary(image, place) => {}
                Step::Start | Step::End | Step::Boundary => return false,
                Step::Match => return true,
            }
        }
    }

    /// Whether a fork, or a run's end, comes to this place for the first time. The second time it
    /// would fail as it did the first, or all would be over.
    fn is_new(&mut self, step: usize, place: usize, length: usize) -> bool {
        let index = step * (length + 1) + place;
        let Some(word) = self.tried.get_mut(index / 64) else { return false };
        let bit = 1 << (index % 64);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }
}

fn is_boundary(image: &[u8], place: usize) -> bool {
    let is_word = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    is_word(place.checked_sub(1).and_then(|before| image.get(before))) != is_word(image.get(place))
}
