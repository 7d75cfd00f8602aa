//! `/api/v1/connections`: an operator's configuration of connectors.

use crate::caller::Scope;
use crate::catalog;
use crate::code::Code;
use crate::connection::{self, Connection, Endpoints};
use crate::error::{Error, Problem, Result};
use crate::http::{Call, json_response};
use crate::ports::Response;
use crate::secret::Secret;
use crate::timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// `fields` are read by `Fields`, which refuses what it does not know.
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
struct Fields {
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
        "client_id": connection.client_id, "scopes": connection.asked_scopes(), "operator": connection.operator,
        "endpoints": connection.endpoints, "limits": connection.limits,
        "redirect_uri": redirect_uri(&call.app.settings.base_url, &connection.name),
        "created_at": timestamp::format(connection.created_at), "updated_at": timestamp::format(connection.updated_at),
    })
}

/// The URL to register at the provider.
pub fn redirect_uri(base_url: &str, name: &str) -> String {
    format!("{base_url}/callback/{name}")
}

fn apply(call: &Call<'_>, connection: &mut Connection, fields: Fields) -> Result<()> {
    if let Some(id) = fields.client_id {
        connection.client_id = id;
    }
    if let Some(secret) = fields.client_secret {
        connection.set_client_secret(&secret, &call.app.keys, &*call.app.random);
    }
    if let Some(scopes) = fields.scopes {
        connection.scopes = scopes;
    }
    if let Some(operator) = fields.operator {
        connection.operator = operator;
    }
    if let Some(endpoints) = fields.endpoints {
        connection.endpoints = endpoints;
    }
    if let Some(limits) = fields.limits {
        // What is no number of units becomes 0, which no limit may be.
        connection.limits = limits
            .into_iter()
            .map(|(name, units)| (name, units.as_u64().and_then(|units| u32::try_from(units).ok()).unwrap_or(0)))
            .collect();
    }
    let problems = connection.problems();
    let Some((path, message)) = problems.first() else { return Ok(()) };
    let first = format!("{path} {message}");
    let problems =
        problems.iter().map(|(path, message)| Problem { path: path.clone(), message: message.clone() }).collect();
    Err(Error::invalid(first).with(|details| details.problems = problems))
}

fn fields(value: Value) -> Result<Fields> {
    serde_json::from_value(value)
        .map_err(|error| Error::invalid(format!("the body is not what this route takes: {error}")))
}

/// Lists connections.
pub async fn list(call: &Call<'_>) -> Result<Response> {
    let who = call.caller(&[Scope::Admin, Scope::Accounts, Scope::Tools]).await?;
    let size = call.query.page_size(50, 100)?;
    let page = call.app.config.list(&connection::key(""), size, call.page_token()?.as_deref()).await?;
    let mut connections = Vec::new();
    for (key, _) in &page.keys {
        let name = key.trim_start_matches(&connection::key(""));
        if who.may_use(name).is_ok() {
            connections.extend(connection::find(&*call.app.config, name).await?.map(|found| shown(call, &found)));
        }
    }
    Ok(json_response(200, &json!({ "connections": connections, "next_page_token": call.next_page_token(page.cursor) })))
}

/// Makes a connection.
pub async fn create(call: &Call<'_>) -> Result<Response> {
    call.caller(&[Scope::Admin]).await?;
    let body: Create = call.json()?;
    if catalog::find_connector(&body.connector).is_none() {
        return Err(super::providers::no_provider(&body.connector));
    }
    if connection::is_name(&body.name) && connection::find(&*call.app.config, &body.name).await?.is_some() {
        let message = format!("a connection `{}` exists already; PATCH changes it", body.name);
        return Err(Error::new(Code::Conflict, message));
    }
    let app = call.app;
    let mut connection = connection::fresh(&body.name, &body.connector, &app.keys, &*app.clock, &*app.random);
    apply(call, &mut connection, fields(Value::Object(body.fields))?)?;
    connection::save(&*app.config, &connection).await?;
    app.forget_connection(&connection.name);
    Ok(json_response(200, &json!({ "connection": shown(call, &connection) })))
}

/// Shows a connection.
pub async fn get(call: &Call<'_>, name: &str) -> Result<Response> {
    call.caller(&[Scope::Admin, Scope::Accounts, Scope::Tools]).await?.may_use(name)?;
    let connection = connection::load(&*call.app.config, name).await?;
    Ok(json_response(200, &json!({ "connection": shown(call, &connection) })))
}

/// Changes the fields given.
pub async fn update(call: &Call<'_>, name: &str) -> Result<Response> {
    call.caller(&[Scope::Admin]).await?;
    let mut connection = connection::load(&*call.app.config, name).await?;
    apply(call, &mut connection, fields(call.json()?)?)?;
    connection.reseal(&call.app.keys, &*call.app.random)?;
    connection.updated_at = call.app.now();
    connection::save(&*call.app.config, &connection).await?;
    call.app.forget_connection(name);
    Ok(json_response(200, &json!({ "connection": shown(call, &connection) })))
}

/// Removes a connection.
pub async fn delete(call: &Call<'_>, name: &str) -> Result<Response> {
    call.caller(&[Scope::Admin]).await?;
    connection::load(&*call.app.config, name).await?;
    call.app.config.delete(&connection::key(name)).await?;
    call.app.forget_connection(name);
    Ok(json_response(200, &json!({})))
}
