//! The addresses that requests may come from.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// A list of networks; empty, it allows every address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedSources(Vec<IpNet>);

impl AllowedSources {
    /// Returns whether a request may come from this address, as API Gateway names it.
    #[must_use]
    pub fn allow(&self, source: Option<&str>) -> bool {
        let source = source.and_then(|text| text.parse::<IpAddr>().ok());
        self.0.is_empty()
            || source.is_some_and(|source| self.0.iter().any(|net| net.contains(&source)))
    }
}

/// Reads `192.0.2.7,198.51.100.0/24`; the error follows the name of a setting.
impl FromStr for AllowedSources {
    type Err = String;

    fn from_str(list: &str) -> Result<Self, String> {
        let items = list.split(',').map(str::trim).filter(|item| !item.is_empty());
        let network = |item: &str| {
            let address = item.parse::<IpAddr>().map(IpNet::from);
            address.or_else(|_| item.parse()).map_err(|_| {
                format!("has {item:?}, which is neither an address nor a network in CIDR notation")
            })
        };
        items.map(network).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_has_to_be_in_a_network_of_the_list() {
        let some: AllowedSources = "192.0.2.7, 198.51.100.0/24,2001:db8::/32".parse().unwrap();
        for allowed in ["192.0.2.7", "198.51.100.200", "2001:db8::1"] {
            assert!(some.allow(Some(allowed)), "{allowed}");
        }
        for refused in ["192.0.2.8", "198.51.101.1", "2001:db9::1", "unknown"] {
            assert!(!some.allow(Some(refused)), "{refused}");
        }
        assert!(!some.allow(None));
    }

    #[test]
    fn empty_list_allows_every_source() {
        let all: AllowedSources = "".parse().unwrap();
        assert!(all.allow(Some("203.0.113.1")) && all.allow(None));
    }
}
