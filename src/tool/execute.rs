//! Executing a tool: the story of one call.

use super::input;
use super::pick;
use super::request::{self, Values};
use super::response::{self, Outcome};
use crate::access::{self, Used};
use crate::app::{App, Leased};
use crate::catalog::Tool;
use crate::catalog::model::{Call, Step};
use crate::code::Code;
use crate::digest;
use crate::error::{Error, Origin, Result};
use crate::json;
use crate::limit::gate;
use crate::ports::{Request, Response};
use crate::secret::Secret;
use crate::target::{Target, Variables};
use serde_json::{Map, Value, json};
use std::rc::Rc;

/// One call of a tool on one account.
pub struct Execution<'a> {
    /// The tool.
    pub tool: &'static Tool,
    /// The account, and the connection it is used through.
    pub used: &'a Used,
    /// The input, checked.
    pub input: &'a Map<String, Value>,
}

/// Checks the input and answers with the request that would be sent, secrets masked.
pub async fn dry_run(app: &App, tool: &'static Tool, used: &Used, input: Value) -> Result<Value> {
    let input = input::check(tool, input)?;
    // An account that is not connected has no variables; most requests need none.
    let variables = access::lease(app, used, None)
        .await
        .map_or_else(|_| Variables::new(), |leased| leased.snapshot.variables.clone());
    let saved = tool.before.iter().filter(|step| runs(step, &input)).flat_map(|step| step.save.iter());
    let saved = saved.map(|(name, _)| ((*name).to_owned(), Value::String(format!("<{name}>")))).collect();
    let masked = || Secret::new("***");
    let mut connection = used.known.connection.clone();
    connection.opened.values_mut().for_each(|secret| *secret = masked());
    let target = Target { connector: used.connector, connection: &connection, variables: &variables };
    let fresh = fresh(app);
    let mut request = request::build(tool, &Values { input: &input, saved: &saved, fresh: &fresh, target })?;
    if tool.call.credential {
        request::authorize(&mut request, &target, &masked())?;
    }
    let headers: Map<String, Value> = request
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), json!(String::from_utf8_lossy(value.as_bytes()))))
        .collect();
    let bytes = request.body.bytes();
    let body = match serde_json::from_slice::<Value>(bytes) {
        Ok(json) => json,
        Err(_) if bytes.is_empty() => Value::Null,
        Err(_) => match std::str::from_utf8(bytes) {
            Ok(text) => json!(text),
            Err(_) => json!({ "base64": digest::base64(bytes) }),
        },
    };
    Ok(json!({ "method": request.method, "url": request.url, "headers": headers, "body": body }))
}

/// Executes a tool: input → rate limit → token → request → result or error.
pub async fn execute(app: &App, tool: &'static Tool, used: &Used, input: Value) -> Result<Outcome> {
    let input = input::check(tool, input)?;
    // The token first: a renewal may take seconds, and a permit is for now.
    let leased = access::lease(app, used, None).await?;
    let known = leased.clone();
    let steps = tool.before.iter().filter(|step| step.when.is_empty() || input.contains_key(step.when)).count();
    let call = gate::Call {
        variables: Some(&known.snapshot.variables),
        requests: 1 + u32::try_from(steps).unwrap_or(u32::MAX),
        ..used.gate(Some(tool), Some(&input))
    };
    access::enter(app, &call).await?;
    let outcome = Running { app, execution: Execution { tool, used, input: &input }, leased }.run().await;
    match outcome {
        Err(error) => Err(after_failure(app, used, &call, error).await),
        fine => fine,
    }
}

/// What a failure teaches: a limit to keep, a scope to ask for.
pub async fn after_failure(app: &App, used: &Used, call: &gate::Call<'_>, mut error: Error) -> Error {
    let by_provider = error.details.origin == Origin::Provider;
    if error.code == Code::RateLimitExceeded && by_provider {
        let wait = error.details.retry_after.unwrap_or(1);
        let limit = error.details.limit_type.clone().unwrap_or_default();
        app.isolate.leases.learn(call, &limit, app.now() + wait * 1000, &*app.limiters).await;
    }
    if error.code == Code::InsufficientScope && error.details.reauthorize_url.is_none() {
        error.details.reauthorize_url =
            access::link_for(app, used, error.details.required_scopes.first().cloned()).await;
    }
    if error.code == Code::ReauthorizationRequired && error.details.reauthorize_url.is_none() {
        error.details.reauthorize_url = access::link_for(app, used, None).await;
    }
    error
}

struct Running<'a> {
    app: &'a App,
    execution: Execution<'a>,
    leased: Rc<Leased>,
}

impl Running<'_> {
    async fn run(mut self) -> Result<Outcome> {
        let tool = self.execution.tool;
        let mut saved = Map::new();
        let fresh = fresh(self.app);
        for step in tool.before.iter() {
            if !runs(step, self.execution.input) {
                continue;
            }
            let (response, bare) = match self.send(Some(&step.call), &saved, &fresh).await {
                Err(_) if step.optional => continue,
                answered => answered?,
            };
            let body = response::body(&response);
            if let Some(error) = response::failure(self.execution.used.connector, &response, &body, self.app.now()) {
                if step.optional {
                    continue;
                }
                let error = if bare { without_credential(error) } else { error };
                return Err(masked(response::with_scopes(error, tool), &self.leased));
            }
            let learnt_from = match &step.pick {
                Some(choice) => pick::pick(choice, &body, self.execution.input)?,
                None => Some(&body),
            };
            for (name, at) in step.save.iter() {
                let found = match at.strip_prefix("header:") {
                    Some(header) => response.header(header).map(|text| json!(text)),
                    None => learnt_from.and_then(|value| learnt(value, at)),
                };
                saved.extend(found.map(|value| ((*name).to_owned(), value)));
            }
        }
        let (response, bare) = self.send(None, &saved, &fresh).await?;
        let connector = self.execution.used.connector;
        response::read(connector, tool, self.execution.input, &response, self.app.now())
            .map_err(|error| masked(if bare { without_credential(error) } else { error }, &self.leased))
    }

    /// Sends one request. When the provider says the token is dead, it is renewed once and the request sent once more:
    /// a request that was refused for its token has done nothing. With the answer comes whether it is one to a request
    /// without the credential, which says nothing about that.
    async fn send(
        &mut self,
        step: Option<&'static Call>,
        saved: &Map<String, Value>,
        fresh: &str,
    ) -> Result<(Response, bool)> {
        let (response, bare) = self.send_once(step, saved, fresh).await?;
        if bare {
            return Ok((response, bare));
        }
        let connector = self.execution.used.connector;
        let failure = response::failure(connector, &response, &response::body(&response), self.app.now());
        let Some(dead) = failure.filter(|error| error.code == Code::ReauthorizationRequired) else {
            return Ok((response, bare));
        };
        let rejected = self.leased.token.fingerprint();
        match access::lease(self.app, self.execution.used, Some(rejected)).await {
            Ok(leased) => self.leased = leased,
            // What the provider said is kept beside what it means for the account.
            Err(error) if error.code == Code::ReauthorizationRequired => {
                let details = *error.details;
                return Err(masked(dead, &self.leased).with(|dead| {
                    dead.status_reason = details.status_reason;
                    dead.reauthorize_url = details.reauthorize_url;
                }));
            }
            Err(error) => return Err(error),
        }
        self.send_once(step, saved, fresh).await
    }

    async fn send_once(
        &self,
        step: Option<&'static Call>,
        saved: &Map<String, Value>,
        fresh: &str,
    ) -> Result<(Response, bool)> {
        let Execution { tool, used, input } = &self.execution;
        let variables = &self.leased.snapshot.variables;
        let target = Target { connector: used.connector, connection: &used.known.connection, variables };
        let values = Values { input, saved, fresh, target };
        let mut request: Request = match step {
            Some(call) => request::build_step(call, tool, &values)?,
            None => request::build(tool, &values)?,
        };
        let call = step.unwrap_or(&tool.call);
        if call.credential {
            request::authorize(&mut request, &target, &self.leased.token)?;
        }
        let (url, timeout_ms) = (request.url.clone(), request.timeout_ms);
        let unanswered = |unanswered| response::unanswered(used.connector, unanswered, timeout_ms);
        let answer = self.app.http.send(request).await.map_err(unanswered)?;
        match redirect(&url, &answer).filter(|_| call.follow) {
            // What a provider redirects a download to carries its own signature; the credential stays here.
            Some(next) => {
                let url = target.file_url(&next).map_err(|error| redirected(used, &error))?.into();
                let request = Request { method: "GET".into(), url, timeout_ms, ..Request::default() };
                Ok((self.app.http.send(request).await.map_err(unanswered)?, true))
            }
            None => Ok((answer, !call.credential)),
        }
    }
}

/// Whether a step is needed with this input.
fn runs(step: &Step, input: &Map<String, Value>) -> bool {
    let given = |name: &str| input.contains_key(name);
    (step.when.is_empty() || given(step.when)) && (step.unless.is_empty() || !given(step.unless))
}

/// What stands at a place, or how many items do: a list that is not there has none.
fn learnt(value: &Value, at: &str) -> Option<Value> {
    match at.strip_prefix("count:") {
        Some(list) => Some(json!(json::find(value, list).and_then(Value::as_array).map_or(0, Vec::len))),
        None => json::find(value, at).cloned(),
    }
}

/// A redirect that is not followed is the provider's doing, and nothing the caller may or may not do.
fn redirected(used: &Used, error: &Error) -> Error {
    let message =
        format!("{} redirects the download: {}; /proxy hands the redirect back", used.connector.name, error.message);
    Error::new(Code::ProviderError, message).of(used.connector.id).with(|details| details.retryable = Some(false))
}

/// What was refused without the credential is a matter of the address: a signed URL that has ended, for instance.
fn without_credential(mut error: Error) -> Error {
    if matches!(error.code, Code::ReauthorizationRequired | Code::InsufficientScope) {
        error.code = Code::ProviderPermissionDenied;
    }
    error
}

/// Where a redirect leads (RFC 9110 section 15.4).
fn redirect(url: &str, answer: &Response) -> Option<String> {
    let redirects = matches!(answer.status, 301 | 302 | 303 | 307 | 308);
    let location = answer.header("location").filter(|_| redirects)?;
    Some(url::Url::parse(url).ok()?.join(location).ok()?.into())
}

/// A provider that repeats the token in its failure does not get it shown.
fn masked(error: Error, leased: &Leased) -> Error {
    let token = leased.token.reveal();
    if token.len() < 8 {
        return error;
    }
    let text = serde_json::to_string(&error).unwrap_or_default();
    if !text.contains(token) {
        return error;
    }
    serde_json::from_str(&text.replace(token, "***")).unwrap_or(error)
}

fn fresh(app: &App) -> String {
    let mut bytes: [u8; 16] = crate::ports::random(&*app.random);
    // RFC 9562 section 5.4.
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
