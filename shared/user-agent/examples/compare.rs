//! Compares our backtracker with engines that compile a rule when it is first tried, all of them
//! after the same prefilter:
//!
//!     cargo run --release -p user-agent --example compare
//!
//! Every number comes from a fresh process. Instructions need valgrind.

#![allow(
    missing_docs,
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "an example, which includes private modules"
)]

#[path = "../src/grams.rs"]
mod grams;
#[path = "../src/program.rs"]
mod program;
#[path = "../src/rules.rs"]
mod rules;
#[path = "../src/step.rs"]
mod step;

use std::collections::HashMap;
use std::error::Error;
use std::hint::black_box;
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::time::Instant;
use std::{env, fs};

use program::{Agent, Groups, Matcher};
use regex_automata::nfa::thompson::backtrack::{self, BoundedBacktracker};
use regex_automata::nfa::thompson::pikevm::{self, PikeVM};
use regex_automata::nfa::thompson::{self};
use regex_automata::util::captures::Captures;
use regex_automata::util::syntax;
use regex_automata::{Input, meta};
use rules::{BROWSERS, Candidates, DEVICES, Found, SYSTEMS};
use serde::Deserialize;

include!(concat!(env!("OUT_DIR"), "/patterns.rs"));

const ENGINES: [&str; 6] = ["ours", "backtracker", "pikevm", "meta", "regex", "regex-lite"];

/// Common agents; the cost of the first agent is the mean of these.
const COMMON: [&str; 6] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/126.0.6478.54 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 14; SM-S918B Build/UP1A.231005.007) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/124.0.6367.82 Mobile Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15",
    "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:93.0) Gecko/20100101 Firefox/93.0",
    "python-requests/2.31.0",
];

type Places = [Option<usize>; 18];

enum Engine {
    Ours(Matcher),
    Backtracker(HashMap<usize, BoundedBacktracker>, Option<backtrack::Cache>),
    PikeVm(HashMap<usize, (PikeVM, pikevm::Cache)>),
    Meta(HashMap<usize, meta::Regex>),
    Regex(HashMap<usize, regex::bytes::Regex>),
    Lite(HashMap<usize, regex_lite::Regex>),
}

impl Engine {
    fn new(name: &str) -> Self {
        match name {
            "ours" => Self::Ours(Matcher::default()),
            "backtracker" => Self::Backtracker(HashMap::new(), None),
            "pikevm" => Self::PikeVm(HashMap::new()),
            "meta" => Self::Meta(HashMap::new()),
            "regex" => Self::Regex(HashMap::new()),
            _ => Self::Lite(HashMap::new()),
        }
    }

    fn parse(&mut self, text: &str) -> [Option<Found>; 3] {
        let agent = Agent::new(text);
        let candidates = Candidates::of(&agent);
        [BROWSERS, SYSTEMS, DEVICES].map(|kind| self.find(&kind, &candidates, &agent))
    }

    fn find(
        &mut self,
        kind: &Range<usize>,
        candidates: &Candidates,
        agent: &Agent<'_>,
    ) -> Option<Found> {
        if let Self::Ours(matcher) = self {
            return rules::find(kind, candidates, agent, matcher);
        }
        let (index, places) = candidates
            .0
            .iter()
            .filter(|index| kind.contains(index))
            .find_map(|&index| Some((index, self.places(index, agent.image())?)))?;
        rules::found(index, &Groups { agent, places })
    }

    fn places(&mut self, index: usize, image: &[u8]) -> Option<Places> {
        let (pattern, ignore_case) = PATTERNS[index];
        let syntax =
            || syntax::Config::new().unicode(false).utf8(false).case_insensitive(ignore_case);
        let nfa = || thompson::Config::new().utf8(false);
        match self {
            Self::Ours(_) => None,
            Self::Backtracker(rules, cache) => {
                let rule = rules.entry(index).or_insert_with(|| {
                    let mut builder = BoundedBacktracker::builder();
                    builder.syntax(syntax()).thompson(nfa()).build(pattern).expect("a rule")
                });
                let cache = cache.get_or_insert_with(|| rule.create_cache());
                rule.reset_cache(cache);
                let mut captures = rule.create_captures();
                rule.try_captures(cache, image, &mut captures).expect("a short agent");
                captured(&captures)
            }
            Self::PikeVm(rules) => {
                let (rule, cache) = rules.entry(index).or_insert_with(|| {
                    let mut builder = PikeVM::builder();
                    let rule =
                        builder.syntax(syntax()).thompson(nfa()).build(pattern).expect("a rule");
                    let cache = rule.create_cache();
                    (rule, cache)
                });
                let mut captures = rule.create_captures();
                rule.captures(cache, image, &mut captures);
                captured(&captures)
            }
            Self::Meta(rules) => {
                // Only the backtracker.
                let config = meta::Config::new().hybrid(false).dfa(false).onepass(false);
                let config = config.auto_prefilter(false).utf8_empty(false);
                let rule = rules.entry(index).or_insert_with(|| {
                    let mut builder = meta::Regex::builder();
                    builder.configure(config).syntax(syntax()).build(pattern).expect("a rule")
                });
                let mut captures = rule.create_captures();
                rule.captures(Input::new(image), &mut captures);
                captured(&captures)
            }
            Self::Regex(rules) => {
                let rule = rules.entry(index).or_insert_with(|| {
                    let mut builder = regex::bytes::RegexBuilder::new(pattern);
                    builder.unicode(false).case_insensitive(ignore_case).build().expect("a rule")
                });
                let captures = rule.captures(image)?;
                Some(places(captures.iter().map(|group| Some(group?.range()))))
            }
            Self::Lite(rules) => {
                let rule = rules.entry(index).or_insert_with(|| {
                    let mut builder = regex_lite::RegexBuilder::new(pattern);
                    builder.case_insensitive(ignore_case).build().expect("a rule")
                });
                let captures = rule.captures(str::from_utf8(image).ok()?)?;
                Some(places(captures.iter().map(|group| Some(group?.range()))))
            }
        }
    }
}

fn captured(captures: &Captures) -> Option<Places> {
    captures.is_match().then(|| places(captures.iter().map(|group| Some(group?.range()))))
}

fn places(groups: impl Iterator<Item = Option<Range<usize>>>) -> Places {
    let mut places = [None; 18];
    for (group, ends) in groups.skip(1).zip(places.as_chunks_mut().0) {
        *ends = [group.as_ref().map(|group| group.start), group.map(|group| group.end)];
    }
    places
}

#[derive(Deserialize)]
struct Cases {
    test_cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    user_agent_string: String,
}

fn cases(file: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let text = fs::read_to_string(Path::new(env!("UAP_CORE")).join("tests").join(file))?;
    let cases = serde_norway::from_str::<Cases>(&text)?.test_cases;
    let mut agents: Vec<String> = cases.into_iter().map(|case| case.user_agent_string).collect();
    agents.sort();
    agents.dedup();
    agents.retain(|agent| !agent.is_empty() && !agent.contains(['\n', '\r']));
    Ok(agents)
}

/// Resident memory, in kB.
fn resident() -> Result<usize, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// One process: prints µs per agent, µs per agent the second time, kB of growth.
fn measure(engine: &str, file: &str, rounds: usize) -> Result<(), Box<dyn Error>> {
    let text = fs::read_to_string(file)?;
    let mut engine = Engine::new(engine);
    let before = resident()?;
    for _ in 0..rounds {
        let start = Instant::now();
        for agent in text.lines() {
            black_box(engine.parse(black_box(agent)));
        }
        let agents = u32::try_from(text.lines().count())?;
        print!("{} ", (start.elapsed() / agents).as_nanos() / 1_000);
    }
    println!("{}", resident()?.saturating_sub(before));
    Ok(())
}

/// The numbers that such a process prints.
fn spawn(engine: &str, file: &Path, rounds: usize) -> Result<Vec<usize>, Box<dyn Error>> {
    let output = Command::new(env::current_exe()?)
        .arg(engine)
        .arg(file)
        .arg(rounds.to_string())
        .output()?
        .stdout;
    let numbers = str::from_utf8(&output)?.split_whitespace().map(str::parse);
    Ok(numbers.collect::<Result<_, _>>()?)
}

/// All instructions of such a process.
fn instructions(engine: &str, file: &Path, rounds: usize) -> Result<usize, Box<dyn Error>> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe()?)
        .arg(engine)
        .arg(file)
        .arg(rounds.to_string())
        .output()?
        .stderr;
    let output = String::from_utf8(output)?;
    let count = output.split("Collected : ").nth(1).ok_or("no count")?;
    Ok(count.split_whitespace().next().ok_or("no count")?.parse()?)
}

fn main() -> Result<(), Box<dyn Error>> {
    if let [_, engine, file, rounds] = &env::args().collect::<Vec<_>>()[..] {
        return measure(engine, file, rounds.parse()?);
    }
    let folder = env::temp_dir().join(format!("compare-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let write = |name: &str, agents: &[&str]| {
        let file = folder.join(name);
        fs::write(&file, agents.join("\n")).map(|()| file)
    };
    let browsers = cases("test_ua.yaml")?;
    let mix: Vec<&str> = (0..500).map(|at| browsers[at * browsers.len() / 500].as_str()).collect();
    let mix = write("mix", &mix)?;
    let (systems, devices) = (cases("test_os.yaml")?, cases("test_device.yaml")?);
    let all: Vec<&str> =
        [&browsers, &systems, &devices].into_iter().flatten().map(String::as_str).collect();
    let count = all.len();
    let all = write("all", &all)?;
    let mut firsts = vec![];
    for (index, agent) in COMMON.iter().enumerate() {
        firsts.push(write(&format!("first-{index}"), &[agent])?);
    }

    println!(
        "| engine | first agent: µs, mean (highest) | instructions, mean (highest) | 500 agents: µs each, first time / again | instructions each | resident growth, kB | all {count} agents, kB | differing |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for engine in ENGINES {
        let (mut times, mut counts) = (vec![], vec![]);
        for first in &firsts {
            let mut runs = vec![];
            for _ in 0..21 {
                runs.push(spawn(engine, first, 1)?[0]);
            }
            runs.sort_unstable();
            times.push(runs[10]);
            counts.push(
                instructions(engine, first, 1)?.saturating_sub(instructions(engine, first, 0)?),
            );
        }
        let mixed = spawn(engine, &mix, 2)?;
        let start = instructions(engine, &mix, 0)?;
        let once = instructions(engine, &mix, 1)?;
        let twice = instructions(engine, &mix, 2)?;
        let (mut ours, mut other) = (Engine::new("ours"), Engine::new(engine));
        let text = fs::read_to_string(&all)?;
        let differing = text.lines().filter(|agent| {
            let names = |found: [Option<Found>; 3]| {
                let [browser, system, device] = found;
                (browser, system, device.map(|device| device.name))
            };
            names(ours.parse(agent)) != names(other.parse(agent))
        });
        println!(
            "| {engine} | {} ({}) | {} ({}) | {} / {} | {} / {} | {} | {} | {} |",
            times.iter().sum::<usize>() / times.len(),
            times.iter().max().unwrap_or(&0),
            counts.iter().sum::<usize>() / counts.len(),
            counts.iter().max().unwrap_or(&0),
            mixed[0],
            mixed[1],
            (once - start) / 500,
            (twice - once) / 500,
            mixed[2],
            spawn(engine, &all, 1)?[1],
            differing.count(),
        );
    }
    fs::remove_dir_all(&folder)?;
    Ok(())
}
