//! How far each rule has looked, kept as JSON in the checkpoint, and how far back it looks again.

use std::collections::BTreeMap;

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// Each run looks back so far for events that came late: by the poller, from the retry queue, or because of
/// another clock.
const LATE: TimeDelta = TimeDelta::hours(1);

/// The first run of each hour looks back so far. Events that come later are not seen, unless there was an
/// outage of detection itself.
const VERY_LATE: TimeDelta = TimeDelta::hours(24);

/// Everything that is kept between runs.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct State {
    /// Until when the run that saved it may still be running.
    #[serde(default)]
    pub(crate) lease: Option<DateTime<Utc>>,
    /// By the rule's id.
    pub(crate) places: BTreeMap<String, Place>,
}

/// A rule's place.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Place {
    /// Everything before was looked at.
    pub(crate) until: DateTime<Utc>,
    /// After an outage: where it began, and until when the retry queue may still bring events of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outage: Option<(DateTime<Utc>, DateTime<Utc>)>,
    /// Where a run stopped for lack of time. The next one goes on there, even if it looked back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stopped: Option<DateTime<Utc>>,
    /// Of the groups to look at from `stopped` on: the first that the run did not look at, by its time and name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) group: Option<(DateTime<Utc>, String)>,
    /// Ids of alerts that are about to be written and published. After a crash, whoever finds one here
    /// publishes it, perhaps for the second time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) pending: Vec<String>,
}

impl Place {
    /// Returns the place of a rule that has never run. It begins with the last day.
    pub(crate) fn new(now: DateTime<Utc>) -> Self {
        Self { until: now - VERY_LATE, outage: None, stopped: None, group: None, pending: vec![] }
    }

    /// Returns where a run at `now` begins.
    pub(crate) fn start(&mut self, now: DateTime<Utc>) -> DateTime<Utc> {
        let start = self.look_back(now);
        self.stopped.map_or(start, |stopped| stopped.max(start))
    }

    /// Notes that a run at `now` has looked at everything before `time`. The place never moves back.
    pub(crate) fn reach(&mut self, time: DateTime<Utc>, now: DateTime<Utc>) {
        self.until = self.until.max(time);
        self.stopped = (time < now).then_some(time);
    }

    fn look_back(&mut self, now: DateTime<Utc>) -> DateTime<Utc> {
        let hour = |time: DateTime<Utc>| time.duration_trunc(TimeDelta::hours(1)).ok();
        if now - self.until > LATE {
            // The missed time is enough for one run; the next runs look for its late events.
            let late = self.until - LATE;
            let began = self.outage.map_or(late, |(began, _)| began.min(late));
            self.outage = Some((began, now + VERY_LATE));
            return self.until;
        }
        self.outage = self.outage.filter(|(_, until)| *until > now);
        if hour(self.until) != hour(now) {
            let back = now - VERY_LATE;
            return self.outage.map_or(back, |(began, _)| began.min(back));
        }
        self.until - LATE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> DateTime<Utc> {
        format!("2026-11-{text}Z").parse().unwrap()
    }

    fn start(until: &str, now: &str) -> (Place, DateTime<Utc>) {
        let mut place = Place { until: time(until), ..Place::new(time(until)) };
        let start = place.start(time(now));
        (place, start)
    }

    #[test]
    fn run_looks_back_an_hour_and_once_an_hour_a_day() {
        assert_eq!(start("22T12:05:00", "22T12:10:00").1, time("22T11:05:00"));
        assert_eq!(start("22T11:58:00", "22T12:03:00").1, time("21T12:03:00"));
        let now = time("22T12:10:00");
        assert_eq!(Place::new(now).start(now), time("21T12:10:00"));
    }

    #[test]
    fn outage_is_looked_at_from_its_beginning_for_another_day() {
        let (mut place, begin) = start("20T08:00:00", "22T12:10:00");
        assert_eq!(begin, time("20T08:00:00"), "no window is skipped");
        place.until = time("22T12:58:00");
        assert_eq!(place.start(time("22T13:01:00")), time("20T07:00:00"), "late events");
        place.until = time("22T13:05:00");
        assert_eq!(place.start(time("22T13:10:00")), time("22T12:05:00"));
        place.until = time("23T12:58:00");
        assert_eq!(place.start(time("23T13:01:00")), time("22T13:01:00"), "it is over");
    }

    #[test]
    fn rule_that_is_slow_goes_on_where_it_stopped() {
        let (mut place, _) = start("20T08:00:00", "22T12:00:00");
        place.reach(time("21T00:00:00"), time("22T12:00:00"));
        assert_eq!(place.start(time("22T12:05:00")), time("21T00:00:00"));
        place.reach(time("22T12:58:00"), time("22T12:58:00"));
        assert_eq!(place.start(time("22T13:03:00")), time("20T07:00:00"));
    }

    #[test]
    fn look_back_that_stops_moves_no_place_back_and_is_not_begun_again() {
        let (mut place, begin) = start("22T11:58:00", "22T12:03:00");
        assert_eq!(begin, time("21T12:03:00"));
        place.reach(time("21T20:00:00"), time("22T12:03:00"));
        assert_eq!(place.until, time("22T11:58:00"));
        assert_eq!(place.start(time("22T12:08:00")), time("21T20:00:00"));
        place.reach(time("22T12:01:00"), time("22T12:08:00"));
        assert_eq!(place.start(time("22T12:13:00")), time("22T12:01:00"));
        place.reach(time("22T12:13:00"), time("22T12:13:00"));
        assert_eq!(place.start(time("22T12:18:00")), time("22T11:13:00"));
    }
}
