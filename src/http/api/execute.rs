//! `POST /api/v1/execute_tool`.

use super::providers::no_tool;
use crate::access::{self, Named, Used};
use crate::account::command::{Command, Reply};
use crate::account::idempotency::LONGEST;
use crate::app::App;
use crate::caller::Scope;
use crate::catalog::model::Effect;
use crate::catalog::{self, Tool};
use crate::digest;
use crate::error::{Error, Result};
use crate::http::{Call, Who, json_response};
use crate::ports::{Body, Response, text};
use crate::tool::execute::{self, Effects};
use crate::tool::response::Outcome;
use futures_channel::oneshot;
use futures_util::FutureExt as _;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
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
    call.query.only(&["dry_run"])?;
    let dry_run = call.query.flag("dry_run")?;
    let body: Asked = call.json()?;
    let (connector, tool) = catalog::find_tool(&body.tool_name).ok_or_else(|| no_tool(&body.tool_name))?;
    let named = Named {
        id: body.connected_account_id,
        connection: body.connection_name,
        connector: body.connector,
        identifier: body.identifier,
    };
    let used = who.find(call.app, &named, Some(connector.id)).await.map_err(|error| error.of(connector.id))?;
    if used.connector.id != connector.id {
        let message =
            format!("{} is a tool of {}, and the account is one of {}", tool.name, connector.name, used.connector.name);
        return Err(Error::invalid(message).of(connector.id));
    }
    if body.params.is_some() && body.tool_input.is_some() && body.params != body.tool_input {
        return Err(
            Error::invalid("`params` and `tool_input` mean the same and differ; send one of them").of(connector.id)
        );
    }
    let input = body.params.or(body.tool_input).unwrap_or(json!({}));
    if dry_run {
        let request = execute::dry_run(call.app, tool, &used, input).await.map_err(|error| error.of(connector.id))?;
        return Ok(json_response(200, &json!({ "request": request, "execution_id": id })));
    }
    let key = idempotency_key(call)?;
    let connector = connector.id;
    let mut run = Run { app: call.app.clone(), tool, used, input, id: id.to_owned() };
    match key {
        // Reading twice changes nothing; there is no answer to keep.
        Some(key) if tool.effect != Effect::Read => once(run, format!("{}\n{key}", who.grant.sub)).await,
        _ => run.answer(&Effects::default()).await.map(|outcome| fine(outcome.into_body(id))),
    }
    .map_err(|error| error.of(connector))
}

/// A key that cannot be read is refused: dropping it would leave the write without its protection.
fn idempotency_key(call: &Call<'_>) -> Result<Option<String>> {
    let Some(key) = text(&call.request.headers, "idempotency-key")? else { return Ok(None) };
    if key.is_empty() || key.len() > 200 {
        return Err(Error::invalid("Idempotency-Key must have 1 to 200 bytes"));
    }
    Ok(Some(key))
}

/// With an idempotency key, which is never that of another caller: the work goes on when the client has gone away, so that it
/// is known how it ended when the client asks again.
async fn once(mut run: Run, key: String) -> Result<Response> {
    let (tell, told) = oneshot::channel();
    let background = run.app.background.clone();
    let work = async move {
        // Whoever waited for it may be gone.
        let _ = tell.send(run.once(key).await);
    };
    background.spawn(work.boxed_local());
    told.await.unwrap_or_else(|_| {
        let error = Error::internal("the call broke off; ask again with the same Idempotency-Key");
        Err(error.with(|details| details.retryable = Some(true)))
    })
}

/// One execution, by itself.
struct Run {
    app: App,
    tool: &'static Tool,
    used: Used,
    input: Value,
    id: String,
}

impl Run {
    async fn answer(&mut self, effects: &Effects) -> Result<Outcome> {
        let input = std::mem::take(&mut self.input);
        execute::execute(&self.app, self.tool, &self.used, input, effects).await
    }

    /// The first result is kept and answered again.
    async fn once(&mut self, key: String) -> Result<Response> {
        let request = digest::hash(&format!("{}\n{}", self.tool.name, self.input));
        let (accounts, account) = (self.app.accounts.clone(), self.used.id.clone());
        let ask = |command| accounts.ask(&account, command);
        match ask(Command::Claim { key: key.clone(), request, by: self.id.clone() }).await? {
            Reply::Claimed => {}
            Reply::Settled { answer } => return Ok(replayed(&answer)),
            _ => return Err(access::unexpected()),
        }
        let effects = Effects::default();
        let (answer, kept) = match self.answer(&effects).await {
            // A long answer is not even sent to where it would be kept.
            Ok(outcome) if outcome.size() > LONGEST => (Ok(outcome.into_body(&self.id)), Some(self.too_long())),
            Ok(outcome) => {
                let bytes = outcome.into_body(&self.id).into_bytes();
                let kept = crate::json::parse::<Value>(&bytes).map(|body| json!({ "status": 200, "body": body }));
                (Ok(Body::Bytes(bytes)), Some(kept.unwrap_or_else(|_| self.too_long())))
            }
            Err(error) => {
                let is_kept = effects.leave_open(&error);
                let words = "this answer is kept for its Idempotency-Key, and only a new one sends the call again";
                let error = if is_kept { execute::not_again(error, words) } else { error };
                let error = error.with(|details| details.execution_id = Some(self.id.clone()));
                let kept = is_kept.then(|| json!({ "status": error.code.status(), "body": error.to_json() }));
                (Err(error), kept)
            }
        };
        let settled = ask(Command::Settle { key, by: self.id.clone(), answer: kept }).await;
        let response = fine(answer?);
        // What was done is said, also when it could not be noted: a repetition then is refused, and not sent.
        Ok(if settled.is_ok() { response } else { response.with_header("idempotent-kept", "false") })
    }

    /// What is kept in place of an answer that is too long.
    fn too_long(&self) -> Value {
        let message = format!(
            "the call {} with this Idempotency-Key was carried out and answered, but its answer is not kept: it was too long",
            self.id
        );
        let error = Error::conflict(message);
        json!({ "status": error.code.status(), "body": error.to_json() })
    }
}

fn fine(body: Body) -> Response {
    Response { body, ..Response::new(200, "application/json", Vec::new()) }
}

fn replayed(answer: &Value) -> Response {
    let (status, body) = (answer["status"].as_u64(), &answer["body"]);
    let status = status.and_then(|status| u16::try_from(status).ok()).unwrap_or(200);
    let response = json_response(status, body).with_header("idempotent-replayed", "true");
    if status < 400 { response } else { response.with_header("x-valetkey-error", "true") }
}
