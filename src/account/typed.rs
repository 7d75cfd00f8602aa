//! What people type in: the fields a connection asks for, and credentials made of them.

use super::Tokens;
use super::completion::Consented;
use super::object::Object;
use super::renew;
use super::{Account, Reason};
use crate::catalog::model::{Key, Method};
use crate::code::Code;
use crate::connection::{Connection, field_problem};
use crate::digest;
use crate::error::{Error, Problem, Result};
use crate::oauth::jwt::{self, Assertion};
use crate::oauth::token::{Refused, Tokens as NewTokens};
use crate::secret::Secret;
use crate::target::Variables;
use crate::template;
use std::collections::BTreeMap;

/// Secret fields by name.
pub(super) type Secrets = BTreeMap<String, Secret>;

/// Sorts what was given into variables and secrets, or says everything that is wrong with it.
pub(super) fn sort(connection: &Connection, known: &Variables, given: &Secrets) -> Result<(Variables, Secrets)> {
    let connector = connection.connector()?;
    let (mut variables, mut secrets, mut problems) = (known.clone(), Secrets::new(), Vec::new());
    for field in connection.asked_fields(connector, known) {
        let value = given.get(field.name).map(|value| value.reveal().trim()).filter(|value| !value.is_empty());
        let problem = match value {
            Some(value) => field_problem(field, value),
            None => field.required.then(|| format!("is needed: {}", field.help)),
        };
        if let Some(words) = problem {
            problems.push(Problem { path: format!("/{}", field.name), message: format!("{} {words}", field.title) });
        } else if let Some(value) = value {
            if field.secret {
                secrets.insert(field.name.to_owned(), Secret::new(value));
            } else {
                variables.insert(field.name.to_owned(), value.to_owned());
            }
        }
    }
    if problems.is_empty() {
        return Ok((variables, secrets));
    }
    let words = problems.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join(" ");
    Err(Error::invalid(words).of(connector.id).with(|details| {
        details.status_reason = Some("fields_invalid".into());
        details.problems = problems;
    }))
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
                let new = new.map_err(|refused| refused_credential(connector.id, renew::words(&refused)))?;
                // What a new JWT is made of takes the place of the refresh token.
                let kept = Secret::new(serde_json::to_string(secrets).expect("fields are plain data"));
                let expires_at = self.expires_at(account, new.expires_in);
                let tokens: Tokens = self.sealed(account, &new.access, Some(&kept), expires_at);
                (tokens, new.scopes.unwrap_or_else(|| connection.asked_scopes()))
            }
            Method::ByOAuth2 | Method::ByOAuth1 => return Err(no_way(connector.name)),
        };
        Ok(Consented { tokens, scopes, variables, verify: None, step: 0 })
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
        let assertion = Assertion { jwt, fields: &fields, scopes: &scopes, now: self.now() };
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

/// The failure for a credential that the provider, or a look at it, refuses.
pub(super) fn refused_credential(connector: &str, words: String) -> Error {
    Error::new(Code::ProviderPermissionDenied, words)
        .of(connector)
        .with(|details| details.status_reason = Some(Reason::CredentialRefused.name()))
}
