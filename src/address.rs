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
    let loopback = is_loopback(&url);
    match url.scheme() {
        "https" => {}
        "http" if loopback => {}
        _ => return Some("must be https (http only for loopback)".into()),
    }
    (!loopback && is_private(&url)).then(|| "must not be a private or link-local address".into())
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
            Some((_, top)) => matches!(top, "internal" | "local"),
            None => true,
        },
        None => true,
    }
}

fn private_v4(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    // 100.64.0.0/10 is shared address space (RFC 6598).
    let shared = a == 100 && (64..128).contains(&b);
    ip.is_private()
        || ip.is_link_local()
        || ip.is_unspecified()
        || ip.is_broadcast()
        || ip.is_loopback()
        || shared
        || a == 0
}

fn private_v6(ip: Ipv6Addr) -> bool {
    let first = ip.segments()[0];
    let unique_local = first & 0xfe00 == 0xfc00;
    let link_local = first & 0xffc0 == 0xfe80;
    ip.is_unspecified() || ip.is_loopback() || unique_local || link_local || ip.to_ipv4().is_some_and(private_v4)
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
        for fine in ["https://api.example.com/v1", "http://127.0.0.1:4000", "http://localhost:4000/x", "http://[::1]:1"]
        {
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
