//! The deployment's settings, from variables and secrets.

use crate::address;
use crate::app::Settings;
use crate::digest;
use crate::error::{Error, Result};
use worker::Env;

/// The keys that seal and sign; a secret.
pub const KEYS: &str = "VALETKEY_KEYS";
/// Id of the first caller; a secret or a variable.
const CLIENT_ID: &str = "VALETKEY_CLIENT_ID";
/// Secret of the first caller; a secret.
const CLIENT_SECRET: &str = "VALETKEY_CLIENT_SECRET";
/// Where the Worker is reached, when it is not the address of the request; a variable.
const PUBLIC_URL: &str = "PUBLIC_URL";
/// The shortest secret of the first caller: 128 bits in hexadecimal. One that is shorter may be a word somebody thought of,
/// and is refused rather than warned of: a warning would stand in a log that nobody reads.
const SHORTEST_SECRET: usize = 32;

/// A variable or secret that is not empty.
pub fn text(env: &Env, name: &str) -> Option<String> {
    env.var(name).ok().map(|value| value.to_string()).filter(|text| !text.trim().is_empty())
}

/// Where this Worker is reached, if that is set.
pub fn public_url(env: &Env) -> Result<Option<String>> {
    let Some(url) = text(env, PUBLIC_URL) else { return Ok(None) };
    let url = url.trim().trim_end_matches('/').to_owned();
    match address::problem(&url) {
        Some(words) => Err(Error::internal(format!("PUBLIC_URL {words}"))),
        None => Ok(Some(url)),
    }
}

/// Where this Worker was reached now.
pub fn origin(url: &str) -> String {
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    let end = url[after_scheme..].find(['/', '?', '#']).map_or(url.len(), |at| after_scheme + at);
    url[..end].to_owned()
}

/// The settings, or what is wrong with them. Each request adds the address it came to.
pub fn settings(env: &Env) -> Result<Settings> {
    let (client_id, secret) = (text(env, CLIENT_ID), text(env, CLIENT_SECRET));
    if client_id.is_some() != secret.is_some() {
        return Err(Error::internal("set both VALETKEY_CLIENT_ID and VALETKEY_CLIENT_SECRET, or neither"));
    }
    if secret.as_ref().is_some_and(|secret| secret.len() < SHORTEST_SECRET) {
        return Err(Error::internal(
            "VALETKEY_CLIENT_SECRET must have at least 32 characters; `openssl rand -hex 32` makes one",
        ));
    }
    Ok(Settings { base_url: String::new(), client_id, client_secret_hash: secret.map(|secret| digest::hash(&secret)) })
}
