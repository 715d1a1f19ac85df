//! Parses user-agent strings into browser, operating system and device, by the rules of
//! [uap-core](https://github.com/ua-parser/uap-core), as Elasticsearch's `user_agent` processor does.
//!
//! ```
//! use user_agent::UserAgentParser;
//!
//! let parser = UserAgentParser::new();
//! let agent = parser.parse(
//!     "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5_1 like Mac OS X) AppleWebKit/605.1.15 \
//!      (KHTML, like Gecko) CriOS/126.0.6478.54 Mobile/15E148 Safari/604.1",
//! );
//! assert_eq!(agent.name, "Chrome Mobile iOS");
//! assert_eq!(agent.version.as_deref(), Some("126.0.6478.54"));
//! assert_eq!(agent.os.as_ref().unwrap().full.as_deref(), Some("iOS 17.5.1"));
//! assert_eq!(agent.device, "iPhone");
//!
//! // What is unknown has uap-core's name for it.
//! assert_eq!(parser.parse("no such agent").name, "Other");
//! ```
//!
//! An agent takes four steps:
//!
//! 1. A cache (`lru`) answers for agents seen before: a tenant sees few different ones.
//! 2. Auth0's logs API sends agents in a condensed form, which is only taken apart (`condensed`).
//! 3. A prefilter over grams leaves a few of the 1,200 rules (`grams`, `rules`). They are tried in
//!    order, each one compiled the first time (`matcher`).
//! 4. `woothee` adds what the rules lack: names for some agents that they call `Other`, and which
//!    agents are crawlers.
//!
//! The rules stay in the published package `ua-parser`. The build script reads them there.

mod condensed;
mod grams;
mod haystack;
mod matcher;
mod rules;
#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use haystack::Haystack;
use lru::LruCache;
use matcher::Matcher;
use rules::{BROWSER_RULES, Candidates, DEVICE_RULES, Found, OS_RULES};
use woothee::parser::Parser;
use woothee::woothee::VALUE_UNKNOWN;

/// uap-core's name for everything unknown.
const OTHER: &str = "Other";

/// A parsed user-agent string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserAgent {
    /// `user_agent.name`: the family of the browser or client, `Other` if unknown.
    pub name: String,
    /// `user_agent.version`: the version's parts up to the first missing one.
    pub version: Option<String>,
    /// `user_agent.os`, `None` if unknown.
    pub os: Option<Os>,
    /// `user_agent.device.name`, `Other` if unknown.
    pub device: String,
    /// `true` for a crawler, whose events get a tag.
    pub crawler: bool,
}

/// An operating system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Os {
    /// `user_agent.os.name`.
    pub name: String,
    /// `user_agent.os.version`.
    pub version: Option<String>,
    /// `user_agent.os.full`: name and version, `None` without a version.
    pub full: Option<String>,
}

impl Os {
    fn new(name: String, version: Option<String>) -> Self {
        let full = version.as_ref().map(|version| format!("{name} {version}"));
        Self { name, version, full }
    }
}

/// A parser that remembers the agents it saw last and the rules it tried.
///
/// The rules tried grow to 4 MB with 500 agents of all kinds, and to 10 MB with every agent of
/// uap-core's tests.
#[derive(Debug)]
pub struct UserAgentParser(Mutex<State>);

#[derive(Debug)]
struct State {
    matcher: Matcher,
    cache: LruCache<String, Arc<UserAgent>>,
}

/// Number of agents remembered.
const CACHED_AGENTS: NonZeroUsize = NonZeroUsize::new(256).unwrap();

impl UserAgentParser {
    /// Costs next to nothing: rules are compiled when they are first tried.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "there is to be one, made at start")]
    pub fn new() -> Self {
        let cache = LruCache::new(CACHED_AGENTS);
        Self(Mutex::new(State { matcher: Matcher::default(), cache }))
    }

    /// Parses any string. What neither the rules nor `woothee` know is `Other`.
    ///
    /// Reads the first 1,024 bytes, and takes time in proportion to the length read at most.
    #[must_use]
    pub fn parse(&self, agent: &str) -> Arc<UserAgent> {
        let agent = Haystack::truncate(agent);
        let State { matcher, cache } = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(cache.get_or_insert_ref(agent, || {
            Arc::new(condensed::parse(agent).unwrap_or_else(|| parse(matcher, agent)))
        }))
    }
}

fn parse(matcher: &mut Matcher, text: &str) -> UserAgent {
    let haystack = Haystack::new(text);
    let candidates = Candidates::of(&haystack);
    let mut find = |list| rules::find(list, &candidates, &haystack, matcher);
    let (browser, os, device) = (find(&BROWSER_RULES), find(&OS_RULES), find(&DEVICE_RULES));

    let known = |found: &Found| found.name != OTHER;
    let browser = browser.filter(known);
    // To the rules `Spider` is any machine, HTTP libraries included.
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

/// The verdict of `woothee`. It is asked only where the rules leave something open, because it compiles
/// regular expressions of its own for its first answer.
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
