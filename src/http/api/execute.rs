//! `POST /api/v1/execute_tool`.

use super::providers::no_tool;
use crate::access::{self, Named, Used};
use crate::account::command::{Command, Reply};
use crate::caller::Scope;
use crate::catalog::model::Effect;
use crate::catalog::{self, Tool};
use crate::code::Code;
use crate::digest;
use crate::error::{Error, Origin, Result};
use crate::http::{Call, Who, json_response};
use crate::ports::{Response, get};
use crate::tool::execute;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    tool_name: String,
    connected_account_id: Option<String>,
    connection_name: Option<String>,
    connector: Option<String>,
    identifier: Option<String>,
    params: Option<Value>,
    tool_input: Option<Value>,
    #[serde(default, rename = "agent_run_id")]
    _agent_run_id: Option<IgnoredAny>,
    #[serde(default, rename = "organization_id")]
    _organization_id: Option<IgnoredAny>,
    #[serde(default, rename = "user_id")]
    _user_id: Option<IgnoredAny>,
}

/// Executes a tool.
pub async fn execute(call: &Call<'_>) -> Result<Response> {
    let who = call.caller(&[Scope::Tools]).await?;
    let id = call.app.fresh_id("exec");
    let outcome = run(call, &who, &id).await;
    outcome.map_err(|error| error.with(|details| details.execution_id = Some(id)))
}

async fn run(call: &Call<'_>, who: &Who, id: &str) -> Result<Response> {
    let body: Body = call.json()?;
    let (connector, tool) = catalog::find_tool(&body.tool_name).ok_or_else(|| no_tool(&body.tool_name))?;
    let named = Named {
        id: body.connected_account_id,
        connection: body.connection_name.or(body.connector),
        identifier: body.identifier,
    };
    if let Some(name) = &named.connection {
        who.may_use(name)?;
    }
    let used = access::find(call.app, &named, Some(connector.id)).await.map_err(|error| error.of(connector.id))?;
    who.may_use(&used.known.connection.name)?;
    if used.connector.id != connector.id {
        let message =
            format!("{} is a tool of {}, and the account is one of {}", tool.name, connector.name, used.connector.name);
        return Err(Error::invalid(message).of(connector.id));
    }
    let input = body.params.or(body.tool_input).unwrap_or(json!({}));
    if call.query.get("dry_run") == Some("true") {
        let request = execute::dry_run(call.app, tool, &used, input).await.map_err(|error| error.of(connector.id))?;
        return Ok(json_response(200, &json!({ "request": request, "execution_id": id })));
    }
    match get(&call.request.headers, "idempotency-key") {
        None => answer(call, tool, &used, input, id).await.map(|answer| json_response(200, &answer)),
        Some(key) => once(call, who, key, tool, &used, input, id).await,
    }
    .map_err(|error| error.of(connector.id))
}

async fn answer(call: &Call<'_>, tool: &'static Tool, used: &Used, input: Value, id: &str) -> Result<Value> {
    let outcome = execute::execute(call.app, tool, used, input).await?;
    let mut answer = json!({ "data": outcome.data, "execution_id": id });
    if let Some(cursor) = outcome.next_cursor {
        answer["next_cursor"] = json!(cursor);
    }
    Ok(answer)
}

/// With an idempotency key: the first result is kept and answered again.
async fn once(
    call: &Call<'_>,
    who: &Who,
    key: &str,
    tool: &'static Tool,
    used: &Used,
    input: Value,
    id: &str,
) -> Result<Response> {
    if key.is_empty() || key.len() > 200 {
        return Err(Error::invalid("Idempotency-Key must have 1 to 200 characters"));
    }
    // Keys of two callers never meet.
    let key = format!("{}\n{key}", who.grant.sub);
    let request = digest::hash(&format!("{}\n{input}", tool.name));
    let ask = |command| call.app.accounts.ask(&used.id, command);
    match ask(Command::Claim { key: key.clone(), request }).await? {
        Reply::Claimed => {}
        Reply::Settled { answer } => {
            let (status, body) = (answer["status"].as_u64(), &answer["body"]);
            let status = status.and_then(|status| u16::try_from(status).ok()).unwrap_or(200);
            return Ok(json_response(status, body).with_header("idempotent-replayed", "true"));
        }
        _ => return Err(access::unexpected()),
    }
    let outcome = answer(call, tool, used, input, id).await;
    let kept = match &outcome {
        Ok(answer) => Some(json!({ "status": 200, "body": answer })),
        Err(error) if may_have_happened(tool, error) => {
            let error = error.clone().with(|details| details.execution_id = Some(id.to_owned()));
            Some(json!({ "status": error.code.status(), "body": error.to_json() }))
        }
        Err(_) => None,
    };
    ask(Command::Settle { key, answer: kept }).await?;
    outcome.map(|answer| json_response(200, &answer))
}

/// Whether a failed call may have changed something all the same: then the same key must not send it again.
fn may_have_happened(tool: &Tool, error: &Error) -> bool {
    let unclear =
        matches!(error.code, Code::ProviderError | Code::ProviderTimeout | Code::ProviderUnavailable | Code::Internal);
    tool.effect != Effect::Read && unclear && error.details.origin != Origin::Platform
}
