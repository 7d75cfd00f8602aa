//! `/api/v1/connections`: an operator's configuration of connectors.

use crate::caller::Scope;
use crate::catalog;
use crate::connection::{self, Connection, Endpoints, method_name, placeholder};
use crate::digest;
use crate::error::{Error, Problem, Result};
use crate::http::{Call, Who, json_response, unfit};
use crate::ports::Response;
use crate::secret::Secret;
use crate::timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// `fields` are read by `Change`, which refuses what it does not know.
#[derive(Deserialize)]
struct Create {
    name: String,
    connector: String,
    #[serde(flatten)]
    fields: serde_json::Map<String, Value>,
}

/// What can be set and changed. A field given as null goes back to the connector's own.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Change {
    method: Option<String>,
    fields: Option<BTreeMap<String, Option<Secret>>>,
    client_id: Option<String>,
    client_secret: Option<Secret>,
    #[serde(deserialize_with = "given")]
    scopes: Option<Option<Vec<String>>>,
    #[serde(deserialize_with = "given")]
    operator: Option<Option<String>>,
    endpoints: Option<Endpoints>,
    limits: Option<BTreeMap<String, Value>>,
}

fn given<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> std::result::Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

fn shown(call: &Call<'_>, connection: &Connection) -> Value {
    json!({
        "id": connection.id, "name": connection.name, "connector": connection.connector,
        "method": connection.connector().ok().map(|connector| method_name(connection.method(connector))),
        "fields": connection.fields, "secret_fields": connection.secrets.keys().collect::<Vec<_>>(),
        "client_id": connection.client_id, "scopes": connection.asked_scopes(), "operator": connection.operator,
        "endpoints": connection.endpoints, "limits": connection.limits,
        "redirect_uri": redirect_uri(&call.app.settings.base_url, &connection.name),
        "created_at": timestamp::format(connection.created_at), "updated_at": timestamp::format(connection.updated_at),
    })
}

/// A connection as it is answered. Its tag changes with every change (RFC 9110 section 8.8.3).
fn answer(call: &Call<'_>, connection: &Connection) -> Response {
    json_response(200, &json!({ "connection": shown(call, connection) })).with_header("etag", &tag(connection))
}

fn tag(connection: &Connection) -> String {
    let text = serde_json::to_string(connection).expect("a connection is plain data");
    format!("\"{}\"", digest::short(&text))
}

/// Refuses to change what the caller has not seen (RFC 9110 section 13.1.1).
fn check_seen(call: &Call<'_>, connection: &Connection) -> Result<()> {
    let Some(header) = call.request.headers.get("if-match") else { return Ok(()) };
    let seen = header.to_str().unwrap_or_default();
    if seen.split(',').map(str::trim).any(|seen| seen == "*" || seen == tag(connection)) {
        return Ok(());
    }
    let message = format!(
        "the connection `{}` was changed since it was read, at {}; read it again and decide anew",
        connection.name,
        timestamp::format(connection.updated_at)
    );
    Err(Error::conflict(message))
}

/// The URL to register at the provider.
pub fn redirect_uri(base_url: &str, name: &str) -> String {
    format!("{base_url}/callback/{name}")
}

fn apply(call: &Call<'_>, connection: &mut Connection, change: Change, is_new: bool) -> Result<()> {
    if let Some(method) = change.method {
        if !is_new && connection.method.as_ref() != Some(&method) {
            let message =
                "the method of a connection cannot be changed, since its accounts are connected that way; make another";
            return Err(Error::conflict(message));
        }
        connection.method = Some(method);
    }
    let mut given = BTreeMap::new();
    for (name, value) in change.fields.into_iter().flatten() {
        if let Some(value) = value {
            given.insert(name, value.reveal().to_owned());
        } else {
            connection.fields.remove(&name);
            connection.secrets.remove(&name);
            connection.opened.remove(&name);
        }
    }
    connection.set_fields(given, &call.app.keys, &*call.app.random);
    if let Some(id) = change.client_id {
        connection.client_id = id;
    }
    let placeholder = change.client_secret.as_ref().and_then(|secret| placeholder(secret.reveal()));
    if let Some(secret) = change.client_secret {
        connection.set_client_secret(&secret, &call.app.keys, &*call.app.random);
    }
    if let Some(scopes) = change.scopes {
        connection.scopes = scopes;
    }
    if let Some(operator) = change.operator {
        connection.operator = operator;
    }
    if let Some(endpoints) = change.endpoints {
        connection.endpoints = endpoints;
    }
    if let Some(limits) = change.limits {
        // What is no number of units becomes 0, which no limit may be.
        connection.limits = limits
            .into_iter()
            .map(|(name, units)| (name, units.as_u64().and_then(|units| u32::try_from(units).ok()).unwrap_or(0)))
            .collect();
    }
    let mut problems = connection.problems();
    problems.extend(placeholder.map(|words| ("/client_secret".to_owned(), words)));
    let Some((path, message)) = problems.first() else { return Ok(()) };
    let first = format!("{path} {message}");
    let problems =
        problems.iter().map(|(path, message)| Problem { path: path.clone(), message: message.clone() }).collect();
    Err(Error::invalid(first).with(|details| details.problems = problems))
}

fn change(value: Value) -> Result<Change> {
    serde_json::from_value(value).map_err(|error| unfit(&error))
}

/// Lists connections.
pub async fn list(call: &Call<'_>) -> Result<Response> {
    let who = call.caller(&[Scope::Admin, Scope::Accounts, Scope::Tools]).await?;
    call.query.only(&["page_size", "page_token"])?;
    let size = call.query.page_size(50, 100)?;
    let (names, cursor) = names(call, &who, size).await?;
    let mut connections = Vec::new();
    for name in &names {
        connections
            .extend(connection::find(&*call.app.config, &call.app.keys, name).await?.map(|found| shown(call, &found)));
    }
    let next = call.next_page_token(&who, cursor);
    Ok(json_response(200, &json!({ "connections": connections, "next_page_token": next })))
}

/// A page of the names that the caller may know, and where the next one begins.
async fn names(call: &Call<'_>, who: &Who, size: u32) -> Result<(Vec<String>, Option<String>)> {
    if let Some(own) = who.connections.as_ref() {
        let (from, size) = (call.page_offset(who)?, size as usize);
        let mut own: Vec<_> = own.iter().filter(|name| connection::is_name(name)).cloned().collect();
        own.sort();
        let next = (from + size < own.len()).then(|| (from + size).to_string());
        return Ok((own.into_iter().skip(from).take(size).collect(), next));
    }
    let page = call.app.config.list(&connection::key(""), size, call.page_token(who)?.as_deref()).await?;
    let name = |key: &str| key.trim_start_matches(&connection::key("")).to_owned();
    Ok((page.keys.iter().map(|(key, _)| name(key)).collect(), page.cursor))
}

/// Makes a connection.
pub async fn create(call: &Call<'_>) -> Result<Response> {
    let who = call.caller(&[Scope::Admin]).await?;
    call.query.only(&[])?;
    let body: Create = call.json()?;
    who.may_use(&body.name)?;
    if catalog::find_connector(&body.connector).is_none() {
        return Err(super::providers::no_provider(&body.connector));
    }
    if connection::is_name(&body.name)
        && connection::find(&*call.app.config, &call.app.keys, &body.name).await?.is_some()
    {
        let message = format!("a connection `{}` exists already; PATCH changes it", body.name);
        return Err(Error::conflict(message));
    }
    let app = call.app;
    let mut connection = connection::fresh(&body.name, &body.connector, &app.keys, &*app.clock, &*app.random);
    apply(call, &mut connection, change(Value::Object(body.fields))?, true)?;
    connection::save(&*app.config, &connection).await?;
    app.forget_connection(&connection.name);
    Ok(answer(call, &connection))
}

/// Shows a connection.
pub async fn get(call: &Call<'_>, name: &str) -> Result<Response> {
    call.caller(&[Scope::Admin, Scope::Accounts, Scope::Tools]).await?.may_use(name)?;
    call.query.only(&[])?;
    let connection = connection::load(&*call.app.config, &call.app.keys, name).await?;
    Ok(answer(call, &connection))
}

/// Changes the fields given.
pub async fn update(call: &Call<'_>, name: &str) -> Result<Response> {
    call.caller(&[Scope::Admin]).await?.may_use(name)?;
    call.query.only(&[])?;
    let mut connection = connection::load(&*call.app.config, &call.app.keys, name).await?;
    check_seen(call, &connection)?;
    apply(call, &mut connection, change(call.json()?)?, false)?;
    connection.reseal(&call.app.keys, &*call.app.random)?;
    connection.updated_at = call.app.now();
    connection::save(&*call.app.config, &connection).await?;
    call.app.forget_connection(name);
    Ok(answer(call, &connection))
}

/// Removes a connection.
pub async fn delete(call: &Call<'_>, name: &str) -> Result<Response> {
    call.caller(&[Scope::Admin]).await?.may_use(name)?;
    call.query.only(&[])?;
    connection::load(&*call.app.config, &call.app.keys, name).await?;
    call.app.config.delete(&connection::key(name)).await?;
    call.app.forget_connection(name);
    Ok(json_response(200, &json!({})))
}
