//! `auth0.logs.data.login`: the times of a successful login.

use super::details::Details;
use crate::input::date::date_from_millis;
use crate::json::write::Object;
use crate::key;

/// Writes `login` from the details of an event of type `s`. Dates are in milliseconds since the epoch there.
pub(super) fn write_login(data: &mut Object<'_>, details: Details<'_>) {
    data.object(key!("login"), |login| {
        let date = |name| details.number(login.written(), &[name]).and_then(date_from_millis);
        let (initiated, completed) = (date("initiatedAt"), date("completedAt"));
        login.maybe(key!("initiatedAt"), initiated);
        login.maybe(key!("completedAt"), completed);
        let elapsed = details.number(login.written(), &["elapsedTime"]);
        login.maybe(key!("elapsedTime"), elapsed);
        login.object(key!("stats"), |stats| {
            let logins = details.number(stats.written(), &["stats", "loginsCount"]);
            stats.maybe(key!("loginsCount"), logins);
        });
    });
}
