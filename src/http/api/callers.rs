//! `/api/v1/callers`: who may call.

use crate::caller::{self, Caller, Scope};
use crate::connection;
use crate::error::{Error, Result, short};
use crate::http::{Call, Who, json_response, not_found};
use crate::ports::Response;
use crate::timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

/// The most connections one caller can be limited to.
pub const MOST_CONNECTIONS: usize = 100;

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

/// Who manages callers: a caller with scope `admin` that is not limited to some connections itself.
async fn manager(call: &Call<'_>) -> Result<Who> {
    let who = call.caller(&[Scope::Admin]).await?;
    who.unlimited()?;
    Ok(who)
}

/// Lists callers.
pub async fn list(call: &Call<'_>) -> Result<Response> {
    let who = manager(call).await?;
    call.query.only(&["page_size", "page_token"])?;
    let size = call.query.page_size(100, 100)?;
    let page = call.app.config.list(&caller::key(""), size, call.page_token(&who)?.as_deref()).await?;
    let mut callers = Vec::new();
    for (key, _) in &page.keys {
        let id = key.trim_start_matches(&caller::key(""));
        callers.extend(caller::find(&*call.app.config, id).await?.as_ref().map(shown));
    }
    Ok(json_response(200, &json!({ "callers": callers, "next_page_token": call.next_page_token(&who, page.cursor) })))
}

/// Makes a caller; its secret is shown this once.
pub async fn create(call: &Call<'_>) -> Result<Response> {
    manager(call).await?;
    call.query.only(&[])?;
    let body: Create = call.json()?;
    if body.name.trim().is_empty() || body.name.len() > 100 {
        return Err(Error::invalid("name must have 1 to 100 bytes"));
    }
    let known: Vec<_> = Scope::ALL.iter().map(|scope| scope.name()).collect();
    let unknown = |name: &String| Error::invalid(format!("no scope `{}`; there are {}", short(name), known.join(", ")));
    let mut scopes = Vec::new();
    for name in &body.scopes {
        let scope = Scope::parse(name).ok_or_else(|| unknown(name))?;
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    if scopes.is_empty() {
        return Err(Error::invalid("scopes must not be empty"));
    }
    let connections = body.connections.map(connections).transpose()?;
    if connections.is_some() && scopes.contains(&Scope::Admin) {
        let message =
            "`admin` and `connections` do not go together: who may make connections and callers may use them all";
        return Err(Error::invalid(message));
    }
    let (caller, secret) = Caller::create(&body.name, scopes, connections, call.app.now(), &*call.app.random);
    let text = serde_json::to_string(&caller).expect("a caller is plain data");
    call.app.config.put(&caller::key(&caller.client_id), &text, None).await?;
    Ok(json_response(200, &json!({ "caller": shown(&caller), "client_secret": secret.reveal() })))
}

/// The names a caller is limited to, each once.
fn connections(given: Vec<String>) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for name in given {
        if !connection::is_name(&name) {
            return Err(Error::invalid(format!("connections: `{}` is no name of a connection", short(&name))));
        }
        if !names.contains(&name) {
            names.push(name);
        }
        if names.len() > MOST_CONNECTIONS {
            return Err(Error::invalid(format!("connections takes at most {MOST_CONNECTIONS} names")));
        }
    }
    if names.is_empty() {
        return Err(Error::invalid("connections must not be empty; leave it out for a caller that may use them all"));
    }
    Ok(names)
}

/// Removes a caller.
pub async fn delete(call: &Call<'_>, id: &str) -> Result<Response> {
    manager(call).await?;
    call.query.only(&[])?;
    // What cannot be an id is not repeated: it may be a secret, pasted in its place.
    let known = if caller::is_id(id) { caller::find(&*call.app.config, id).await? } else { None };
    if known.is_none() {
        return Err(not_found("no such caller; GET /api/v1/callers lists them".into()));
    }
    call.app.config.delete(&caller::key(id)).await?;
    call.app.forget_caller(id);
    Ok(json_response(200, &json!({})))
}
