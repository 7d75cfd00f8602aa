//! HTTP: every route on one screen. Handlers translate and nothing else.

pub mod api;
mod browser;
mod error;
mod pages;
mod query;

use crate::app::App;
use crate::caller::{Grant, Scope};
use crate::code::Code;
use crate::error::{Error, Result};
use crate::ports::{Body, Request, Response, get};
use query::Query;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub use error::respond as respond_with_error;

/// Milliseconds the browser's pages may be framed, cached or sniffed: never. Set on every answer of ours.
const SAFE_HEADERS: [(&str, &str); 3] =
    [("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer"), ("cache-control", "no-store")];

/// Purpose of the signature on a page token.
const PAGE: &str = "page";

/// A request as handlers see it.
pub struct Call<'a> {
    app: &'a App,
    request: &'a Request,
    method: &'a str,
    path: &'a str,
    query: Query,
}

/// Whether the body of a request to this path is handed on as a stream instead of being read.
pub fn streams(path: &str) -> bool {
    path.starts_with("/proxy/")
}

/// The most bytes of a body that is read, by path.
pub fn largest_body(path: &str) -> usize {
    if path == "/api/v1/execute_tool" { 12 * 1024 * 1024 } else { 1024 * 1024 }
}

/// Answers a request.
pub async fn handle(app: &App, request: Request) -> Response {
    let (path, query) = split(&request.url);
    let call = Call { app, method: &request.method, path, query: Query::parse(query), request: &request };
    let mut response = match route(&call).await {
        Ok(response) => response,
        Err(error) if is_page(path) => pages::failure(&error),
        Err(error) => error::respond(&error, &app.settings.base_url),
    };
    if !streams(path) {
        for (name, value) in SAFE_HEADERS {
            response = response.with_header(name, value);
        }
    }
    response
}

fn is_page(path: &str) -> bool {
    ["/connect/", "/callback/", "/choose/"].iter().any(|start| path.starts_with(start))
}

/// Path and query of an absolute URL, undecoded.
fn split(url: &str) -> (&str, &str) {
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    let path = url[after_scheme..].find('/').map_or(url.len(), |at| after_scheme + at);
    let (path, query) = url[path..].split_once('?').unwrap_or((&url[path..], ""));
    (if path.is_empty() { "/" } else { path }, query.split('#').next().unwrap_or_default())
}

/// What a request is about: every route there is.
enum Route<'a> {
    Health,
    Token,
    OpenLink(&'a str),
    StartConsent(&'a str),
    Callback(&'a str),
    OpenChoice(&'a str),
    Choose(&'a str),
    Connected(&'a str),
    ListCallers,
    CreateCaller,
    DeleteCaller(&'a str),
    ListConnections,
    CreateConnection,
    GetConnection(&'a str),
    UpdateConnection(&'a str),
    DeleteConnection(&'a str),
    ListAccounts,
    CreateAccount,
    AccountDetails,
    AccountAuth,
    MagicLink,
    VerifyUser,
    RefreshAccount,
    DeleteAccount,
    ListProviders,
    ListTools,
    ExecuteTool,
    Proxy,
    #[cfg(feature = "fault-injection")]
    Panic,
}

fn find<'a>(method: &str, segments: &[&'a str]) -> Option<Route<'a>> {
    Some(match (method, segments) {
        ("GET", ["health"]) => Route::Health,
        ("POST", ["oauth", "token"]) => Route::Token,

        ("GET", ["connect", ticket]) => Route::OpenLink(ticket),
        ("POST", ["connect", ticket]) => Route::StartConsent(ticket),
        ("GET", ["callback", connection]) => Route::Callback(connection),
        ("GET", ["choose", ticket]) => Route::OpenChoice(ticket),
        ("POST", ["choose", ticket]) => Route::Choose(ticket),
        ("GET", ["connected", connector]) => Route::Connected(connector),

        ("GET", ["api", "v1", "callers"]) => Route::ListCallers,
        ("POST", ["api", "v1", "callers"]) => Route::CreateCaller,
        ("DELETE", ["api", "v1", "callers", id]) => Route::DeleteCaller(id),

        ("GET", ["api", "v1", "connections"]) => Route::ListConnections,
        ("POST", ["api", "v1", "connections"]) => Route::CreateConnection,
        ("GET", ["api", "v1", "connections", name]) => Route::GetConnection(name),
        ("PATCH", ["api", "v1", "connections", name]) => Route::UpdateConnection(name),
        ("DELETE", ["api", "v1", "connections", name]) => Route::DeleteConnection(name),

        ("GET", ["api", "v1", "connected_accounts"]) => Route::ListAccounts,
        ("POST", ["api", "v1", "connected_accounts"]) => Route::CreateAccount,
        ("GET", ["api", "v1", "connected_accounts", "details"]) => Route::AccountDetails,
        ("GET", ["api", "v1", "connected_accounts", "auth"]) => Route::AccountAuth,
        ("POST", ["api", "v1", "connected_accounts", "magic_link"]) => Route::MagicLink,
        ("POST", ["api", "v1", "connected_accounts", "user", "verify"]) => Route::VerifyUser,
        ("POST", ["api", "v1", "connected_accounts", "refresh"]) => Route::RefreshAccount,
        ("POST", ["api", "v1", "connected_accounts:delete"]) => Route::DeleteAccount,

        ("GET", ["api", "v1", "providers"]) => Route::ListProviders,
        ("GET", ["api", "v1", "tools"]) => Route::ListTools,
        ("POST", ["api", "v1", "execute_tool"]) => Route::ExecuteTool,
        (_, ["proxy", ..]) => Route::Proxy,

        #[cfg(feature = "fault-injection")]
        ("GET", ["__fault", "panic"]) => Route::Panic,
        _ => return None,
    })
}

async fn route(call: &Call<'_>) -> Result<Response> {
    use api::{accounts, callers, connections, execute, oauth, providers, proxy};
    let segments: Vec<&str> = call.path.trim_matches('/').split('/').collect();
    let Some(route) = find(call.method, &segments) else { return no_route(call, &segments) };
    match route {
        Route::Health => Ok(json_response(200, &json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }))),
        Route::Token => oauth::token(call).await,
        Route::OpenLink(ticket) => browser::open(call, ticket).await,
        Route::StartConsent(ticket) => browser::start(call, ticket).await,
        Route::Callback(connection) => browser::callback(call, connection).await,
        Route::OpenChoice(ticket) => browser::choices(call, ticket).await,
        Route::Choose(ticket) => browser::choose(call, ticket).await,
        Route::Connected(connector) => browser::connected(connector),
        Route::ListCallers => callers::list(call).await,
        Route::CreateCaller => callers::create(call).await,
        Route::DeleteCaller(id) => callers::delete(call, id).await,
        Route::ListConnections => connections::list(call).await,
        Route::CreateConnection => connections::create(call).await,
        Route::GetConnection(name) => connections::get(call, name).await,
        Route::UpdateConnection(name) => connections::update(call, name).await,
        Route::DeleteConnection(name) => connections::delete(call, name).await,
        Route::ListAccounts => accounts::list(call).await,
        Route::CreateAccount => accounts::create(call).await,
        Route::AccountDetails => accounts::details(call).await,
        Route::AccountAuth => accounts::auth(call).await,
        Route::MagicLink => accounts::magic_link(call).await,
        Route::VerifyUser => accounts::verify(call).await,
        Route::RefreshAccount => accounts::refresh(call).await,
        Route::DeleteAccount => accounts::disconnect(call).await,
        Route::ListProviders => providers::list(call).await,
        Route::ListTools => providers::tools(call).await,
        Route::ExecuteTool => execute::execute(call).await,
        Route::Proxy => proxy::forward(call).await,
        #[cfg(feature = "fault-injection")]
        Route::Panic => injected_panic(),
    }
}

/// A panic on purpose, to see that it stays with its own request.
#[cfg(feature = "fault-injection")]
#[expect(clippy::panic, reason = "the point of it")]
fn injected_panic() -> Result<Response> {
    panic!("injected panic in the handler")
}

/// 405 with what would work, or 404.
fn no_route(call: &Call<'_>, segments: &[&str]) -> Result<Response> {
    let methods = ["GET", "POST", "PATCH", "DELETE"];
    let allowed: Vec<_> = methods.into_iter().filter(|method| find(method, segments).is_some()).collect();
    if allowed.is_empty() {
        return Err(not_found(format!("there is no {} {}; docs/api.md lists the routes", call.method, call.path)));
    }
    let allowed = allowed.join(", ");
    let error = Error::invalid(format!("{} is answered to {allowed} alone", call.path));
    Ok(Response { status: 405, ..error::respond(&error, &call.app.settings.base_url) }.with_header("allow", &allowed))
}

/// The failure for something of ours that is not there.
fn not_found(message: String) -> Error {
    Error::new(Code::ResourceNotFound, message).with(|details| details.origin = crate::error::Origin::Caller)
}

/// An answer in JSON.
pub fn json_response(status: u16, body: &Value) -> Response {
    Response::new(status, "application/json", body.to_string())
}

impl Call<'_> {
    /// Who calls; fails unless the token allows one of these scopes.
    async fn caller(&self, scopes: &[Scope]) -> Result<Who> {
        let header = get(&self.request.headers, "authorization").unwrap_or_default();
        let token = header.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let missing =
            || Error::new(Code::Unauthenticated, "send Authorization: Bearer …, with a token from POST /oauth/token");
        let (_, token) = token.ok_or_else(missing)?;
        let grant = Grant::from_token(token.trim(), &self.app.keys, self.app.now())?;
        let connections = if self.app.settings.client_id.as_ref() == Some(&grant.sub) {
            None
        } else {
            let caller = self.app.caller(&grant.sub).await?;
            let gone = || Error::new(Code::Unauthenticated, "the caller of this token does not exist any more");
            caller.ok_or_else(gone)?.connections.clone()
        };
        if !scopes.iter().any(|scope| grant.scope.contains(scope)) {
            grant.require(scopes[0])?;
        }
        Ok(Who { grant, connections })
    }

    /// Where a list goes on, from a page token of ours.
    fn page_token(&self) -> Result<Option<String>> {
        let Some(token) = self.query.get("page_token") else { return Ok(None) };
        let read = || {
            let (text, signature) = token.split_once('.')?;
            self.app.keys.is_signed(PAGE, text, signature).then_some(())?;
            String::from_utf8(crate::digest::from_base64(text)?).ok()
        };
        read().map(Some).ok_or_else(|| Error::invalid("page_token is not one this route gave"))
    }

    /// The page token for a cursor of the store.
    fn next_page_token(&self, cursor: Option<String>) -> Option<String> {
        let text = crate::digest::base64url(cursor?.as_bytes());
        let signature = self.app.keys.sign(PAGE, &text);
        Some(format!("{text}.{signature}"))
    }

    /// The body, read as JSON of a known form.
    fn json<T: DeserializeOwned>(&self) -> Result<T> {
        let bytes = match &self.request.body {
            Body::Bytes(bytes) if !bytes.is_empty() => bytes.as_slice(),
            _ => return Err(Error::invalid("the request has no body; send JSON")),
        };
        serde_json::from_slice(bytes)
            .map_err(|error| Error::invalid(format!("the body is not what this route takes: {error}")))
    }
}

/// A caller that was let in.
pub struct Who {
    grant: Grant,
    connections: Option<Vec<String>>,
}

impl Who {
    /// Fails when the caller is limited to other connections.
    fn may_use(&self, connection: &str) -> Result<()> {
        if self.connections.as_ref().is_none_or(|names| names.iter().any(|name| name == connection)) {
            return Ok(());
        }
        Err(Error::new(Code::PermissionDenied, format!("this caller may not use the connection `{connection}`")))
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn urls_are_split_undecoded() {
        assert_eq!(super::split("https://x.example/a%2Fb?c=d?e"), ("/a%2Fb", "c=d?e"));
        assert_eq!(super::split("https://x.example"), ("/", ""));
        assert_eq!(super::split("http://x.example/proxy/https://y.example/z"), ("/proxy/https://y.example/z", ""));
    }
}
