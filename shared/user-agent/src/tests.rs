//! The rules are held to uap-core's own test cases, which lie beside them in the package.

use std::fs;
use std::ops::Range;
use std::path::Path;

use proptest::prelude::*;
use regex::bytes::RegexBuilder;
use serde::Deserialize;

use super::rules::find_by;
use super::*;

include!(concat!(env!("OUT_DIR"), "/patterns.rs"));

#[derive(Deserialize)]
struct Cases {
    test_cases: Vec<Case>,
}

/// Browsers and systems have versions; devices have a brand and a model, which are not looked at.
#[derive(Deserialize)]
struct Case {
    user_agent_string: String,
    family: String,
    major: Option<String>,
    minor: Option<String>,
    patch: Option<String>,
    patch_minor: Option<String>,
}

fn cases(file: &str) -> Vec<Case> {
    let text = fs::read_to_string(Path::new(env!("UAP_CORE")).join(file)).unwrap();
    serde_norway::from_str::<Cases>(&text).unwrap().test_cases
}

impl Case {
    fn expected(&self) -> Option<Found> {
        let parts = [&self.major, &self.minor, &self.patch, &self.patch_minor];
        let parts = parts.map(|part| part.as_deref().filter(|part| !part.is_empty()));
        let version: Vec<&str> = parts.into_iter().map_while(|part| part).collect();
        let version = (!version.is_empty()).then(|| version.join("."));
        (self.family != OTHER).then(|| Found { name: self.family.clone(), version })
    }
}

/// How many cases there were, all of which agreed.
fn agreement(kind: &Range<usize>, files: &[&str]) -> usize {
    let mut matcher = Matcher::default();
    let cases: Vec<Case> = files.iter().flat_map(|file| cases(file)).collect();
    for case in &cases {
        let agent = Agent::new(&case.user_agent_string);
        let found = rules::find(kind, &Candidates::of(&agent), &agent, &mut matcher);
        let mut found = found.filter(|found| found.name != OTHER);
        if *kind == DEVICES {
            // Devices have none, and what their rules capture means something else.
            found = found.map(|found| Found { version: None, ..found });
        }
        assert_eq!(found, case.expected(), "{}", case.user_agent_string);
    }
    cases.len()
}

#[test]
fn every_browser_of_uap_cores_tests_is_found() {
    let files = [
        "tests/test_ua.yaml",
        "test_resources/firefox_user_agent_strings.yaml",
        "test_resources/opera_mini_user_agent_strings.yaml",
        "test_resources/pgts_browser_list.yaml",
        "test_resources/podcasting_user_agent_strings.yaml",
    ];
    assert!(agreement(&BROWSERS, &files) > 10_000);
}

#[test]
fn every_system_of_uap_cores_tests_is_found() {
    let files = ["tests/test_os.yaml", "test_resources/additional_os_tests.yaml"];
    assert!(agreement(&SYSTEMS, &files) > 400);
}

#[test]
fn every_device_of_uap_cores_tests_is_found() {
    assert!(agreement(&DEVICES, &["tests/test_device.yaml"]) > 10_000);
}

/// Agents of all kinds, and the same with a gap that is longer than some rules allow.
fn some_agents() -> Vec<String> {
    let files = ["tests/test_ua.yaml", "tests/test_os.yaml", "tests/test_device.yaml"];
    let agents = files.iter().flat_map(|file| cases(file)).step_by(97);
    let mut agents: Vec<String> = agents.map(|case| case.user_agent_string).collect();
    for (index, length) in (0..agents.len()).step_by(5).zip([90, 110, 190, 210, 310].iter().cycle())
    {
        agents.push(agents[index].replacen(' ', &format!(" {} ", "x".repeat(*length)), 1));
    }
    agents
}

#[test]
fn filter_and_matcher_find_what_the_bare_expressions_find() {
    let compile = |(pattern, ignore_case): &(&str, bool)| {
        RegexBuilder::new(pattern).unicode(false).case_insensitive(*ignore_case).build().unwrap()
    };
    let expressions: Vec<_> = PATTERNS.iter().map(compile).collect();
    let mut matcher = Matcher::default();
    let agents = some_agents();
    assert!(agents.len() > 200);
    for text in &agents {
        let agent = Agent::new(text);
        let candidates = Candidates::of(&agent);
        for kind in [BROWSERS, SYSTEMS, DEVICES] {
            let ours = rules::find(&kind, &candidates, &agent, &mut matcher);
            let theirs = find_by(&expressions, &kind, &agent);
            let name = |found: Option<Found>| found.map(|found| found.name);
            if kind == DEVICES {
                assert_eq!(name(ours), name(theirs), "{text}");
            } else {
                assert_eq!(ours, theirs, "{text}");
            }
        }
    }
}

fn parsed(agent: &str) -> UserAgent {
    UserAgent::clone(&UserAgents::new().parse(agent))
}

/// Name and version, system and its version, device, joined for reading.
fn told(agent: &str) -> String {
    let UserAgent { name, version, os, device, crawler } = parsed(agent);
    let os = os.map_or_else(|| "-".to_owned(), |os| os.full.unwrap_or(os.name));
    let crawler = if crawler { " | crawler" } else { "" };
    format!("{name} {} | {os} | {device}{crawler}", version.as_deref().unwrap_or("-"))
}

#[test]
fn the_samples_agent_gives_the_samples_fields() {
    let agent = "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:93.0) Gecko/20100101 Firefox/93.0";
    let os = Os { name: "Ubuntu".to_owned(), version: None, full: None };
    let expected = UserAgent {
        name: "Firefox".to_owned(),
        version: Some("93.0".to_owned()),
        os: Some(os),
        device: "Other".to_owned(),
        crawler: false,
    };
    assert_eq!(parsed(agent), expected);
}

#[test]
fn common_agents_are_told_apart() {
    let cases = [
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
            "Chrome 131.0.0.0 | Windows 10 | Other",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/126.0.6478.54 Mobile/15E148 Safari/604.1",
            "Chrome Mobile iOS 126.0.6478.54 | iOS 17.5.1 | iPhone",
        ),
        (
            "Mozilla/5.0 (Linux; Android 14; SM-S918B Build/UP1A.231005.007) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/124.0.6367.82 Mobile Safari/537.36",
            "Chrome Mobile WebView 124.0.6367.82 | Android 14 | Samsung SM-S918B",
        ),
        ("python-requests/2.31.0", "Python Requests 2.31 | - | Other"),
        ("okhttp/4.12.0", "okhttp 4.12.0 | - | Other"),
        ("auth0-python/4.7.1", "Other - | - | Other"),
        ("", "Other - | - | Other"),
    ];
    for (agent, expected) in cases {
        assert_eq!(told(agent), expected, "{agent}");
    }
}

#[test]
fn condensed_agents_of_pulled_events_are_understood() {
    let cases = [
        (
            "Chrome Mobile iOS 131.0.6778 / iOS 18.1.0",
            "Chrome Mobile iOS 131.0.6778 | iOS 18.1 | Other",
        ),
        ("Firefox 125.0.0 / Arch 0.0.0", "Firefox 125.0 | Arch | Other"),
        ("Chrome 131.0.0 / Windows 10.0.0", "Chrome 131.0 | Windows 10 | Other"),
        (
            "Mobile Safari UI/WKWebView 0.0.0 / iOS 17.5.1",
            "Mobile Safari UI/WKWebView - | iOS 17.5.1 | Other",
        ),
        ("Other 0.0.0 / Other 0.0.0", "Other - | - | Other"),
        ("Googlebot 2.1.0 / Other 0.0.0", "Googlebot 2.1 | - | Other | crawler"),
    ];
    for (agent, expected) in cases {
        assert_eq!(told(agent), expected, "{agent}");
    }
}

#[test]
fn an_agent_that_only_looks_condensed_is_parsed_by_the_rules() {
    assert_eq!(told("curl/8.4.0 / 1"), "curl 8.4.0 | - | Other");
    assert_eq!(told("okhttp/4.12.0 / Android 14"), told("okhttp/4.12.0 Android 14"));
}

#[test]
fn a_crawler_is_marked_and_a_library_is_not() {
    let crawler = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";
    assert_eq!(told(crawler), "Googlebot 2.1 | - | Spider | crawler");
    assert_eq!(told("Java/1.8.0_201"), "Java 8.0.201 | - | Spider");
}

#[test]
fn woothee_names_what_the_rules_call_other() {
    let agent = "livedoor FeedFetcher/0.01 (http://reader.livedoor.com/; 1 subscriber)";
    assert_eq!(told(agent), "livedoor FeedFetcher - | - | Other | crawler");
}

#[test]
fn characters_beyond_ascii_come_through_whole() {
    let agent = "Mozilla/5.0 (Linux; Android 10; Größe 手机 Build/QP1A) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/99.0.4844.73 Mobile Safari/537.36";
    assert_eq!(parsed(agent).device, "Größe 手机");
}

#[test]
fn an_agent_seen_before_is_not_parsed_again() {
    let agents = UserAgents::new();
    let first = agents.parse("curl/8.4.0");
    for index in 0..200 {
        assert_eq!(agents.parse(&format!("curl/8.{index}")).name, "curl");
        assert!(Arc::ptr_eq(&first, &agents.parse("curl/8.4.0")));
    }
}

#[test]
fn an_agent_is_cut_at_a_character() {
    let agents = UserAgents::new();
    let endless = "é".repeat(1_000_000);
    assert_eq!(Agent::cut(&endless).len(), 1024);
    assert_eq!(Agent::cut(&format!("a{endless}")).len(), 1023);
    assert!(Arc::ptr_eq(&agents.parse(&endless), &agents.parse(&format!("{endless}a"))));
}

#[test]
fn agents_made_to_backtrack_are_parsed() {
    let repeated = [
        "Mozilla Mobile",
        "Opera/1.",
        "; ",
        "HbbTV/0.0.0 (;LGE;",
        "AppleWebKit/1.1 Safari",
        "iPod;CPU OS 1_1",
        "MSIE 1.",
        "Android",
        "x86_64; ",
        "bot/",
        "(",
        "\u{0}",
        "\u{2}lg",
        "0",
        ";A Build HuaweiA4",
        "a b",
    ];
    for text in repeated {
        let _ = parsed(&text.repeat(1024 / text.len() + 1));
        let _ = parsed(&format!("Mozilla/5.0 ({}", text.repeat(50)));
    }
}

proptest! {
    #[test]
    fn any_text_is_parsed(text in any::<String>(), agent in "(Mozilla/5.0 \\(|; |Android |Chrome/|iPhone|[0-9]{1,3}|\\.|[a-zé]{1,8}| / ){0,60}") {
        for text in [text, agent] {
            let first = parsed(&text);
            prop_assert_eq!(&first, &parsed(&text));
            prop_assert!(!first.name.is_empty() && !first.device.is_empty());
        }
    }
}
