//! JSON text → JSON text that an engine accepts, in one pass and without a tree in between.
//!
//! What stays as it is goes to the output in runs as long as can be: the copier reads on and only
//! remembers where the run began. What holds nothing (null, "", {}, []) is left out, and what engines
//! refuse is put right on the way: nesting that would kill a node, strings longer than a Lucene term,
//! names that collide. Each such change is noted, so that the document can say so.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use crate::json::change::{Change, Changes};
use crate::json::lex::{Kind, Name, Scanner, Syntax};
use crate::json::text::{cut, decode, decode_name, is_safe_name, safe_name, write_raw, write_str};

/// Levels of nesting that are kept. Elasticsearch refuses more in a `flattened` field and OpenSearch
/// in arrays; at 900 an OpenSearch node dies.
pub(crate) const MAX_DEPTH: u8 = 20;

/// Lucene's limit for a term is 32,766 bytes (`IndexWriter.MAX_TERM_LENGTH`); the engines' flat
/// fields index the path, a separator and the value as one term.
const MAX_TERM: usize = 32_700;

/// `auth0.logs.data.` and the field's own name stand before each path.
const ROOT_PATH: usize = 64;

/// A name is cut here: 20 levels of names and a value have to fit one term.
const MAX_NAME: usize = 512;

/// Jackson, the engines' JSON reader, refuses numbers of over 1,000 characters.
const MAX_NUMBER: usize = 400;

/// Names up to this count are compared one by one; more than these go into a set.
const FEW_NAMES: usize = 48;

/// A member of an object, as it is in the output.
#[derive(Clone, Debug)]
pub(crate) struct Member<'a> {
    pub(crate) name: Cow<'a, str>,
    /// Where its value is, once the output is flushed.
    pub(crate) value: Range<usize>,
}

/// Copies values from an event to its document.
#[derive(Debug)]
pub(crate) struct Copier<'a, 'o> {
    pub(crate) json: Scanner<'a>,
    pub(crate) changes: Changes,
    out: &'o mut Vec<u8>,
    /// Where the run begins: text of the event that goes behind what `out` holds, as it stands, up to
    /// where the container being read says that it has kept something.
    run: usize,
    /// The members of all objects that are open, innermost last.
    open: Vec<Member<'a>>,
}

/// What stays of a container, as far as it has been read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    /// The end, in the event, of what was kept last.
    end: usize,
    is_any: bool,
}

impl Kept {
    /// Nothing is kept of a container whose text begins at `start`.
    pub(crate) const fn nothing(start: usize) -> Self {
        Self { end: start, is_any: false }
    }
}

/// A state of the output to go back to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    len: usize,
    run: usize,
}

impl<'a, 'o> Copier<'a, 'o> {
    /// Has read nothing of `event`, and writes behind what `out` holds.
    pub(crate) fn new(event: &'a str, changes: Changes, out: &'o mut Vec<u8>) -> Self {
        Self { json: Scanner::new(event), changes, out, run: 0, open: Vec::with_capacity(16) }
    }

    /// Begins the member whose value `json` is at; `renamed` is its name in the output, unless that
    /// is the one in the event.
    #[inline(always)]
    pub(crate) fn begin(&mut self, kept: Kept, name: &Name<'_>, renamed: Option<&str>) -> Mark {
        let mark = self.begin_item(kept, name.start);
        // White space behind the colon does not stay.
        if renamed.is_some() || name.end() < self.json.at() {
            self.write_name(name, renamed);
        }
        mark
    }

    /// Begins a member or an element, which is at `start` in the event.
    #[inline(always)]
    fn begin_item(&mut self, kept: Kept, start: usize) -> Mark {
        // The run goes on where the comma is all that stands between two that are kept.
        if start - kept.end != usize::from(kept.is_any) {
            return self.begin_run(kept, start);
        }
        Mark { len: self.out.len(), run: self.run }
    }

    fn begin_run(&mut self, kept: Kept, start: usize) -> Mark {
        self.flush(kept.end);
        let mark = Mark { len: self.out.len(), run: self.run };
        if kept.is_any {
            self.out.push(b',');
        }
        self.run = start;
        mark
    }

    fn write_name(&mut self, name: &Name<'_>, renamed: Option<&str>) {
        self.flush(name.start);
        match renamed {
            Some(renamed) => write_str(self.out, renamed),
            None => write_raw(self.out, name.raw),
        }
        self.out.push(b':');
        self.run = self.json.at();
    }

    /// Ends the member or element that `mark` began: with `holds` it is kept, or else taken back.
    #[inline]
    pub(crate) fn end(&mut self, kept: &mut Kept, mark: Mark, holds: bool) {
        if holds {
            *kept = Kept { end: self.json.at(), is_any: true };
        } else {
            self.out.truncate(mark.len);
            self.run = mark.run;
        }
    }

    /// Writes a member that is not in the event: `text` is its value.
    pub(crate) fn insert(&mut self, kept: &mut Kept, name: &str, text: &str) {
        self.flush(kept.end);
        if kept.is_any {
            self.out.push(b',');
        }
        write_str(self.out, name);
        self.out.push(b':');
        write_str(self.out, text);
        self.run = self.json.at();
        *kept = Kept { end: self.run, is_any: true };
    }

    /// Writes the run up to `end`.
    #[inline]
    fn flush(&mut self, end: usize) {
        if self.run < end {
            self.out.extend_from_slice(self.json.slice(self.run, end).as_bytes());
            self.run = end;
        }
    }

    /// Writes what is left, with a comma behind it if anything was kept.
    pub(crate) fn finish(mut self, kept: Kept) {
        self.flush(kept.end);
        if kept.is_any {
            self.out.push(b',');
        }
    }

    /// Copies the value that `json` is at. `level` is the nesting level that a container here has:
    /// those beyond [`MAX_DEPTH`] are written as strings of JSON. Gives false where the value holds
    /// nothing, and is to be taken back.
    pub(crate) fn copy(&mut self, kind: Kind, level: u8) -> Result<bool, Syntax> {
        self.copy_at(kind, level, ROOT_PATH)
    }

    /// Copies an object like [`Self::copy`], and gives its members.
    pub(crate) fn copy_object(&mut self, level: u8) -> Result<Vec<Member<'a>>, Syntax> {
        let mut members = Vec::new();
        self.object(level, ROOT_PATH, Names::Keys, Some(&mut members))?;
        Ok(members)
    }

    /// Copies an object whose members are mapped each by its name. Containers in it become text.
    pub(crate) fn copy_record(&mut self) -> Result<bool, Syntax> {
        self.object(MAX_DEPTH, ROOT_PATH, Names::Paths, None)
    }

    /// Copies a value that is no object as one, `{"value":…}`.
    pub(crate) fn copy_wrapped(&mut self, kind: Kind) -> Result<bool, Syntax> {
        self.flush(self.json.at());
        self.out.extend_from_slice(b"{\"value\":");
        let holds = self.copy_at(kind, 2, ROOT_PATH)?;
        self.flush(self.json.at());
        self.out.push(b'}');
        Ok(holds)
    }

    #[inline(always)]
    fn copy_at(&mut self, kind: Kind, level: u8, path: usize) -> Result<bool, Syntax> {
        match kind {
            Kind::String => {
                let start = self.json.at();
                self.json.skip(kind)?;
                let len = self.json.at() - start - 2;
                if len + path > MAX_TERM {
                    self.cut_string(start, path);
                }
                Ok(len > 0)
            }
            Kind::Number => {
                let start = self.json.at();
                self.json.skip(kind)?;
                if self.json.at() - start > MAX_NUMBER {
                    self.changes.note(Change::NumberAsText);
                    let number = self.json.slice(start, self.json.at());
                    self.replace(start, cut(number, MAX_TERM.saturating_sub(path)));
                }
                Ok(true)
            }
            Kind::Boolean | Kind::Null => {
                self.json.skip(kind)?;
                Ok(kind == Kind::Boolean)
            }
            Kind::Object if level <= MAX_DEPTH => self.object(level, path, Names::Keys, None),
            Kind::Array if level <= MAX_DEPTH => self.array(level, path),
            Kind::Object | Kind::Array => self.container_as_text(kind, path),
        }
    }

    fn cut_string(&mut self, start: usize, path: usize) {
        let text = decode(self.json.slice(start, self.json.at()));
        let cut = cut(&text, MAX_TERM.saturating_sub(path));
        if cut.len() < text.len() {
            self.changes.note(Change::StringCut);
        }
        self.replace(start, cut);
    }

    /// Writes the text of an object or array as a string.
    fn container_as_text(&mut self, kind: Kind, path: usize) -> Result<bool, Syntax> {
        let start = self.json.at();
        let token = self.json.token(kind)?;
        let inner = token.get(1..token.len() - 1).unwrap_or_default();
        if inner.trim_ascii().is_empty() {
            return Ok(false);
        }
        self.changes.note(Change::ContainerAsText);
        self.replace(start, cut(token, MAX_TERM.saturating_sub(path)));
        Ok(true)
    }

    /// Writes `text` as a string instead of the value that began at `start`.
    fn replace(&mut self, start: usize, text: &str) {
        self.flush(start);
        write_str(self.out, text);
        self.run = self.json.at();
    }

    fn array(&mut self, level: u8, path: usize) -> Result<bool, Syntax> {
        let mut kept = Kept::nothing(self.json.at() + 1);
        let mut is_first = true;
        while self.json.next_element(is_first)? {
            is_first = false;
            let kind = self.json.peek()?;
            let mark = self.begin_item(kept, self.json.at());
            let holds = self.copy_at(kind, level + 1, path)?;
            self.end(&mut kept, mark, holds);
        }
        Ok(self.close(kept))
    }

    fn object(
        &mut self,
        level: u8,
        path: usize,
        names: Names,
        members: Option<&mut Vec<Member<'a>>>,
    ) -> Result<bool, Syntax> {
        let mut kept = Kept::nothing(self.json.at() + 1);
        let mut taken = Taken { first: self.open.len(), marks: 0, many: None };
        let mut is_first = true;
        while let Some(name) = self.json.next_name(is_first)? {
            is_first = false;
            let kind = self.json.peek()?;
            let written = names.name(&name, &mut self.changes);
            if taken.has(&written, &self.open) {
                self.changes.note(Change::DuplicateName);
                self.json.skip(kind)?;
            } else {
                let renamed = matches!(written, Cow::Owned(_)).then_some(&*written);
                let mark = self.begin(kept, &name, renamed);
                let start = self.out_position();
                let holds = self.copy_at(kind, level + 1, path + written.len() + 1)?;
                self.end(&mut kept, mark, holds);
                if holds {
                    taken.add(&written);
                    self.open.push(Member { name: written, value: start..self.out_position() });
                }
            }
        }
        if let Some(members) = members {
            members.extend(self.open.drain(taken.first..));
        } else {
            self.open.truncate(taken.first);
        }
        Ok(self.close(kept))
    }

    /// Where in the output the text goes that `json` is at.
    const fn out_position(&self) -> usize {
        self.out.len() + self.json.at() - self.run
    }

    /// Ends the container whose bracket was read last; gives whether anything was kept of it.
    fn close(&mut self, kept: Kept) -> bool {
        let bracket = self.json.at() - 1;
        if kept.is_any && kept.end < bracket {
            self.flush(kept.end);
            self.run = bracket;
        }
        kept.is_any
    }
}

/// The names that the object being read has in the output.
struct Taken<'a> {
    /// Where its members begin among those of all open objects.
    first: usize,
    /// A bit for each name, at a place that few other names share.
    marks: u64,
    /// All of them, where they are many.
    many: Option<HashSet<Cow<'a, str>>>,
}

impl<'a> Taken<'a> {
    const fn mark(name: &str) -> u64 {
        let name = name.as_bytes();
        match name {
            [first, .., last] => {
                1 << ((name.len() + 5 * *first as usize + 11 * *last as usize) % 64)
            }
            _ => 1,
        }
    }

    fn has(&mut self, name: &str, open: &[Member<'a>]) -> bool {
        if self.marks & Self::mark(name) == 0 {
            return false;
        }
        let siblings = open.get(self.first..).unwrap_or_default();
        if siblings.len() < FEW_NAMES {
            return siblings.iter().any(|member| member.name == name);
        }
        let names = || siblings.iter().map(|member| member.name.clone()).collect();
        self.many.get_or_insert_with(names).contains(name)
    }

    #[expect(clippy::ptr_arg, reason = "the clone of a borrowed name borrows too")]
    fn add(&mut self, name: &Cow<'a, str>) {
        self.marks |= Self::mark(name);
        if let Some(many) = &mut self.many {
            many.insert(name.clone());
        }
    }
}

/// What the names in an object are to an engine.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    /// Keys of a flat object, or of one that is not indexed: any text.
    Keys,
    /// Parts of a field's name, in which dots separate levels.
    Paths,
}

impl Names {
    /// The name in the output: borrowed where it is written as it stands.
    fn name<'a>(self, name: &Name<'a>, changes: &mut Changes) -> Cow<'a, str> {
        let is_plain = match self {
            Self::Keys => name.raw.len() <= MAX_NAME,
            Self::Paths => is_safe_name(name.raw),
        };
        if is_plain && !name.escaped {
            return Cow::Borrowed(name.raw);
        }
        let decoded = decode_name(name);
        let adjusted = match self {
            Self::Keys => cut(&decoded, MAX_NAME).replace('\0', "\u{fffd}"),
            Self::Paths => safe_name(&decoded),
        };
        if adjusted != decoded {
            changes.note(Change::NameAdjusted);
        }
        Cow::Owned(adjusted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::repair::repair;

    fn copied(text: &str) -> (String, Changes) {
        let mut out = Vec::new();
        let mut copier = Copier::new(text, Changes::default(), &mut out);
        let kind = copier.json.peek().unwrap();
        let mut kept = Kept::nothing(copier.json.at());
        let mark = copier.begin_item(kept, copier.json.at());
        let holds = copier.copy(kind, 1).unwrap();
        copier.end(&mut kept, mark, holds);
        copier.json.finish().unwrap();
        let changes = copier.changes;
        copier.flush(kept.end);
        (String::from_utf8(out).unwrap(), changes)
    }

    #[test]
    fn what_holds_nothing_is_left_out_at_every_level() {
        let text = r#"{"a":null,"b":"","c":{},"d":[],"e":[null,{"f":[[]]},""],"g":{"h":{"i":null}},
                       "j":[0,null,false],"k":{"l":null,"m":" "}}"#;
        let (out, changes) = copied(text);
        assert_eq!(out, r#"{"j":[0,false],"k":{"m":" "}}"#);
        assert!(changes.is_empty());
        assert_eq!(copied("{\"a\":[[],{}]}").0, "");
    }

    #[test]
    fn numbers_and_strings_keep_their_text() {
        let text = r#"{"n":[1.6359e12,-0,1e400,123456789012345678901234567890],"s":"\u00e9\/\n"}"#;
        assert_eq!(copied(text).0, text);
    }

    #[test]
    fn nesting_stops_at_twenty_levels() {
        let nested = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        let (out, changes) = copied(&nested(20));
        assert_eq!(out, nested(20));
        assert!(changes.is_empty());
        let (out, changes) = copied(&nested(22));
        let expected = nested(20).replace("1", "\"{\\\"a\\\":{\\\"a\\\":1}}\"");
        assert_eq!(out, expected);
        assert!(changes.has(Change::ContainerAsText));
    }

    #[test]
    fn ten_thousand_levels_are_repaired_without_a_stack() {
        let text = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
        let (out, _) = copied(&repair(text.as_bytes()));
        assert!(serde_json::from_str::<serde_json::Value>(&out).is_ok());
    }

    #[test]
    fn a_string_is_cut_between_characters_so_that_path_and_value_fit_a_term() {
        let (out, changes) = copied(&format!("{{\"name\":\"{}\"}}", "é".repeat(20_000)));
        let value: serde_json::Value = serde_json::from_str(&out).unwrap();
        let kept = value["name"].as_str().unwrap();
        assert!(kept.len() + "auth0.logs.data.details.name=".len() < 32_738);
        assert!(kept.len() > 32_000 && kept.chars().all(|c| c == 'é'));
        assert!(changes.has(Change::StringCut));
    }

    #[test]
    fn the_first_of_two_members_with_one_name_stays() {
        let (out, changes) = copied(r#"{"a":1,"b":2,"a":3,"\u0061":4}"#);
        assert_eq!(out, r#"{"a":1,"b":2}"#);
        assert!(changes.has(Change::DuplicateName));
        let many: Vec<_> = (0..2_000).map(|i| format!("\"k{}\":{i}", i % 1_500)).collect();
        let (out, _) = copied(&format!("{{{}}}", many.join(",")));
        let value: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(value.as_object().unwrap().len(), 1_500);
        assert_eq!(value["k7"], 7);
        assert_eq!(out.matches("\"k7\":").count(), 1);
    }

    #[test]
    fn a_nul_in_a_name_is_replaced() {
        let (out, changes) = copied(r#"{"a\u0000b":1}"#);
        assert_eq!(out, "{\"a\u{fffd}b\":1}");
        assert!(changes.has(Change::NameAdjusted));
    }
}
