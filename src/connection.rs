//! Connections: an operator's configuration of a connector. Kept in KV, since they are written seldom.

use crate::catalog::model::ClientAuth;
use crate::catalog::{self, Connector};
use crate::code::Code;
use crate::digest;
use crate::error::{Error, Result};
use crate::keys::Keys;
use crate::ports::{Clock, Millis, Random, Store, random};
use crate::secret::Secret;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is stored of a connection, and what a request may say of one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Connection {
    /// Version of this record.
    pub v: u8,
    /// `conn_…`
    pub id: String,
    /// The operator's name for it; stands in the redirect URI.
    pub name: String,
    /// Connector id.
    pub connector: String,
    /// OAuth client id.
    pub client_id: String,
    /// OAuth client secret, sealed for `<id>/client_secret`.
    pub client_secret: Option<String>,
    /// Scopes to ask for; none means the connector's own.
    pub scopes: Option<Vec<String>>,
    /// Who asks, as shown on the consent page.
    pub operator: Option<String>,
    /// Where the provider's endpoints are, when not where the connector says.
    #[serde(default)]
    pub endpoints: Endpoints,
    /// Limit name and the units per period it is tightened to.
    #[serde(default)]
    pub limits: BTreeMap<String, u32>,
    /// Makes account ids: sealed for `<id>/salt`.
    pub salt: String,
    /// When it was made.
    pub created_at: Millis,
    /// When it was changed.
    pub updated_at: Millis,
}

/// Overrides of a connector's endpoints: sandboxes, tests.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoints {
    /// Authorization endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorize_url: Option<String>,
    /// Token endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_url: Option<String>,
    /// Revocation endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoke_url: Option<String>,
    /// Base of the API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_base: Option<String>,
}

impl Endpoints {
    fn all(&self) -> [(&'static str, &Option<String>); 4] {
        [
            ("endpoints.authorize_url", &self.authorize_url),
            ("endpoints.token_url", &self.token_url),
            ("endpoints.revoke_url", &self.revoke_url),
            ("endpoints.api_base", &self.api_base),
        ]
    }
}

impl Connection {
    /// The connector behind it.
    pub fn connector(&self) -> Result<&'static Connector> {
        catalog::find_connector(&self.connector).ok_or_else(|| {
            Error::internal(format!("connection `{}` is of the unknown connector `{}`", self.name, self.connector))
        })
    }

    /// The scopes it asks for.
    pub fn asked_scopes(&self) -> Vec<String> {
        match &self.scopes {
            Some(scopes) => scopes.clone(),
            None => self
                .connector()
                .ok()
                .and_then(|connector| connector.auth.oauth2.as_ref())
                .map_or_else(Vec::new, |oauth2| oauth2.scopes.iter().map(|scope| (*scope).to_owned()).collect()),
        }
    }

    /// The client secret, opened.
    pub fn open_client_secret(&self, keys: &Keys) -> Result<Secret> {
        match &self.client_secret {
            Some(sealed) => keys.open(&format!("{}/client_secret", self.id), sealed),
            None => Ok(Secret::default()),
        }
    }

    /// Seals and sets the client secret.
    pub fn set_client_secret(&mut self, secret: &Secret, keys: &Keys, source: &dyn Random) {
        self.client_secret = Some(keys.seal(&format!("{}/client_secret", self.id), secret, source));
    }

    /// Seals again what an older key sealed.
    pub fn reseal(&mut self, keys: &Keys, source: &dyn Random) -> Result<()> {
        if self.client_secret.as_ref().is_some_and(|sealed| keys.is_outdated(sealed)) {
            let secret = self.open_client_secret(keys)?;
            self.set_client_secret(&secret, keys, source);
        }
        if keys.is_outdated(&self.salt) {
            let context = format!("{}/salt", self.id);
            self.salt = keys.seal(&context, &keys.open(&context, &self.salt)?, source);
        }
        Ok(())
    }

    /// The key that account ids are made with.
    pub fn open_salt(&self, keys: &Keys) -> Result<Vec<u8>> {
        let salt = keys.open(&format!("{}/salt", self.id), &self.salt)?;
        Ok(digest::from_base64(salt.reveal()).unwrap_or_default())
    }

    /// What is wrong with it, field and words.
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut problem = |field: &str, words: String| problems.push((format!("/{field}"), words));
        if !is_name(&self.name) {
            problem("name", "must match [a-z0-9][a-z0-9_-]{0,62}".into());
        }
        for (field, url) in self.endpoints.all() {
            if let Some(wrong) = url.as_deref().and_then(|url| crate::address::problem(url)) {
                problem(&field.replace('.', "/"), wrong);
            }
        }
        let Some(connector) = catalog::find_connector(&self.connector) else {
            problem("connector", format!("no connector `{}`", self.connector));
            return problems;
        };
        if connector.auth.oauth2.is_some() && self.client_id.is_empty() {
            problem("client_id", format!("{} needs an OAuth client id", connector.name));
        }
        let public = connector.auth.oauth2.as_ref().is_none_or(|oauth2| oauth2.client_auth == ClientAuth::ClientNone);
        if !public && self.client_secret.is_none() {
            problem("client_secret", format!("{} needs an OAuth client secret", connector.name));
        }
        if let (Some(oauth2), Some(scopes)) = (&connector.auth.oauth2, &self.scopes) {
            let separator = oauth2.scope_separator.chars().next().unwrap_or(' ');
            for scope in scopes.iter().filter(|scope| scope.is_empty() || scope.contains([separator, ' ', '"'])) {
                problem("scopes", format!("`{scope}` is not one scope"));
            }
        }
        for (name, units) in &self.limits {
            match connector.limits.iter().find(|limit| limit.name == name) {
                None => {
                    let known: Vec<_> = connector.limits.iter().map(|limit| limit.name).collect();
                    problem(
                        &format!("limits/{name}"),
                        format!("{} has the limits {}", connector.name, known.join(", ")),
                    );
                }
                Some(limit) if *units == 0 || *units > limit.units => {
                    problem(&format!("limits/{name}"), format!("must be from 1 to {}", limit.units));
                }
                Some(_) => {}
            }
        }
        problems
    }
}

/// Whether a text can be a connection's name.
pub fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    bytes.first().is_some_and(plain) && bytes.len() <= 63 && bytes.iter().all(|b| plain(b) || b"_-".contains(b))
}

/// An empty connection with fresh identity.
pub fn fresh(name: &str, connector: &str, keys: &Keys, clock: &dyn Clock, source: &dyn Random) -> Connection {
    // 60 bits, 12 characters: the first part of every account id of this connection.
    let id = format!("conn_{}", &digest::base32(&random::<8>(source))[..12]);
    let salt = Secret::new(digest::base64url(&random::<32>(source)));
    Connection {
        v: 1,
        name: name.to_owned(),
        connector: connector.to_owned(),
        client_id: String::new(),
        client_secret: None,
        scopes: None,
        operator: None,
        endpoints: Endpoints::default(),
        limits: BTreeMap::new(),
        salt: keys.seal(&format!("{id}/salt"), &salt, source),
        id,
        created_at: clock.now(),
        updated_at: clock.now(),
    }
}

/// KV key of a connection.
pub fn key(name: &str) -> String {
    format!("connection:{name}")
}

/// Reads a connection.
pub async fn find(store: &dyn Store, name: &str) -> Result<Option<Connection>> {
    let Some(text) = store.get(&key(name)).await? else { return Ok(None) };
    let parsed = serde_json::from_str(&text);
    parsed.map(Some).map_err(|error| Error::internal(format!("connection `{name}` cannot be read: {error}")))
}

/// Reads a connection that must be there.
pub async fn load(store: &dyn Store, name: &str) -> Result<Connection> {
    find(store, name).await?.ok_or_else(|| not_found(name))
}

/// The failure for a name that no connection has.
pub fn not_found(name: &str) -> Error {
    Error::new(Code::ConnectionNotFound, format!("no connection `{name}`; GET /api/v1/connections lists them"))
}

/// Writes a connection.
pub async fn save(store: &dyn Store, connection: &Connection) -> Result<()> {
    let text = serde_json::to_string(connection).expect("a connection is plain data");
    store.put(&key(&connection.name), &text, None).await
}
