//! What browsers are told with every answer, and requests that are not even looked at.

use super::{Call, pages};
use crate::account::flow_error;
use crate::address;
use crate::error::{Error, Result};
use crate::ports::{Response, get};
use url::Url;

/// On every answer of ours: not sniffed, not cached, not framed or opened by others, and without the browser's devices.
const OURS: [(&str, &str); 6] = [
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-store"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=(), browsing-topics=()"),
];
/// Two years, as browsers' preload lists want it. Not for other names below this one: they are the operator's.
const TLS_ALONE: &str = "max-age=63072000";

/// An answer of ours.
pub(super) fn guarded(mut response: Response, base_url: &str) -> Response {
    for (name, value) in OURS {
        response = response.with_header(name, value);
    }
    if base_url.starts_with("https://") {
        response.with_header("strict-transport-security", TLS_ALONE)
    } else {
        response
    }
}

/// A provider's answer. It stands on our origin and must not act there: what it says of itself stays, and a browser that
/// shows it gives it an origin of its own and no script.
pub(super) fn sandboxed(mut response: Response) -> Response {
    if let (Ok(name), Ok(value)) = ("content-security-policy".parse::<::http::HeaderName>(), "sandbox".parse()) {
        // Beside the provider's own policy: of several, each one holds.
        response.headers.append(name, value);
    }
    response.with_header("x-content-type-options", "nosniff").with_header("cross-origin-resource-policy", "same-origin")
}

/// The answer to a request that came without TLS, or that another site's page made a browser send.
pub(super) fn refused(call: &Call<'_>) -> Option<Result<Response>> {
    without_tls(call).or_else(|| from_elsewhere(call).map(Err))
}

/// A browser that looks for a page is sent to the same page over TLS. Everything else is refused: its secret has been
/// readable on the way already, and a client that is redirected would go on like that (RFC 9325 section 3.2).
fn without_tls(call: &Call<'_>) -> Option<Result<Response>> {
    let url = call.request.url.strip_prefix("http://")?;
    if Url::parse(&call.request.url).is_ok_and(|url| address::is_loopback(&url)) {
        return None;
    }
    if call.place.is_page() && matches!(call.request.method.as_str(), "GET" | "HEAD") {
        return Some(Ok(pages::redirect(&format!("https://{url}"))));
    }
    let message = "this address is answered over https alone; a secret that was sent here was readable on the way";
    Some(Err(Error::invalid(message)))
}

/// Our forms are sent by our own pages. The browser says where a request comes from: in `Sec-Fetch-Site`, or in `Origin`,
/// which is `null` from a page of ours because it sends no referrer.
fn from_elsewhere(call: &Call<'_>) -> Option<Error> {
    if call.method != "POST" || !call.place.is_page() {
        return None;
    }
    let header = |name| get(&call.request.headers, name);
    let fine = match (header("sec-fetch-site"), header("origin")) {
        (Some(site), _) => matches!(site, "same-origin" | "none"),
        (None, None | Some("null")) => true,
        (None, Some(origin)) => {
            let same = |url: &str| Url::parse(url).is_ok_and(|url| url.origin().ascii_serialization() == origin);
            same(&call.app.settings.base_url) || same(&call.request.url)
        }
    };
    let words = "This form was sent by a page of another site. Open the link again and press the button there.";
    (!fine).then(|| flow_error("other_site", words))
}
