//! The Durable Object class `RateLimiter`: a shell around [`Counters`].

use super::panicked;
use super::platform::SystemClock;
use super::sqlite::{Table, wake_at};
use crate::error::{Error, Result as Outcome};
use crate::limit::counter::Counters;
use crate::limit::{Answer, Question};
use futures_util::FutureExt;
use std::cell::{Cell, OnceCell};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use worker::{Date, DurableObject, Env, Request, Response, Result, State, durable_object};

/// The counters of one limit scope.
#[durable_object(alarm)]
pub struct RateLimiter {
    state: State,
    counters: OnceCell<Counters>,
    alarm: Cell<Option<u64>>,
}

// Records are written whole and nothing is awaited between them.
impl std::panic::UnwindSafe for RateLimiter {}
impl std::panic::RefUnwindSafe for RateLimiter {}

impl DurableObject for RateLimiter {
    fn new(state: State, _env: Env) -> Self {
        Self { state, counters: OnceCell::new(), alarm: Cell::new(None) }
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        let outcome = AssertUnwindSafe(self.answer(request)).catch_unwind().await;
        let outcome: Outcome<Answer> = outcome.unwrap_or_else(|_| Err(panicked()));
        Response::ok(serde_json::to_string(&outcome).expect("answers are plain data"))
    }

    async fn alarm(&self) -> Result<Response> {
        self.alarm.set(None);
        self.counters().wake();
        self.rearm().await;
        Response::empty()
    }
}

impl RateLimiter {
    fn counters(&self) -> &Counters {
        self.counters.get_or_init(|| Counters::new(Rc::new(SystemClock), Rc::new(Table::new(&self.state))))
    }

    async fn answer(&self, mut request: Request) -> Outcome<Answer> {
        let broken = || Error::internal("the question to a limit cannot be read");
        let text = request.text().await.map_err(|_| broken())?;
        #[cfg(feature = "fault-injection")]
        super::objects::panic_if_asked(&text);
        let question: Question = serde_json::from_str(&text).map_err(|_| broken())?;
        let answer = self.counters().handle(question);
        if self.alarm.get().is_none() {
            self.rearm().await;
        }
        Ok(answer)
    }

    async fn rearm(&self) {
        wake_at(&self.state, &self.alarm, self.counters().next_wake(), Date::now().as_millis()).await;
    }
}
