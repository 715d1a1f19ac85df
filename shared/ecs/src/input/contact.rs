//! E-mail addresses and phone numbers in a text, as they are or percent-encoded.
//!
//! This finds what is in descriptions, paths, queries and user ids. It is a search for a shape, so it may
//! find too much, such as `git@github.com`, and misses what has another one, such as a phone number
//! without its `+`.

use std::borrow::Cow;
use std::ops::{Range, RangeInclusive};

use percent_encoding::percent_decode_str;

/// An address or a number in a text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Contact {
    pub(crate) range: Range<usize>,
    /// The same without percent-encoding, and a number without spaces, so that it is equal wherever it stands.
    pub(crate) value: String,
}

/// Digits of a phone number in international form (E.164), without the `+`.
const PHONE_DIGITS: RangeInclusive<usize> = 8..=15;

/// The addresses and numbers of a text, in order.
#[derive(Debug)]
pub(crate) struct Contacts<'t> {
    text: &'t str,
    /// The next of each that has not been returned.
    email: Option<Range<usize>>,
    phone: Option<Range<usize>>,
}

impl<'t> Contacts<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Self { text, email: next_email(text, 0), phone: next_phone(text, 0) }
    }
}

impl Iterator for Contacts<'_> {
    type Item = Contact;

    fn next(&mut self) -> Option<Contact> {
        let (range, is_phone) = match (&self.email, &self.phone) {
            // A number may be the local part of an address.
            (Some(email), Some(phone)) if email.start > phone.start => (phone, true),
            (Some(email), _) => (email, false),
            (None, phone) => (phone.as_ref()?, true),
        };
        let range = range.clone();
        let is_passed = |found: &Option<Range<usize>>| {
            found.as_ref().is_some_and(|found| found.start < range.end)
        };
        if is_passed(&self.email) {
            self.email = next_email(self.text, range.end);
        }
        if is_passed(&self.phone) {
            self.phone = next_phone(self.text, range.end);
        }
        let found = self.text.get(range.clone())?;
        let value = percent_decode_str(found).decode_utf8().unwrap_or(Cow::Borrowed(found));
        let mut value = value.into_owned();
        if is_phone {
            value.retain(|c| c == '+' || c.is_ascii_digit());
        }
        Some(Contact { value, range })
    }
}

/// A character of a text: a byte, or three if it is percent-encoded.
#[derive(Clone, Copy)]
struct Unit {
    byte: u8,
    start: usize,
    end: usize,
}

/// The units of a text from `at` on.
fn units(text: &str, mut at: usize) -> impl Iterator<Item = Unit> + '_ {
    let bytes = text.as_bytes();
    std::iter::from_fn(move || {
        let start = at;
        let byte = *bytes.get(at)?;
        let encoded = || {
            let digit = |at: usize| char::from(*bytes.get(at)?).to_digit(16);
            u8::try_from(digit(start + 1)? * 16 + digit(start + 2)?).ok()
        };
        let (byte, len) = match (byte, encoded()) {
            (b'%', Some(byte)) => (byte, 3),
            _ => (byte, 1),
        };
        at += len;
        Some(Unit { byte, start, end: at })
    })
}

/// What may stand before the `@`. The rest that RFC 5322 allows is, in a path or query, a separator.
const fn is_local(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'.' | b'_' | b'-' | b'+' | b'\'')
        || byte >= 0x80
}

const fn is_domain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'@') || byte >= 0x80
}

/// The first range from `from` on that has the form of an address. What follows a second `@` is part of it.
fn next_email(text: &str, from: usize) -> Option<Range<usize>> {
    let mut local: Option<usize> = None;
    // The end of what is known not to be a domain. Without it, `a@a@a@…` would take quadratic time.
    let mut no_domain = 0;
    for unit in units(text, from) {
        if unit.byte == b'@' {
            if let Some(start) = local
                && unit.start >= no_domain
            {
                match domain(text, unit.end) {
                    Ok(end) => return Some(start..end),
                    Err(end) => no_domain = end,
                }
            }
            local = None;
        } else if is_local(unit.byte) {
            local.get_or_insert(unit.start);
        } else {
            local = None;
        }
    }
    None
}

/// The end of the domain that starts at `start`. If it has no top level, the error is where it ends.
fn domain(text: &str, start: usize) -> Result<usize, usize> {
    let domain: Vec<Unit> = units(text, start).take_while(|unit| is_domain(unit.byte)).collect();
    let whole = || {
        let last = domain.iter().rposition(|unit| !matches!(unit.byte, b'.' | b'-' | b'@'))?;
        let dot = domain.get(..last)?.iter().rposition(|unit| unit.byte == b'.')?;
        let is_letter = |unit: &Unit| unit.byte.is_ascii_alphabetic() || unit.byte >= 0x80;
        let has_top_level = last > dot + 1 && domain.get(dot + 1).is_some_and(is_letter);
        (dot > 0 && has_top_level).then_some(domain.get(last)?.end)
    };
    whole().ok_or_else(|| domain.last().map_or(start, |unit| unit.end))
}

/// The first range from `from` on that has the form of a phone number.
fn next_phone(text: &str, from: usize) -> Option<Range<usize>> {
    let mut before = b' ';
    for unit in units(text, from) {
        if unit.byte == b'+'
            && !before.is_ascii_alphanumeric()
            && let Some(end) = phone_end(text, unit.end)
        {
            return Some(unit.start..end);
        }
        before = unit.byte;
    }
    None
}

/// The end of the phone number whose digits start at `at`, in one group or several. A group that is long
/// enough is a number of its own, and what follows it is something else.
fn phone_end(text: &str, mut at: usize) -> Option<usize> {
    let (mut count, mut found) = (0, None);
    loop {
        let digits = units(text, at).take_while(|unit| unit.byte.is_ascii_digit());
        let digits: Vec<Unit> = digits.take(PHONE_DIGITS.end() + 1).collect();
        let Some((first, last)) = digits.first().zip(digits.last()) else { return found };
        // No country code starts with 0, but offsets of dates do, and a year may follow.
        let is_offset = count == 0 && first.byte == b'0';
        count += digits.len();
        if PHONE_DIGITS.contains(&count) {
            found = Some(last.end);
        }
        if is_offset || digits.len() >= *PHONE_DIGITS.start() || count > *PHONE_DIGITS.end() {
            return found;
        }
        let gap = units(text, last.end).take_while(|unit| b" -.()".contains(&unit.byte));
        match gap.take(2).last() {
            Some(gap) => at = gap.end,
            None => return found,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        Contacts::new(text).map(|contact| contact.value).collect()
    }

    #[test]
    fn addresses_are_found_in_sentences_paths_and_ids() {
        for (text, address) in [
            ("Mail to anna.berg@example.com.", "anna.berg@example.com"),
            ("<anna+tag@mail.example.co.uk>", "anna+tag@mail.example.co.uk"),
            ("samlp|corp|anna@example.com", "anna@example.com"),
            ("/api/v2/users/auth0%7Canna%40example.com/roles", "anna@example.com"),
            ("email=anna%2Btag%40example.com&x=1", "anna+tag@example.com"),
            ("jörg@exämple.de", "jörg@exämple.de"),
            ("a@b.com@c.org", "a@b.com@c.org"),
        ] {
            assert_eq!(found(text), [address], "{text}");
        }
        assert_eq!(found("a@example.com,b@example.com"), ["a@example.com", "b@example.com"]);
    }

    #[test]
    fn phone_numbers_are_found_in_international_form() {
        assert_eq!(found("to +46701740605, or %2B15555550123"), ["+46701740605", "+15555550123"]);
        assert_eq!(found("+46701740605@sms.example.com"), ["+46701740605@sms.example.com"]);
        for text in [
            "call +46 70 174 06 05, now",
            "%2B46%2070%20174%2006%2005",
            "+46 (70) 174-06-05.",
            "+46-70.1740605",
            "+46701740605 12345678",
            "+46701740605 5 times",
        ] {
            assert_eq!(found(text), ["+46701740605"], "{text}");
        }
        assert_eq!(found("+46 70 174 06 05 2026 11"), ["+467017406052026"], "up to 15 digits");
    }

    #[test]
    fn other_texts_have_no_contacts() {
        for text in [
            "",
            "@auth0/auth0-spa-js",
            "lodash@4.17.21",
            "root@localhost",
            "a @example.com",
            "2026-11-29T10:00:00+0100",
            "openid+profile",
            "100% @ 5",
            "+1234567",
            "+1 234 567",
            "+1 234 5",
            "10:00:00 +0100 2026 11",
            "+46   70   174",
            "+1234567890123456",
            "%",
            "%4",
            "%40",
            "*****@c.com",
        ] {
            assert!(found(text).is_empty(), "{text}: {:?}", found(text));
        }
    }

    #[test]
    fn search_takes_linear_time() {
        for text in [
            "a@".repeat(100_000),
            "+".repeat(100_000),
            "a@b.cc ".repeat(30_000),
            "+1 ".repeat(60_000),
        ] {
            assert_eq!(Contacts::new(&text).count(), text.matches("cc").count());
        }
    }
}
