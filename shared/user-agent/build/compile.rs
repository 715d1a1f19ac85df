//! A regular expression → a program for the matcher in `src/user_agent/program.rs`.

use std::error::Error;

use regex_syntax::hir::{Class, Hir, HirKind, Look, Repetition};

use crate::literals::byte_class;
use crate::step::Step;

/// [`Step::Run`]'s `most` where there is no limit: no agent is as long.
const NO_LIMIT: u16 = u16::MAX;

/// The classes of all programs: for each byte, one bit.
#[derive(Default)]
pub(crate) struct Classes(Vec<[u64; 4]>);

impl Classes {
    fn index(&mut self, bytes: impl IntoIterator<Item = u8>) -> Result<u16, Box<dyn Error>> {
        let mut class = [0; 4];
        for byte in bytes {
            class[usize::from(byte / 64)] |= 1 << (byte % 64);
        }
        let known = self.0.iter().position(|known| *known == class);
        let index = known.unwrap_or_else(|| {
            self.0.push(class);
            self.0.len() - 1
        });
        Ok(index.try_into()?)
    }

    fn bytes(&self, class: u16) -> impl Iterator<Item = u8> {
        let class = self.0[usize::from(class)];
        (0..=u8::MAX).filter(move |byte| class[usize::from(byte / 64)] >> (byte % 64) & 1 == 1)
    }

    pub(crate) fn all(&self) -> &[[u64; 4]] {
        &self.0
    }
}

/// A program under construction.
pub(crate) struct Program<'a> {
    pub(crate) steps: Vec<Step>,
    classes: &'a mut Classes,
    /// Whether the rule makes use of a group.
    uses: &'a dyn Fn(u32) -> bool,
}

impl<'a> Program<'a> {
    pub(crate) fn new(
        hir: &Hir,
        classes: &'a mut Classes,
        uses: &'a dyn Fn(u32) -> bool,
    ) -> Result<Self, Box<dyn Error>> {
        let mut program = Self { steps: vec![], classes, uses };
        program.add(hir)?;
        program.steps.push(Step::Match);
        Ok(program)
    }

    /// The class of bytes that a match can begin with; none if it can begin with any or be empty.
    pub(crate) fn first(&mut self) -> Result<Option<u16>, Box<dyn Error>> {
        let (mut bytes, mut seen, mut todo) = (vec![], vec![false; self.steps.len()], vec![0]);
        while let Some(at) = todo.pop() {
            if std::mem::replace(&mut seen[at], true) {
                continue;
            }
            match self.steps[at] {
                Step::Byte(byte) => bytes.push(byte),
                Step::Class(class) => bytes.extend(self.classes.bytes(class)),
                Step::Run { class, least, .. } => {
                    bytes.extend(self.classes.bytes(class));
                    if least == 0 {
                        todo.push(at + 1);
                    }
                }
                Step::Or(other) => todo.extend([at + 1, other.into()]),
                Step::Jump(other) => todo.push(other.into()),
                Step::Save(_) | Step::Start | Step::End | Step::Boundary => todo.push(at + 1),
                Step::Match => return Ok(None),
            }
        }
        Ok(Some(self.classes.index(bytes)?))
    }

    fn add(&mut self, hir: &Hir) -> Result<(), Box<dyn Error>> {
        match hir.kind() {
            HirKind::Empty => {}
            HirKind::Literal(literal) => {
                self.steps.extend(literal.0.iter().copied().map(Step::Byte))
            }
            HirKind::Class(class) => {
                let class = self.class(class)?;
                self.steps.push(Step::Class(class));
            }
            HirKind::Look(look) => self.steps.push(match look {
                Look::Start => Step::Start,
                Look::End => Step::End,
                Look::WordAscii => Step::Boundary,
                other => return Err(format!("{other:?} is not known").into()),
            }),
            HirKind::Repetition(repetition) => self.add_repetition(repetition)?,
            HirKind::Capture(group) if (self.uses)(group.index) => {
                let slot = u8::try_from(group.index * 2 - 2)?;
                self.steps.push(Step::Save(slot));
                self.add(&group.sub)?;
                self.steps.push(Step::Save(slot + 1));
            }
            HirKind::Capture(group) => self.add(&group.sub)?,
            HirKind::Concat(parts) => parts.iter().try_for_each(|part| self.add(part))?,
            HirKind::Alternation(parts) => {
                let mut jumps = vec![];
                let (last, others) = parts.split_last().ok_or("an alternation of nothing")?;
                for part in others {
                    let or = self.reserve();
                    self.add(part)?;
                    jumps.push(self.reserve());
                    self.steps[or] = Step::Or(self.here()?);
                }
                self.add(last)?;
                for jump in jumps {
                    self.steps[jump] = Step::Jump(self.here()?);
                }
            }
        }
        Ok(())
    }

    fn add_repetition(&mut self, repetition: &Repetition) -> Result<(), Box<dyn Error>> {
        let Repetition { min, max, greedy, ref sub } = *repetition;
        let single = match sub.kind() {
            HirKind::Class(class) => Some(self.class(class)?),
            HirKind::Literal(literal) if literal.0.len() == 1 => {
                Some(self.classes.index(literal.0.iter().copied())?)
            }
            _ => None,
        };
        if let Some(class) = single {
            let most = max.map_or(Ok(NO_LIMIT), u16::try_from)?;
            self.steps.push(Step::Run { class, least: min.try_into()?, most, greedy });
            return Ok(());
        }
        if !greedy && max != Some(min) {
            return Err("a lazy repetition of more than a byte is not known".into());
        }
        for _ in 0..min {
            self.add(sub)?;
        }
        let mut forks = vec![];
        match max {
            None => {
                let start = self.here()?;
                forks.push(self.reserve());
                self.add(sub)?;
                self.steps.push(Step::Jump(start));
            }
            Some(max) => {
                for _ in min..max {
                    forks.push(self.reserve());
                    self.add(sub)?;
                }
            }
        }
        let end = self.here()?;
        for fork in forks {
            self.steps[fork] = Step::Or(end);
        }
        Ok(())
    }

    fn class(&mut self, class: &Class) -> Result<u16, Box<dyn Error>> {
        let class = byte_class(class).ok_or("a class beyond ASCII")?;
        self.classes.index(class.ranges().iter().flat_map(|range| range.start()..=range.end()))
    }

    /// The index of the next step.
    fn here(&self) -> Result<u16, Box<dyn Error>> {
        Ok(self.steps.len().try_into()?)
    }

    /// A step that is filled in later.
    fn reserve(&mut self) -> usize {
        self.steps.push(Step::Match);
        self.steps.len() - 1
    }
}
