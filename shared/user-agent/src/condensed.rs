//! The condensed form of agents in Auth0's logs API: `Chrome Mobile iOS 131.0.6778 / iOS 18.1.0`.
//!
//! The npm package `useragent` makes it from an agent by older rules of uap-core: the families of
//! browser and operating system, each with a version of three parts. Unknown parts are zero.

use super::{OTHER, Os, SecondOpinion, UserAgent};

/// Returns `None` if the agent is not in this form.
pub(super) fn parse(agent: &str) -> Option<UserAgent> {
    let (browser, os) = agent.split_once(" / ")?;
    let ((name, version), (os, os_version)) = (split(browser)?, split(os)?);
    let os = (os != OTHER).then(|| {
        Os::new(os.to_owned(), known(os_version).map(|version| without_zeros(version).to_owned()))
    });
    Some(UserAgent {
        name: name.to_owned(),
        // `125.0` is the whole version of many browsers, whose agents say `125.0` or `125.0.0.0`.
        version: known(version).map(|version| version.strip_suffix(".0").unwrap_or(version).into()),
        device: OTHER.to_owned(),
        // Crawlers name no operating system.
        crawler: os.is_none() && SecondOpinion::of(agent).crawler,
        os,
    })
}

/// Splits family and version, such as `iOS` and `18.1.0`.
fn split(half: &str) -> Option<(&str, &str)> {
    let (family, version) = half.rsplit_once(' ')?;
    let mut parts = version.split('.');
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_version = parts.by_ref().take(3).filter(|part| is_number(part)).count() == 3;
    (is_version && parts.next().is_none() && !family.is_empty()).then_some((family, version))
}

fn known(version: &str) -> Option<&str> {
    (without_zeros(version) != "0").then_some(version)
}

fn without_zeros(version: &str) -> &str {
    version.trim_end_matches(".0")
}
