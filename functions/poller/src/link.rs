//! `Link: <https://…/api/v2/logs?from=…&take=…>; rel="next"`, by which Auth0 asks to be paged.
//!
//! Auth0 sends it with every page; that of an empty page repeats the request
//! (<https://auth0.com/docs/deploy-monitor/logs/retrieve-log-events-using-mgmt-api>). Only its `from` is
//! used: the token is sent to the configured URL and nowhere else.

use reqwest::header::{HeaderMap, LINK};
use url::Url;

/// Upper bound for `from`, in bytes. A log id has 56.
const MAX_FROM: usize = 256;

/// Returns the `from` of the page that follows, if the headers link to one at `logs_url`.
pub(crate) fn next_from(headers: &HeaderMap, logs_url: &Url) -> Option<String> {
    headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok()).find_map(|value| {
        // A URL holds no `<`, so each begins a link.
        value.split('<').find_map(|link| {
            let (target, parameters) = link.split_once('>')?;
            let target = logs_url.join(target).ok()?;
            let is_here = target.origin() == logs_url.origin() && target.path() == logs_url.path();
            if !is_here || !parameters.split([';', ',']).any(is_next) {
                return None;
            }
            let (_, from) = target.query_pairs().find(|(name, _)| name == "from")?;
            let is_usable =
                (1..=MAX_FROM).contains(&from.len()) && from.bytes().all(|b| b.is_ascii_graphic());
            is_usable.then(|| from.into_owned())
        })
    })
}

/// Returns whether a link's parameter is `rel="next"`. A relation may be one of several.
fn is_next(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else { return false };
    let mut relations = value.trim().trim_matches('"').split_ascii_whitespace();
    name.trim().eq_ignore_ascii_case("rel")
        && relations.any(|relation| relation.eq_ignore_ascii_case("next"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(LINK, value.parse().unwrap());
        }
        next_from(&headers, &Url::parse("https://acme.auth0.com/api/v2/logs").unwrap())
    }

    #[test]
    fn next_link_says_where_the_next_page_starts() {
        let ours = r#"<https://acme.auth0.com/api/v2/logs?from=9002&take=100>; rel="next""#;
        assert_eq!(next(&[ours]).as_deref(), Some("9002"));
        assert_eq!(next(&["</api/v2/logs?take=100&from=a%2Bb>;rel=next"]).as_deref(), Some("a+b"));
        let first = r#"<https://acme.auth0.com/api/v2/logs?from=9001>; rel="first""#;
        assert_eq!(next(&[&format!("{first}, {ours}")]).as_deref(), Some("9002"));
        assert_eq!(next(&[first, ours]).as_deref(), Some("9002"));
        let more = r#"<https://acme.auth0.com/api/v2/logs?from=9003>; title="a"; rel="last next""#;
        assert_eq!(next(&[more]).as_deref(), Some("9003"));
    }

    #[test]
    fn link_that_leads_elsewhere_is_ignored() {
        for elsewhere in [
            "https://evil.example/api/v2/logs?from=9002",
            "http://acme.auth0.com/api/v2/logs?from=9002",
            "https://acme.auth0.com:444/api/v2/logs?from=9002",
            "//evil.example/api/v2/logs?from=9002",
            "https://acme.auth0.com/api/v2/users?from=9002",
            "https://acme.auth0.com/api/v2/logs?take=100",
            "https://acme.auth0.com/api/v2/logs?from=",
            "https://acme.auth0.com/api/v2/logs?from=9%0A2",
            "https://[",
        ] {
            assert_eq!(next(&[&format!("<{elsewhere}>; rel=\"next\"")]), None, "{elsewhere}");
        }
        let long = format!("</api/v2/logs?from={}>; rel=next", "9".repeat(1_000));
        for none in ["", "<", "<>", "rel=next", "</api/v2/logs?from=1>; rel=prev", &long] {
            assert_eq!(next(&[none]), None, "{none}");
        }
        assert_eq!(next(&[]), None);
    }
}
