//! `/api/v1/callers`: who may call.

use crate::caller::{self, Caller, Scope};
use crate::error::{Error, Result};
use crate::http::{Call, json_response, not_found};
use crate::ports::Response;
use crate::timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    name: String,
    scopes: Vec<String>,
    connections: Option<Vec<String>>,
}

fn shown(caller: &Caller) -> Value {
    let scopes: Vec<_> = caller.scopes.iter().map(|scope| scope.name()).collect();
    json!({ "client_id": caller.client_id, "name": caller.name, "scopes": scopes, "connections": caller.connections,
        "created_at": timestamp::format(caller.created_at) })
}

/// Lists callers.
pub async fn list(call: &Call<'_>) -> Result<Response> {
    call.caller(&[Scope::Admin]).await?;
    let size = call.query.page_size(100, 100)?;
    let page = call.app.config.list(&caller::key(""), size, call.page_token()?.as_deref()).await?;
    let mut callers = Vec::new();
    for (key, _) in &page.keys {
        let id = key.trim_start_matches(&caller::key(""));
        callers.extend(caller::find(&*call.app.config, id).await?.as_ref().map(shown));
    }
    Ok(json_response(200, &json!({ "callers": callers, "next_page_token": call.next_page_token(page.cursor) })))
}

/// Makes a caller; its secret is shown this once.
pub async fn create(call: &Call<'_>) -> Result<Response> {
    call.caller(&[Scope::Admin]).await?;
    let body: Create = call.json()?;
    if body.name.trim().is_empty() || body.name.len() > 100 {
        return Err(Error::invalid("name must have 1 to 100 characters"));
    }
    let known: Vec<_> = Scope::ALL.iter().map(|scope| scope.name()).collect();
    let unknown = |name: &String| Error::invalid(format!("no scope `{name}`; there are {}", known.join(", ")));
    let scopes =
        body.scopes.iter().map(|name| Scope::parse(name).ok_or_else(|| unknown(name))).collect::<Result<Vec<_>>>()?;
    if scopes.is_empty() {
        return Err(Error::invalid("scopes must not be empty"));
    }
    let (caller, secret) = Caller::create(&body.name, scopes, body.connections, call.app.now(), &*call.app.random);
    let text = serde_json::to_string(&caller).expect("a caller is plain data");
    call.app.config.put(&caller::key(&caller.client_id), &text, None).await?;
    Ok(json_response(200, &json!({ "caller": shown(&caller), "client_secret": secret.reveal() })))
}

/// Removes a caller.
pub async fn delete(call: &Call<'_>, id: &str) -> Result<Response> {
    call.caller(&[Scope::Admin]).await?;
    if caller::find(&*call.app.config, id).await?.is_none() {
        return Err(not_found(format!("no caller `{id}`; GET /api/v1/callers lists them")));
    }
    call.app.config.delete(&caller::key(id)).await?;
    call.app.forget_caller(id);
    Ok(json_response(200, &json!({})))
}
