//! The browser's side of connecting: the page of a magic link, the way to the provider, the way back.

use super::api::connections::redirect_uri;
use super::{Call, pages};
use crate::access::unexpected;
use crate::account::AccountId;
use crate::account::command::{Answer, Command, Reply};
use crate::catalog;
use crate::digest;
use crate::error::{Error, Result};
use crate::ports::{Response, get, random};
use crate::secret::Secret;
use crate::ticket::{self, Purpose, Refused};

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
    let Reply::Consent { connection_name, scopes } =
        call.app.accounts.ask(&id, Command::Open { ticket: ticket.to_owned() }).await?
    else {
        return Err(unexpected());
    };
    let known = call.app.connection(&connection_name).await?;
    let connector = known.connection.connector()?;
    let words = connector.auth.oauth2.as_ref().map(|oauth2| &oauth2.scope_words);
    let scopes = scopes
        .into_iter()
        .map(|scope| {
            let known = words.and_then(|words| words.iter().find(|(known, _)| *known == scope));
            known.map_or(scope.clone(), |(_, words)| (*words).to_owned())
        })
        .collect();
    let page = pages::consent(&pages::Consent {
        operator: known.connection.operator.clone(),
        provider: connector.name.to_owned(),
        scopes,
        action: call.path.to_owned(),
    });
    let value = browser(call).unwrap_or_else(|| digest::base64url(&random::<32>(&*call.app.random)));
    let (name, secure) = cookie(call);
    // Lax: the provider's redirect back to us is a navigation from another site, and must bring the cookie.
    let cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={COOKIE_LIFETIME}{secure}");
    Ok(page.with_header("set-cookie", &cookie))
}

/// Sends the browser to the provider.
pub async fn start(call: &Call<'_>, ticket: &str) -> Result<Response> {
    let id = account_of(Purpose::Link, ticket, call).map_err(link_refused)?;
    let Some(browser) = browser(call) else {
        return Err(crate::account::flow_error(
            "no_cookie",
            "Your browser did not keep the cookie that protects this step. Allow cookies for this site and open the link again.",
        ));
    };
    let app = call.app;
    let Reply::Consent { connection_name, .. } =
        app.accounts.ask(&id, Command::Open { ticket: ticket.to_owned() }).await?
    else {
        return Err(unexpected());
    };
    let redirect_uri = redirect_uri(&app.settings.base_url, &connection_name);
    match app.accounts.ask(&id, Command::Start { ticket: ticket.to_owned(), browser, redirect_uri }).await? {
        Reply::Go { url } => Ok(pages::redirect(&url)),
        _ => Err(unexpected()),
    }
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
        },
    };
    match call.app.accounts.ask(&id, command).await? {
        Reply::Finished { verify_at: Some(url), .. } => Ok(pages::redirect(&url)),
        Reply::Finished { snapshot, .. } => {
            call.app.isolate.leased.borrow_mut().remove(&id);
            let provider =
                catalog::find_connector(&snapshot.row.connector).map_or("The provider", |connector| connector.name);
            Ok(pages::connected(provider, snapshot.row.label.as_deref()))
        }
        _ => Err(unexpected()),
    }
}

/// Where an operator's backend sends the browser after it confirmed who connected.
pub fn connected(connector: &str) -> Result<Response> {
    let connector = catalog::find_connector(connector).ok_or_else(|| super::api::providers::no_provider(connector))?;
    Ok(pages::connected(connector.name, None))
}
