//! One page of logs: the bytes as Auth0 sent them, and the little that the poller reads of them. The
//! rest of an event is left to the shipper.

use auth0_ecs::input::split;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::log_id::{is_after, log_id_at};

/// Events per page: Auth0's maximum.
pub(crate) const TAKE: usize = 100;

/// Upper bound for the time between an event and its logging. Events come in the order of logging, not
/// of their dates.
const MAX_LOGGING_DELAY: TimeDelta = TimeDelta::minutes(10);

/// A JSON array of events.
#[derive(Debug)]
pub(crate) struct Page {
    body: Vec<u8>,
    last_id: Option<String>,
    events: usize,
}

/// The members of an event that the poller reads. Each may be absent, or of any type.
#[derive(Deserialize)]
struct EventHead {
    #[serde(default)]
    log_id: Value,
    #[serde(default)]
    _id: Value,
    #[serde(default)]
    date: Value,
}

impl Page {
    /// # Errors
    /// The body is not a complete JSON array.
    pub(crate) fn parse(body: Vec<u8>) -> Result<Self, serde_json::Error> {
        // The shipper checks the encoding, event by event.
        let text = String::from_utf8_lossy(&body);
        let events: Vec<&RawValue> = serde_json::from_str(&text)?;
        let last_id =
            events.iter().rev().find_map(|event| EventHead::of(event.get().as_bytes())?.log_id());
        Ok(Self { last_id, events: events.len(), body })
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// Returns whether Auth0 had fewer events than a page holds.
    pub(crate) const fn is_short(&self) -> bool {
        self.events < TAKE
    }

    /// Returns the log id of the last event that has one.
    pub(crate) fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// Returns where to continue after reading this page from `from`: where Auth0's `link` says, or else
    /// after the last log id, or else at the time of the last event. That is never before `from`. `None`
    /// if none of them leads on.
    pub(crate) fn next_from(
        &self,
        link: Option<&str>,
        from: &str,
        now: DateTime<Utc>,
    ) -> Option<String> {
        let last_id = self.last_id();
        let by_time = last_id.is_none().then(|| self.last_date(now).map(log_id_at)).flatten();
        let mut known = [link, last_id, by_time.as_deref()].into_iter().flatten();
        known.find(|next| is_after(next, from)).map(ToOwned::to_owned)
    }

    /// Returns the date of the last event that has one. An event is logged after its date, so no later
    /// event has a log id before it. A date in the future is wrong.
    fn last_date(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let dates = split::split(&self.body).filter_map(|event| EventHead::of(event)?.date());
        dates.filter(|date| *date <= now).last()
    }

    /// Returns the events as Auth0 sent them, except those that happened after `until`. Events without
    /// a date are included: sent twice is better than lost.
    pub(crate) fn events(&self, until: Option<DateTime<Utc>>) -> impl Iterator<Item = &[u8]> {
        split::split(&self.body).filter(move |event| {
            let Some(until) = until else { return true };
            EventHead::of(event).and_then(|head| head.date()).is_none_or(|at| at <= until)
        })
    }

    /// Returns whether no later page can hold an event that happened before `until`.
    pub(crate) fn is_past(&self, until: DateTime<Utc>) -> bool {
        let mut dates =
            split::split(&self.body).filter_map(|event| EventHead::of(event)?.date()).peekable();
        dates.peek().is_some() && dates.all(|at| at > until + MAX_LOGGING_DELAY)
    }
}

impl EventHead {
    fn of(event: &[u8]) -> Option<Self> {
        serde_json::from_str(&String::from_utf8_lossy(event)).ok()
    }

    /// Returns a log id that is usable in a request and as a checkpoint.
    fn log_id(self) -> Option<String> {
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
    fn last_id_is_that_of_the_last_event() {
        assert_eq!(
            page(r#"[{"log_id":"9001"},{"_id":"9002","log_id":"9002"}]"#).last_id(),
            Some("9002")
        );
        assert_eq!(page(r#"[{"log_id":"9001"},{"_id":"9002"}]"#).last_id(), Some("9002"));
    }

    #[test]
    fn last_id_skips_events_without_a_usable_log_id() {
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
    fn next_page_starts_at_the_link_or_the_last_log_id_or_the_last_date() {
        let now = time("2026-11-01T12:00:00Z");
        let at = |text: &str| log_id_at(time(text));
        let (from, later) = (at("2026-11-01T10:00:00Z"), at("2026-11-01T10:00:05Z"));
        let next = |page: &Page, link: Option<&str>| page.next_from(link, &from, now);

        let usual = page(&format!(r#"[{{"log_id":"{later}","date":"2026-11-01T11:00:00Z"}}]"#));
        assert_eq!(next(&usual, Some("cursor")).as_deref(), Some("cursor"));
        assert_eq!(next(&usual, None).as_ref(), Some(&later));
        let repeated = Some(from.as_str());
        assert_eq!(next(&usual, repeated).as_ref(), Some(&later), "the link does not lead on");
        let before = at("2026-11-01T09:00:00Z");
        assert_eq!(next(&usual, Some(&before)).as_ref(), Some(&later), "never back");
        assert_eq!(next(&page(&format!(r#"[{{"log_id":"{before}"}}]"#)), None), None, "never back");

        let dates = r#"[{"date":"2026-11-01T10:30:00.7Z"},{},{"date":"2099-01-01T00:00:00Z"}]"#;
        let without_ids = page(dates);
        assert_eq!(next(&without_ids, Some(&later)).as_ref(), Some(&later));
        assert_eq!(next(&without_ids, None), Some(at("2026-11-01T10:30:00Z")));
        assert_eq!(next(&page(r#"[{"date":"2026-11-01T10:00:00.7Z"}]"#), None), None);
        assert_eq!(next(&page("[{}]"), None), None);
    }

    #[test]
    fn page_is_a_complete_array() {
        for wrong in
            ["", "<html></html>", r#"{"log_id":"9001"}"#, r#"[{"log_id":"9001"},{"lo"#, "[] []"]
        {
            assert!(Page::parse(wrong.into()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn page_takes_deep_nesting_and_invalid_utf8() {
        let deep =
            format!(r#"[{{"log_id":"9001","d":{}{}}}]"#, "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(page(&deep).last_id(), Some("9001"));
        let latin = b"[{\"log_id\":\"9001\",\"d\":\"caf\xe9\"}]";
        let page = Page::parse(latin.to_vec()).unwrap();
        assert_eq!(page.last_id(), Some("9001"));
        assert_eq!(page.events(None).next(), latin.get(1..latin.len() - 1));
    }

    #[test]
    fn events_after_the_window_are_left_out() {
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
    fn window_is_past_when_even_delayed_events_are() {
        let to = time("2026-11-02T00:00:00Z");
        assert!(
            !page(r#"[{"date":"2026-11-02T00:09:00Z"}]"#).is_past(to),
            "a delayed event may follow"
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
