//! What the document takes from `details`: fields with types, which a flat object has not.

use std::ops::Range;

use super::document::{close, scalar_member, write_date, write_key};
use crate::input::event::{self, Event};
use crate::json::sanitize::Member;
use crate::json::text::{decode, find_member, write_plain, write_str, write_text};

/// The members of `details`, as they stand in the output.
pub(super) struct Details<'a> {
    pub(super) members: &'a [Member<'a>],
}

impl Details<'_> {
    pub(super) fn find(&self, name: &str) -> Option<Range<usize>> {
        self.members.iter().find(|member| member.name == name).map(|member| member.value.clone())
    }

    /// Where the value at `path` is in `out`: a member's, or that of a member of a member.
    fn get(&self, out: &[u8], path: &[&str]) -> Option<Range<usize>> {
        let (first, rest) = path.split_first()?;
        let mut place = self.find(first)?;
        for name in rest {
            let found = find_member(text(out, &place)?, name)?;
            place = place.start + found.start..place.start + found.end;
        }
        Some(place)
    }

    /// Where the scalar at `path` is.
    fn scalar(&self, out: &[u8], path: &[&str]) -> Option<Range<usize>> {
        self.get(out, path).filter(|place| text(out, place).is_some_and(is_scalar))
    }

    /// The number at `path`.
    fn number(&self, out: &[u8], path: &[&str]) -> Option<i64> {
        whole_number(text(out, &self.get(out, path)?)?)
    }
}

/// What is written at `place`.
fn text<'o>(out: &'o [u8], place: &Range<usize>) -> Option<&'o str> {
    std::str::from_utf8(out.get(place.clone())?).ok()
}

/// `auth0.logs.data.login`, from the details of a successful login.
pub(super) fn write_login(out: &mut Vec<u8>, details: &Details<'_>) {
    let date = |number: Option<i64>| number.and_then(event::date_of_milliseconds);
    let initiated = date(details.number(out, &["initiatedAt"]));
    let completed = date(details.number(out, &["completedAt"]));
    let elapsed = details.number(out, &["elapsedTime"]);
    let logins = details.number(out, &["stats", "loginsCount"]);
    let before = out.len();
    out.extend_from_slice(b"\"login\":{");
    for (name, date) in [("initiatedAt", initiated), ("completedAt", completed)] {
        if let Some(date) = date {
            write_plain(out, name);
            out.push(b':');
            write_date(out, date);
            out.push(b',');
        }
    }
    if let Some(elapsed) = elapsed {
        out.extend_from_slice(b"\"elapsedTime\":");
        write_number(out, elapsed);
        out.push(b',');
    }
    if let Some(logins) = logins {
        out.extend_from_slice(b"\"stats\":{\"loginsCount\":");
        write_number(out, logins);
        out.extend_from_slice(b"},");
    }
    if out.ends_with(b"{") {
        out.truncate(before);
        return;
    }
    close(out);
    out.push(b',');
}

/// A JSON number, or a string of one, as a whole number; 1.6359e12 and 1635908765696.4 are numbers too.
fn whole_number(token: &str) -> Option<i64> {
    let text = decode(token);
    if let Ok(number) = text.parse::<i64>() {
        return Some(number);
    }
    let number: f64 = text.parse().ok()?;
    // Dates in milliseconds and counts are far below 2^53, where a double is still exact.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "the bound is checked")]
    (number.abs() < EXACT).then_some(number as i64)
}

/// What analysts group by, copied out of `details` to keyword fields: `flat_object` cannot be
/// aggregated on.
pub(super) fn write_analyst_fields(out: &mut Vec<u8>, event: &Event<'_>, details: &Details<'_>) {
    const COPIES: &[(&str, &[&[&str]])] = &[
        ("family_id", &[&["familyId"]]),
        // Token exchanges name it below the token.
        ("session_id", &[&["session_id"], &["refresh_token", "session_id"]]),
        ("device_id", &[&["device_id"]]),
        ("grant_type", &[&["grantType"], &["grant_type"], &["body", "grant_type"]]),
    ];
    for (name, paths) in COPIES {
        if let Some(place) = paths.iter().find_map(|path| details.scalar(out, path)) {
            write_key(out, name);
            out.extend_from_within(place);
        }
    }
    if let Some(ja4) = event.security_context.and_then(|context| scalar_member(context, "ja4")) {
        write_key(out, "ja4");
        write_text(out, ja4);
    }
    // The name differs from type to type; no type has two of them.
    const TRANSACTION: &[&[&str]] =
        &[&["transaction_id"], &["transaction_linking_id"], &["transaction", "id"]];
    if let Some(id) = event.transaction_linking_id {
        write_key(out, "transaction_id");
        write_text(out, id);
    } else if let Some(place) = TRANSACTION.iter().find_map(|path| details.scalar(out, path)) {
        write_key(out, "transaction_id");
        out.extend_from_within(place);
    }
}

pub(super) fn is_scalar(token: &str) -> bool {
    !matches!(token.as_bytes(), b"null" | b"\"\"" | [b'{' | b'[', ..] | [])
}

/// `http.*` and `url.path`, from the API calls that some types log.
pub(super) fn write_http(out: &mut Vec<u8>, details: &Details<'_>) {
    let method = details.scalar(out, &["request", "method"]);
    let status = details.number(out, &["response", "statusCode"]);
    if method.is_some() || status.is_some() {
        out.extend_from_slice(b",\"http\":{");
        if let Some(place) = method {
            out.extend_from_slice(b"\"request\":{\"method\":");
            out.extend_from_within(place);
            out.extend_from_slice(b"},");
        }
        if let Some(status) = status {
            out.extend_from_slice(b"\"response\":{\"status_code\":");
            write_number(out, status);
            out.extend_from_slice(b"},");
        }
        close(out);
    }
    if let Some(place) = details.scalar(out, &["request", "path"]) {
        out.extend_from_slice(b",\"url\":{\"path\":");
        out.extend_from_within(place);
        out.push(b'}');
    }
}

fn write_number(out: &mut Vec<u8>, number: i64) {
    out.extend_from_slice(number.to_string().as_bytes());
}

/// `error.type`, from the event, and `error.message`, about the mapping.
pub(super) fn write_error(out: &mut Vec<u8>, details: &Details<'_>, message: Option<&str>) {
    let kind = details.scalar(out, &["error", "type"]);
    if kind.is_none() && message.is_none() {
        return;
    }
    out.extend_from_slice(b",\"error\":{");
    if let Some(kind) = kind {
        out.extend_from_slice(b"\"type\":");
        out.extend_from_within(kind);
        out.push(b',');
    }
    if let Some(message) = message {
        out.extend_from_slice(b"\"message\":");
        write_str(out, message);
        out.push(b',');
    }
    close(out);
}
