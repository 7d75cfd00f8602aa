//! Connections: an operator's configuration of a connector. Kept in KV, since they are written seldom.

use crate::catalog::model::{Auth, ClientAuth, Credential, Field, Method};
use crate::catalog::{self, Connector};
use crate::code::Code;
use crate::digest;
use crate::error::{Error, MOST_PROBLEMS, Result, short};
use crate::keys::Keys;
use crate::paste;
use crate::ports::{Clock, Millis, Random, Store, random};
use crate::secret::Secret;
use regex_lite::Regex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The most bytes of a client id or an endpoint.
pub const LONGEST_TEXT: usize = 2_048;
/// The most bytes of the operator's name on the consent page.
pub const LONGEST_OPERATOR: usize = 200;
/// The most scopes a connection asks for.
pub const MOST_SCOPES: usize = 200;

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
    /// How its accounts are connected: `oauth2`, `oauth1`, `key` or `jwt`; none means the connector's first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Fields of the connector that are the same for all accounts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
    /// The operator's secret fields, each sealed for `<id>/fields/<name>`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, String>,
    /// The same, opened; never stored.
    #[serde(skip)]
    pub opened: BTreeMap<String, Secret>,
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
    /// Limit name and the units per period that count instead of the connector's.
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

    /// The way its accounts are connected.
    pub fn method(&self, connector: &Connector) -> Method {
        let named = self.method.as_deref().and_then(method);
        named.or_else(|| methods(&connector.auth).next()).unwrap_or(Method::ByOAuth2)
    }

    /// How that way sends its credential, if not the way the connector says.
    pub fn credential(&self, connector: &'static Connector) -> Option<&'static Credential> {
        let auth = &connector.auth;
        match self.method(connector) {
            Method::ByOAuth2 => None,
            Method::ByOAuth1 => auth.oauth1.as_ref().map(|oauth1| &oauth1.credential),
            Method::ByKey => auth.key.as_ref().map(|key| &key.credential),
            Method::ByJwt => auth.jwt.as_ref().map(|jwt| &jwt.credential),
        }
    }

    /// The fields that matter to it.
    pub fn needed_fields(&self, connector: &'static Connector) -> impl Iterator<Item = &'static Field> {
        let method = self.method(connector);
        connector.auth.fields.iter().filter(move |field| field.methods.is_empty() || field.methods.contains(&method))
    }

    /// The fields a person is asked for: all that neither the operator gives nor `known` has.
    pub fn asked_fields(&self, connector: &'static Connector, known: &BTreeMap<String, String>) -> Vec<&'static Field> {
        let missing = |name: &str| !self.fields.contains_key(name) && !known.contains_key(name);
        self.needed_fields(connector).filter(|field| !field.by_operator && missing(field.name)).collect()
    }

    /// The scopes it asks for.
    pub fn asked_scopes(&self) -> Vec<String> {
        let usual = || {
            let connector = self.connector().ok()?;
            Some(match self.method(connector) {
                Method::ByOAuth2 => connector.auth.oauth2.as_ref()?.scopes.0,
                Method::ByOAuth1 => connector.auth.oauth1.as_ref()?.scopes.0,
                Method::ByJwt => connector.auth.jwt.as_ref()?.scopes.0,
                Method::ByKey => &[],
            })
        };
        let texts = |scopes: &[&str]| scopes.iter().map(|scope| (*scope).to_owned()).collect();
        self.scopes.clone().unwrap_or_else(|| texts(usual().unwrap_or_default()))
    }

    /// Opens the operator's secret fields.
    pub fn open(&mut self, keys: &Keys) -> Result<()> {
        for (name, sealed) in &self.secrets {
            self.opened.insert(name.clone(), keys.open(&format!("{}/fields/{name}", self.id), sealed)?);
        }
        Ok(())
    }

    /// Takes over fields: those of the connector that are secret are sealed, all others are kept as they are.
    pub fn set_fields(&mut self, given: BTreeMap<String, String>, keys: &Keys, source: &dyn Random) {
        let connector = catalog::find_connector(&self.connector);
        for (name, value) in given {
            let field = connector.and_then(|connector| connector.auth.fields.iter().find(|field| field.name == name));
            let value = match (connector, field) {
                (Some(connector), Some(field)) => paste::understood(connector, field, &value),
                _ => value,
            };
            if field.is_some_and(|field| field.secret) {
                let secret = Secret::new(value);
                self.secrets.insert(name.clone(), keys.seal(&format!("{}/fields/{name}", self.id), &secret, source));
                self.opened.insert(name, secret);
            } else {
                self.fields.insert(name, value);
            }
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

    /// Seals again what an older key sealed. Whether there was any.
    pub fn reseal(&mut self, keys: &Keys, source: &dyn Random) -> Result<bool> {
        let sealed = [Some(&self.salt), self.client_secret.as_ref()].into_iter().flatten().chain(self.secrets.values());
        if !sealed.into_iter().any(|sealed| keys.is_outdated(sealed)) {
            return Ok(false);
        }
        if self.client_secret.as_ref().is_some_and(|sealed| keys.is_outdated(sealed)) {
            let secret = self.open_client_secret(keys)?;
            self.set_client_secret(&secret, keys, source);
        }
        for (name, sealed) in &mut self.secrets {
            if keys.is_outdated(sealed) {
                let context = format!("{}/fields/{name}", self.id);
                *sealed = keys.seal(&context, &keys.open(&context, sealed)?, source);
            }
        }
        if keys.is_outdated(&self.salt) {
            let context = format!("{}/salt", self.id);
            self.salt = keys.seal(&context, &keys.open(&context, &self.salt)?, source);
        }
        Ok(true)
    }

    /// The key that account ids are made with.
    pub fn open_salt(&self, keys: &Keys) -> Result<Vec<u8>> {
        let salt = keys.open(&format!("{}/salt", self.id), &self.salt)?;
        Ok(digest::from_base64(salt.reveal()).unwrap_or_default())
    }

    /// What is wrong with it, field and words.
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        // A list of what is wrong is for people; a body of a megabyte could make it thousands of times as long.
        let mut problem = |field: &str, words: String| {
            if problems.len() < MOST_PROBLEMS {
                problems.push((format!("/{}", short(field)), words));
            }
        };
        for (field, text, most) in [
            ("client_id", self.client_id.as_str(), LONGEST_TEXT),
            ("operator", self.operator.as_deref().unwrap_or_default(), LONGEST_OPERATOR),
        ] {
            if text.len() > most || text.chars().any(char::is_control) {
                problem(field, format!("must have at most {most} bytes and no control characters"));
            }
        }
        for (field, url) in self.endpoints.all() {
            if url.as_deref().is_some_and(|url| url.len() > LONGEST_TEXT) {
                problem(&field.replace('.', "/"), format!("must have at most {LONGEST_TEXT} bytes"));
            }
        }
        if self.scopes.as_ref().is_some_and(|scopes| scopes.len() > MOST_SCOPES) {
            problem("scopes", format!("must be at most {MOST_SCOPES}"));
        }
        if !is_name(&self.name) {
            problem("name", "must match [a-z0-9][a-z0-9_-]{0,62}".into());
        }
        for (field, url) in self.endpoints.all() {
            if let Some(wrong) = url.as_deref().and_then(crate::address::problem) {
                problem(&field.replace('.', "/"), wrong);
            }
        }
        let Some(connector) = catalog::find_connector(&self.connector) else {
            problem("connector", format!("no connector `{}`", short(&self.connector)));
            return problems;
        };
        let ways: Vec<_> = methods(&connector.auth).map(method_name).collect();
        if let Some(named) = self.method.as_deref().filter(|named| !ways.contains(named)) {
            let words = format!(
                "{} has no way to connect named `{}`; it has {}",
                connector.name,
                short(named),
                ways.join(", ")
            );
            problem("method", words);
            return problems;
        }
        let method = self.method(connector);
        let by_oauth = matches!(method, Method::ByOAuth2 | Method::ByOAuth1);
        let sends_id = self.credential(connector).is_some_and(|credential| credential.header.1.contains("{client_id}"));
        if (by_oauth || sends_id) && self.client_id.is_empty() {
            problem("client_id", format!("{} needs an OAuth client id", connector.name));
        }
        if let Some(words) = placeholder(&self.client_id) {
            problem("client_id", words);
        }
        let public = connector.auth.oauth2.as_ref().is_none_or(|oauth2| oauth2.client_auth == ClientAuth::ClientNone);
        if by_oauth && !(method == Method::ByOAuth2 && public) && self.client_secret.is_none() {
            problem("client_secret", format!("{} needs an OAuth client secret", connector.name));
        }
        if let (Some(oauth2), Some(scopes)) = (&connector.auth.oauth2, &self.scopes) {
            let separator = oauth2.scope_separator.chars().next().unwrap_or(' ');
            let wrong =
                |scope: &&String| scope.is_empty() || scope.len() > 512 || scope.contains([separator, ' ', '"']);
            for scope in scopes.iter().filter(wrong) {
                problem("scopes", format!("`{}` is not one scope", short(scope)));
            }
        }
        self.check_fields(connector, &mut problem);
        for (name, units) in &self.limits {
            match connector.limits.iter().find(|limit| limit.name == name) {
                None => {
                    let known: Vec<_> = connector.limits.iter().map(|limit| limit.name).collect();
                    problem(
                        &format!("limits/{name}"),
                        if known.is_empty() {
                            format!("{} has no limits to set", connector.name)
                        } else {
                            format!("{} has the limits {}", connector.name, known.join(", "))
                        },
                    );
                }
                Some(limit) if *units == 0 || *units > limit.most => {
                    problem(&format!("limits/{name}"), format!("must be from 1 to {}", limit.most));
                }
                Some(limit) => {
                    let (need, what) = limit.largest_need(&connector.tools);
                    if *units < need {
                        let words = format!(
                            "must be at least {need}, which {what} costs; a lower limit would refuse it for ever"
                        );
                        problem(&format!("limits/{name}"), words);
                    }
                }
            }
        }
        problems
    }

    fn check_fields(&self, connector: &'static Connector, problem: &mut dyn FnMut(&str, String)) {
        let known: Vec<_> = self.needed_fields(connector).map(|field| field.name).collect();
        for name in self.fields.keys().chain(self.secrets.keys()).filter(|name| !known.contains(&name.as_str())) {
            let words = match known.as_slice() {
                [] => format!("{} has no fields", connector.name),
                known => format!("{} has the fields {}", connector.name, known.join(", ")),
            };
            problem(&format!("fields/{name}"), words);
        }
        for field in self.needed_fields(connector) {
            let given = self.fields.get(field.name).map(String::as_str);
            let given = given.or_else(|| self.opened.get(field.name).map(Secret::reveal));
            let wrong = match given {
                // The operator's secrets are sent in headers beside the token.
                Some(value)
                    if field.secret && field.by_operator && !field.multiline && !Secret::new(value).is_sendable() =>
                {
                    Some("must be visible ASCII, without a space around it".into())
                }
                Some(value) => field_problem(field, value),
                None if field.by_operator && field.required && !self.secrets.contains_key(field.name) => {
                    Some(format!("is needed. {}", field.help).trim_end().to_owned())
                }
                None => None,
            };
            if let Some(words) = wrong {
                problem(&format!("fields/{}", field.name), words);
            }
        }
    }
}

/// What is wrong with a client id or secret that was copied with the example around it; none if it may be one. It is not
/// repeated: it may be a secret that only looks like one.
pub fn placeholder(text: &str) -> Option<String> {
    let lower = text.trim().to_lowercase();
    let is_one = !text.is_empty() && !text.contains(char::is_alphanumeric)
        || text.contains('…')
        || text.contains("...")
        || (lower.starts_with('<') && lower.ends_with('>'))
        || lower.starts_with("your_")
        || lower.starts_with("your-");
    is_one.then(|| "is the placeholder of an example; put in the one of your own app at the provider".to_owned())
}

/// What is wrong with the value of a field; none if it is fine.
pub fn field_problem(field: &Field, value: &str) -> Option<String> {
    let fits = field.pattern.is_empty() || Regex::new(field.pattern).is_ok_and(|regex| regex.is_match(value));
    let longest = if field.multiline { 16_384 } else { 1_024 };
    if value.len() > longest {
        return Some(format!("must have at most {longest} bytes"));
    }
    if !field.multiline && value.chars().any(char::is_control) {
        return Some("must not hold control characters".into());
    }
    let example = if field.example.is_empty() { String::new() } else { format!(", e.g. {}", field.example) };
    (!fits).then(|| format!("does not look like one{example}. {}", field.help).trim_end().to_owned())
}

/// The ways a connector has, the one taken first before the others.
pub fn methods(auth: &Auth) -> impl Iterator<Item = Method> {
    Method::ALL.iter().map(|(_, method)| *method).filter(|method| match method {
        Method::ByOAuth2 => auth.oauth2.is_some(),
        Method::ByOAuth1 => auth.oauth1.is_some(),
        Method::ByKey => auth.key.is_some(),
        Method::ByJwt => auth.jwt.is_some(),
    })
}

fn method(name: &str) -> Option<Method> {
    Method::ALL.iter().find(|(known, _)| *known == name).map(|(_, method)| *method)
}

/// The name of a way to connect.
pub fn method_name(method: Method) -> &'static str {
    Method::ALL.iter().find(|(_, known)| *known == method).map_or("", |(name, _)| name)
}

/// What the API calls a way to connect.
pub fn authorization_type(method: Method) -> &'static str {
    match method {
        Method::ByOAuth2 => "OAUTH",
        Method::ByOAuth1 => "OAUTH1",
        Method::ByKey => "API_KEY",
        Method::ByJwt => "SERVICE_ACCOUNT",
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
        method: None,
        fields: BTreeMap::new(),
        secrets: BTreeMap::new(),
        opened: BTreeMap::new(),
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

/// Reads a connection, and opens its secret fields.
pub async fn find(store: &dyn Store, keys: &Keys, name: &str) -> Result<Option<Connection>> {
    let Some(text) = store.get(&key(name)).await? else { return Ok(None) };
    let parsed = serde_json::from_str(&text);
    let mut connection: Connection =
        parsed.map_err(|error| Error::internal(format!("connection `{name}` cannot be read: {error}")))?;
    connection.open(keys)?;
    Ok(Some(connection))
}

/// Reads a connection that must be there.
pub async fn load(store: &dyn Store, keys: &Keys, name: &str) -> Result<Connection> {
    find(store, keys, name).await?.ok_or_else(|| not_found(name))
}

/// The failure for a name that no connection has.
pub fn not_found(name: &str) -> Error {
    Error::new(Code::ConnectionNotFound, format!("no connection `{}`; GET /api/v1/connections lists them", short(name)))
}

/// Writes a connection.
pub async fn save(store: &dyn Store, connection: &Connection) -> Result<()> {
    let text = serde_json::to_string(connection).expect("a connection is plain data");
    store.put(&key(&connection.name), &text, None).await
}
