//! The Durable Object class `Account`: a shell around [`Object`].

use super::sqlite::{Table, wake_at};
use super::{log, panicked, world};
use crate::account::command::{Command, Reply};
use crate::account::object::Object;
use crate::error::{Error, Result as Outcome};
use crate::ports::MAX_ANSWER_TO_OBJECT;
use futures_util::FutureExt;
use std::cell::{Cell, OnceCell};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use worker::{Date, DurableObject, Env, Request, Response, Result, State, durable_object};

/// Milliseconds after which an object that was reset under its work wakes to do what it owes. One that wakes meanwhile finds
/// the work under way and joins it.
const MAKES_GOOD: u64 = 15_000;

/// One connected account.
#[durable_object(alarm)]
pub struct Account {
    state: State,
    env: Env,
    object: OnceCell<Object>,
    alarm: Cell<Option<u64>>,
    /// Commands and alarms being carried out.
    under_way: Rc<Cell<u32>>,
    /// Whether the alarm is there for what is under way alone.
    guards: Cell<bool>,
}

/// A command or an alarm being carried out.
struct UnderWay(Rc<Cell<u32>>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

// A panic leaves no half-written state behind: records are written whole, and the shared renewal ends with its future.
impl std::panic::UnwindSafe for Account {}
impl std::panic::RefUnwindSafe for Account {}

impl DurableObject for Account {
    fn new(state: State, env: Env) -> Self {
        let (alarm, under_way, guards) = (Cell::new(None), Rc::default(), Cell::new(false));
        Self { state, env, object: OnceCell::new(), alarm, under_way, guards }
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        let outcome = AssertUnwindSafe(self.answer(request)).catch_unwind().await;
        let outcome: Outcome<Reply> = outcome.unwrap_or_else(|_| Err(panicked()));
        Response::ok(serde_json::to_string(&outcome).expect("replies are plain data"))
    }

    async fn alarm(&self) -> Result<Response> {
        self.alarm.set(None);
        let under_way = self.begin().await;
        if let Ok(object) = self.object() {
            let woken = AssertUnwindSafe(object.wake()).catch_unwind().await;
            if woken.is_err() {
                log::line("error", "panic", &[("where", "account alarm".into())]);
            }
            drop(under_way);
            self.rearm(object).await;
        }
        Response::empty()
    }
}

impl Account {
    fn object(&self) -> Outcome<&Object> {
        if self.object.get().is_none() {
            let object = Object::new(world(&self.env, MAX_ANSWER_TO_OBJECT)?, Rc::new(Table::new(&self.state)));
            let _ = self.object.set(object);
        }
        self.object.get().ok_or_else(|| Error::internal("the account's object is not there"))
    }

    /// What only a test asks: a panic, the table as the former version left it, what is due when.
    #[cfg(feature = "fault-injection")]
    fn injected(&self, question: &str) -> Option<Outcome<Reply>> {
        super::objects::panic_if_asked(question);
        let table = Table::new(&self.state);
        match question {
            super::objects::FORMER => table.make_former(),
            super::objects::DUES => return Some(Ok(Reply::Settled { answer: table.dues() })),
            _ => return None,
        }
        Some(Ok(Reply::Done))
    }

    async fn answer(&self, mut request: Request) -> Outcome<Reply> {
        let broken = |_| Error::internal("the question to an account cannot be read");
        let text = request.text().await.map_err(|_| Error::internal("the question to an account did not arrive"))?;
        #[cfg(feature = "fault-injection")]
        if let Some(done) = self.injected(&text) {
            return done;
        }
        let command: Command = serde_json::from_str(&text).map_err(broken)?;
        let object = self.object()?;
        let under_way = if command.may_owe() { Some(self.begin().await) } else { None };
        // The work goes on when the Worker that asked is gone: a token the provider gave must not be lost.
        let (work, handle) = {
            let object = object.clone();
            async move { object.handle(command).await }.remote_handle()
        };
        self.state.wait_until(AssertUnwindSafe(work).catch_unwind().map(|_| ()));
        let outcome = handle.await;
        drop(under_way);
        self.rearm(object).await;
        outcome
    }

    /// Sees to it that the object wakes soon, whatever becomes of what begins now.
    async fn begin(&self) -> UnderWay {
        self.under_way.set(self.under_way.get() + 1);
        let under_way = UnderWay(self.under_way.clone());
        let now = Date::now().as_millis();
        self.guards.set(true);
        wake_at(&self.state, &self.alarm, Some(now + MAKES_GOOD), now).await;
        under_way
    }

    /// Sets the alarm to when the object wants to be woken; as long as something is under way, no later than it was.
    async fn rearm(&self, object: &Object) {
        let at = object.next_wake();
        if self.under_way.get() == 0 && self.guards.replace(false) {
            self.alarm.set(None);
            if at.is_none() && self.state.storage().delete_alarm().await.is_err() {
                log::line("error", "alarm", &[("where", "account".into())]);
            }
        }
        wake_at(&self.state, &self.alarm, at, Date::now().as_millis()).await;
    }
}
