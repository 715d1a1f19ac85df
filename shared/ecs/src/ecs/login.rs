//! `auth0.logs.data.login`: the times of a login.

use super::details::{Details, Path};
use crate::input::date::date_from_millis;
use crate::json::write::Object;
use crate::key;

/// Writes `login` from the details of an event, if they have any of it: eight types have the times, the
/// number of logins is that of the user in type `s` only. Dates are in milliseconds since the epoch there.
pub(super) fn write_login(data: &mut Object<'_>, details: Details<'_>, code: Option<&str>) {
    data.object(key!("login"), |login| {
        const INITIATED: Path = Path::new("initiatedAt");
        const COMPLETED: Path = Path::new("completedAt");
        const ELAPSED: Path = Path::new("elapsedTime");
        const LOGINS: Path = Path::new("stats.loginsCount");
        let date = |path| details.number(login.written(), path).and_then(date_from_millis);
        let (initiated, completed) = (date(INITIATED), date(COMPLETED));
        login.maybe(key!("initiatedAt"), initiated);
        login.maybe(key!("completedAt"), completed);
        let elapsed = details.number(login.written(), ELAPSED);
        login.maybe(key!("elapsedTime"), elapsed);
        if code == Some("s") {
            login.object(key!("stats"), |stats| {
                let logins = details.number(stats.written(), LOGINS);
                stats.maybe(key!("loginsCount"), logins);
            });
        }
    });
}
