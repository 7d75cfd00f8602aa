//! `POST /oauth/token`: client credentials (RFC 6749 section 4.4).

use crate::caller::{Grant, Scope, TOKEN_LIFETIME};
use crate::digest;
use crate::error::Result;
use crate::http::{Call, json_response};
use crate::ports::{Response, get};
use crate::secret::Secret;
use serde_json::{Value, json};
use std::collections::HashMap;

/// Gives a caller a bearer token.
pub async fn token(call: &Call<'_>) -> Result<Response> {
    let body = call.request.body.bytes();
    let form: HashMap<String, String> = match serde_json::from_slice::<HashMap<String, String>>(body) {
        Ok(form) => form,
        Err(_) => form_urlencoded::parse(body).into_owned().collect(),
    };
    if !form.contains_key("grant_type") {
        return Ok(refused(400, "invalid_request", "grant_type is missing; it must be client_credentials"));
    }
    if form.get("grant_type").map(String::as_str) != Some("client_credentials") {
        return Ok(refused(400, "unsupported_grant_type", "grant_type must be client_credentials"));
    }
    let Some((id, secret)) = credentials(call, &form) else {
        return Ok(refused(401, "invalid_client", "send client id and secret by HTTP Basic or in the form"));
    };
    let Some(scopes) = allowed(call, &id, &secret).await? else {
        return Ok(refused(401, "invalid_client", "client id or secret is wrong"));
    };
    let mut granted = scopes.clone();
    if let Some(asked) = form.get("scope").filter(|asked| !asked.trim().is_empty()) {
        granted.clear();
        for name in asked.split_whitespace() {
            match Scope::parse(name).filter(|scope| scopes.contains(scope)) {
                Some(scope) => granted.push(scope),
                None => {
                    return Ok(refused(400, "invalid_scope", &format!("this client may not have the scope `{name}`")));
                }
            }
        }
    }
    let names: Vec<_> = granted.iter().map(|scope| scope.name()).collect();
    let scope = names.join(" ");
    let grant = Grant { sub: id, scope: granted, exp: call.app.now() / 1000 + TOKEN_LIFETIME };
    let token = grant.to_token(&call.app.keys);
    Ok(json_response(
        200,
        &json!({
            "access_token": token.reveal(), "token_type": "Bearer", "expires_in": TOKEN_LIFETIME, "scope": scope,
        }),
    ))
}

/// HTTP Basic, whose halves are form-encoded (RFC 6749 section 2.3.1), or the form.
fn credentials(call: &Call<'_>, form: &HashMap<String, String>) -> Option<(String, Secret)> {
    let decode =
        |text: &str| percent_encoding::percent_decode_str(&text.replace('+', "%20")).decode_utf8_lossy().into_owned();
    if let Some(basic) = get(&call.request.headers, "authorization").and_then(|header| header.strip_prefix("Basic ")) {
        let pair = String::from_utf8(digest::from_base64(basic)?).ok()?;
        let (id, secret) = pair.split_once(':')?;
        return Some((decode(id), Secret::new(decode(secret))));
    }
    Some((form.get("client_id")?.clone(), Secret::new(form.get("client_secret")?.clone())))
}

/// The scopes of a client, if this is its secret.
async fn allowed(call: &Call<'_>, id: &str, secret: &Secret) -> Result<Option<Vec<Scope>>> {
    let settings = &call.app.settings;
    if settings.client_id.as_deref() == Some(id) {
        let hash = digest::hash(secret.reveal());
        let known = settings.client_secret_hash.as_deref().unwrap_or_default();
        return Ok(digest::same(hash.as_bytes(), known.as_bytes()).then(|| Scope::ALL.to_vec()));
    }
    if !id.starts_with("vkc_") || id.len() > 64 {
        return Ok(None);
    }
    let caller = call.app.caller(id).await?;
    Ok(caller.filter(|caller| caller.knows(secret)).map(|caller| caller.scopes.clone()))
}

fn refused(status: u16, code: &str, description: &str) -> Response {
    let body: Value = json!({ "error": code, "error_description": description });
    let response = json_response(status, &body);
    if status == 401 { response.with_header("www-authenticate", "Basic realm=\"valetkey\"") } else { response }
}
