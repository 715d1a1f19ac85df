//! Who did what to whom, in events of the Management API.
//!
//! Their `details.request` has the user who is signed in to the dashboard, or whom a token is for, and the
//! path, which names the user or the organization that the request is about.

use percent_encoding::percent_decode_str;

use super::details::{Details, Path, is_scalar};
use super::person::{Person, identity};
use crate::json::read::{decode, member, members, strings};
use crate::json::write::Text;

/// What a request says beyond the event's own user.
#[derive(Debug, Default)]
pub(super) struct Management {
    /// Where it was made: in the dashboard, or with a token.
    pub(super) channel: Option<Text<'static>>,
    /// Who acted.
    pub(super) actor: Person<'static>,
    /// The user that it was done to, as far as the event says who that is.
    pub(super) target: Person<'static>,
    /// The ids of further users that it was done to.
    pub(super) more_targets: Vec<Text<'static>>,
    pub(super) organization: Option<Text<'static>>,
}

impl Management {
    /// `None` if the details are not of a request to the Management API.
    #[inline]
    pub(super) fn read(details: Details<'_>, written: &[u8]) -> Option<Box<Self>> {
        const PATH: Path = Path::new("request.path");
        let path = decode(details.text(written, PATH)?);
        Some(Self::of_path(path.strip_prefix("/api/v2/")?, details, written))
    }

    #[cold]
    fn of_path(path: &str, details: Details<'_>, written: &[u8]) -> Box<Self> {
        let request = details.text(written, const { Path::new("request") }).unwrap_or_default();
        let [channel, auth, body] = members(request, ["channel", "auth", "body"]);
        let channel = channel.filter(|channel| is_scalar(channel));
        let mut found =
            Self { channel: channel.map(|token| Text::of(token).into_owned()), ..Self::default() };
        // The user, or only an id.
        let [user, id] = members(auth.unwrap_or_default(), ["user", "user_text"]);
        let with_id = || Person { id: id.and_then(text), ..Person::default() };
        found.actor = user.and_then(Person::of_object).unwrap_or_else(with_id);
        const RESPONSE: Path = Path::new("response.body");
        let response = || details.text(written, RESPONSE).unwrap_or_default();
        found.read_path(path, body.unwrap_or_default(), response);
        Box::new(found)
    }

    fn read_path<'o>(&mut self, path: &str, body: &str, response: impl Fn() -> &'o str) {
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        let mut segments = path.split('/').map(|segment| {
            let decoded = percent_decode_str(segment).decode_utf8().ok()?;
            Some(decoded).filter(|text| !text.trim().is_empty())
        });
        let mut next = || segments.next().flatten();
        let segments = [next(), next(), next(), next()];
        let one = |id: &str| identity(Text::Any(id.to_owned())).into_iter().collect();
        let of_object = |object| Person::of_object(object).unwrap_or_default();
        let ids = match segments.each_ref().map(Option::as_deref) {
            // The response is the user; the request may name one that was refused.
            [Some("users"), id, None, _] => {
                self.target = of_object(response()).or(of_object(body));
                id.map(one).unwrap_or_default()
            }
            [Some("users" | "user-blocks"), Some(id), ..] => one(id),
            [Some("roles"), Some(_), Some("users"), _] => ids_in(body, "users"),
            [Some("organizations"), Some(organization), part, id] => {
                // The other paths below it do not have the id of an organization.
                let is_id = organization.starts_with("org_");
                self.organization = is_id.then(|| Text::Any(organization.to_owned()));
                match (part, id) {
                    (Some("members"), Some(id)) => one(id),
                    (Some("members"), None) => ids_in(body, "members"),
                    (Some("invitations"), _) => {
                        let of = |object| of_object(member(object, "invitee").unwrap_or_default());
                        self.target = of(response()).or(of(body));
                        Vec::new()
                    }
                    _ => Vec::new(),
                }
            }
            [Some("tickets" | "jobs"), ..] => {
                self.target = of_object(body);
                Vec::new()
            }
            // Others may name one by id.
            _ => member(body, "user_id").and_then(text).into_iter().collect(),
        };
        let mut ids = ids.into_iter();
        self.target.id = ids.next().or(self.target.id.take());
        self.more_targets = ids.collect();
    }
}

/// The ids in a list of the body.
fn ids_in(body: &str, name: &str) -> Vec<Text<'static>> {
    member(body, name).map(strings).unwrap_or_default().into_iter().filter_map(text).collect()
}

/// The text of a string, unless it is masked.
fn text(token: &str) -> Option<Text<'static>> {
    token.starts_with('"').then(|| identity(Text::of(token).into_owned()))?
}
