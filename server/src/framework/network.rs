//! Networks that logins and tokens are bound to.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

/// Reads CIDR blocks such as `10.0.0.0/8`; a lone address is not one, as in Go's `ParseCIDR`.
///
/// # Errors
/// Go's text for the first block that isn't one.
pub fn parse_cidrs(texts: &[String]) -> Result<Vec<IpNet>, String> {
    texts.iter().map(|text| text.parse().map_err(|_| format!("invalid CIDR address: {text}"))).collect()
}

/// Reads addresses and CIDR blocks; an address stands for itself alone.
///
/// # Errors
/// Names the first text that is neither.
pub fn parse_addresses(texts: &[String]) -> Result<Vec<IpNet>, String> {
    texts
        .iter()
        .map(|text| {
            text.parse::<IpNet>()
                .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
                .map_err(|_| unreadable_address(text))
        })
        .collect()
}

/// What Vault says of a text that is no address.
pub fn unreadable_address(text: &str) -> String {
    format!(
        "error parsing address {text:?}: Unable to convert {text:?} to an IPv4 or IPv6 address, or a UNIX Socket"
    )
}

/// Whether an address lies in one of the networks. IPv4 addresses mapped into IPv6 count as IPv4.
pub fn any_contains(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

/// Whether each of `inner` lies wholly within one of `outer`.
pub fn is_subset(inner: &[IpNet], outer: &[IpNet]) -> bool {
    inner.iter().all(|block| outer.iter().any(|around| around.contains(block)))
}

/// A list for a response, with a lone address written without its mask.
pub fn to_json(networks: &[IpNet]) -> Value {
    let text = |network: &IpNet| {
        if network.prefix_len() == network.max_prefix_len() {
            network.addr().to_string()
        } else {
            network.to_string()
        }
    };
    networks.iter().map(text).collect()
}

/// A list for a response, every entry with its mask.
pub fn cidrs_to_json(networks: &[IpNet]) -> Value {
    networks.iter().map(IpNet::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts(items: &[&str]) -> Vec<String> {
        items.iter().map(|&item| item.to_owned()).collect()
    }

    #[test]
    fn cidrs_need_a_mask_and_addresses_do_not() {
        assert_eq!(parse_cidrs(&texts(&["10.0.0.0/8", "fd00::/8"])).unwrap().len(), 2);
        assert_eq!(parse_cidrs(&texts(&["10.0.0.1"])).unwrap_err(), "invalid CIDR address: 10.0.0.1");
        let networks = parse_addresses(&texts(&["10.0.0.1", "10.1.0.0/16"])).unwrap();
        assert_eq!(to_json(&networks), json!(["10.0.0.1", "10.1.0.0/16"]));
        assert_eq!(cidrs_to_json(&networks), json!(["10.0.0.1/32", "10.1.0.0/16"]));
        assert!(parse_addresses(&texts(&["10.0.0.256"])).is_err());
    }

    #[test]
    fn addresses_are_found_in_networks() {
        let networks = parse_cidrs(&texts(&["127.0.0.0/8", "::1/128"])).unwrap();
        for inside in ["127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1"] {
            assert!(any_contains(&networks, inside.parse().unwrap()), "{inside}");
        }
        for outside in ["128.0.0.1", "::2"] {
            assert!(!any_contains(&networks, outside.parse().unwrap()), "{outside}");
        }
        assert!(!any_contains(&[], "127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn subsets() {
        let outer = parse_cidrs(&texts(&["10.0.0.0/8", "192.168.1.0/24"])).unwrap();
        let inside = parse_cidrs(&texts(&["10.2.0.0/16", "192.168.1.7/32"])).unwrap();
        let outside = parse_cidrs(&texts(&["10.2.0.0/16", "192.168.0.0/16"])).unwrap();
        assert!(is_subset(&inside, &outer));
        assert!(!is_subset(&outside, &outer));
    }
}
