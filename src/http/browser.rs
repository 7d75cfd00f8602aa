//! The browser's side of connecting: the page of a magic link, the way to the provider, the way back.

use super::Call;
use super::api::connections::redirect_uri;
use super::pages::{self, About};
use crate::access::unexpected;
use crate::account::AccountId;
use crate::account::command::{Answer, Command, Reply};
use crate::catalog;
use crate::catalog::Connector;
use crate::catalog::model::{Field, Method};
use crate::connection::field_problem;
use crate::digest;
use crate::error::{Error, Origin, Result};
use crate::paste;
use crate::ports::{Response, get, random};
use crate::secret::Secret;
use crate::ticket::{self, Purpose, Refused};
use crate::timestamp;
use std::collections::BTreeMap;

/// Seconds the cookie lives: as long as a consent may take, and a little.
const COOKIE_LIFETIME: u64 = 15 * 60;

/// Name and attributes of the cookie. On http (loopback alone) a browser takes neither `__Host-` nor `Secure`.
fn cookie(call: &Call<'_>) -> (&'static str, &'static str) {
    if call.app.settings.base_url.starts_with("https://") { ("__Host-valetkey", "; Secure") } else { ("valetkey", "") }
}

/// What the link in the cookie is sealed for: whoever reads a cookie shall not hold a link.
const LINK_IN_COOKIE: &str = "cookie/link";

/// The cookie's two parts: the secret that this browser was given, and the ticket of the link it opened last, sealed.
fn cookie_parts(call: &Call<'_>) -> Option<(String, Option<String>)> {
    let (name, _) = cookie(call);
    let header = get(&call.request.headers, "cookie")?;
    let (_, value) =
        header.split(';').filter_map(|pair| pair.trim().split_once('=')).find(|(known, _)| *known == name)?;
    let (secret, link) = value.split_once('~').map_or((value, None), |(secret, link)| (secret, Some(link.to_owned())));
    (secret.len() == 43).then(|| (secret.to_owned(), link))
}

/// The secret that this browser was given, if it was.
fn browser(call: &Call<'_>) -> Option<String> {
    cookie_parts(call).map(|(secret, _)| secret)
}

/// The way back to the link that this browser opened, if that was for this account and still works.
fn way_back(call: &Call<'_>, id: &AccountId) -> Option<String> {
    let link = call.app.keys.open(LINK_IN_COOKIE, &cookie_parts(call)?.1?).ok()?;
    let same = account_of(Purpose::Link, link.reveal(), call).is_ok_and(|account| account == *id);
    same.then(|| format!("/connect/{}", link.reveal()))
}

/// What is known of a page before anything went right: the time.
fn about(call: &Call<'_>) -> About {
    let at = timestamp::format(call.app.now()).replace('T', " ").replace('Z', " UTC");
    About { at: Some(at), ..About::default() }
}

/// Adds whose page it is.
async fn tell_whose(call: &Call<'_>, about: &mut About, connection_name: &str) {
    if let Ok(known) = call.app.connection(connection_name).await {
        about.operator.clone_from(&known.connection.operator);
        about.provider = known.connection.connector().ok().map(|connector| connector.name);
    }
}

/// The page, or the page of the failure, with what is known by then.
fn shown(outcome: Result<Response>, about: &About) -> Response {
    outcome.unwrap_or_else(|error| pages::failure(&error, about))
}

fn account_of(purpose: Purpose, text: &str, call: &Call<'_>) -> std::result::Result<AccountId, Refused> {
    ticket::open(purpose, text, &call.app.keys, call.app.now()).map(|ticket| ticket.account)
}

fn link_refused(refused: Refused) -> Error {
    match refused {
        Refused::Forged => crate::account::flow_error(
            "link_unknown",
            "This link is not complete or not one of ours. Check that you copied all of it.",
        ),
        Refused::Expired => {
            crate::account::flow_error("link_expired", "This link has expired. Ask for a new one where you got it.")
        }
    }
}

/// Shows who asks for what, and binds the flow to this browser.
pub async fn open(call: &Call<'_>, ticket: &str) -> Response {
    let mut about = about(call);
    shown(open_link(call, ticket, &mut about).await, &about)
}

async fn open_link(call: &Call<'_>, ticket: &str, about: &mut About) -> Result<Response> {
    let id = account_of(Purpose::Link, ticket, call).map_err(link_refused)?;
    about.again = Some(call.place.path.to_owned());
    let page = consent_page(call, &id, ticket, about, &BTreeMap::new(), None).await?;
    let secret = browser(call).unwrap_or_else(|| digest::base64url(&random::<32>(&*call.app.random)));
    let (name, secure) = cookie(call);
    // Lax: the provider's redirect back to us is a navigation from another site, and must bring the cookie. The link is kept
    // beside the secret so that a page of failure can lead back to it.
    let link = call.app.keys.seal(LINK_IN_COOKIE, &Secret::new(ticket), &*call.app.random);
    let cookie = format!("{name}={secret}~{link}; Path=/; HttpOnly; SameSite=Lax; Max-Age={COOKIE_LIFETIME}{secure}");
    Ok(page.with_header("set-cookie", &cookie))
}

/// The page of a magic link. `typed` is what the person typed in before, with what was wrong with it.
async fn consent_page(
    call: &Call<'_>,
    id: &AccountId,
    ticket: &str,
    about: &mut About,
    typed: &BTreeMap<String, Secret>,
    error: Option<&Error>,
) -> Result<Response> {
    let Reply::Consent { connection_name, scopes, given, before } =
        call.app.accounts.ask(id, Command::Open { ticket: ticket.to_owned() }).await?
    else {
        return Err(unexpected());
    };
    tell_whose(call, about, &connection_name).await;
    let known = call.app.connection(&connection_name).await?;
    let connection = &known.connection;
    let connector = connection.connector()?;
    let auth = &connector.auth;
    let (words, typed_in) = match connection.method(connector) {
        Method::ByOAuth2 => (auth.oauth2.as_ref().map(|oauth2| &oauth2.scope_words), None),
        Method::ByOAuth1 => (auth.oauth1.as_ref().map(|oauth1| &oauth1.scope_words), None),
        Method::ByKey => {
            (None, auth.key.as_ref().map(|key| pages::TypedIn { title: key.title, help: key.help, signs: false }))
        }
        Method::ByJwt => (
            auth.oauth2.as_ref().map(|oauth2| &oauth2.scope_words),
            auth.jwt.as_ref().map(|jwt| pages::TypedIn { title: jwt.title, help: jwt.help, signs: true }),
        ),
    };
    let (lasting, scopes): (Vec<_>, Vec<_>) = scopes.into_iter().partition(|scope| LASTING.contains(&scope.as_str()));
    let scopes = scopes
        .into_iter()
        .map(|scope| {
            let known = words.and_then(|words| words.iter().find(|(known, _)| *known == scope));
            known.map_or(pages::Ability::Named(scope), |(_, words)| pages::Ability::Words(words))
        })
        .collect();
    // A form that was sent, as opposed to the page as it is opened, has problems of its fields beside them.
    let was_sent = error.is_some_and(|error| error.details.status_reason.as_deref() == Some("fields_invalid"));
    let fields: Vec<_> = connection
        .asked_fields(connector, &given)
        .into_iter()
        .map(|field| {
            let sent = typed.get(field.name).map(|value| paste::understood(connector, field, value.reveal()));
            let problem = was_sent.then(|| problem(field, sent.as_deref().unwrap_or_default())).flatten();
            // A secret is typed again.
            let known = sent.or_else(|| before.get(field.name).cloned()).filter(|_| !field.secret);
            let host = paste::hosts(connector, field).into_iter().find(|(_, after)| !after.is_empty());
            pages::Input { field, value: known.unwrap_or_else(|| field.default.to_owned()), problem, host }
        })
        .collect();
    let beside = fields.iter().any(|field| field.problem.is_some());
    Ok(pages::consent(&pages::Consent {
        about: about.clone(),
        scopes,
        lasting: !lasting.is_empty(),
        action: call.place.path.to_owned(),
        fields,
        typed_in,
        wrong: error.filter(|_| !beside).map(|error| wrong(error, connector)),
    }))
}

/// Scopes that allow nothing: they ask that the rest goes on while the person is away.
const LASTING: [&str; 2] = ["offline_access", "refresh_token"];

/// What is wrong with what stands in a field, in a person's words.
fn problem(field: &Field, sent: &str) -> Option<String> {
    if sent.is_empty() {
        return field.required.then(|| format!("{} is missing.", field.title));
    }
    field_problem(field, sent)?;
    let example = if field.secret || field.example.is_empty() { "" } else { field.example };
    let example = if example.is_empty() { String::new() } else { format!(" It looks like this: {example}") };
    Some(format!("{} does not look right.{example}", field.title))
}

/// Why a credential did not do. The vendor's sentence is only quoted: read as ours, it would say the wrong thing to do.
fn wrong(error: &Error, connector: &Connector) -> pages::Wrong {
    if error.details.origin == Origin::Provider {
        let said = pages::quoted(error, connector.name).unwrap_or_else(|| error.message.clone());
        return pages::Wrong::Refused(said);
    }
    let mut letters = error.message.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    pages::Wrong::Unusable(format!("{}.", first.chain(letters).collect::<String>().trim_end_matches('.')))
}

/// Sends the browser to the provider, or tries what was typed in.
pub async fn start(call: &Call<'_>, ticket: &str) -> Response {
    let mut about = about(call);
    shown(start_link(call, ticket, &mut about).await, &about)
}

async fn start_link(call: &Call<'_>, ticket: &str, about: &mut About) -> Result<Response> {
    let id = account_of(Purpose::Link, ticket, call).map_err(link_refused)?;
    about.again = Some(call.place.path.to_owned());
    let browser = browser(call).ok_or_else(no_cookie)?;
    let app = call.app;
    let Reply::Consent { connection_name, .. } =
        app.accounts.ask(&id, Command::Open { ticket: ticket.to_owned() }).await?
    else {
        return Err(unexpected());
    };
    tell_whose(call, about, &connection_name).await;
    let redirect_uri = redirect_uri(&app.settings.base_url, &connection_name);
    let fields = form(call);
    let command = Command::Start { ticket: ticket.to_owned(), browser, redirect_uri, fields: fields.clone() };
    match app.accounts.ask(&id, command).await {
        Ok(reply) => answered(call, &id, reply).await,
        Err(error) if can_be_corrected(&error) => {
            let page = consent_page(call, &id, ticket, about, &fields, Some(&error)).await?;
            Ok(Response { status: 400, ..page })
        }
        Err(error) => Err(error),
    }
}

/// What the person can put right on the same page.
fn can_be_corrected(error: &Error) -> bool {
    matches!(error.details.status_reason.as_deref(), Some("fields_invalid" | "credential_refused"))
}

fn no_cookie() -> Error {
    crate::account::flow_error(
        "no_cookie",
        "Your browser did not keep the cookie that protects this step. Allow cookies for this site and open the link again.",
    )
}

/// The fields of a form.
fn form(call: &Call<'_>) -> BTreeMap<String, Secret> {
    form_urlencoded::parse(call.request.body.bytes())
        .map(|(name, value)| (name.into_owned(), Secret::new(value.into_owned())))
        .collect()
}

/// What a step of connecting came to.
async fn answered(call: &Call<'_>, id: &AccountId, reply: Reply) -> Result<Response> {
    match reply {
        Reply::Go { url } | Reply::Finished { verify_at: Some(url), .. } => Ok(pages::redirect(&url)),
        Reply::Choose { ticket } => Ok(pages::redirect(&format!("{}/choose/{ticket}", call.app.settings.base_url))),
        Reply::Finished { snapshot, .. } => {
            call.app.isolate.leased.borrow_mut().remove(id);
            let mut about = about(call);
            tell_whose(call, &mut about, &snapshot.row.connection_name).await;
            Ok(pages::connected(&about, snapshot.row.label.as_deref()))
        }
        _ => Err(unexpected()),
    }
}

/// Shows what there is to choose from.
pub async fn choices(call: &Call<'_>, ticket: &str) -> Response {
    let mut about = about(call);
    shown(show_choices(call, ticket, &mut about).await, &about)
}

async fn show_choices(call: &Call<'_>, ticket: &str, about: &mut About) -> Result<Response> {
    let id = account_of(Purpose::Choice, ticket, call).map_err(crate::account::state_refused)?;
    about.again = way_back(call, &id);
    let browser = browser(call).ok_or_else(no_cookie)?;
    let Reply::Choices { connection_name, connector, options } =
        call.app.accounts.ask(&id, Command::Choices { ticket: ticket.to_owned(), browser }).await?
    else {
        return Err(unexpected());
    };
    about.provider = catalog::find_connector(&connector).map(|connector| connector.name);
    tell_whose(call, about, &connection_name).await;
    Ok(pages::choice(about, &options, call.place.path))
}

/// The person chose.
pub async fn choose(call: &Call<'_>, ticket: &str) -> Response {
    let mut about = about(call);
    shown(choose_one(call, ticket, &mut about).await, &about)
}

async fn choose_one(call: &Call<'_>, ticket: &str, about: &mut About) -> Result<Response> {
    let id = account_of(Purpose::Choice, ticket, call).map_err(crate::account::state_refused)?;
    about.again = way_back(call, &id);
    let browser = browser(call).ok_or_else(no_cookie)?;
    let option = form(call).get("option").and_then(|option| option.reveal().parse().ok());
    let Some(option) = option else {
        about.again = Some(call.place.path.to_owned());
        return Err(crate::account::flow_error(
            "choice_missing",
            "Nothing was chosen. Go back and choose one of the list.",
        ));
    };
    let chosen = call.app.accounts.ask(&id, Command::Choose { ticket: ticket.to_owned(), browser, option }).await;
    if matches!(&chosen, Err(error) if error.details.status_reason.as_deref() == Some("choice_missing")) {
        about.again = Some(call.place.path.to_owned());
    }
    answered(call, &id, chosen?).await
}

/// The browser is back from the provider.
pub async fn callback(call: &Call<'_>, connection: &str) -> Response {
    let mut about = about(call);
    tell_whose(call, &mut about, connection).await;
    shown(come_back(call, connection, &mut about).await, &about)
}

async fn come_back(call: &Call<'_>, connection: &str, about: &mut About) -> Result<Response> {
    let query = &call.query;
    let state = query.get("state").unwrap_or_default();
    let id = account_of(Purpose::State, state, call).map_err(crate::account::state_refused)?;
    about.again = way_back(call, &id);
    let command = Command::Finish {
        state: state.to_owned(),
        browser: browser(call).unwrap_or_default(),
        connection_name: connection.to_owned(),
        answer: Answer {
            code: query.get("code").map(Secret::new),
            error: query.get("error").map(str::to_owned),
            error_description: query.get("error_description").map(str::to_owned),
            iss: query.get("iss").map(str::to_owned),
            token: query.get("oauth_token").map(Secret::new),
            verifier: query.get("oauth_verifier").map(Secret::new),
        },
    };
    let reply = call.app.accounts.ask(&id, command).await?;
    answered(call, &id, reply).await
}

/// Where an operator's backend sends the browser after it confirmed who connected.
pub fn connected(connector: &str) -> Result<Response> {
    let connector = catalog::find_connector(connector).ok_or_else(|| super::api::providers::no_provider(connector))?;
    Ok(pages::connected(&About { provider: Some(connector.name), ..About::default() }, None))
}
