//! `POST /oauth/token`: client credentials (RFC 6749 section 4.4).

use crate::caller::{self, Grant, Scope, TOKEN_LIFETIME, throttle};
use crate::digest;
use crate::error::{Result, short};
use crate::http::{Call, json_response};
use crate::ports::{Response, get};
use crate::secret::Secret;
use serde_json::{Value, json};
use std::collections::HashMap;

/// Gives a caller a bearer token.
pub async fn token(call: &Call<'_>) -> Result<Response> {
    let form = match form(call.request.body.bytes()) {
        Ok(form) => form,
        Err(words) => return Ok(refused(400, "invalid_request", &words)),
    };
    if !form.contains_key("grant_type") {
        return Ok(refused(400, "invalid_request", "grant_type is missing; it must be client_credentials"));
    }
    if form.get("grant_type").map(String::as_str) != Some("client_credentials") {
        return Ok(refused(400, "unsupported_grant_type", "grant_type must be client_credentials"));
    }
    let given = credentials(call, &form);
    let (throttle, now) = (&call.app.isolate.throttle, call.app.now());
    let address = get(&call.request.headers, "cf-connecting-ip").unwrap_or_default();
    let key = throttle::key(address, given.first().map_or("", |(id, _)| id));
    if let Some(seconds) = throttle.wait(&key, now) {
        let words = format!("too many wrong secrets for this client from this address; try again in {seconds} s");
        return Ok(refused(429, "invalid_client", &words).with_header("retry-after", &seconds.to_string()));
    }
    let mut found = None;
    for (id, secret) in given {
        if let Some(scopes) = allowed(call, &id, &secret).await? {
            found = Some((id, scopes));
            break;
        }
    }
    let Some((id, scopes)) = found else {
        throttle.failed(key, now);
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
                    return Ok(refused(
                        400,
                        "invalid_scope",
                        &format!("this client may not have the scope `{}`", short(name)),
                    ));
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

/// The form, or the same as JSON. A parameter that is given twice makes it no form (RFC 6749 section 3.2).
fn form(body: &[u8]) -> std::result::Result<HashMap<String, String>, String> {
    if let Ok(form) = crate::json::parse::<HashMap<String, String>>(body) {
        return Ok(form);
    }
    let mut form = HashMap::new();
    for (name, value) in form_urlencoded::parse(body) {
        if form.insert(name.clone().into_owned(), value.into_owned()).is_some() {
            return Err(format!("`{}` is given more than once", short(&name)));
        }
    }
    Ok(form)
}

/// Client id and secret as they may have been meant. In HTTP Basic both are form-encoded (RFC 6749 section 2.3.1), which
/// many clients forget; a secret with `+` or `%` differs, so both readings are tried.
fn credentials(call: &Call<'_>, form: &HashMap<String, String>) -> Vec<(String, Secret)> {
    let decode =
        |text: &str| percent_encoding::percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    // The scheme's case means nothing (RFC 9110 section 11.1).
    let header = get(&call.request.headers, "authorization").and_then(|header| header.split_once(' '));
    if let Some((_, basic)) = header.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic")) {
        let pair =
            digest::from_base64(basic.trim()).and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
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
    if !caller::is_id(id) {
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
