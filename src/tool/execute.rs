//! Executing a tool: the story of one call.

use super::input;
use super::pick;
use super::reading::Reading;
use super::request::{self, Values};
use super::response::{self, Outcome};
use crate::access::{self, Used};
use crate::app::{App, Leased};
use crate::catalog::model::{Call, Effect, Step};
use crate::catalog::{Connector, Tool};
use crate::code::Code;
use crate::digest;
use crate::error::{Error, Origin, Result};
use crate::json;
use crate::limit::gate;
use crate::ports::{Request, Response, Unanswered};
use crate::scrub::{self, Scrub};
use crate::secret::Secret;
use crate::target::{Target, Variables};
use crate::template;
use serde_json::{Map, Value, json};
use std::cell::Cell;
use std::rc::Rc;
use url::Url;

/// One call of a tool on one account.
#[derive(Clone, Copy)]
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
    let body = match json::parse::<Value>(bytes) {
        Ok(json) => json,
        Err(_) if bytes.is_empty() => Value::Null,
        Err(_) => match std::str::from_utf8(bytes) {
            Ok(text) => json!(text),
            Err(_) => json!({ "base64": digest::base64(bytes) }),
        },
    };
    Ok(json!({ "method": request.method, "url": request.url, "headers": headers, "body": body }))
}

/// Whether a call may have changed something at the provider.
#[derive(Default)]
pub struct Effects(Cell<bool>);

impl Effects {
    /// Whether an error leaves open if something was changed: a request for it was sent, was not refused for its token, and
    /// nothing clear came back.
    pub fn leave_open(&self, error: &Error) -> bool {
        let is_unclear = matches!(
            error.code,
            Code::ProviderError | Code::ProviderTimeout | Code::ProviderUnavailable | Code::Internal
        );
        // What is refused with a status of the 400s, whatever its code here, was not done.
        let is_refused = error.details.provider_status.is_some_and(|status| (400..500).contains(&status));
        self.0.get() && is_unclear && !is_refused
    }
}

/// A failure that must not be answered by sending the same again.
pub fn not_again(mut error: Error, words: &str) -> Error {
    error.message = format!("{}; {words}", error.message);
    error.with(|details| {
        details.retryable = Some(false);
        details.retry_after = None;
    })
}

/// Executes a tool: input → token → rate limit → request → result or error. In `effects` stands, however it ends, whether
/// it may have changed something.
pub async fn execute(app: &App, tool: &'static Tool, used: &Used, input: Value, effects: &Effects) -> Result<Outcome> {
    let input = input::check(tool, input)?;
    // The token first: a renewal may take seconds, and a permit is for now.
    let leased = access::lease(app, used, None).await?;
    let known = leased.clone();
    let steps = tool.before.iter().filter(|step| runs(step, &input));
    let requests: Vec<_> = steps.map(Some).chain([None]).collect();
    let call = gate::Call {
        variables: Some(&known.snapshot.variables),
        requests: &requests,
        ..used.gate(Some(tool), Some(&input))
    };
    let looks = access::enter(app, &call).await?;
    let outcome = Running { app, execution: Execution { tool, used, input: &input }, leased, effects }.run().await;
    if went_through(&outcome) {
        access::went_through(app, looks);
    }
    match outcome {
        Err(error) => {
            let error = after_failure(app, used, &call, error).await;
            // Who answers 503 did not do it (RFC 9110 section 15.6.4).
            let refused = error.details.provider_status == Some(503) || error.details.retryable == Some(false);
            if refused || !effects.leave_open(&error) {
                return Err(error);
            }
            Err(not_again(error, &format!("{} may have been carried out: look before you call it again", tool.name)))
        }
        fine => fine,
    }
}

/// Whether the provider answered, and not that it is too much.
fn went_through(outcome: &Result<Outcome>) -> bool {
    match outcome {
        Ok(_) => true,
        Err(error) => error.details.origin == Origin::Provider && error.code != Code::RateLimitExceeded,
    }
}

/// What a failure teaches: a limit to keep, a scope to ask for.
pub async fn after_failure(app: &App, used: &Used, call: &gate::Call<'_>, mut error: Error) -> Error {
    // Said by an answer, that is, and not by a limit of ours that goes by what one said before.
    let by_provider = error.details.origin == Origin::Provider && error.details.provider_status.is_some();
    if error.code == Code::RateLimitExceeded && by_provider {
        let wait = error.details.retry_after.unwrap_or(1);
        let limit = error.details.limit_type.clone().unwrap_or_default();
        app.isolate.leases.learn(call, &limit, wait.saturating_mul(1000), &*app.limiters, app.now()).await;
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
    effects: &'a Effects,
}

/// An answer, its body read once.
struct Answered {
    response: Response,
    body: Reading,
    /// The failure that it is.
    failure: Option<Error>,
    /// It answers a request without the credential, and says nothing about that.
    bare: bool,
}

/// What steps before have learnt, and what `{uuid}` is.
struct Known {
    saved: Map<String, Value>,
    fresh: String,
}

impl Running<'_> {
    async fn run(mut self) -> Result<Outcome> {
        let Execution { tool, used, input } = self.execution;
        let mut known = Known { saved: Map::new(), fresh: fresh(self.app) };
        for step in tool.before.iter() {
            if !runs(step, input) {
                continue;
            }
            let answered = match self.ask(step, &known).await {
                Err(_) if step.optional => continue,
                answered => answered?,
            };
            let learnt_from = match &step.pick {
                Some(choice) => pick::pick(choice, answered.body.value(), input)?,
                None => Some(answered.body.value()),
            };
            for (name, at) in step.save.iter() {
                let found = match at.strip_prefix("header:") {
                    Some(header) => answered.response.header(header).map(|text| json!(text)),
                    None => learnt_from.and_then(|value| learnt(value, at)),
                };
                known.saved.extend(found.map(|value| ((*name).to_owned(), value)));
            }
        }
        let Answered { response, body, failure, bare } = self.send(None, &known).await?;
        if let Some(error) = failure {
            return Err(refused(error, bare, tool));
        }
        let repeats = self.is_repeated_in(&response);
        let outcome = response::read(used.connector, tool, input, response, body, &|| self.scrub())?;
        Ok(if repeats { clean(outcome, &self.scrub()) } else { outcome })
    }

    /// Makes the request of a step before. Its answer is no failure, and can be read if something is to be learnt from it.
    async fn ask(&mut self, step: &'static Step, known: &Known) -> Result<Answered> {
        let mut answered = self.send(Some(step), known).await?;
        if let Some(error) = answered.failure.take() {
            return Err(refused(error, answered.bare, self.execution.tool));
        }
        if answered.body.is_unreadable() && learns_from_body(step) {
            let Answered { response, body, .. } = &answered;
            return Err(response::unreadable(self.execution.used.connector, response, body, &self.scrub()));
        }
        Ok(answered)
    }

    /// Sends one request. When the provider says the token is dead, it is renewed once and the request sent once more:
    /// a request that was refused for its token has done nothing. The same where a provider calls things missing or
    /// forbidden to a token that has ended, if the token is not new.
    async fn send(&mut self, step: Option<&'static Step>, known: &Known) -> Result<Answered> {
        let answered = self.send_once(step, known).await?;
        let Some(failure) = answered.failure.as_ref().filter(|_| !answered.bare) else { return Ok(answered) };
        let used = self.execution.used;
        if failure.code == Code::ReauthorizationRequired {
            match access::lease(self.app, used, Some(self.leased.mark())).await {
                Ok(leased) => self.leased = leased,
                // What the provider said is kept beside what it means for the account.
                Err(error) if error.code == Code::ReauthorizationRequired => {
                    let details = *error.details;
                    return Err(failure.clone().with(|dead| {
                        dead.status_reason = details.status_reason;
                        dead.reauthorize_url = details.reauthorize_url;
                    }));
                }
                Err(error) => return Err(error),
            }
        } else if failure.code == Code::InsufficientScope {
            match access::newer(self.app, used, &self.leased).await {
                Some(leased) => self.leased = leased,
                None => return Ok(answered),
            }
        } else if response::doubts_token(used.connector, &answered.response, &answered.body) {
            match access::doubt(self.app, used, &self.leased).await {
                Some(leased) => self.leased = leased,
                None => return Ok(answered),
            }
        } else {
            return Ok(answered);
        }
        self.one_more(step).await?;
        self.send_once(step, known).await
    }

    async fn send_once(&self, step: Option<&'static Step>, known: &Known) -> Result<Answered> {
        let Execution { tool, used, .. } = self.execution;
        let call = step.map_or(&tool.call, |step| &step.call);
        let wants_json = step.map_or_else(|| response::wants_json(tool), learns_from_body);
        let before = self.effects.0.get();
        let (response, bare) = self.fetch(step, call, known).await?;
        let body = response::reading(used.connector, wants_json, &response);
        let failure = response::failure(used.connector, &response, &body, &|| self.scrub(), self.app.now());
        if failure.as_ref().is_some_and(|failure| failure.code == Code::ReauthorizationRequired) {
            // What is refused for its token has done nothing.
            self.effects.0.set(before);
        }
        Ok(Answered { response, body, failure, bare })
    }

    /// The answer to a request, after one redirect where that is safe. With it comes whether it answers one without the
    /// credential.
    async fn fetch(&self, step: Option<&'static Step>, call: &'static Call, known: &Known) -> Result<(Response, bool)> {
        let used = self.execution.used;
        let target = self.target();
        let request = self.build(step, known)?;
        let (url, timeout_ms) = (request.url.clone(), request.timeout_ms);
        let unanswered = |unanswered| response::unanswered(used.connector, unanswered, timeout_ms);
        let changes = match step {
            Some(step) => !matches!(step.call.method, "GET" | "HEAD"),
            None => self.execution.tool.effect != Effect::Read,
        };
        self.effects.0.set(self.effects.0.get() | changes);
        let mut answer = self.app.http.send(request).await;
        if matches!(answer, Err(Unanswered::Unreachable)) && matches!(call.method, "GET" | "HEAD") {
            // A connection that broke; reading twice changes nothing.
            self.one_more(step).await?;
            answer = self.app.http.send(self.build(step, known)?).await;
        }
        let answer = answer.map_err(unanswered)?;
        let Some(next) = redirect(&url, &answer) else { return Ok((answer, !call.credential)) };
        if call.follow {
            // What a provider redirects a download to carries its own signature; the credential stays here.
            let url = target.file_url(&next).map_err(|error| redirected(used, &error))?.into();
            let request = Request { method: "GET".into(), url, timeout_ms, ..Request::default() };
            return Ok((self.app.http.send(request).await.map_err(unanswered)?, true));
        }
        match moved(&target, call.method, answer.status, &url, &next) {
            Some(place) => {
                self.one_more(step).await?;
                let mut request = self.build(step, known)?;
                request.url = place;
                Ok((self.app.http.send(request).await.map_err(unanswered)?, !call.credential))
            }
            None => Ok((answer, !call.credential)),
        }
    }

    fn target(&self) -> Target<'_> {
        let used = self.execution.used;
        let variables = &self.leased.snapshot.variables;
        Target { connector: used.connector, connection: &used.known.connection, variables }
    }

    fn build(&self, step: Option<&'static Step>, known: &Known) -> Result<Request> {
        let Execution { tool, input, .. } = self.execution;
        let target = self.target();
        let values = Values { input, saved: &known.saved, fresh: &known.fresh, target };
        let call = step.map_or(&tool.call, |step| &step.call);
        let built = match step {
            Some(step) => request::build_step(&step.call, tool, &values),
            None => request::build(tool, &values),
        };
        let mut request = built.map_err(|error| named_by_provider(error, call, known, target.connector))?;
        if call.credential {
            request::authorize(&mut request, &target, &self.leased.token)?;
        }
        Ok(request)
    }

    /// A permit for a request that was not foreseen.
    async fn one_more(&self, step: Option<&'static Step>) -> Result<()> {
        let Execution { tool, used, input } = self.execution;
        let variables = Some(&self.leased.snapshot.variables);
        access::enter(self.app, &gate::Call { variables, requests: &[step], ..used.gate(Some(tool), Some(input)) })
            .await
            .map(|_| ())
    }

    /// The secrets that a request of this call is built from.
    fn secrets(&self) -> impl Iterator<Item = &Secret> {
        std::iter::once(&self.leased.token).chain(self.execution.used.known.connection.opened.values())
    }

    fn scrub(&self) -> Scrub {
        Scrub::of(self.secrets())
    }

    fn is_repeated_in(&self, response: &Response) -> bool {
        let places = response.headers.values().map(::http::HeaderValue::as_bytes).chain([response.body.bytes()]);
        scrub::stand_in(places, self.secrets())
    }
}

/// Whether a step needs to read what is answered.
fn learns_from_body(step: &Step) -> bool {
    step.save.iter().any(|(_, at)| !at.starts_with("header:"))
}

/// An answer in which the provider repeats the credential, without it.
fn clean(mut outcome: Outcome, scrub: &Scrub) -> Outcome {
    scrub.value(&mut outcome.data);
    outcome.next_cursor = outcome.next_cursor.map(|cursor| scrub.text(&cursor));
    if let Some(content) = outcome.content.take() {
        let content = scrub.text(&String::from_utf8_lossy(&content)).into_bytes();
        outcome.data["size_bytes"] = json!(content.len());
        outcome.content = Some(content);
    }
    outcome
}

fn refused(error: Error, bare: bool, tool: &Tool) -> Error {
    response::with_scopes(if bare { without_credential(error) } else { error }, tool)
}

/// An address that a step before was given is the provider's doing, and nothing the caller may or may not do.
fn named_by_provider(error: Error, call: &Call, known: &Known, connector: &Connector) -> Error {
    let by_provider = match template::pieces(call.url).first() {
        Some(template::Piece::Hole(names)) => names.split('|').any(|name| known.saved.contains_key(name)),
        _ => false,
    };
    if !by_provider || !matches!(error.code, Code::PermissionDenied | Code::InvalidRequest) {
        return error;
    }
    let message = format!("{} names an address to go on with, and {}", connector.name, error.message);
    Error::new(Code::ProviderError, message).of(connector.id).with(|details| details.retryable = Some(false))
}

/// Where a resource has moved to, if the same request may be sent there, with the credential: to the same origin, and with
/// its method and body kept (RFC 9110 section 15.4: a 301 or 302 keeps those of GET and HEAD alone).
fn moved(target: &Target<'_>, method: &str, status: u16, from: &str, to: &str) -> Option<String> {
    let keeps = match status {
        301 | 302 => matches!(method, "GET" | "HEAD"),
        307 | 308 => true,
        _ => false,
    };
    let place = target.url(to).ok().filter(|_| keeps)?;
    (Url::parse(from).ok()?.origin() == place.origin()).then(|| place.into())
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
    Some(Url::parse(url).ok()?.join(location).ok()?.into())
}

fn fresh(app: &App) -> String {
    let mut bytes: [u8; 16] = crate::ports::random(&*app.random);
    // RFC 9562 section 5.4.
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
