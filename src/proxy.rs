//! The proxy: a caller's request, with the account's credential, to the connector's API. Bodies stream both ways.

mod headers;
mod links;

use crate::access::{self, Used};
use crate::app::{App, Leased};
use crate::code::Code;
use crate::error::{Error, Origin, Result};
use crate::limit::gate::{self, Looks};
use crate::ports::{Body, Request, Response, Unanswered};
use crate::target::{Target, is_absolute};
use crate::tool::{execute, request, response};
use serde_json::Value;

/// Names the account; goes no further.
pub const CONNECTION_NAME: &str = "connection_name";
/// Names the account; goes no further.
pub const IDENTIFIER: &str = "identifier";
/// Names the account; goes no further.
pub const ACCOUNT_ID: &str = "connected_account_id";
/// `keep`: links in the answer stay as the provider wrote them.
pub const LINKS: &str = "x-valetkey-links";

/// The most bytes of a provider's refusal that are read to see what it means.
pub const LARGEST_REFUSAL: usize = 64 * 1024;

/// Sends a caller's request on. `rest` is what follows `/proxy`, with the query.
pub async fn forward(app: &App, used: &Used, rest: &str, received: &Request, body: Body) -> Result<Response> {
    let method = received.method.as_str();
    if matches!(method, "GET" | "HEAD") && !matches!(body, Body::Empty) {
        let message = format!("a {method} request has no body here (RFC 9110 section 9.3); send it without one");
        return Err(Error::invalid(message));
    }
    let can_replay = matches!(body, Body::Empty) && matches!(method, "GET" | "HEAD" | "OPTIONS");
    let proxied = Proxied { app, used, destination: destination(rest), received };
    let leased = access::lease(app, used, None).await?;
    let looks = proxied.enter(&leased).await?;
    let (mut answer, mut url) = match proxied.send(&leased, body).await? {
        // A connection that broke has done nothing that may not be done again. Once more, and no oftener.
        (Err(Unanswered::Unreachable), _) if can_replay && proxied.enter(&leased).await.is_ok() => {
            let (answer, url) = proxied.send(&leased, Body::Empty).await?;
            (proxied.answered(answer)?, url)
        }
        (answer, url) => (proxied.answered(answer)?, url),
    };
    if proxied.says_the_token_is_dead(&mut answer).await {
        // Renewed also when the body is gone and nothing can be sent again: the next call works.
        let renewed = access::lease(app, used, Some(leased.mark())).await;
        if let Ok(renewed) = renewed
            && can_replay
            && proxied.enter(&renewed).await.is_ok()
        {
            let again = proxied.send(&renewed, Body::Empty).await?;
            (answer, url) = (proxied.answered(again.0)?, again.1);
        }
    }
    if answer.status == 429 {
        proxied.learn(&answer, &leased).await;
    } else if answer.status < 400 {
        // A limit may be said with another status, too, and the body is the caller's.
        access::went_through(app, looks);
    }
    answer.headers = headers::of_answer(&answer.headers);
    if crate::ports::get(&received.headers, LINKS) != Some("keep") {
        let target = proxied.target(&leased);
        links::lead_back(&mut answer.headers, &target, &url, &app.settings.base_url);
    }
    Ok(answer)
}

/// A request on its way through.
struct Proxied<'a> {
    app: &'a App,
    used: &'a Used,
    destination: String,
    received: &'a Request,
}

impl Proxied<'_> {
    fn target<'a>(&'a self, leased: &'a Leased) -> Target<'a> {
        let variables = &leased.snapshot.variables;
        Target { connector: self.used.connector, connection: &self.used.known.connection, variables }
    }

    /// The request as the limits see it.
    fn call<'a>(&'a self, leased: &'a Leased) -> gate::Call<'a> {
        gate::Call { variables: Some(&leased.snapshot.variables), ..self.used.gate(None, None) }
    }

    /// A permit, for each request that goes out.
    async fn enter(&self, leased: &Leased) -> Result<Looks> {
        access::enter(self.app, &self.call(leased)).await
    }

    /// Sends it with this token. → what came of it, and where it was sent
    async fn send(&self, leased: &Leased, body: Body) -> Result<(std::result::Result<Response, Unanswered>, String)> {
        let target = self.target(leased);
        let url: String = target.url(&self.destination)?.into();
        let mut headers = headers::of_request(&self.received.headers);
        if matches!(body, Body::Empty) {
            // The length is the platform's to say; a GET that names one is malformed to some servers.
            headers.remove("content-length");
        }
        let mut request = Request {
            method: self.received.method.clone(),
            url: url.clone(),
            headers,
            body,
            timeout_ms: self.used.connector.http.timeout_ms,
            received: self.received.received.clone(),
        };
        request::authorize(&mut request, &target, &leased.token)?;
        Ok((self.app.http.stream(request).await, url))
    }

    fn answered(&self, answer: std::result::Result<Response, Unanswered>) -> Result<Response> {
        let connector = self.used.connector;
        answer.map_err(|unanswered| response::unanswered(connector, unanswered, connector.http.timeout_ms))
    }

    /// Whether the answer says that the token is dead, by the connector's rules and not by its status alone: many a 401
    /// is about something else, and must not end an account. One that cannot be read ends nothing.
    async fn says_the_token_is_dead(&self, answer: &mut Response) -> bool {
        let connector = self.used.connector;
        let code = Code::ReauthorizationRequired.name();
        let can_be = |status| {
            status == 401
                || connector.errors.rules.iter().any(|rule| rule.error == code && rule.status.contains(&status))
        };
        // An answer to HEAD never has the words that the rules go by.
        if answer.status < 400 || !can_be(answer.status) || self.received.method == "HEAD" {
            return false;
        }
        let Some(bytes) = self.app.http.peek(answer, LARGEST_REFUSAL).await else { return false };
        let seen = Response { status: answer.status, headers: answer.headers.clone(), body: Body::Bytes(bytes) };
        response::ends_token(connector, &seen, self.app.now())
    }

    /// The provider's limit is kept, as after a tool's call; the answer itself goes to the caller untouched.
    async fn learn(&self, answer: &Response, leased: &Leased) {
        let (app, used) = (self.app, self.used);
        let wait = response::retry_after(&used.connector.errors, answer, &Value::Null, app.now());
        let Some(wait) = wait.filter(|wait| *wait > 0) else { return };
        let error = Error::new(Code::RateLimitExceeded, "learnt").with(|details| {
            details.origin = Origin::Provider;
            details.provider_status = Some(answer.status);
            details.retry_after = Some(wait);
            details.limit_type = Some("requests".into());
        });
        execute::after_failure(app, used, &self.call(leased), error).await;
    }
}

/// A path below the API's base, or a whole URL; `https:/` is what some clients make of `https://`.
fn destination(rest: &str) -> String {
    let inner = rest.trim_start_matches('/');
    for scheme in ["https:", "http:"] {
        if let Some(address) = inner.strip_prefix(scheme) {
            return format!("{scheme}//{}", address.trim_start_matches('/'));
        }
    }
    // Another scheme names a host as well, and is refused where hosts are looked at.
    if is_absolute(inner) { inner.to_owned() } else { format!("/{inner}") }
}

#[cfg(test)]
mod tests {
    use super::destination;

    #[test]
    fn what_follows_proxy_is_a_path_or_a_url() {
        assert_eq!(destination("/user/repos?a=1"), "/user/repos?a=1");
        assert_eq!(destination("/https://uploads.github.com/x"), "https://uploads.github.com/x");
        assert_eq!(destination("/https:/uploads.github.com/x"), "https://uploads.github.com/x");
        assert_eq!(destination("//evil.example/x"), "/evil.example/x");
        assert_eq!(destination("/search?q=https://x.example"), "/search?q=https://x.example");
        assert_eq!(destination("/ftp://api.github.com/x"), "ftp://api.github.com/x");
    }
}
