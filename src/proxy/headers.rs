//! Which headers go through the proxy, in each direction. All others are nobody's business but the two ends'.

use super::{ACCOUNT_ID, CONNECTION_NAME, IDENTIFIER, LINKS};
use ::http::{HeaderMap, HeaderValue};
use std::collections::HashSet;

/// Headers that belong to one hop (RFC 9110 section 7.6.1).
const ONE_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// What is not the provider's to see: the caller's credential, and how the request came here.
const OF_THE_CALLER: &[&str] =
    &["host", "cookie", "authorization", "forwarded", "x-real-ip", CONNECTION_NAME, IDENTIFIER, ACCOUNT_ID, LINKS];
/// What a provider says of its whole site, and a browser would believe of ours.
const OF_THE_SITE: &[&str] = &[
    "set-cookie",
    "alt-svc",
    "clear-site-data",
    "nel",
    "report-to",
    "reporting-endpoints",
    "service-worker-allowed",
    "strict-transport-security",
];
/// Headers of the platform and of valetkey: nobody else sets them.
const PREFIXES: &[&str] = &["cf-", "x-forwarded-", "x-valetkey-"];

/// Encodings of an answer that the platform unpacks where one is read here. In another a refusal would be noise.
const UNPACKED: &[&str] = &["gzip", "br", "identity"];

/// The headers of a caller's request that the provider gets.
pub(super) fn of_request(headers: &HeaderMap) -> HeaderMap {
    let mut passed = passed(headers, OF_THE_CALLER);
    if passed.contains_key("accept-encoding") {
        let encodings = encodings(&passed);
        passed.insert("accept-encoding", encodings);
    }
    passed
}

/// What a caller can unpack (RFC 9110 section 12.5.3) and the platform, too.
fn encodings(headers: &HeaderMap) -> HeaderValue {
    let asked = headers.get_all("accept-encoding").iter().filter_map(|value| value.to_str().ok());
    let name = |asked: &str| asked.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let known: Vec<&str> = asked
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|asked| UNPACKED.contains(&&*name(asked)))
        .collect();
    // Without the header, the platform would ask for what it can unpack and the caller perhaps cannot.
    HeaderValue::from_str(&known.join(", "))
        .ok()
        .filter(|value| !value.is_empty())
        .unwrap_or(HeaderValue::from_static("identity"))
}

/// The headers of a provider's answer that the caller gets.
pub(super) fn of_answer(headers: &HeaderMap) -> HeaderMap {
    passed(headers, OF_THE_SITE)
}

fn passed(headers: &HeaderMap, stopped: &[&str]) -> HeaderMap {
    let named: HashSet<String> = headers
        .get_all("connection")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let mut passed = HeaderMap::new();
    for (name, value) in headers {
        let text = name.as_str();
        let stays = ONE_HOP.contains(&text)
            || stopped.contains(&text)
            || PREFIXES.iter().any(|prefix| text.starts_with(prefix))
            || named.contains(text);
        if !stays {
            passed.append(name.clone(), value.clone());
        }
    }
    passed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(::http::HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    fn map(names: &[&'static str]) -> HeaderMap {
        names.iter().map(|name| (name.parse().unwrap(), "1".parse().unwrap())).collect()
    }

    #[test]
    fn headers_of_one_hop_and_of_the_caller_stay_here() {
        let mut sent =
            map(&["x-mine", "authorization", "cookie", "cf-ray", "identifier", "accept", "x-valetkey-links"]);
        sent.insert("connection", "close, X-Mine".parse().unwrap());
        assert_eq!(names(&of_request(&sent)), ["accept"]);
    }

    #[test]
    fn a_provider_speaks_for_its_answer_and_not_for_our_site() {
        let answer = map(&["etag", "set-cookie", "clear-site-data", "strict-transport-security", "x-valetkey-error"]);
        assert_eq!(names(&of_answer(&answer)), ["etag"]);
    }

    #[test]
    fn a_value_that_is_not_ascii_goes_through() {
        let mut sent = HeaderMap::new();
        sent.insert(
            "dropbox-api-arg",
            ::http::HeaderValue::from_bytes("{\"path\":\"/Grüße.txt\"}".as_bytes()).unwrap(),
        );
        assert_eq!(of_request(&sent)["dropbox-api-arg"].as_bytes(), "{\"path\":\"/Grüße.txt\"}".as_bytes());
    }
}
