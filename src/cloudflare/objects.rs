//! Asking Durable Objects: JSON there and back, within a time, and once more when the platform says it may be.

use crate::account::AccountId;
use crate::account::command::{Accounts, Command, Reply};
use crate::error::{Error, Result};
use crate::limit::{Answer, Limiters, Question};
use async_trait::async_trait;
use futures_util::future::{Either, select};
use futures_util::pin_mut;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;
use worker::{Delay, Env, Method, ObjectNamespace, Stub};

/// Longer than the slowest thing an account does: a token request, then a look-up or two.
const ACCOUNT_DEADLINE: Duration = Duration::from_secs(45);
/// A counter answers from its own storage.
const LIMITER_DEADLINE: Duration = Duration::from_secs(5);
/// Times an object is asked when it was reset under the question (a deploy, an eviction).
const ATTEMPTS: u32 = 3;

/// The class `Account`.
pub struct AccountObjects(ObjectNamespace);
/// The class `RateLimiter`.
pub struct LimiterObjects(ObjectNamespace);

fn namespace(env: &Env, binding: &str) -> Result<ObjectNamespace> {
    let missing = |_| Error::internal(format!("the Durable Object binding {binding} is missing; see wrangler.toml"));
    env.durable_object(binding).map_err(missing)
}

impl AccountObjects {
    /// The class behind its binding.
    pub fn new(env: &Env) -> Result<Self> {
        namespace(env, "ACCOUNT").map(Self)
    }
}

impl LimiterObjects {
    /// The class behind its binding.
    pub fn new(env: &Env) -> Result<Self> {
        namespace(env, "RATE_LIMITER").map(Self)
    }
}

#[async_trait(?Send)]
impl Accounts for AccountObjects {
    async fn ask(&self, id: &AccountId, command: Command) -> Result<Reply> {
        ask(&self.0, id.as_str(), &command, ACCOUNT_DEADLINE, command.may_repeat()).await
    }
}

#[async_trait(?Send)]
impl Limiters for LimiterObjects {
    async fn ask(&self, scope: &str, question: Question) -> Result<Answer> {
        let again = !question.gives_back();
        ask(&self.0, scope, &question, LIMITER_DEADLINE, again).await
    }
}

async fn ask<T: DeserializeOwned>(
    namespace: &ObjectNamespace,
    name: &str,
    question: &impl Serialize,
    deadline: Duration,
    again: bool,
) -> Result<T> {
    let text = serde_json::to_string(question).expect("questions are plain data");
    let mut failure = None;
    for attempt in 0..if again { ATTEMPTS } else { 1 } {
        if attempt > 0 {
            Delay::from(Duration::from_millis(50 << attempt)).await;
        }
        let stub = namespace.get_by_name(name).map_err(|error| failed(&error))?;
        match within(deadline, send(&stub, text.clone())).await {
            Ok(answer) => {
                let outcome: Result<T> =
                    serde_json::from_str(&answer).map_err(|_| Error::internal("an object's answer cannot be read"))?;
                return outcome;
            }
            Err(error) => failure = Some(failed(&error)),
        }
    }
    Err(failure.unwrap_or_else(|| Error::internal("an object was not asked")))
}

async fn send(stub: &Stub, text: String) -> worker::Result<String> {
    // The SDK's own form would bring the `cf` properties along, of which an object knows none.
    let init = web_sys::RequestInit::new();
    init.set_method(Method::Post.as_ref());
    init.set_body(&text.into());
    let request = web_sys::Request::new_with_str_and_init("https://object/", &init)?;
    let mut response = stub.fetch_with_request(request.into()).await?;
    response.text().await
}

fn failed(error: &worker::Error) -> Error {
    super::log::line("error", "object_failed", &[("error", error.to_string().into())]);
    Error::internal("an object did not answer; try again").with(|details| {
        details.retryable = Some(true);
        details.retry_after = Some(1);
    })
}

/// A panic inside an object has been seen to leave its caller waiting for minutes; this bounds it.
async fn within<T>(deadline: Duration, work: impl Future<Output = worker::Result<T>>) -> worker::Result<T> {
    let delay = Delay::from(deadline);
    pin_mut!(work);
    match select(work, delay).await {
        Either::Left((outcome, _)) => outcome,
        Either::Right(_) => Err(worker::Error::RustError("deadline".into())),
    }
}

#[cfg(feature = "fault-injection")]
const PANIC: &str = "\"panic\"";
/// Asks an account's object to put its table into the form of the former version.
#[cfg(feature = "fault-injection")]
pub const FORMER: &str = "\"former\"";
/// Asks an account's object for its keys and when they are due.
#[cfg(feature = "fault-injection")]
pub const DUES: &str = "\"dues\"";

/// Panics inside an object when the question asks for it.
#[cfg(feature = "fault-injection")]
pub fn panic_if_asked(question: &str) {
    assert!(question != PANIC, "injected panic in an object");
}

/// `POST /__fault/account-panic?id=…` and `POST /__fault/limiter-panic`: a panic inside an object.
#[cfg(feature = "fault-injection")]
pub async fn injected_fault(env: &Env, url: &str) -> Option<Error> {
    let binding = match url::Url::parse(url).ok()?.path() {
        "/__fault/account-panic" => "ACCOUNT",
        "/__fault/limiter-panic" => "RATE_LIMITER",
        _ => return None,
    };
    let name = url.split_once("?id=").map_or("any", |(_, id)| id);
    let namespace = namespace(env, binding).ok()?;
    let outcome: Result<()> = ask(&namespace, name, &"panic", ACCOUNT_DEADLINE, false).await;
    outcome.err()
}
