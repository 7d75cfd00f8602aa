//! HTTP: every route on one screen. Handlers translate and nothing else.

pub mod api;
mod browser;
mod error;
mod nearest;
mod pages;
mod query;
mod safety;

use crate::access::{self, Named, Used};
use crate::app::App;
use crate::caller::{Grant, Scope};
use crate::code::Code;
use crate::connection;
use crate::error::{Error, Result, short};
use crate::ports::{Body, Request, Response, get};
use crate::secret::Secret;
use crate::ticket;
use ::http::HeaderMap;
use query::Query;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::cell::Cell;

/// The answer for a failure that no handler saw.
pub fn respond_with_error(error: &Error, base_url: &str) -> Response {
    safety::guarded(error::respond(error, base_url), base_url)
}

/// The most bytes of a body that is read. Only a tool's input may be large, and only from a caller with a token.
pub const LARGEST_BODY: usize = 1024 * 1024;
/// The most bytes of a tool's input: what a file of 8 MB is in base64, and room around it.
pub const LARGEST_INPUT: usize = 12 * 1024 * 1024;
/// The most bytes of what anybody may send who knows no secret: forms of the pages, requests for a token.
pub const LARGEST_FORM: usize = 128 * 1024;

/// A request as handlers see it.
pub struct Call<'a> {
    app: &'a App,
    request: &'a Request,
    method: &'a str,
    path: &'a str,
    query: Query,
    /// Whether the caller may have a link for anybody: it could make one itself.
    may_connect: Cell<bool>,
}

/// Whether the body of a request to this path is handed on as a stream instead of being read.
pub fn streams(path: &str) -> bool {
    path.starts_with("/proxy/")
}

/// The most bytes of a body that is read, by path and by who sends it.
pub fn largest_body(app: &App, path: &str, headers: &HeaderMap) -> usize {
    let is_form = is_page(path) || path == "/oauth/token";
    match path {
        _ if is_form => LARGEST_FORM,
        "/api/v1/execute_tool" if bearer(app, headers).is_ok() => LARGEST_INPUT,
        _ => LARGEST_BODY,
    }
}

/// Answers a request.
pub async fn handle(app: &App, request: Request) -> Response {
    let (path, query) = split(&request.url);
    // An answer to HEAD is one to GET without its body (RFC 9110 section 9.3.2). A callback is not asked that way: it
    // would use up what it brings.
    let is_head = request.method == "HEAD" && !streams(path) && !path.starts_with("/callback/");
    let method = if is_head { "GET" } else { &request.method };
    let may_connect = Cell::new(false);
    let call = Call { app, method, path, query: Query::parse(query), request: &request, may_connect };
    let answered = match safety::refused(&call) {
        Some(answer) => answer,
        None => route(&call).await,
    };
    let answered = answered.map_err(|error| call.without_forbidden_link(error));
    let is_ours = !streams(path) || answered.is_err();
    let mut response = match answered {
        Ok(response) => response,
        Err(error) if is_page(path) => pages::failure(&error, &pages::About::default()),
        Err(error) => error::respond(&error, &app.settings.base_url),
    };
    if is_head {
        response.body = Body::Empty;
    }
    if is_ours { safety::guarded(response, &app.settings.base_url) } else { safety::sandboxed(response) }
}

/// What a request is about, for the log: the pattern of its route, never the path itself, which may hold a ticket or
/// whatever was pasted there.
pub fn pattern(method: &str, url: &str) -> &'static str {
    let (path, _) = split(url);
    let method = if method == "HEAD" { "GET" } else { method };
    find(method, &segments(path)).map_or("none", |route| route.pattern())
}

fn is_page(path: &str) -> bool {
    let first = path.trim_start_matches('/').split('/').next();
    matches!(first, Some("connect" | "callback" | "choose"))
}

fn segments(path: &str) -> Vec<&str> {
    path.trim_matches('/').split('/').collect()
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
    Home,
    Icon,
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
    Reseal,
    ResealProgress,
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

impl Route<'_> {
    fn pattern(&self) -> &'static str {
        match self {
            Self::Home => "/",
            Self::Icon => "/favicon.svg",
            Self::Health => "/health",
            Self::Token => "/oauth/token",
            Self::OpenLink(_) | Self::StartConsent(_) => "/connect/{token}",
            Self::Callback(_) => "/callback/{connection_name}",
            Self::OpenChoice(_) | Self::Choose(_) => "/choose/{ticket}",
            Self::Connected(_) => "/connected/{connector}",
            Self::ListCallers | Self::CreateCaller => "/api/v1/callers",
            Self::DeleteCaller(_) => "/api/v1/callers/{client_id}",
            Self::ListConnections | Self::CreateConnection => "/api/v1/connections",
            Self::GetConnection(_) | Self::UpdateConnection(_) | Self::DeleteConnection(_) => {
                "/api/v1/connections/{name}"
            }
            Self::Reseal | Self::ResealProgress => "/api/v1/keys:reseal",
            Self::ListAccounts | Self::CreateAccount => "/api/v1/connected_accounts",
            Self::AccountDetails => "/api/v1/connected_accounts/details",
            Self::AccountAuth => "/api/v1/connected_accounts/auth",
            Self::MagicLink => "/api/v1/connected_accounts/magic_link",
            Self::VerifyUser => "/api/v1/connected_accounts/user/verify",
            Self::RefreshAccount => "/api/v1/connected_accounts/refresh",
            Self::DeleteAccount => "/api/v1/connected_accounts:delete",
            Self::ListProviders => "/api/v1/providers",
            Self::ListTools => "/api/v1/tools",
            Self::ExecuteTool => "/api/v1/execute_tool",
            Self::Proxy => "/proxy/{path}",
            #[cfg(feature = "fault-injection")]
            Self::Panic => "/__fault/panic",
        }
    }
}

fn find<'a>(method: &str, segments: &[&'a str]) -> Option<Route<'a>> {
    Some(match (method, segments) {
        ("GET", [""]) => Route::Home,
        ("GET", ["favicon.svg"]) => Route::Icon,
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

        ("POST", ["api", "v1", "keys:reseal"]) => Route::Reseal,
        ("GET", ["api", "v1", "keys:reseal"]) => Route::ResealProgress,

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
    use api::{account_list, accounts, callers, connections, execute, keys, oauth, providers, proxy};
    let segments = segments(call.path);
    let Some(route) = find(call.method, &segments) else { return no_route(call, &segments) };
    match route {
        Route::Home => home(call, &segments),
        Route::Icon => Ok(pages::icon()),
        Route::Health => Ok(json_response(200, &json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }))),
        Route::Token => oauth::token(call).await,
        Route::OpenLink(ticket) => Ok(browser::open(call, ticket).await),
        Route::StartConsent(ticket) => Ok(browser::start(call, ticket).await),
        Route::Callback(connection) => Ok(browser::callback(call, connection).await),
        Route::OpenChoice(ticket) => Ok(browser::choices(call, ticket).await),
        Route::Choose(ticket) => Ok(browser::choose(call, ticket).await),
        Route::Connected(connector) => browser::connected(connector),
        Route::ListCallers => callers::list(call).await,
        Route::CreateCaller => callers::create(call).await,
        Route::DeleteCaller(id) => callers::delete(call, id).await,
        Route::ListConnections => connections::list(call).await,
        Route::CreateConnection => connections::create(call).await,
        Route::GetConnection(name) => connections::get(call, name).await,
        Route::UpdateConnection(name) => connections::update(call, name).await,
        Route::DeleteConnection(name) => connections::delete(call, name).await,
        Route::Reseal => keys::step(call).await,
        Route::ResealProgress => keys::progress(call).await,
        Route::ListAccounts => account_list::list(call).await,
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

/// The bare address: a page for browsers. For a client of the API it is no route.
fn home(call: &Call<'_>, segments: &[&str]) -> Result<Response> {
    let accept = get(&call.request.headers, "accept").unwrap_or_default();
    if accept.contains("text/html") { Ok(pages::home()) } else { no_route(call, segments) }
}

/// A panic on purpose, to see that it stays with its own request.
#[cfg(feature = "fault-injection")]
#[expect(clippy::panic, reason = "the point of it")]
fn injected_panic() -> Result<Response> {
    panic!("injected panic in the handler")
}

/// 405 with what would work, or 404.
fn no_route(call: &Call<'_>, segments: &[&str]) -> Result<Response> {
    let methods = ["GET", "POST", "PUT", "PATCH", "DELETE"];
    let allowed: Vec<_> = methods.into_iter().filter(|method| find(method, segments).is_some()).collect();
    if allowed.is_empty() || segments == [""] {
        let message = format!("there is no {} {}; docs/api.md lists the routes", short(call.method), short(call.path));
        return Err(not_found(message));
    }
    let allowed = allowed.join(", ");
    let error = Error::invalid(format!("{} is answered to {allowed} alone", short(call.path)));
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
        let grant = bearer(self.app, &self.request.headers)?;
        let connections = if self.app.settings.client_id.as_ref() == Some(&grant.sub) {
            None
        } else {
            let caller = self.app.caller(&grant.sub).await?;
            let gone = || Error::new(Code::Unauthenticated, "the caller of this token does not exist any more");
            caller.ok_or_else(gone)?.connections.clone()
        };
        self.may_connect.set(grant.scope.contains(&Scope::Accounts));
        if !scopes.iter().any(|scope| grant.scope.contains(scope)) {
            grant.require(scopes[0])?;
        }
        Ok(Who { grant, connections })
    }

    /// An error as its caller may see it. Who may not make links gets none out of an error either, unless it leads to the
    /// person who was connected before and to nobody else.
    fn without_forbidden_link(&self, mut error: Error) -> Error {
        let link = error.details.reauthorize_url.take();
        error.details.reauthorize_url = link.filter(|link| {
            let ticket = link.rsplit('/').next().unwrap_or_default();
            self.may_connect.get() || ticket::leads_to_the_same_person(ticket, &self.app.keys, self.app.now())
        });
        error
    }

    /// What a page token of ours is bound to: the list, its filters, and who reads it.
    fn page(&self, who: &Who) -> String {
        let (path, filters) = (self.path.trim_matches('/'), self.query.filters());
        format!("page/{}", crate::digest::hash(&format!("{path}\n{}\n{filters}", who.grant.sub)))
    }

    /// Where a list goes on, from a page token of ours.
    fn page_token(&self, who: &Who) -> Result<Option<String>> {
        let Some(token) = self.query.get("page_token") else { return Ok(None) };
        let opened = self.app.keys.open(&self.page(who), token);
        let wrong = |_| Error::invalid("page_token is not one that this list, with these filters, gave to this caller");
        opened.map(|cursor| Some(cursor.reveal().to_owned())).map_err(wrong)
    }

    /// As [`Call::page_token`], for a list that is counted.
    fn page_offset(&self, who: &Who) -> Result<usize> {
        Ok(self.page_token(who)?.and_then(|cursor| cursor.parse().ok()).unwrap_or(0))
    }

    /// The page token for a cursor. It is sealed: a cursor of the store may hold the name of what comes next, which may
    /// be somebody else's.
    fn next_page_token(&self, who: &Who, cursor: Option<String>) -> Option<String> {
        Some(self.app.keys.seal(&self.page(who), &Secret::new(cursor?), &*self.app.random))
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

/// What the bearer token of a request says.
fn bearer(app: &App, headers: &HeaderMap) -> Result<Grant> {
    let header = get(headers, "authorization").unwrap_or_default();
    let token = header.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let missing =
        || Error::new(Code::Unauthenticated, "send Authorization: Bearer …, with a token from POST /oauth/token");
    let (_, token) = token.ok_or_else(missing)?;
    Grant::from_token(token.trim(), &app.keys, app.now())
}

/// A caller that was let in.
pub struct Who {
    grant: Grant,
    connections: Option<Vec<String>>,
}

impl Who {
    /// Whether a connection is one of the caller's.
    fn may(&self, connection: &str) -> bool {
        self.connections.as_ref().is_none_or(|names| names.iter().any(|name| name == connection))
    }

    /// Fails when the caller is limited to other connections, as if there were none of that name.
    fn may_use(&self, connection: &str) -> Result<()> {
        if self.may(connection) { Ok(()) } else { Err(connection::not_found(connection)) }
    }

    /// Fails for a caller that is limited to some connections: what it would change concerns them all.
    fn unlimited(&self) -> Result<()> {
        if self.connections.is_none() {
            return Ok(());
        }
        let message = "this caller is limited to some connections, and this concerns all of them";
        Err(Error::new(Code::PermissionDenied, message))
    }

    /// Finds an account, among those of the connections that the caller may use.
    async fn find(&self, app: &App, named: &Named, provider: Option<&str>) -> Result<Used> {
        access::find(app, named, provider, &|name| self.may(name)).await
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_log_knows_a_route_by_its_pattern() {
        let pattern = |method, path: &str| super::pattern(method, &format!("https://x.example{path}"));
        assert_eq!(pattern("GET", "/connect/TICKET"), "/connect/{token}");
        assert_eq!(pattern("POST", "/choose/TICKET?x"), "/choose/{ticket}");
        assert_eq!(pattern("HEAD", "/callback/c?code=CODE&state=STATE"), "/callback/{connection_name}");
        assert_eq!(pattern("DELETE", "/api/v1/callers/vks_SECRET"), "/api/v1/callers/{client_id}");
        assert_eq!(pattern("GET", "/proxy/users/SECRET"), "/proxy/{path}");
        assert_eq!(pattern("GET", "//connect/TICKET/"), "/connect/{token}");
        for path in ["/connect//TICKET", "/TICKET", "/api/v1/TICKET", "/connect/a/TICKET"] {
            assert_eq!(pattern("GET", path), "none", "{path}");
        }
    }

    #[test]
    fn urls_are_split_undecoded() {
        assert_eq!(super::split("https://x.example/a%2Fb?c=d?e"), ("/a%2Fb", "c=d?e"));
        assert_eq!(super::split("https://x.example"), ("/", ""));
        assert_eq!(super::split("http://x.example/proxy/https://y.example/z"), ("/proxy/https://y.example/z", ""));
    }
}
