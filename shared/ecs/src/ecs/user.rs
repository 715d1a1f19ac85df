//! `user` and `user_agent`: who did it.

use user_agent::UserAgent;

use super::copies::Copies;
use crate::input::event::Event;
use crate::input::members::Moved;
use crate::json::read::decode;
use crate::json::write::{AsText, Object};
use crate::key;

/// `user.*`: the copies (id and name), and the parts of a name that is an e-mail address.
pub(super) fn write_user(doc: &mut Object<'_>, event: &Event<'_>, copies: &Copies) {
    doc.object(key!("user"), |user| {
        copies.write(user, event);
        if let Some(token) = event.moved(Moved::UserName)
            && let Some(domain) = email_domain(&decode(token))
        {
            user.put(key!("email"), AsText(token));
            user.put(key!("domain"), domain);
        }
    });
}

/// The domain of an e-mail address; `None` if `name` is not one.
fn email_domain(name: &str) -> Option<&str> {
    let (local, domain) = name.rsplit_once('@')?;
    let is_plain = |text: &str| {
        let is_special = |byte: u8| byte <= b' ' || byte == b'@' || byte == 0x7f;
        !text.is_empty()
            && !text.bytes().any(is_special)
            && (text.is_ascii() || !text.contains(|c: char| c.is_whitespace() || c.is_control()))
    };
    let has_labels = domain.contains('.')
        && !domain.starts_with('.')
        && !domain.ends_with('.')
        && !domain.contains("..");
    (is_plain(local) && is_plain(domain) && has_labels).then_some(domain)
}

/// `user_agent.*`; `token` is the agent as received.
pub(super) fn write_user_agent(doc: &mut Object<'_>, token: &str, parsed: &UserAgent) {
    doc.object(key!("user_agent"), |agent| {
        agent.put(key!("original"), AsText(token));
        agent.put(key!("name"), parsed.name.as_str());
        agent.maybe(key!("version"), parsed.version.as_deref());
        agent.object(key!("device"), |device| device.put(key!("name"), parsed.device.as_str()));
        if let Some(system) = &parsed.os {
            agent.object(key!("os"), |os| {
                os.put(key!("name"), system.name.as_str());
                os.maybe(key!("version"), system.version.as_deref());
                os.maybe(key!("full"), system.full.as_deref());
            });
        }
    });
}
