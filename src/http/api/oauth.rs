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
    let mut found = None;
    for (id, secret) in credentials(call, &form) {
        if let Some(scopes) = allowed(call, &id, &secret).await? {
            found = Some((id, scopes));
            break;
        }
    }
    let Some((id, scopes)) = found else {
        let how = "client id or secret is missing or wrong; send them by HTTP Basic or in the form";
        return Ok(refused(401, "invalid_client", how));
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

/// Client id and secret as they may have been meant. In HTTP Basic both are form-encoded (RFC 6749 section 2.3.1), which
/// many clients forget; a secret with `+` or `%` differs, so both readings are tried.
fn credentials(call: &Call<'_>, form: &HashMap<String, String>) -> Vec<(String, Secret)> {
    let decode =
        |text: &str| percent_encoding::percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    let basic = get(&call.request.headers, "authorization").and_then(|header| header.strip_prefix("Basic "));
    if let Some(basic) = basic {
        let pair = digest::from_base64(basic).and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
        let Some((id, secret)) = pair.split_once(':') else { return Vec::new() };
        return vec![(decode(id), Secret::new(decode(secret))), (id.to_owned(), Secret::new(secret))];
    }
    let pair = form.get("client_id").zip(form.get("client_secret"));
    pair.map(|(id, secret)| (id.clone(), Secret::new(secret.clone()))).into_iter().collect()
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
