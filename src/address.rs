//! Which addresses a request may go to.
//!
//! A credential leaves only to the hosts its connector declares (or to the operator's override), over TLS. Private and
//! link-local addresses are refused: the one exception is loopback, for the operator's own sandbox.

use std::net::{Ipv4Addr, Ipv6Addr};
use url::{Host, Url};

/// What is wrong with a URL that an operator wants requests to go to; none if it is fine.
pub fn problem(url: &str) -> Option<String> {
    let Ok(url) = Url::parse(url) else { return Some("is not a URL".into()) };
    if !url.username().is_empty() || url.password().is_some() {
        return Some("must not hold a user name or password".into());
    }
    // A dot at the end is the same host for DNS and another for every list of names.
    if url.host_str().is_some_and(|host| host.ends_with('.')) {
        return Some("must not end its host with a dot".into());
    }
    let loopback = is_loopback(&url);
    match url.scheme() {
        "https" => {}
        "http" if loopback => {}
        _ => return Some("must be https (http only for loopback)".into()),
    }
    (!loopback && is_private(&url)).then(|| "must not be a private, reserved or link-local address".into())
}

/// Whether the URL's host is this machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

fn is_private(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => private_v4(ip),
        Some(Host::Ipv6(ip)) => private_v6(ip),
        // The parser has made the name lower case.
        Some(Host::Domain(name)) => match name.rsplit_once('.') {
            Some((_, top)) => NOT_PUBLIC.contains(&top),
            None => true,
        },
        None => true,
    }
}

/// Last labels that no public name has: reserved ones (RFC 6761, 6762, 7686, 8375, 9476 and ICANN's `internal`), and those
/// that home and office networks use for themselves.
const NOT_PUBLIC: &[&str] = &[
    "alt",
    "arpa",
    "corp",
    "domain",
    "home",
    "internal",
    "intranet",
    "invalid",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "mail",
    "onion",
    "private",
    "test",
    "workgroup",
];

/// Everything that is not globally reachable (IANA's IPv4 Special-Purpose Address Registry), multicast included.
fn private_v4(ip: Ipv4Addr) -> bool {
    let address = u32::from(ip);
    let in_block = |first: [u8; 4], bits: u32| (address ^ u32::from(Ipv4Addr::from(first))) >> (32 - bits) == 0;
    let blocks = [
        ([0, 0, 0, 0], 8),
        ([10, 0, 0, 0], 8),
        ([100, 64, 0, 0], 10),
        ([127, 0, 0, 0], 8),
        ([169, 254, 0, 0], 16),
        ([172, 16, 0, 0], 12),
        ([192, 0, 0, 0], 24),
        ([192, 0, 2, 0], 24),
        ([192, 88, 99, 0], 24),
        ([192, 168, 0, 0], 16),
        ([198, 18, 0, 0], 15),
        ([198, 51, 100, 0], 24),
        ([203, 0, 113, 0], 24),
        // Multicast, and what is reserved up to the broadcast address.
        ([224, 0, 0, 0], 3),
    ];
    blocks.into_iter().any(|(first, bits)| in_block(first, bits))
}

/// Public addresses are in 2000::/3 (RFC 4291 section 2.4). Of these, the ones that carry an IPv4 address (6to4, Teredo)
/// or are for special purposes and documentation are none either.
fn private_v6(ip: Ipv6Addr) -> bool {
    let [first, second, ..] = ip.segments();
    let global = first & 0xe000 == 0x2000;
    let special = first == 0x2001 && second < 0x0200;
    let documentation = (first == 0x2001 && second == 0x0db8) || (first == 0x3fff && second < 0x1000);
    !global || special || documentation || first == 0x2002
}

/// Whether `host` is one a connector declares; `*.example.com` stands for any one label below example.com.
pub fn matches(host: &str, declared: &str) -> bool {
    match declared.strip_prefix("*.") {
        Some(parent) => host
            .strip_suffix(parent)
            .and_then(|label| label.strip_suffix('.'))
            .is_some_and(|label| !label.is_empty() && !label.contains('.')),
        None => host == declared,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_and_loopback_pass() {
        for fine in [
            "https://api.example.com/v1",
            "https://8.8.8.8/",
            "https://172.32.0.1/",
            "https://[2606:4700::1111]/",
            "http://127.0.0.1:4000",
            "http://localhost:4000/x",
            "http://[::1]:1",
        ] {
            assert_eq!(problem(fine), None, "{fine}");
        }
        for wrong in [
            "http://api.example.com",
            "https://10.0.0.1",
            "https://169.254.169.254/latest",
            "https://[fe80::1]/",
            "https://u:p@example.com",
            "ftp://example.com",
            "nonsense",
            "https://metadata.internal/",
            "https://0x0a000001/",
            "https://[::ffff:10.0.0.1]/",
            "https://intranet/",
            "https://intranet./",
            "https://localhost./",
            "https://metadata.google.internal./",
            "https://api.example.com./",
            "https://router.home.arpa/",
            "https://nas.lan/",
            "https://box.intranet/",
            "https://files.corp/",
            "https://host.localdomain/",
            "https://0.1.2.3/",
            "https://100.64.0.1/",
            "https://172.31.255.255/",
            "https://192.0.0.8/",
            "https://192.0.2.1/",
            "https://192.88.99.1/",
            "https://198.18.0.1/",
            "https://198.19.255.255/",
            "https://198.51.100.1/",
            "https://203.0.113.1/",
            "https://224.0.0.1/",
            "https://240.0.0.1/",
            "https://255.255.255.255/",
            "https://[::]/",
            "https://[64:ff9b::a00:1]/",
            "https://[64:ff9b:1::1]/",
            "https://[100::1]/",
            "https://[2001::1]/",
            "https://[2001:db8::1]/",
            "https://[2002:a00:1::]/",
            "https://[3fff::1]/",
            "https://[fd00::1]/",
            "https://[fec0::1]/",
            "https://[ff02::1]/",
        ] {
            assert!(problem(wrong).is_some(), "{wrong}");
        }
    }

    #[test]
    fn a_star_is_one_label() {
        assert!(matches("acme.zendesk.com", "*.zendesk.com") && matches("a.b", "a.b"));
        assert!(!matches("a.b.zendesk.com", "*.zendesk.com") && !matches("zendesk.com", "*.zendesk.com"));
        assert!(!matches("evilzendesk.com", "*.zendesk.com"));
    }
}
