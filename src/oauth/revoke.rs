//! Revocation: RFC 7009, or what the vendor has instead.

use super::Client;
use super::token::authenticate;
use crate::catalog::model::{ClientAuth, Revoke, RevokeAuth};
use crate::json;
use crate::ports::{Body, Request};
use crate::secret::Secret;
use crate::template;
use serde_json::Value;

/// Milliseconds a revocation may take.
const TIMEOUT_MS: u32 = 5_000;

/// The revocation request; none when the URL needs what neither the client nor the account has. `variable` gives the
/// account's variables.
pub fn request(
    revoke: &Revoke,
    client_auth: ClientAuth,
    url: &str,
    client: &Client,
    token: &Secret,
    access: &Secret,
    variable: impl Fn(&str) -> Option<String>,
) -> Option<Request> {
    let value = |name: &str| match name {
        "token" => Some(token.reveal().to_owned()),
        "access_token" => Some(access.reveal().to_owned()),
        "client_id" => Some(client.id.clone()),
        _ => variable(name),
    };
    let url = template::fill(url, value)?;
    let mut request =
        Request { method: revoke.request.0.to_owned(), url, timeout_ms: TIMEOUT_MS, ..Request::default() };
    request.header("accept", "application/json");
    let body = |text: &str| {
        let template: Value = serde_json::from_str(text).ok()?;
        json::fill(&template, &|name| value(name).map(Value::String))
    };
    let mut form: Vec<(String, String)> = Vec::new();
    if let Some(Value::Object(fields)) = body(revoke.form) {
        form.extend(fields.iter().filter_map(|(name, value)| Some((name.clone(), json::to_text(value)?))));
    }
    match revoke.auth {
        RevokeAuth::RevokeAsClient => authenticate(client_auth, client, &mut request, &mut form),
        RevokeAuth::RevokeAsBasic => authenticate(ClientAuth::ClientBasic, client, &mut request, &mut form),
        RevokeAuth::RevokeAsBody => authenticate(ClientAuth::ClientBody, client, &mut request, &mut form),
        // The account's own credential is added as to any request of it.
        RevokeAuth::RevokeAsAccount | RevokeAuth::RevokeAsNobody => {}
    }
    if let Some(mut json) = body(revoke.json) {
        // What the client proves itself by goes where the rest stands.
        for (name, value) in form {
            json::place(&mut json, &format!("/{name}"), Value::String(value));
        }
        request.header("content-type", "application/json");
        request.body = Body::Bytes(json.to_string().into_bytes());
    } else if !form.is_empty() {
        request.header("content-type", "application/x-www-form-urlencoded");
        let text = form_urlencoded::Serializer::new(String::new()).extend_pairs(&form).finish();
        request.body = Body::Bytes(text.into_bytes());
    }
    Some(request)
}
