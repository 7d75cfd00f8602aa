//! HTTP: from a request to its handler and back. Handlers translate and nothing else; the routes are in `route.rs`.

pub mod api;
mod browser;
mod error;
mod nearest;
mod pages;
mod query;
mod route;
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
use route::{Place, Route};
pub use route::{pattern, streams};
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
/// The most characters that are said of what is wrong with a body.
const LONGEST_REPETITION: usize = 500;
/// The most values of a JSON body.
pub const MOST_BODY_VALUES: u32 = 100_000;
/// The most bytes of what anybody may send who knows no secret: forms of the pages, requests for a token.
pub const LARGEST_FORM: usize = 128 * 1024;

/// A request as handlers see it.
pub struct Call<'a> {
    app: &'a App,
    request: &'a Request,
    method: &'a str,
    place: Place<'a>,
    query: Query,
    /// Whether the caller may have a link for anybody: it could make one itself.
    may_connect: Cell<bool>,
}

/// The most bytes of a body that is read, by where it is sent and by who sends it. Where no route is, nobody needs more than
/// it takes to be told so.
pub fn largest_body(app: &App, method: &str, url: &str, headers: &HeaderMap) -> usize {
    let place = Place::of(url);
    match place.route(method) {
        _ if place.is_page() => LARGEST_FORM,
        None | Some(Route::Token) => LARGEST_FORM,
        Some(Route::ExecuteTool) if bearer(app, headers).is_ok() => LARGEST_INPUT,
        Some(_) => LARGEST_BODY,
    }
}

/// Answers a request.
pub async fn handle(app: &App, request: Request) -> Response {
    let place = Place::of(&request.url);
    // An answer to HEAD is one to GET without its body (RFC 9110 section 9.3.2). A callback is not asked that way: it
    // would use up what it brings.
    let is_head = request.method == "HEAD" && !place.is_proxied() && !place.is_below("callback");
    let method = if is_head { "GET" } else { &request.method };
    let may_connect = Cell::new(false);
    let query = Query::parse(place.query);
    let call = Call { app, method, place, query, request: &request, may_connect };
    let answered = match safety::refused(&call) {
        Some(answer) => answer,
        None => route(&call).await,
    };
    let answered = answered.map_err(|error| call.without_forbidden_link(error));
    let is_ours = !call.place.is_proxied() || answered.is_err();
    let mut response = match answered {
        Ok(response) => response,
        Err(error) if call.place.is_page() => pages::failure(&error, &pages::About::default()),
        Err(error) => error::respond(&error, &app.settings.base_url),
    };
    if is_head {
        response.body = Body::Empty;
    }
    if is_ours { safety::guarded(response, &app.settings.base_url) } else { safety::sandboxed(response) }
}

async fn route(call: &Call<'_>) -> Result<Response> {
    use api::{account_list, accounts, callers, connections, execute, keys, oauth, providers, proxy};
    let Some(route) = call.place.route(call.method) else { return no_route(call) };
    match route {
        Route::Home => home(call),
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
fn home(call: &Call<'_>) -> Result<Response> {
    let accept = get(&call.request.headers, "accept").unwrap_or_default();
    if accept.contains("text/html") { Ok(pages::home()) } else { no_route(call) }
}

/// A panic on purpose, to see that it stays with its own request.
#[cfg(feature = "fault-injection")]
#[expect(clippy::panic, reason = "the point of it")]
fn injected_panic() -> Result<Response> {
    panic!("injected panic in the handler")
}

/// 405 with what would work, or 404.
fn no_route(call: &Call<'_>) -> Result<Response> {
    let methods = ["GET", "POST", "PUT", "PATCH", "DELETE"];
    let allowed: Vec<_> = methods.into_iter().filter(|method| call.place.route(method).is_some()).collect();
    let path = call.place.path;
    if allowed.is_empty() || path == "/" {
        let message = format!("there is no {} {}; docs/api.md lists the routes", short(call.method), short(path));
        return Err(not_found(message));
    }
    let allowed = allowed.join(", ");
    let error = Error::invalid(format!("{} is answered to {allowed} alone", short(path)));
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
        grant.require(scopes)?;
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
        let (path, filters) = (self.place.path.trim_end_matches('/'), self.query.filters());
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
        // The shortest value takes two bytes; each takes a hundred and more once it is taken apart.
        if bytes.len() > 2 * MOST_BODY_VALUES as usize
            && crate::json::count(bytes, MOST_BODY_VALUES).is_some_and(|values| values > MOST_BODY_VALUES)
        {
            let message = format!("the body has more than {MOST_BODY_VALUES} values; send fewer at a time");
            return Err(Error::invalid(message));
        }
        crate::json::parse(bytes).map_err(|error| unfit(&error))
    }
}

/// The failure for a body that is not what a route takes. What was found in place of something else is said by its kind
/// alone: it may be a secret, one level too high.
fn unfit(error: &serde_json::Error) -> Error {
    let said = error.to_string();
    let repeats = ["invalid type", "invalid value", "unknown variant"].iter().any(|kind| said.starts_with(kind));
    let said = match said.rfind(", expected ").filter(|_| repeats) {
        Some(at) => {
            let found = said[..at].split(['"', '`']).next().unwrap_or_default().trim_end();
            format!("{found}{}", &said[at..])
        }
        None => said,
    };
    let said: String = said.chars().take(LONGEST_REPETITION).collect();
    Error::invalid(format!("the body is not what this route takes: {said}"))
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
