//! One rule's regular expression, and an agent in the form that it is matched in.
//!
//! The engine is a bounded backtracker: linear in the agent's length, as everything in the crate
//! `regex`, with a tenth of the memory for an expression.

use std::borrow::Cow;

use regex_automata::nfa::thompson::NFA;
use regex_automata::nfa::thompson::backtrack::{BoundedBacktracker, Cache};
use regex_automata::util::prefilter::Prefilter;
use regex_automata::util::primitives::NonMaxUsize;
use regex_automata::util::syntax;
use regex_automata::{Input, MatchKind};

/// The longest agent that is matched, in bytes; what follows is not looked at. The longest one in
/// uap-core's tests has 492.
const LONGEST_AGENT: usize = 1024;

/// What the backtracker may use to remember where it has been, in bytes. A test proves that no rule
/// needs more for [`LONGEST_AGENT`].
const VISITED_CAPACITY: usize = 512 * 1024;

/// An agent with one byte for each character: uap-core counts characters, its rules are all ASCII,
/// and so any other character is as good as the next.
pub(super) struct Agent<'a> {
    text: &'a str,
    image: Cow<'a, [u8]>,
}

impl<'a> Agent<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let image = if text.is_ascii() {
            Cow::Borrowed(text.as_bytes())
        } else {
            let byte = |character: char| u8::try_from(character).ok().filter(u8::is_ascii);
            text.chars().map(|character| byte(character).unwrap_or(0xff)).collect()
        };
        Self { text, image }
    }

    /// As much of an agent as is matched.
    pub(super) fn cut(text: &str) -> &str {
        text.get(..text.floor_char_boundary(LONGEST_AGENT)).unwrap_or(text)
    }

    pub(super) fn image(&self) -> &[u8] {
        &self.image
    }

    /// The characters from one place in the image to another.
    fn between(&self, start: usize, end: usize) -> Cow<'a, str> {
        match self.image {
            Cow::Borrowed(_) => self.text.get(start..end).unwrap_or_default().into(),
            Cow::Owned(_) => self.text.chars().skip(start).take(end - start).collect(),
        }
    }
}

/// An expression, compiled.
///
/// Many rules say `.{0,200}` where they mean `.*`, to spare engines that backtrack without bound;
/// spelt out, that is hundreds of states. So the expression is compiled without such counts, which
/// makes no difference to an agent no longer than they are. If it matches a longer one, the
/// expression as it stands has to match too.
pub(super) struct Expression {
    short: BoundedBacktracker,
    /// The length of agents for which `short` will do.
    short_will_do: usize,
    strict: Option<BoundedBacktracker>,
}

impl Expression {
    pub(super) fn new(pattern: &str, ignore_case: bool) -> Option<Self> {
        let (mut short, mut short_will_do) = (Cow::Borrowed(pattern), usize::MAX);
        for count in [300, 200, 100] {
            for (least, any) in [(0, "*"), (1, "+")] {
                let counted = format!("{{{least},{count}}}");
                if short.contains(&counted) {
                    short = short.replace(&counted, any).into();
                    short_will_do = count;
                }
            }
        }
        Some(Self { short: compile(&short, ignore_case)?, short_will_do, strict: None })
    }

    /// Where this expression, made of `pattern`, first matches.
    pub(super) fn find<'a>(
        &mut self,
        pattern: &str,
        ignore_case: bool,
        agent: &'a Agent<'_>,
        cache: &mut Option<Cache>,
    ) -> Option<Groups<'a>> {
        let cache = cache.get_or_insert_with(|| self.short.create_cache());
        let groups = find(&self.short, agent, cache)?;
        if agent.image.len() <= self.short_will_do {
            return Some(groups);
        }
        if self.strict.is_none() {
            self.strict = compile(pattern, ignore_case);
        }
        find(self.strict.as_ref()?, agent, cache)
    }
}

fn compile(pattern: &str, ignore_case: bool) -> Option<BoundedBacktracker> {
    let config = syntax::Config::new().unicode(false).utf8(false).case_insensitive(ignore_case);
    let hir = syntax::parse_with(pattern, &config).ok()?;
    let nfa = NFA::compiler().configure(NFA::config().utf8(false)).build_from_hir(&hir).ok()?;
    let prefilter = (!nfa.is_always_start_anchored())
        .then(|| Prefilter::from_hir_prefix(MatchKind::LeftmostFirst, &hir))
        .flatten();
    let config =
        BoundedBacktracker::config().visited_capacity(VISITED_CAPACITY).prefilter(prefilter);
    BoundedBacktracker::builder().configure(config).build_from_nfa(nfa).ok()
}

/// A match: the text of its groups.
pub(super) struct Groups<'a> {
    agent: &'a Agent<'a>,
    /// Two offsets for the whole and for each of nine groups.
    offsets: [Option<NonMaxUsize>; 20],
}

impl Groups<'_> {
    /// A group's text, the first being 1; nothing if it is empty or did not take part.
    pub(super) fn get(&self, group: usize) -> Option<Cow<'_, str>> {
        let offset = |at: usize| self.offsets.get(at).copied().flatten().map(NonMaxUsize::get);
        let text = self.agent.between(offset(2 * group)?, offset(2 * group + 1)?);
        (!text.is_empty()).then_some(text)
    }

    /// A replacement with `$1` to `$9` filled in; nothing if that leaves it empty.
    pub(super) fn fill(&self, replacement: &str) -> Option<String> {
        let mut parts = replacement.split('$');
        let mut filled = parts.next()?.to_owned();
        for part in parts {
            let mut rest = part.chars();
            let group = rest.next().and_then(|digit| digit.to_digit(10)).unwrap_or(0);
            if group == 0 {
                filled.push('$');
                filled.push_str(part);
            } else {
                filled.push_str(&self.get(usize::try_from(group).ok()?).unwrap_or_default());
                filled.push_str(rest.as_str());
            }
        }
        let trimmed = filled.trim();
        (!trimmed.is_empty()).then(|| trimmed.to_owned())
    }
}

fn find<'a>(
    expression: &BoundedBacktracker,
    agent: &'a Agent<'_>,
    cache: &mut Cache,
) -> Option<Groups<'a>> {
    let mut offsets = [None; 20];
    cache.reset(expression);
    let input = Input::new(agent.image());
    // The one error there is, an agent too long for the capacity, is ruled out by LONGEST_AGENT.
    expression.try_search_slots(cache, &input, &mut offsets).ok()??;
    Some(Groups { agent, offsets })
}
