//! Prints what parsing costs in time and memory:
//!
//!     cargo run --release -p user-agent --example cost
//!
//! The agents are every n-th browser of uap-core's tests. A second process parses them, because the
//! memory that reading the YAML file leaves behind would hide the growth.
#![allow(missing_docs, clippy::print_stdout, reason = "an example")]

use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::Instant;
use std::{env, fs};

use serde::Deserialize;
use user_agent::UserAgentParser;

const COMMON: &str = "Mozilla/5.0 (Linux; Android 14; SM-S918B Build/UP1A.231005.007) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/124.0.6367.82 Mobile Safari/537.36";
const AGENTS: usize = 500;

#[derive(Deserialize)]
struct Cases {
    test_cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    user_agent_string: String,
}

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(file) = env::args().nth(1) {
        return measure(&fs::read_to_string(file)?);
    }
    let cases = fs::read_to_string(Path::new(env!("UAP_CORE")).join("tests/test_ua.yaml"))?;
    let cases = serde_norway::from_str::<Cases>(&cases)?.test_cases;
    let mut agents: Vec<String> = cases.into_iter().map(|case| case.user_agent_string).collect();
    agents.sort();
    agents.dedup();
    let nth = |at| agents.get(at * agents.len() / AGENTS).map(String::as_str);
    let agents: Vec<&str> = (0..AGENTS).filter_map(nth).collect();

    let file = env::temp_dir().join(format!("agents-{}", std::process::id()));
    fs::write(&file, agents.join("\n"))?;
    let status = Command::new(env::current_exe()?).arg(&file).status()?;
    fs::remove_file(&file)?;
    if status.success() { Ok(()) } else { Err("measuring failed".into()) }
}

fn measure(agents: &str) -> Result<(), Box<dyn Error>> {
    let parser = UserAgentParser::new();
    let parse = |what, agents: &[&str]| {
        let start = Instant::now();
        for agent in agents {
            black_box(parser.parse(black_box(agent)));
        }
        let each = start.elapsed().as_secs_f64() * 1e6 / agents.len().max(1) as f64;
        println!("{what}: {each:.2} µs each");
    };
    let before = resident_kb()?;
    parse("first agent", &[COMMON]);
    parse("an agent seen before", &[COMMON; 1_000]);
    let agents: Vec<&str> = agents.lines().collect();
    parse("new agents", &agents);
    parse("new agents, rules compiled", &agents);
    println!("{} agents: resident memory + {} kB", agents.len(), resident_kb()? - before);
    parse("an agent made to backtrack", &[&"bot/".repeat(256)]);
    Ok(())
}

fn resident_kb() -> Result<usize, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
