//! User-agent string → browser, operating system and device, as Elasticsearch's `user_agent`
//! processor gives them: by the rules of uap-core.
//!
//! An Auth0 tenant sees few different agents, so a small cache stands in front of the rules.
//! `woothee` adds what the rules lack: names for some agents they call `Other`, and the mark of
//! crawlers.

mod condensed;
mod grams;
mod program;
mod rules;
mod step;
#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;
use program::{Agent, Matcher};
use rules::{BROWSERS, Candidates, DEVICES, Found, SYSTEMS};
use woothee::parser::Parser;
use woothee::woothee::VALUE_UNKNOWN;

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

/// The parser, with the agents that it saw last.
#[derive(Debug)]
pub struct UserAgents(Mutex<State>);

#[derive(Debug)]
struct State {
    matcher: Matcher,
    cache: LruCache<Box<str>, Arc<UserAgent>>,
}

/// Agents that are remembered: a tenant sees few different ones.
const AGENTS: NonZeroUsize = NonZeroUsize::new(256).unwrap();

impl UserAgents {
    /// Costs nothing: the rules were compiled with this crate.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "there is to be one, made at start")]
    pub fn new() -> Self {
        Self(Mutex::new(State { matcher: Matcher::default(), cache: LruCache::new(AGENTS) }))
    }

    /// Parses any string; what neither the rules nor `woothee` know is `Other`.
    ///
    /// Takes time in proportion to the agent's length at worst, of which 1 KiB is looked at.
    #[must_use]
    pub fn parse(&self, agent: &str) -> Arc<UserAgent> {
        let agent = Agent::cut(agent);
        let State { matcher, cache } = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = cache.get(agent) {
            return Arc::clone(known);
        }
        let parsed = Arc::new(condensed::parse(agent).unwrap_or_else(|| parse(matcher, agent)));
        cache.put(agent.into(), Arc::clone(&parsed));
        parsed
    }
}

fn parse(matcher: &mut Matcher, text: &str) -> UserAgent {
    let agent = Agent::new(text);
    let candidates = Candidates::of(&agent);
    let mut find = |kind| rules::find(kind, &candidates, &agent, matcher);
    let (browser, os, device) = (find(&BROWSERS), find(&SYSTEMS), find(&DEVICES));

    let known = |found: &Found| found.name != OTHER;
    let browser = browser.filter(known);
    // `Spider` is any machine to the rules, libraries for HTTP too.
    let opinion = (browser.is_none() || device.as_ref().is_some_and(|it| it.name == "Spider"))
        .then(|| SecondOpinion::of(text));
    let crawler = opinion.as_ref().is_some_and(|opinion| opinion.crawler);
    let Found { name, version } = browser
        .or_else(|| opinion?.browser)
        .unwrap_or_else(|| Found { name: OTHER.into(), version: None });
    UserAgent {
        name,
        version,
        os: os.filter(known).map(|Found { name, version }| Os::new(name, version)),
        device: device.map_or_else(|| OTHER.into(), |device| device.name),
        crawler,
    }
}

/// What `woothee` says. It is asked only where the rules leave something to say: its first answer
/// takes as long as a cold start's whole parsing otherwise.
struct SecondOpinion {
    browser: Option<Found>,
    crawler: bool,
}

impl SecondOpinion {
    fn of(agent: &str) -> Self {
        let known = |text: &str| (text != VALUE_UNKNOWN).then(|| text.to_owned());
        match Parser::new().parse(agent) {
            None => Self { browser: None, crawler: false },
            Some(it) => Self {
                browser: known(it.name).map(|name| Found { name, version: known(it.version) }),
                crawler: it.category == "crawler",
            },
        }
    }
}
