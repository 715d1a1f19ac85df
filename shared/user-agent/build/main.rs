//! Turns uap-core's rules for user agents into static tables: the rules themselves, and a prefilter
//! that tells which of them are worth trying (see `src/rules.rs`).
//!
//! The rules are read from the published crate `ua-parser`, a build dependency for this alone. None
//! of them is copied into this repository; a new version in `Cargo.lock` is all that an update takes.

#![expect(clippy::indexing_slicing, reason = "indices are of the tables that are built here")]
#![expect(clippy::print_stdout, reason = "build scripts speak to cargo that way")]

#[path = "../src/grams.rs"]
mod grams;
mod literals;
mod locate;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use grams::{DIGIT, SLOTS, fold, mask_digits, slot};
use literals::Literals;
use regex_syntax::ParserBuilder;
use regex_syntax::hir::Hir;
use serde::Deserialize;

fn main() -> Result<(), Box<dyn Error>> {
    let out = env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?;
    let core = locate::uap_core(&out)?;
    let file = core.join("regexes.yaml");
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed=src/grams.rs");
    println!("cargo::rerun-if-changed={}", file.display());
    // For the tests, which read uap-core's own test cases.
    println!("cargo::rustc-env=UAP_CORE={}", core.display());

    let yaml = fs::read_to_string(&file)?;
    let Regexes { user_agent_parsers, os_parsers, device_parsers } = serde_norway::from_str(&yaml)?;
    let lists = [user_agent_parsers, os_parsers, device_parsers];
    let agents = fs::read(core.join("tests/test_ua.yaml"))?;
    let tables = Tables::new(&lists, &Frequencies::of(&agents))?;
    let code = render_rules(&lists)? + &tables.render()?;
    fs::write(Path::new(&out).join("rules.rs"), code)?;
    Ok(())
}

/// uap-core's rules.
#[derive(Deserialize)]
struct Regexes {
    user_agent_parsers: Vec<Rule>,
    os_parsers: Vec<Rule>,
    device_parsers: Vec<Rule>,
}

/// What is used of one rule. A device's brand and model have no field in ECS.
#[derive(Deserialize)]
struct Rule {
    regex: String,
    regex_flag: Option<String>,
    // Replacements; none stands for the capture group at that position.
    #[serde(alias = "family_replacement", alias = "os_replacement", alias = "device_replacement")]
    name: Option<String>,
    #[serde(alias = "v1_replacement", alias = "os_v1_replacement")]
    v1: Option<String>,
    #[serde(alias = "v2_replacement", alias = "os_v2_replacement")]
    v2: Option<String>,
    #[serde(alias = "v3_replacement", alias = "os_v3_replacement")]
    v3: Option<String>,
    #[serde(alias = "v4_replacement", alias = "os_v4_replacement")]
    v4: Option<String>,
}

impl Rule {
    /// Parses the pattern for bytes, as `Rule::syntax` in `src/matcher.rs` does.
    fn parse(&self) -> Result<Hir, Box<dyn Error>> {
        let mut parser = ParserBuilder::new();
        parser.unicode(false).utf8(false).case_insensitive(self.ignores_case());
        Ok(parser.build().parse(&self.regex)?)
    }

    fn ignores_case(&self) -> bool {
        self.regex_flag.as_deref() == Some("i")
    }
}

fn render_rules(lists: &[Vec<Rule>; 3]) -> Result<String, Box<dyn Error>> {
    let mut code = String::new();
    let mut start = 0;
    for (name, rules) in ["BROWSER_RULES", "OS_RULES", "DEVICE_RULES"].iter().zip(lists) {
        let end = start + rules.len();
        writeln!(code, "pub(super) const {name}: Range<usize> = {start}..{end};")?;
        start = end;
    }
    writeln!(code, "pub(super) static RULES: [Rule; {start}] = [")?;
    for rule in lists.iter().flatten() {
        let Rule { regex: pattern, name, v1, v2, v3, v4, .. } = rule;
        let ignore_case = rule.ignores_case();
        let text = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
        let (name, version) = (text(name), [v1, v2, v3, v4].map(text));
        writeln!(
            code,
            "Rule {{ pattern: {pattern:?}, ignore_case: {ignore_case}, name: {name:?}, version: {version:?} }},"
        )?;
    }
    writeln!(code, "];")?;
    Ok(code)
}

/// How common each gram is among agents. A literal is best looked up by its rarest gram.
struct Frequencies(BTreeMap<[u8; 3], usize>);

impl Frequencies {
    fn of(text: &[u8]) -> Self {
        let text: Vec<u8> = text.iter().map(|byte| fold(*byte)).collect();
        let mut counts = BTreeMap::new();
        for gram in text.array_windows() {
            for gram in [Some(*gram), mask_digits(*gram)].into_iter().flatten() {
                *counts.entry(gram).or_default() += 1;
            }
        }
        Self(counts)
    }

    /// Returns a literal's grams with their frequencies, the rarest first.
    fn grams(&self, literal: &[u8]) -> Vec<(usize, u16)> {
        // An agent's gram has all its digits masked or none of them.
        let masked = |gram: &[u8; 3]| {
            let masked = mask_digits(*gram).filter(|_| gram.contains(&DIGIT));
            masked.unwrap_or(*gram)
        };
        let grams = literal.array_windows().map(masked);
        let ranked: BTreeSet<_> =
            grams.map(|gram| (self.0.get(&gram).map_or(1, |n| n + 1), slot(gram))).collect();
        ranked.into_iter().collect()
    }

    /// Returns how often a rule would be tried if it were looked up by this set.
    fn cost(&self, set: &Literals) -> usize {
        set.iter().filter_map(|literal| Some(self.grams(literal).first()?.0)).sum()
    }
}

/// Grams of one literal, all of which must occur.
type Grams = [u16; 3];

/// The prefilter. `src/rules.rs` reads it, with the same names.
struct Tables {
    /// By slot: rules that may match when it occurs, with more grams of the same literal.
    by_slot: Vec<Vec<(usize, Grams)>>,
    /// Rules that require no literal.
    unfiltered: Vec<usize>,
    /// By rule: its second set of literals.
    further: Vec<Vec<Grams>>,
}

impl Tables {
    fn new(lists: &[Vec<Rule>; 3], frequencies: &Frequencies) -> Result<Self, Box<dyn Error>> {
        let mut tables = Self { by_slot: vec![vec![]; SLOTS], unfiltered: vec![], further: vec![] };
        for (index, rule) in lists.iter().flatten().enumerate() {
            let mut sets = literals::required(&rule.parse()?);
            sets.sort_by_key(|set| frequencies.cost(set));
            let mut sets = sets.iter();
            match sets.next() {
                None => tables.unfiltered.push(index),
                Some(set) => {
                    for literal in set {
                        let grams = frequencies.grams(literal);
                        let entry = (index, first_three(&grams[1..], grams[0]));
                        let entries = &mut tables.by_slot[usize::from(grams[0].1)];
                        if !entries.contains(&entry) {
                            entries.push(entry);
                        }
                    }
                }
            }
            let further = sets.next().into_iter().flatten().map(|literal| {
                let grams = frequencies.grams(literal);
                first_three(&grams, grams[0])
            });
            // Different literals may share their rarest grams.
            tables.further.push(further.collect::<BTreeSet<_>>().into_iter().collect());
        }
        Ok(tables)
    }

    fn render(&self) -> Result<String, Box<dyn Error>> {
        let mut code = String::new();
        writeln!(code, "static UNFILTERED: &[u16] = &{:?};", self.unfiltered)?;
        let starts = self::starts(&self.by_slot)?;
        writeln!(code, "static SLOT_STARTS: [u16; {}] = {starts:?};", starts.len())?;
        writeln!(code, "static ENTRIES: &[Entry] = &[")?;
        for (rule, grams) in self.by_slot.iter().flatten() {
            writeln!(code, "Entry {{ rule: {rule}, grams: {grams:?} }},")?;
        }
        let starts = self::starts(&self.further)?;
        writeln!(code, "];\nstatic FURTHER_STARTS: [u16; {}] = {starts:?};", starts.len())?;
        let grams: Vec<_> = self.further.iter().flatten().collect();
        writeln!(code, "static FURTHER: &[[u16; 3]] = &{grams:?};")?;
        Ok(code)
    }
}

/// Returns the first three grams, filled up with another one.
fn first_three(grams: &[(usize, u16)], filler: (usize, u16)) -> Grams {
    [0, 1, 2].map(|at| grams.get(at).unwrap_or(&filler).1)
}

/// Returns where each list starts when they are stored one after the other, and where the last ends.
fn starts<T>(lists: &[Vec<T>]) -> Result<Vec<u16>, Box<dyn Error>> {
    let mut starts = vec![0];
    let mut total = 0;
    for list in lists {
        total += list.len();
        starts.push(u16::try_from(total)?);
    }
    Ok(starts)
}
