//! The rules are held to uap-core's own test cases, which lie beside them in the package.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::*;

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
fn agreement(kind: &std::ops::Range<usize>, files: &[&str]) -> usize {
    let mut rules = Rules::new();
    let cases: Vec<Case> = files.iter().flat_map(|file| cases(file)).collect();
    for case in &cases {
        let agent = Agent::new(&case.user_agent_string);
        let found = rules.find(kind.clone(), &Candidates::of(&agent), &agent);
        let mut found = found.filter(|found| found.name != OTHER);
        if *kind == DEVICES {
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
