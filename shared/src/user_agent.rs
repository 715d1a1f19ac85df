//! User-agent string → browser, operating system and device, as Elasticsearch's `user_agent`
//! processor gives them: by the rules of uap-core.
//!
//! An Auth0 tenant sees few different agents, so a small cache stands in front of the rules.
//! `woothee` adds what the rules lack: names for some agents they call `Other`, and the mark of
//! crawlers.

mod condensed;
mod expression;
mod grams;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use rules::{BROWSERS, Candidates, DEVICES, Found, Rules, SYSTEMS};
use woothee::parser::Parser;

use expression::Agent;

/// What is unknown.
const OTHER: &str = "Other";

/// What a user-agent string tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserAgent {
    /// `user_agent.name`: the browser's or client's family, `Other` where unknown.
    pub name: String,
    /// `user_agent.version`: the version's parts up to the first missing one.
    pub version: Option<String>,
    /// `user_agent.os`, absent where unknown.
    pub os: Option<Os>,
    /// `user_agent.device.name`, `Other` where unknown.
    pub device: String,
    /// Whether it is a crawler's, which earns the event a tag.
    pub crawler: bool,
}

/// An operating system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Os {
    /// `user_agent.os.name`.
    pub name: String,
    /// `user_agent.os.version`.
    pub version: Option<String>,
    /// `user_agent.os.full`: name and version, only with a version.
    pub full: Option<String>,
}

impl Os {
    fn new(name: String, version: Option<String>) -> Self {
        let full = version.as_ref().map(|version| format!("{name} {version}"));
        Self { name, version, full }
    }
}

/// The parser: the rules that were needed so far, and the agents seen last.
#[derive(Debug)]
pub struct UserAgents(Mutex<State>);

#[derive(Debug)]
struct State {
    rules: Rules,
    cache: Cache,
}

impl UserAgents {
    /// Compiles nothing yet: a rule is compiled when an agent first needs it.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "there is to be one, made at start")]
    pub fn new() -> Self {
        Self(Mutex::new(State { rules: Rules::new(), cache: Cache::default() }))
    }

    /// Parses any string; what neither the rules nor `woothee` know is `Other`.
    ///
    /// Takes time in proportion to the agent's length at worst, of which 1 KiB is looked at.
    #[must_use]
    pub fn parse(&self, agent: &str) -> Arc<UserAgent> {
        let agent = Agent::cut(agent);
        let State { rules, cache } = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = cache.get(agent) {
            return known;
        }
        let parsed = Arc::new(condensed::parse(agent).unwrap_or_else(|| parse(rules, agent)));
        cache.insert(agent, &parsed);
        parsed
    }
}

fn parse(rules: &mut Rules, text: &str) -> UserAgent {
    let agent = Agent::new(text);
    let candidates = Candidates::of(&agent);
    let browser = rules.find(BROWSERS, &candidates, &agent);
    let os = rules.find(SYSTEMS, &candidates, &agent);
    let device = rules.find(DEVICES, &candidates, &agent);

    let known = |found: &Found| found.name != OTHER;
    let second_opinion = SecondOpinion::of(text);
    let Found { name, version } = browser
        .filter(known)
        .or(second_opinion.name)
        .unwrap_or_else(|| Found { name: OTHER.into(), version: None });
    UserAgent {
        name,
        version,
        os: os.filter(known).map(|Found { name, version }| Os::new(name, version)),
        crawler: second_opinion.crawler || device.as_ref().is_some_and(|it| it.name == "Spider"),
        device: device.map_or_else(|| OTHER.into(), |device| device.name),
    }
}

/// What `woothee` says.
struct SecondOpinion {
    name: Option<Found>,
    crawler: bool,
}

impl SecondOpinion {
    fn of(agent: &str) -> Self {
        let known = |text: &str| (text != woothee::woothee::VALUE_UNKNOWN).then(|| text.to_owned());
        match Parser::new().parse(agent) {
            None => Self { name: None, crawler: false },
            Some(result) => Self {
                name: known(result.name).map(|name| Found { name, version: known(result.version) }),
                crawler: result.category == "crawler",
            },
        }
    }
}

/// The agents seen last: when the young half is full, it becomes the old half, and what is not asked
/// for again goes with the next.
#[derive(Debug, Default)]
struct Cache {
    young: HashMap<Box<str>, Arc<UserAgent>>,
    old: HashMap<Box<str>, Arc<UserAgent>>,
}

impl Cache {
    const HALF: usize = 128;

    fn get(&mut self, agent: &str) -> Option<Arc<UserAgent>> {
        if let Some(known) = self.young.get(agent) {
            return Some(Arc::clone(known));
        }
        let known = self.old.remove(agent)?;
        self.insert(agent, &known);
        Some(known)
    }

    fn insert(&mut self, agent: &str, parsed: &Arc<UserAgent>) {
        if self.young.len() == Self::HALF {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(agent.into(), Arc::clone(parsed));
    }
}
