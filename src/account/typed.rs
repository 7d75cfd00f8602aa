//! What people type in: the fields a connection asks for, and credentials made of them.

use super::Tokens;
use super::completion::Consented;
use super::object::Object;
use super::renew;
use super::{Account, Reason};
use crate::catalog::Connector;
use crate::catalog::model::{Key, Method, Pair};
use crate::code::Code;
use crate::connection::{Connection, field_problem};
use crate::digest;
use crate::error::{Error, Origin, Problem, Result};
use crate::oauth::jwt::{self, Assertion};
use crate::oauth::token::{Refused, Tokens as NewTokens};
use crate::paste;
use crate::scrub::Scrub;
use crate::secret::Secret;
use crate::target::Variables;
use crate::template;
use regex_lite::Regex;
use std::collections::BTreeMap;

/// Secret fields by name.
pub(super) type Secrets = BTreeMap<String, Secret>;

/// Sorts what was given into variables and secrets, or says everything that is wrong with it.
pub(super) fn sort(connection: &Connection, known: &Variables, given: &Secrets) -> Result<(Variables, Secrets)> {
    let connector = connection.connector()?;
    let (mut variables, mut secrets, mut problems) = (known.clone(), Secrets::new(), Vec::new());
    for field in connection.asked_fields(connector, known) {
        let value = given.get(field.name).map(|value| paste::understood(connector, field, value.reveal()));
        let value = value.filter(|value| !value.is_empty());
        let problem = match &value {
            Some(value) => field_problem(field, value),
            None => field.required.then(|| format!("is needed. {}", field.help).trim_end().to_owned()),
        };
        if let Some(words) = problem {
            problems.push(Problem { path: format!("/{}", field.name), message: format!("{} {words}", field.title) });
        } else if let Some(value) = value {
            if field.secret {
                secrets.insert(field.name.to_owned(), Secret::new(value));
            } else {
                variables.insert(field.name.to_owned(), value);
            }
        }
    }
    if problems.is_empty() { Ok((variables, secrets)) } else { Err(invalid(connector.id, problems)) }
}

fn invalid(connector: &str, problems: Vec<Problem>) -> Error {
    let words = problems.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join(" ");
    Error::invalid(words).of(connector).with(|details| {
        details.status_reason = Some("fields_invalid".into());
        details.problems = problems;
    })
}

/// The failure for one field that came over the API.
pub(super) fn problem(connector: &str, path: &str, message: &str) -> Error {
    let message = format!("{}: {message}", &path[1..]);
    invalid(connector, vec![Problem { path: path.to_owned(), message }])
}

/// The failure for imported tokens whose look-up needs what nobody said.
pub(super) fn needed_field(connector: &Connector, name: &str) -> Error {
    let name = name.strip_prefix("account.").unwrap_or(name);
    let pattern = connector.auth.patterns.iter().find(|(known, _)| *known == name).map(|(_, pattern)| *pattern);
    let like = pattern.map(|pattern| format!("; it must match {pattern}")).unwrap_or_default();
    let message = format!("is needed: tokens that were granted elsewhere do not tell it{like}");
    problem(connector.id, &format!("/fields/{name}"), &message)
}

/// What a consent would have learnt and imported tokens cannot tell: the variables that have a pattern.
fn learnt(connection: &Connection, connector: &'static Connector) -> impl Iterator<Item = &'static Pair> {
    let fields: Vec<_> = connection.needed_fields(connector).map(|field| field.name).collect();
    connector.auth.patterns.iter().filter(move |(name, _)| !fields.contains(name))
}

/// Refuses what is no field of an account on this connection, by name.
pub(super) fn check_names(connection: &Connection, given: &Secrets, imported: bool) -> Result<()> {
    let connector = connection.connector()?;
    let asked = connection.asked_fields(connector, &Variables::new()).into_iter();
    let mut known: Vec<_> = asked.filter(|field| !(imported && field.secret)).map(|field| field.name).collect();
    if imported {
        known.extend(learnt(connection, connector).map(|(name, _)| *name));
    }
    let Some(unknown) = given.keys().find(|name| !known.contains(&name.as_str())) else { return Ok(()) };
    let message = match (connection.fields.contains_key(unknown), known.as_slice()) {
        (true, _) => "the connection has it already, for all accounts".to_owned(),
        (false, []) => format!("an account of {} takes no fields this way", connector.name),
        (false, known) => format!("an account of {} takes {} this way", connector.name, known.join(", ")),
    };
    Err(problem(connector.id, &format!("/fields/{unknown}"), &message))
}

/// The variables given with imported tokens. What is secret is not asked for: the tokens take its place.
pub(super) fn sort_for_import(connection: &Connection, given: &Secrets) -> Result<Variables> {
    let connector = connection.connector()?;
    let mut variables = Variables::new();
    for (name, pattern) in learnt(connection, connector) {
        let Some(value) = given.get(*name).map(|value| value.reveal().trim().to_owned()) else { continue };
        if !Regex::new(pattern).is_ok_and(|regex| regex.is_match(&value)) {
            return Err(problem(
                connector.id,
                &format!("/fields/{name}"),
                &format!("`{value}` does not match {pattern}"),
            ));
        }
        variables.insert((*name).to_owned(), value);
    }
    let secret = connection.needed_fields(connector).filter(|field| field.secret).map(|field| field.name);
    let with_secrets = variables.clone().into_iter().chain(secret.map(|name| (name.to_owned(), String::new())));
    let (mut sorted, _) = sort(connection, &with_secrets.collect(), given)?;
    sorted.retain(|name, _| !connection.needed_fields(connector).any(|field| field.secret && field.name == name));
    Ok(sorted)
}

impl Object {
    /// Tokens made of what was typed in; nothing is stored yet.
    pub(super) async fn typed(
        &self,
        account: &Account,
        connection: &Connection,
        variables: Variables,
        secrets: &Secrets,
    ) -> Result<Consented> {
        let connector = connection.connector()?;
        let (tokens, scopes) = match connection.method(connector) {
            Method::ByKey => {
                let key = connector.auth.key.as_ref().ok_or_else(|| no_way(connector.name))?;
                (self.sealed(account, &token(key, connection, &variables, secrets)?, None, None), Vec::new())
            }
            Method::ByJwt => {
                let new = self.assert(connection, &variables, secrets).await?;
                let new = new.map_err(|refused| refused_assertion(connector.id, &connection.name, &refused))?;
                // What a new JWT is made of takes the place of the refresh token.
                let kept = Secret::new(serde_json::to_string(secrets).expect("fields are plain data"));
                let expires_at = self.expires_at(account, new.expires_in);
                let tokens: Tokens = self.sealed(account, &new.access, Some(&kept), expires_at);
                (tokens, new.scopes.unwrap_or_else(|| connection.asked_scopes()))
            }
            Method::ByOAuth2 | Method::ByOAuth1 => return Err(no_way(connector.name)),
        };
        Ok(Consented::of(tokens, scopes, variables))
    }

    /// A fresh token for a JWT connection.
    pub(super) async fn assert(
        &self,
        connection: &Connection,
        variables: &Variables,
        secrets: &Secrets,
    ) -> Result<std::result::Result<NewTokens, Refused>> {
        let target = Self::target(connection, variables)?;
        let connector = target.connector;
        let jwt = connector.auth.jwt.as_ref().ok_or_else(|| no_way(connector.name))?;
        let exchange = match (&connection.endpoints.token_url, jwt.exchange) {
            (_, "") => None,
            (Some(url), _) => Some(url.clone()),
            (None, declared) => Some(target.fill(declared)?),
        };
        let scopes = connection.asked_scopes();
        let fields = |name: &str| value(&target, secrets, name);
        let known = Scrub::of(secrets.values().chain(connection.opened.values()));
        let assertion = Assertion { jwt, fields: &fields, secrets: &known, scopes: &scopes, now: self.now() };
        let world = &self.world;
        Ok(jwt::tokens(&assertion, exchange, connector.auth.oauth2.as_ref(), &*world.signer, &*world.http).await)
    }
}

fn value(target: &crate::target::Target<'_>, secrets: &Secrets, name: &str) -> Option<String> {
    let secret = secrets.get(name).map(|secret| secret.reveal().to_owned());
    secret.or_else(|| target.variable(&format!("account.{name}")))
}

fn token(key: &Key, connection: &Connection, variables: &Variables, secrets: &Secrets) -> Result<Secret> {
    let target = Object::target(connection, variables)?;
    let text = template::fill(key.token, |name| value(&target, secrets, name)).ok_or_else(|| {
        Error::internal(format!("the key of {} needs a field it does not ask for", target.connector.name))
    })?;
    let token = Secret::new(if key.base64 { digest::base64(text.as_bytes()) } else { text });
    if token.is_sendable() {
        return Ok(token);
    }
    let message = "This cannot be a key: it has characters that no key has, or too many. Copy it again.";
    Err(Error::invalid(message)
        .of(target.connector.id)
        .with(|details| details.status_reason = Some("fields_invalid".into())))
}

fn no_way(name: &str) -> Error {
    Error::internal(format!("{name} is not connected this way"))
}

/// What a failed exchange of a JWT is to the person who gave the key.
fn refused_assertion(connector: &str, connection: &str, refused: &Refused) -> Error {
    let error = renew::error(connector, connection, refused);
    if error.code.retryable() {
        return error;
    }
    // Without a status nobody was asked: it is what was typed in that cannot be used.
    let origin = if refused.status.is_none() { Origin::Caller } else { Origin::Provider };
    refused_credential(connector, renew::words(refused)).with(|details| details.origin = origin)
}

/// The failure for a credential that the provider, or a look at it, refuses.
pub(super) fn refused_credential(connector: &str, words: String) -> Error {
    Error::new(Code::ProviderPermissionDenied, words)
        .of(connector)
        .with(|details| details.status_reason = Some(Reason::CredentialRefused.name()))
}
