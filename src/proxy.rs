//! The proxy: a caller's request, with the account's credential, to the connector's API. Bodies stream both ways.

use crate::access::{self, Used};
use crate::app::App;
use crate::code::Code;
use crate::error::{Error, Origin, Result};
use crate::limit::gate;
use crate::ports::{Body, Request, Response};
use crate::target::Target;
use crate::tool::{execute, request, response};
use ::http::HeaderMap;
use serde_json::Value;

/// Names the account; goes no further.
pub const CONNECTION_NAME: &str = "connection_name";
/// Names the account; goes no further.
pub const IDENTIFIER: &str = "identifier";
/// Names the account; goes no further.
pub const ACCOUNT_ID: &str = "connected_account_id";

/// Headers that belong to one hop (RFC 9110 section 7.6.1), and others that are not the provider's to see or to set.
const STOPPED: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "host",
    "cookie",
    "set-cookie",
    "authorization",
    "forwarded",
    "x-real-ip",
    CONNECTION_NAME,
    IDENTIFIER,
    ACCOUNT_ID,
];
const STOPPED_PREFIXES: &[&str] = &["cf-", "x-forwarded-"];

/// Sends a caller's request on. `rest` is what follows `/proxy`, with the query.
pub async fn forward(
    app: &App,
    used: &Used,
    method: &str,
    rest: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response> {
    let leased = access::lease(app, used, None).await?;
    let call = gate::Call { variables: Some(&leased.snapshot.variables), ..used.gate(None, None) };
    access::enter(app, &call).await?;
    let target =
        Target { connector: used.connector, connection: &used.known.connection, variables: &leased.snapshot.variables };
    let url: String = target.url(&destination(rest))?.into();
    let build = |token, body| {
        let mut sent = Request {
            method: method.to_owned(),
            url: url.clone(),
            headers: passed(headers),
            body,
            timeout_ms: used.connector.http.timeout_ms,
        };
        request::authorize(&mut sent, &target, token);
        sent
    };
    let can_replay = matches!(body, Body::Empty) && matches!(method, "GET" | "HEAD" | "OPTIONS");
    let mut answer = send(app, used, build(&leased.token, body)).await?;
    if answer.status == 401 {
        // Renewed also when the body is gone and nothing can be sent again: the next call works.
        let renewed = access::lease(app, used, Some(leased.token.fingerprint())).await;
        if can_replay && let Ok(renewed) = renewed {
            answer = send(app, used, build(&renewed.token, Body::Empty)).await?;
        }
    }
    if answer.status == 429 {
        learn(app, used, &answer).await;
    }
    answer.headers = passed(&answer.headers);
    Ok(answer)
}

async fn send(app: &App, used: &Used, request: Request) -> Result<Response> {
    let timeout_ms = request.timeout_ms;
    let answer = app.http.stream(request).await;
    answer.map_err(|unanswered| response::unanswered(used.connector, unanswered, timeout_ms))
}

/// The provider's limit is kept, as after a tool's call; the answer itself goes to the caller untouched.
async fn learn(app: &App, used: &Used, answer: &Response) {
    let wait = response::retry_after(&used.connector.errors, answer, &Value::Null, app.now());
    let Some(wait) = wait.filter(|wait| *wait > 0) else { return };
    let error = Error::new(Code::RateLimitExceeded, "learnt").with(|details| {
        details.origin = Origin::Provider;
        details.retry_after = Some(wait);
        details.limit_type = Some("requests".into());
    });
    execute::after_failure(app, used, &used.gate(None, None), error).await;
}

/// A path below the API's base, or a whole URL; `https:/` is what some clients make of `https://`.
fn destination(rest: &str) -> String {
    let inner = rest.trim_start_matches('/');
    for scheme in ["https:", "http:"] {
        if let Some(address) = inner.strip_prefix(scheme) {
            return format!("{scheme}//{}", address.trim_start_matches('/'));
        }
    }
    format!("/{inner}")
}

fn passed(headers: &HeaderMap) -> HeaderMap {
    let named: Vec<String> = headers
        .get_all("connection")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let mut passed = HeaderMap::new();
    for (name, value) in headers {
        let text = name.as_str();
        let stopped = STOPPED.contains(&text) || STOPPED_PREFIXES.iter().any(|prefix| text.starts_with(prefix));
        if !stopped && !named.iter().any(|named| named == text) {
            passed.append(name.clone(), value.clone());
        }
    }
    passed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_proxy_is_a_path_or_a_url() {
        assert_eq!(destination("/user/repos?a=1"), "/user/repos?a=1");
        assert_eq!(destination("/https://uploads.github.com/x"), "https://uploads.github.com/x");
        assert_eq!(destination("/https:/uploads.github.com/x"), "https://uploads.github.com/x");
        assert_eq!(destination("//evil.example/x"), "/evil.example/x");
    }

    #[test]
    fn headers_of_one_hop_and_of_the_caller_stay_here() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, x-mine"),
            ("x-mine", "1"),
            ("authorization", "a"),
            ("cookie", "c"),
            ("cf-ray", "r"),
            ("identifier", "u"),
            ("accept", "x"),
            ("etag", "e"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        let passed = passed(&headers);
        let mut names: Vec<_> = passed.keys().map(::http::HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "etag"]);
    }
}
