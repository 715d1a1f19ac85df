//! uap-core's rules for user agents → static tables, so that a function starts without reading or
//! compiling any of them (see `src/rules.rs`).
//!
//! The rules are read from the published crate `ua-parser`, a build dependency for this alone: none
//! of them is copied into this repository, and an update is a new version in `Cargo.lock`.

#![expect(clippy::indexing_slicing, reason = "indices are of the tables that are built here")]
#![expect(clippy::print_stdout, reason = "that is how a build script speaks to cargo")]

mod compile;
#[path = "../src/grams.rs"]
mod grams;
mod literals;
#[path = "../src/step.rs"]
mod step;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use compile::{Classes, Program};
use grams::{DIGIT, SLOTS, fold, slot, without_digits};
use literals::Literals;
use regex_syntax::ParserBuilder;
use regex_syntax::hir::Hir;
use serde::Deserialize;
use ua_parser::Regexes;
use ua_parser::device::Flag;

use crate::step::{GROUPS, Step};

fn main() -> Result<(), Box<dyn Error>> {
    let core = uap_core()?;
    let file = core.join("regexes.yaml");
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed=src/grams.rs");
    println!("cargo::rerun-if-changed=src/step.rs");
    println!("cargo::rerun-if-changed={}", file.display());
    // For the tests, which read uap-core's own test cases.
    println!("cargo::rustc-env=UAP_CORE={}", core.display());

    let yaml = fs::read_to_string(&file)?;
    let kinds = rules(serde_norway::from_str(&yaml)?);
    let agents = fs::read(core.join("tests/test_ua.yaml"))?;
    let tables = Tables::new(&kinds, &Frequencies::of(&agents))?;
    let code = render_rules(&kinds)? + &tables.render()?;
    let out = env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?;
    fs::write(Path::new(&out).join("rules.rs"), code)?;
    fs::write(Path::new(&out).join("patterns.rs"), render_patterns(&kinds)?)?;
    Ok(())
}

/// The folder `uap-core` of the package `ua-parser`, wherever this build has it from: a registry's
/// sources or vendored.
fn uap_core() -> Result<PathBuf, Box<dyn Error>> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        manifest_path: PathBuf,
    }

    let cargo = env::var_os("CARGO").ok_or("CARGO is not set")?;
    let host = env::var_os("HOST").ok_or("HOST is not set")?;
    let metadata = |more: &[&str]| {
        Command::new(&cargo)
            .args(["metadata", "--format-version=1", "--locked", "--filter-platform"])
            .arg(&host)
            .args(more)
            .output()
    };
    // Cargo wants all packages of the workspace for this. What this build did not need may not have
    // been fetched yet, and only then is the network asked.
    let mut output = metadata(&["--offline"])?;
    if !output.status.success() {
        output = metadata(&[])?;
    }
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let metadata: Metadata = serde_json::from_slice(&output.stdout)?;
    let package = metadata.packages.into_iter().find(|package| package.name == "ua-parser");
    let manifest = package.ok_or("cargo metadata names no package ua-parser")?.manifest_path;
    Ok(manifest.with_file_name("uap-core"))
}

struct Rule {
    pattern: String,
    ignore_case: bool,
    has_version: bool,
    /// Replacements; what has none is taken from the capture group of its position.
    name: Option<String>,
    version: [Option<String>; 4],
}

impl Rule {
    /// By bytes, which the matcher takes for characters; classes such as `\d` are ASCII.
    fn parse(&self) -> Result<Hir, Box<dyn Error>> {
        let parser = &mut ParserBuilder::new();
        let parser = parser.unicode(false).utf8(false).case_insensitive(self.ignore_case);
        Ok(parser.build().parse(&self.pattern)?)
    }

    /// Whether the name or the version is made of this group.
    fn uses(&self, group: u32) -> bool {
        let part = |replacement: &Option<String>, own: u32| match replacement {
            Some(text) => text.contains(&format!("${group}")),
            None => group == own,
        };
        let version = self.version.iter().zip(2..).any(|(text, own)| part(text, own));
        (1..=GROUPS).contains(&(group as usize))
            && (part(&self.name, 1) || self.has_version && version)
    }
}

/// The rules for browsers, operating systems and devices. Brand and model of devices have no field
/// in ECS.
fn rules(regexes: Regexes<'_>) -> [Vec<Rule>; 3] {
    let text = |replacement: Option<Cow<'_, str>>| {
        replacement.map(Cow::into_owned).filter(|text| !text.trim().is_empty())
    };
    let browsers = regexes.user_agent_parsers.into_iter().map(|rule| Rule {
        pattern: rule.regex.into_owned(),
        ignore_case: false,
        has_version: true,
        name: text(rule.family_replacement),
        version: [
            rule.v1_replacement,
            rule.v2_replacement,
            rule.v3_replacement,
            rule.v4_replacement,
        ]
        .map(text),
    });
    let systems = regexes.os_parsers.into_iter().map(|rule| Rule {
        pattern: rule.regex.into_owned(),
        ignore_case: false,
        has_version: true,
        name: text(rule.os_replacement),
        version: [
            rule.os_v1_replacement,
            rule.os_v2_replacement,
            rule.os_v3_replacement,
            rule.os_v4_replacement,
        ]
        .map(text),
    });
    let devices = regexes.device_parsers.into_iter().map(|rule| Rule {
        pattern: rule.regex.into_owned(),
        ignore_case: rule.regex_flag == Some(Flag::IgnoreCase),
        has_version: false,
        name: text(rule.device_replacement),
        version: [const { None }; 4],
    });
    [browsers.collect(), systems.collect(), devices.collect()]
}

fn render_rules(kinds: &[Vec<Rule>; 3]) -> Result<String, Box<dyn Error>> {
    let mut code = String::new();
    let mut start = 0;
    for (name, rules) in ["BROWSERS", "SYSTEMS", "DEVICES"].iter().zip(kinds) {
        let end = start + rules.len();
        writeln!(code, "pub(super) const {name}: Range<usize> = {start}..{end};")?;
        start = end;
    }
    let mut classes = Classes::default();
    writeln!(code, "static RULES: [Rule; {start}] = [")?;
    for rule in kinds.iter().flatten() {
        let uses = |group| rule.uses(group);
        let mut program = Program::new(&rule.parse()?, &mut classes, &uses)?;
        let (first, Rule { name, version, .. }) = (program.first()?, rule);
        let program: Vec<String> = program.steps.iter().map(render_step).collect();
        let program = program.join(", ");
        writeln!(
            code,
            "Rule {{ program: &[{program}], first: {first:?}, name: {name:?}, version: {version:?} }},"
        )?;
    }
    let classes = classes.all();
    let list: Vec<String> = classes.iter().map(|class| format!("Class({class:?})")).collect();
    writeln!(code, "];\nstatic CLASSES: [Class; {}] = [{}];", list.len(), list.join(", "))?;
    Ok(code)
}

/// The rules' expressions, for comparison with other engines: tests and examples include them.
fn render_patterns(kinds: &[Vec<Rule>; 3]) -> Result<String, Box<dyn Error>> {
    let mut code = String::from("static PATTERNS: &[(&str, bool)] = &[\n");
    for Rule { pattern, ignore_case, .. } in kinds.iter().flatten() {
        writeln!(code, "({pattern:?}, {ignore_case}),")?;
    }
    writeln!(code, "];")?;
    Ok(code)
}

fn render_step(step: &Step) -> String {
    match *step {
        Step::Byte(byte) => format!("Byte({byte})"),
        Step::Class(class) => format!("In({class})"),
        Step::Run { class, least, most, greedy } => {
            format!("Run {{ class: {class}, least: {least}, most: {most}, greedy: {greedy} }}")
        }
        Step::Save(slot) => format!("Save({slot})"),
        Step::Or(other) => format!("Or({other})"),
        Step::Jump(other) => format!("Jump({other})"),
        Step::Start => "Start".to_owned(),
        Step::End => "End".to_owned(),
        Step::Boundary => "Boundary".to_owned(),
        Step::Match => "Match".to_owned(),
    }
}

/// How common each gram is among agents: a literal is best looked for by its rarest.
struct Frequencies(BTreeMap<[u8; 3], usize>);

impl Frequencies {
    fn of(text: &[u8]) -> Self {
        let text: Vec<u8> = text.iter().map(|byte| fold(*byte)).collect();
        let mut counts = BTreeMap::new();
        for gram in text.array_windows() {
            for gram in [Some(*gram), without_digits(*gram)].into_iter().flatten() {
                *counts.entry(gram).or_default() += 1;
            }
        }
        Self(counts)
    }

    /// A literal's grams, the rarest first, with its frequency.
    fn grams(&self, literal: &[u8]) -> Vec<(usize, u16)> {
        // Beside "any digit" no digit is looked for.
        let general = |gram: &[u8; 3]| {
            let general = without_digits(*gram).filter(|_| gram.contains(&DIGIT));
            general.unwrap_or(*gram)
        };
        let grams = literal.array_windows().map(general);
        let ranked: BTreeSet<_> =
            grams.map(|gram| (self.0.get(&gram).map_or(1, |n| n + 1), slot(gram))).collect();
        ranked.into_iter().collect()
    }

    /// How often a rule would be tried if it were looked for by this set.
    fn cost(&self, set: &Literals) -> usize {
        set.iter().filter_map(|literal| Some(self.grams(literal).first()?.0)).sum()
    }
}

/// Grams that must all be there, for one literal.
type Grams = [u16; 3];

/// The prefilter; for its use see `src/rules.rs`, which has the same names.
struct Tables {
    /// By slot: rules that may match when it occurs, with further grams of the same literal.
    by_slot: Vec<Vec<(usize, Grams)>>,
    /// Rules that nothing can be required of.
    unfiltered: Vec<usize>,
    /// By rule: its second set of literals.
    further: Vec<Vec<Grams>>,
}

impl Tables {
    fn new(kinds: &[Vec<Rule>; 3], frequencies: &Frequencies) -> Result<Self, Box<dyn Error>> {
        let mut tables = Self { by_slot: vec![vec![]; SLOTS], unfiltered: vec![], further: vec![] };
        for (index, rule) in kinds.iter().flatten().enumerate() {
            let mut sets = literals::required(&rule.parse()?);
            sets.sort_by_key(|set| frequencies.cost(set));
            let mut sets = sets.iter();
            match sets.next() {
                None => tables.unfiltered.push(index),
                Some(set) => {
                    for literal in set {
                        let grams = frequencies.grams(literal);
                        let entry = (index, three(&grams[1..], grams[0]));
                        let entries = &mut tables.by_slot[usize::from(grams[0].1)];
                        if !entries.contains(&entry) {
                            entries.push(entry);
                        }
                    }
                }
            }
            let further = sets.next().into_iter().flatten().map(|literal| {
                let grams = frequencies.grams(literal);
                three(&grams, grams[0])
            });
            // Different literals may have the same rarest grams.
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

/// The first three of these grams, and another where there are fewer.
fn three(grams: &[(usize, u16)], other: (usize, u16)) -> Grams {
    [0, 1, 2].map(|at| grams.get(at).unwrap_or(&other).1)
}

/// Where each list starts once they stand one after the other, and where the last one ends.
fn starts<T>(lists: &[Vec<T>]) -> Result<Vec<u16>, Box<dyn Error>> {
    let mut starts = vec![0];
    let mut total = 0;
    for list in lists {
        total += list.len();
        starts.push(u16::try_from(total)?);
    }
    Ok(starts)
}
