//! Holds the rules to uap-core's own test cases, which come with them in the package `ua-parser`.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::*;
use regex_automata::meta;
use serde::Deserialize;

use super::haystack::MAX_LEN;
use super::matcher::{Groups, compile};
use super::rules::RULES;
use super::*;

#[derive(Deserialize)]
struct Cases {
    test_cases: Vec<Case>,
}

/// Browsers and operating systems have versions. A device's brand and model are not read.
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

/// Asserts that all cases agree, and returns their number.
fn assert_agreement(list: &Range<usize>, files: &[&str]) -> usize {
    let mut matcher = Matcher::default();
    let cases: Vec<Case> = files.iter().flat_map(|file| cases(file)).collect();
    for case in &cases {
        let haystack = Haystack::new(&case.user_agent_string);
        let found = rules::find(list, &Candidates::of(&haystack), &haystack, &mut matcher);
        let mut found = found.filter(|found| found.name != OTHER);
        if *list == DEVICE_RULES {
            // Devices have no version; the groups of their rules mean something else.
            found = found.map(|found| Found { version: None, ..found });
        }
        assert_eq!(found, case.expected(), "{}", case.user_agent_string);
    }
    cases.len()
}

#[test]
fn browser_rules_agree_with_uap_cores_cases() {
    let files = [
        "tests/test_ua.yaml",
        "test_resources/firefox_user_agent_strings.yaml",
        "test_resources/opera_mini_user_agent_strings.yaml",
        "test_resources/pgts_browser_list.yaml",
        "test_resources/podcasting_user_agent_strings.yaml",
    ];
    assert!(assert_agreement(&BROWSER_RULES, &files) > 10_000);
}

#[test]
fn os_rules_agree_with_uap_cores_cases() {
    let files = ["tests/test_os.yaml", "test_resources/additional_os_tests.yaml"];
    assert!(assert_agreement(&OS_RULES, &files) > 400);
}

#[test]
fn device_rules_agree_with_uap_cores_cases() {
    assert!(assert_agreement(&DEVICE_RULES, &["tests/test_device.yaml"]) > 10_000);
}

/// All rules as the crate `regex` compiles them, with its other engines.
static REFERENCE: LazyLock<Vec<meta::Regex>> = LazyLock::new(|| {
    let compile = |rule: &rules::Rule| {
        meta::Regex::builder().syntax(rule.syntax()).build(rule.pattern).unwrap()
    };
    RULES.iter().map(compile).collect()
});

/// Returns what the first matching rule of a list says, found by trying all of them.
fn find_unfiltered(list: &Range<usize>, haystack: &Haystack<'_>) -> Option<Found> {
    let (rule, captures) = list.clone().find_map(|index| {
        let regex = &REFERENCE[index];
        let mut captures = regex.create_captures();
        regex.captures(haystack.bytes(), &mut captures);
        captures.is_match().then(|| (&RULES[index], captures))
    })?;
    rule.found(&Groups { haystack, captures })
}

fn assert_same_as_unfiltered(text: &str, matcher: &mut Matcher) {
    let haystack = Haystack::new(text);
    let candidates = Candidates::of(&haystack);
    for list in [BROWSER_RULES, OS_RULES, DEVICE_RULES] {
        let found = rules::find(&list, &candidates, &haystack, matcher);
        assert_eq!(found, find_unfiltered(&list, &haystack), "{text}");
    }
}

/// Agents of all kinds, and the same with a gap that is longer than some rules allow.
fn sample_agents() -> Vec<String> {
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
fn prefilter_loses_no_match() {
    let mut matcher = Matcher::default();
    let agents = sample_agents();
    assert!(agents.len() > 200);
    for text in &agents {
        assert_same_as_unfiltered(text, &mut matcher);
    }
}

fn parsed(agent: &str) -> UserAgent {
    UserAgent::clone(&UserAgentParser::new().parse(agent))
}

/// Name and version, operating system, device, joined for reading.
fn summary(agent: &str) -> String {
    let UserAgent { name, version, os, device, crawler } = parsed(agent);
    let os = os.map_or_else(|| "-".to_owned(), |os| os.full.unwrap_or(os.name));
    let crawler = if crawler { " | crawler" } else { "" };
    format!("{name} {} | {os} | {device}{crawler}", version.as_deref().unwrap_or("-"))
}

#[test]
fn firefox_agent_becomes_ecs_sample_fields() {
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
fn common_agents_are_parsed() {
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
        assert_eq!(summary(agent), expected, "{agent}");
    }
}

#[test]
fn condensed_agents_of_logs_api_are_parsed() {
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
        assert_eq!(summary(agent), expected, "{agent}");
    }
}

#[test]
fn seemingly_condensed_agents_are_parsed_by_the_rules() {
    assert_eq!(summary("curl/8.4.0 / 1"), "curl 8.4.0 | - | Other");
    assert_eq!(summary("okhttp/4.12.0 / Android 14"), summary("okhttp/4.12.0 Android 14"));
}

#[test]
fn crawlers_are_marked_and_libraries_are_not() {
    let crawler = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";
    assert_eq!(summary(crawler), "Googlebot 2.1 | - | Spider | crawler");
    assert_eq!(summary("Java/1.8.0_201"), "Java 8.0.201 | - | Spider");
}

#[test]
fn woothee_names_agents_that_the_rules_call_other() {
    let agent = "livedoor FeedFetcher/0.01 (http://reader.livedoor.com/; 1 subscriber)";
    assert_eq!(summary(agent), "livedoor FeedFetcher - | - | Other | crawler");
}

#[test]
fn non_ascii_characters_are_kept_whole() {
    let agent = "Mozilla/5.0 (Linux; Android 10; Größe 手机 Build/QP1A) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/99.0.4844.73 Mobile Safari/537.36";
    assert_eq!(parsed(agent).device, "Größe 手机");
}

#[test]
fn cached_agents_are_not_parsed_again() {
    let agents = UserAgentParser::new();
    let first = agents.parse("curl/8.4.0");
    for index in 0..200 {
        assert_eq!(agents.parse(&format!("curl/8.{index}")).name, "curl");
        assert!(Arc::ptr_eq(&first, &agents.parse("curl/8.4.0")));
    }
}

#[test]
fn long_agents_are_cut_between_characters() {
    let agents = UserAgentParser::new();
    let endless = "é".repeat(1_000_000);
    assert_eq!(Haystack::truncate(&endless).len(), 1024);
    assert_eq!(Haystack::truncate(&format!("a{endless}")).len(), 1023);
    assert!(Arc::ptr_eq(&agents.parse(&endless), &agents.parse(&format!("{endless}a"))));
}

/// The backtracker visits each state of a rule at most once per place in the agent. For that it needs
/// a bitmap of all of them, and refuses to search without.
#[test]
fn matcher_accepts_the_longest_agent_for_every_rule() {
    for rule in &RULES {
        let longest = compile(rule).max_haystack_len();
        assert!(longest >= MAX_LEN, "{longest} bytes: {}", rule.pattern);
    }
}

/// The limit holds for the states of all rules tried times the places in the agent, which bounds the
/// backtracker's steps.
#[test]
fn hostile_agents_take_bounded_work() {
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
        let endless = text.repeat(MAX_LEN / text.len() + 1);
        for agent in [endless, format!("Mozilla/5.0 ({}", text.repeat(50))] {
            let mut matcher = Matcher::default();
            let haystack = Haystack::new(&agent);
            assert_same_as_unfiltered(&agent, &mut matcher);
            let most_steps = matcher.states() * (haystack.bytes().len() + 1);
            assert!(most_steps < 8_000_000, "{most_steps} steps: {agent}");

            let UserAgent { name, device, .. } = parsed(&agent);
            assert!(!name.is_empty() && !device.is_empty(), "{agent}");
        }
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
