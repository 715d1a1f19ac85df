//! One page of logs: the bytes as Auth0 sent them, with the little that the poller has to know of
//! them. What an event means is the shipper's business.

use auth0_ecs::input::split;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// Events come in the order of their logging, which is not the order of their dates: an event may
/// be logged so much later than it happened.
const LOGGING_DELAY: TimeDelta = TimeDelta::minutes(10);

/// An array of events.
#[derive(Debug)]
pub(crate) struct Page {
    body: Vec<u8>,
    last_id: Option<String>,
    empty: bool,
}

/// What the poller reads of an event; each may be of any type, or not there.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    log_id: Value,
    #[serde(default)]
    _id: Value,
    #[serde(default)]
    date: Value,
}

impl Page {
    /// # Errors
    /// The body is no whole JSON array.
    pub(crate) fn parse(body: Vec<u8>) -> Result<Self, serde_json::Error> {
        // The events' own encoding is judged one by one, by the shipper.
        let text = String::from_utf8_lossy(&body);
        let events: Vec<&RawValue> = serde_json::from_str(&text)?;
        let last_id = events.iter().rev().find_map(|event| Head::of(event.get().as_bytes())?.id());
        Ok(Self { last_id, empty: events.is_empty(), body })
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.empty
    }

    /// Where the next page starts; none where no event has a log id.
    pub(crate) fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// The events, each as Auth0 sent it; without those that happened after `until`. One without a
    /// date stays: better twice in the engine's hands than not at all.
    pub(crate) fn events(&self, until: Option<DateTime<Utc>>) -> impl Iterator<Item = &[u8]> {
        split::split(&self.body).filter(move |event| {
            let Some(until) = until else { return true };
            Head::of(event).and_then(|head| head.date()).is_none_or(|at| at <= until)
        })
    }

    /// Whether no later page can hold an event that happened before `until`.
    pub(crate) fn is_past(&self, until: DateTime<Utc>) -> bool {
        let mut dates =
            split::split(&self.body).filter_map(|event| Head::of(event)?.date()).peekable();
        dates.peek().is_some() && dates.all(|at| at > until + LOGGING_DELAY)
    }
}

impl Head {
    fn of(event: &[u8]) -> Option<Self> {
        serde_json::from_str(&String::from_utf8_lossy(event)).ok()
    }

    /// A log id that can be asked for and kept as a checkpoint.
    fn id(self) -> Option<String> {
        let usable =
            |id: &String| (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
        [self.log_id, self._id].into_iter().find_map(|id| match id {
            Value::String(id) => Some(id).filter(usable),
            _ => None,
        })
    }

    fn date(&self) -> Option<DateTime<Utc>> {
        let date = DateTime::parse_from_rfc3339(self.date.as_str()?).ok()?;
        Some(date.with_timezone(&Utc))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn page(body: &str) -> Page {
        Page::parse(body.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn the_next_page_starts_at_the_last_log_id() {
        assert_eq!(
            page(r#"[{"log_id":"9001"},{"_id":"9002","log_id":"9002"}]"#).last_id(),
            Some("9002")
        );
        assert_eq!(page(r#"[{"log_id":"9001"},{"_id":"9002"}]"#).last_id(), Some("9002"));
    }

    #[test]
    fn events_without_a_usable_log_id_are_passed_over() {
        let strange = format!(
            r#"[{{"log_id":"9001"}},{{}},{{"log_id":""}},{{"log_id":7}},{{"log_id":"a b"}},null,[],{{"log_id":"{}"}}]"#,
            "9".repeat(500)
        );
        assert_eq!(page(&strange).last_id(), Some("9001"));
        let none = page("[{}]");
        assert_eq!((none.last_id(), none.is_empty()), (None, false));
        assert!(page(" [ ] ").is_empty());
    }

    #[test]
    fn only_a_whole_array_is_a_page() {
        for wrong in
            ["", "<html></html>", r#"{"log_id":"9001"}"#, r#"[{"log_id":"9001"},{"lo"#, "[] []"]
        {
            assert!(Page::parse(wrong.into()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn deep_nesting_and_broken_characters_do_not_stop_a_page() {
        let deep =
            format!(r#"[{{"log_id":"9001","d":{}{}}}]"#, "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(page(&deep).last_id(), Some("9001"));
        let latin = b"[{\"log_id\":\"9001\",\"d\":\"caf\xe9\"}]";
        let page = Page::parse(latin.to_vec()).unwrap();
        assert_eq!(page.last_id(), Some("9001"));
        assert_eq!(page.events(None).next(), latin.get(1..latin.len() - 1));
    }

    #[test]
    fn a_window_leaves_out_what_happened_later() {
        let page = page(
            r#"[{"log_id":"1","date":"2026-11-01T23:59:59.999Z"}, {"log_id":"2"},
               {"log_id":"3","date":"2026-11-02T00:00:00.001Z"},{"log_id":"4","date":"2026-11-02T00:00:00Z"}]"#,
        );
        let kept = |until| -> Vec<&str> {
            page.events(until).map(|event| std::str::from_utf8(event).unwrap()).collect()
        };
        assert_eq!(
            kept(Some(time("2026-11-02T00:00:00Z"))),
            [
                r#"{"log_id":"1","date":"2026-11-01T23:59:59.999Z"}"#,
                r#"{"log_id":"2"}"#,
                r#"{"log_id":"4","date":"2026-11-02T00:00:00Z"}"#,
            ]
        );
        assert_eq!(kept(None).len(), 4);
    }

    #[test]
    fn a_window_is_over_when_even_late_events_are_past_it() {
        let to = time("2026-11-02T00:00:00Z");
        assert!(
            !page(r#"[{"date":"2026-11-02T00:09:00Z"}]"#).is_past(to),
            "may be followed by a late one"
        );
        assert!(
            !page(r#"[{"date":"2026-11-02T00:11:00Z"},{"date":"2026-11-01T23:59:00Z"}]"#)
                .is_past(to)
        );
        assert!(page(r#"[{"date":"2026-11-02T00:11:00Z"}]"#).is_past(to));
        assert!(!page("[{}]").is_past(to));
        assert!(!page("[]").is_past(to));
    }
}
