//! The browser's side of connecting: the page of a magic link, the way to the provider, the way back.

use super::api::connections::redirect_uri;
use super::{Call, pages};
use crate::access::unexpected;
use crate::account::AccountId;
use crate::account::command::{Answer, Command, Reply};
use crate::catalog;
use crate::catalog::model::Method;
use crate::digest;
use crate::error::{Error, Result};
use crate::ports::{Response, get, random};
use crate::secret::Secret;
use crate::ticket::{self, Purpose, Refused};
use std::collections::BTreeMap;

/// Seconds the cookie lives: as long as a consent may take, and a little.
const COOKIE_LIFETIME: u64 = 15 * 60;

/// Name and attributes of the cookie. On http (loopback alone) a browser takes neither `__Host-` nor `Secure`.
fn cookie(call: &Call<'_>) -> (&'static str, &'static str) {
    if call.app.settings.base_url.starts_with("https://") { ("__Host-valetkey", "; Secure") } else { ("valetkey", "") }
}

/// The secret that this browser was given, if it was.
fn browser(call: &Call<'_>) -> Option<String> {
    let (name, _) = cookie(call);
    let header = get(&call.request.headers, "cookie")?;
    let value = header.split(';').filter_map(|pair| pair.trim().split_once('=')).find(|(known, _)| *known == name);
    value.map(|(_, value)| value.to_owned()).filter(|value| value.len() == 43)
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
pub async fn open(call: &Call<'_>, ticket: &str) -> Result<Response> {
    let id = account_of(Purpose::Link, ticket, call).map_err(link_refused)?;
    let page = consent_page(call, &id, ticket, &BTreeMap::new(), None).await?;
    let value = browser(call).unwrap_or_else(|| digest::base64url(&random::<32>(&*call.app.random)));
    let (name, secure) = cookie(call);
    // Lax: the provider's redirect back to us is a navigation from another site, and must bring the cookie.
    let cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={COOKIE_LIFETIME}{secure}");
    Ok(page.with_header("set-cookie", &cookie))
}

/// The page of a magic link. `typed` is what the person typed in before, with what was wrong with it.
async fn consent_page(
    call: &Call<'_>,
    id: &AccountId,
    ticket: &str,
    typed: &BTreeMap<String, Secret>,
    error: Option<&Error>,
) -> Result<Response> {
    let Reply::Consent { connection_name, scopes, given, before } =
        call.app.accounts.ask(id, Command::Open { ticket: ticket.to_owned() }).await?
    else {
        return Err(unexpected());
    };
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
    let scopes = scopes
        .into_iter()
        .map(|scope| {
            let known = words.and_then(|words| words.iter().find(|(known, _)| *known == scope));
            known.map_or(scope.clone(), |(_, words)| (*words).to_owned())
        })
        .collect();
    let problems = error.map(|error| error.details.problems.as_slice()).unwrap_or_default();
    let fields = connection
        .asked_fields(connector, &given)
        .into_iter()
        .map(|field| pages::Input {
            field,
            // A secret is typed again.
            value: typed
                .get(field.name)
                .map(|value| value.reveal().to_owned())
                .or_else(|| before.get(field.name).cloned())
                .filter(|_| !field.secret)
                .unwrap_or_else(|| field.default.to_owned()),
            problem: problems
                .iter()
                .find(|problem| problem.path[1..] == *field.name)
                .map(|problem| problem.message.clone()),
        })
        .collect();
    Ok(pages::consent(&pages::Consent {
        operator: connection.operator.clone(),
        provider: connector.name.to_owned(),
        scopes,
        action: call.path.to_owned(),
        fields,
        typed_in,
        error: error.filter(|_| problems.is_empty()).map(|error| error.message.clone()),
    }))
}

/// Sends the browser to the provider, or tries what was typed in.
pub async fn start(call: &Call<'_>, ticket: &str) -> Result<Response> {
    let id = account_of(Purpose::Link, ticket, call).map_err(link_refused)?;
    let browser = browser(call).ok_or_else(no_cookie)?;
    let app = call.app;
    let Reply::Consent { connection_name, .. } =
        app.accounts.ask(&id, Command::Open { ticket: ticket.to_owned() }).await?
    else {
        return Err(unexpected());
    };
    let redirect_uri = redirect_uri(&app.settings.base_url, &connection_name);
    let fields = form(call);
    let command = Command::Start { ticket: ticket.to_owned(), browser, redirect_uri, fields: fields.clone() };
    match app.accounts.ask(&id, command).await {
        Ok(reply) => answered(call, &id, reply),
        Err(error) if can_be_corrected(&error) => {
            let page = consent_page(call, &id, ticket, &fields, Some(&error)).await?;
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
fn answered(call: &Call<'_>, id: &AccountId, reply: Reply) -> Result<Response> {
    match reply {
        Reply::Go { url } | Reply::Finished { verify_at: Some(url), .. } => Ok(pages::redirect(&url)),
        Reply::Choose { ticket } => Ok(pages::redirect(&format!("{}/choose/{ticket}", call.app.settings.base_url))),
        Reply::Finished { snapshot, .. } => {
            call.app.isolate.leased.borrow_mut().remove(id);
            let provider =
                catalog::find_connector(&snapshot.row.connector).map_or("The provider", |connector| connector.name);
            Ok(pages::connected(provider, snapshot.row.label.as_deref()))
        }
        _ => Err(unexpected()),
    }
}

/// Shows what there is to choose from.
pub async fn choices(call: &Call<'_>, ticket: &str) -> Result<Response> {
    let id = account_of(Purpose::Choice, ticket, call).map_err(crate::account::state_refused)?;
    let browser = browser(call).ok_or_else(no_cookie)?;
    let Reply::Choices { connector, options } =
        call.app.accounts.ask(&id, Command::Choices { ticket: ticket.to_owned(), browser }).await?
    else {
        return Err(unexpected());
    };
    let provider = catalog::find_connector(&connector).map_or("The provider", |connector| connector.name);
    Ok(pages::choice(provider, &options, call.path))
}

/// The person chose.
pub async fn choose(call: &Call<'_>, ticket: &str) -> Result<Response> {
    let id = account_of(Purpose::Choice, ticket, call).map_err(crate::account::state_refused)?;
    let browser = browser(call).ok_or_else(no_cookie)?;
    let option = form(call).get("option").and_then(|option| option.reveal().parse().ok());
    let option = option.ok_or_else(|| {
        crate::account::flow_error("choice_missing", "Nothing was chosen. Go back and choose one of the list.")
    })?;
    let reply = call.app.accounts.ask(&id, Command::Choose { ticket: ticket.to_owned(), browser, option }).await?;
    answered(call, &id, reply)
}

/// The browser is back from the provider.
pub async fn callback(call: &Call<'_>, connection: &str) -> Result<Response> {
    let query = &call.query;
    let state = query.get("state").unwrap_or_default();
    let id = account_of(Purpose::State, state, call).map_err(crate::account::state_refused)?;
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
    answered(call, &id, reply)
}

/// Where an operator's backend sends the browser after it confirmed who connected.
pub fn connected(connector: &str) -> Result<Response> {
    let connector = catalog::find_connector(connector).ok_or_else(|| super::api::providers::no_provider(connector))?;
    Ok(pages::connected(connector.name, None))
}
