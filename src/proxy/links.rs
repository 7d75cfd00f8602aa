//! Links that lead back here. A client that follows `Link` or `Location` sends its bearer token along, and that is one of
//! ours: an address of the provider's own API becomes the address of the same thing behind the proxy.

use crate::target::{Target, below};
use ::http::{HeaderMap, HeaderValue};
use std::fmt::Write;
use url::Url;

/// Headers that hold one address.
const ONE_ADDRESS: [&str; 2] = ["location", "content-location"];

/// Changes the headers of an answer to a request for `asked`. What names a host that is none of the connector's stays as it
/// is, and so does a path that is not below the API's base: it leads to ourselves in any case.
pub(super) fn lead_back(headers: &mut HeaderMap, target: &Target<'_>, asked: &str, base_url: &str) {
    let Ok(asked) = Url::parse(asked) else { return };
    let back = |address: &str| back(address, target, &asked, base_url);
    for name in ONE_ADDRESS {
        if let Some(address) = crate::ports::get(headers, name).and_then(|address| back(address.trim())) {
            crate::ports::put(headers, name, &address);
        }
    }
    let links: Vec<_> = headers.get_all("link").iter().cloned().collect();
    if !links.is_empty() {
        headers.remove("link");
    }
    for link in links {
        let changed = std::str::from_utf8(link.as_bytes()).map(|text| each_address(text, &back));
        let changed = changed.ok().and_then(|text| HeaderValue::from_str(&text).ok());
        headers.append("link", changed.unwrap_or(link));
    }
}

/// Addresses of one Link header that are looked at; pages have a handful. What follows is dropped with all that belongs to it:
/// nobody knows where it would lead a client.
pub const MOST_LINKS: usize = 100;

/// Changes the addresses of a Link header (RFC 8288 section 3): what stands in angle brackets outside of quotes.
fn each_address(text: &str, change: &dyn Fn(&str) -> Option<String>) -> String {
    let (mut out, mut rest, mut quoted, mut links) = (String::with_capacity(text.len()), text, false, 0);
    while let Some(at) = rest.find(['"', '\\', '<']) {
        let (before, found) = rest.split_at(at);
        out.push_str(before);
        let length = match found.as_bytes()[0] {
            b'"' => {
                quoted = !quoted;
                1
            }
            // A backslash takes the next character with it.
            b'\\' => found.char_indices().nth(2).map_or(found.len(), |(at, _)| at),
            _ if quoted => 1,
            _ if links == MOST_LINKS => {
                out.truncate(out.trim_end_matches([',', ' ', '\t']).len());
                return out;
            }
            _ => {
                // Without an end nothing that follows is an address either.
                let Some(end) = found.find('>') else { return out + found };
                let address = &found[1..end];
                let _ = write!(out, "<{}>", change(address).as_deref().unwrap_or(address));
                links += 1;
                rest = &found[end + 1..];
                continue;
            }
        };
        out.push_str(&found[..length]);
        rest = &found[length..];
    }
    out + rest
}

/// The address behind the proxy; none when it is none of the provider's API.
fn back(address: &str, target: &Target<'_>, asked: &Url, base_url: &str) -> Option<String> {
    let mut named = asked.join(address).ok()?;
    // A provider behind a proxy of its own may name itself without TLS; nothing is sent to it that way.
    if named.scheme() == "http" && asked.scheme() == "https" {
        named.set_scheme("https").ok()?;
    }
    let fragment = named.fragment().map(|fragment| format!("#{fragment}")).unwrap_or_default();
    named.set_fragment(None);
    let there = target.url(named.as_str()).ok()?;
    let base = target.base().ok()?;
    match below(there.as_str(), &base) {
        Some(rest) => Some(format!("{base_url}/proxy/{}{fragment}", rest.trim_start_matches('/'))),
        None => leaves(address, base_url).then(|| format!("{base_url}/proxy/{there}{fragment}")),
    }
}

/// Whether a client that found the address in an answer of ours would go to another host: it names one, with a scheme or
/// without (`//host/x`, RFC 3986 section 4.2; and what browsers take for that).
fn leaves(address: &str, base_url: &str) -> bool {
    let ours = Url::parse(base_url).ok();
    let led = ours.as_ref().and_then(|ours| ours.join(address).ok());
    ours.zip(led).is_none_or(|(ours, led)| ours.origin() != led.origin())
}

#[cfg(test)]
mod tests {
    use super::{MOST_LINKS, each_address};
    use std::cell::Cell;

    #[test]
    fn what_looks_like_many_addresses_is_not_much_work() {
        let changed = Cell::new(0);
        let count = |_: &str| {
            changed.set(changed.get() + 1);
            None
        };
        // What is not looked at is not handed out: it could lead a client with our token to the provider.
        let many = "<a>;rel=x, ".repeat(100_000);
        let kept = "<a>;rel=x, ".repeat(MOST_LINKS);
        assert!(each_address(&many, &count) == kept.trim_end_matches(", "));
        assert_eq!(changed.replace(0), MOST_LINKS);
        let most = format!("{kept}<b>");
        assert_eq!(each_address(kept.trim_end(), &count), kept.trim_end());
        assert_eq!(each_address(&most, &count), kept.trim_end_matches(", "));
        changed.set(0);
        let unended = "<".repeat(1_000_000);
        assert_eq!(each_address(&unended, &count), unended);
        assert_eq!(changed.get(), 0);
    }

    #[test]
    fn addresses_stand_in_brackets_outside_of_quotes() {
        let star = |_: &str| Some("*".to_owned());
        for (text, changed) in [
            ("<a>; rel=\"next\", <b>; rel=\"last\"", "<*>; rel=\"next\", <*>; rel=\"last\""),
            ("<a>; title=\"<b>, \\\" <c>\", <d>", "<*>; title=\"<b>, \\\" <c>\", <*>"),
            ("<unended", "<unended"),
            ("\\", "\\"),
            ("\\ü<a>", "\\ü<*>"),
            ("", ""),
        ] {
            assert_eq!(each_address(text, &star), changed);
        }
        assert_eq!(each_address("<a>, <b>", &|_| None), "<a>, <b>");
    }
}
