//! `user`, `organization` and `user_agent`: who did it.

use super::document::close;
use crate::input::event::Event;
use crate::json::text::{decode, write_plain, write_str, write_text};
use user_agent::UserAgent;

/// `user.*`: the whole user name, and its parts where it is an address.
pub(super) fn write_user(out: &mut Vec<u8>, event: &Event<'_>) {
    if event.user_id.is_none() && event.user_name.is_none() {
        return;
    }
    out.extend_from_slice(b",\"user\":{");
    if let Some(id) = event.user_id {
        out.extend_from_slice(b"\"id\":");
        write_text(out, id);
        out.push(b',');
    }
    if let Some(token) = event.user_name {
        let name = decode(token);
        out.extend_from_slice(b"\"name\":");
        write_text(out, token);
        out.push(b',');
        if let Some(domain) = email_domain(&name) {
            out.extend_from_slice(b"\"email\":");
            write_text(out, token);
            out.extend_from_slice(b",\"domain\":");
            write_str(out, domain);
            out.push(b',');
        }
    }
    close(out);
}

/// The domain of an e-mail address; `None` for what is no address.
fn email_domain(name: &str) -> Option<&str> {
    let (local, domain) = name.rsplit_once('@')?;
    let is_plain = |text: &str| {
        let is_sign = |byte: u8| byte <= b' ' || byte == b'@' || byte == 0x7f;
        !text.is_empty()
            && !text.bytes().any(is_sign)
            && (text.is_ascii() || !text.contains(|c: char| c.is_whitespace() || c.is_control()))
    };
    let has_labels = domain.contains('.')
        && !domain.starts_with('.')
        && !domain.ends_with('.')
        && !domain.contains("..");
    (is_plain(local) && is_plain(domain) && has_labels).then_some(domain)
}

pub(super) fn write_organization(out: &mut Vec<u8>, event: &Event<'_>) {
    let members = [("id", event.organization_id), ("name", event.organization_name)];
    if members.iter().all(|(_, value)| value.is_none()) {
        return;
    }
    out.extend_from_slice(b",\"organization\":{");
    for (name, value) in members {
        if let Some(value) = value {
            write_plain(out, name);
            out.push(b':');
            out.extend_from_slice(value.as_bytes());
            out.push(b',');
        }
    }
    close(out);
}

pub(super) fn write_user_agent(out: &mut Vec<u8>, original: &str, parsed: &UserAgent) {
    out.extend_from_slice(b",\"user_agent\":{\"original\":");
    write_text(out, original);
    out.extend_from_slice(b",\"name\":");
    write_str(out, &parsed.name);
    if let Some(version) = &parsed.version {
        out.extend_from_slice(b",\"version\":");
        write_str(out, version);
    }
    out.extend_from_slice(b",\"device\":{\"name\":");
    write_str(out, &parsed.device);
    out.push(b'}');
    if let Some(os) = &parsed.os {
        out.extend_from_slice(b",\"os\":{\"name\":");
        write_str(out, &os.name);
        for (name, value) in [("version", &os.version), ("full", &os.full)] {
            if let Some(value) = value {
                out.push(b',');
                write_plain(out, name);
                out.push(b':');
                write_str(out, value);
            }
        }
        out.push(b'}');
    }
    out.push(b'}');
}
