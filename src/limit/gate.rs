//! The way into a provider: what a call must be granted before it is sent.
//!
//! Permits are leased. An isolate that is busy with one account gets as many at a time as it will need in the next second,
//! and asks for more behind an answer before they are used up, so that a hot path does not wait for the counter. However many
//! calls run at once, one of them asks for more. What is not used in its time goes back into the period it came from: with the
//! next question, or by itself when there is none.

use super::pool::{Pool, Units};
use super::{Answer, Limiters, Look, Question, Want};
use crate::catalog::model::{Limit, LimitScope, Step};
use crate::catalog::{Connector, Tool};
use crate::code::Code;
use crate::connection::Connection;
use crate::error::{Error, Origin, Result};
use crate::json;
use crate::ports::{Clock, Millis};
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

/// More pools or refusals than this are cleared of those that are over.
const MANY: usize = 4096;
/// How long an isolate believes a refusal before it asks the counter again: units come back, and an operator lifts a wait.
const BELIEVED: Millis = 5_000;
/// What a provider says is believed for at least so long before one call looks whether it is still so.
pub const WAIT_BELIEVED: Millis = 3_600_000;
/// Nobody waits longer than this for anything a provider said.
const LONGEST_WAIT: Millis = 30 * 86_400_000;

/// A counter: its scope, and its name there. Without a name: the whole scope.
type Key = (String, String);

/// What an isolate remembers: leases, and refusals that still hold.
#[derive(Default)]
pub struct Leases {
    pools: RefCell<HashMap<Key, Pool>>,
    refusals: RefCell<HashMap<Key, Refusal>>,
    behind: RefCell<Vec<Behind>>,
}

#[derive(Clone)]
struct Refusal {
    limit: String,
    /// What the caller is told.
    until: Millis,
    learnt: bool,
    /// When it was heard.
    at: Millis,
    /// Until when the counter is not asked.
    believed: Millis,
    /// Until when the counter is asked although no limit wants it.
    ends: Millis,
}

/// What is to be done behind an answer.
pub enum Behind {
    /// A lease to ask for ahead.
    Refill(Ask),
    /// When this time has passed, what was not used goes back.
    GiveBack(Ask, Millis),
}

/// A question to the counters of one scope.
#[derive(Clone)]
pub struct Ask {
    scope: String,
    wants: Vec<Want>,
    since: Millis,
}

/// The waits that a call looks at: the scope of each, and since when.
#[derive(Default)]
pub struct Looks(Vec<(String, Look, Millis)>);

impl Looks {
    /// Whether there are none, as nearly always.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What a call was granted of one scope, to be put back if another scope refuses.
type Granted = (Key, Units);

/// Which limits a call counts against, and how much.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// The provider.
    pub connector: &'static Connector,
    /// The tool; none for the proxy.
    pub tool: Option<&'static Tool>,
    /// The operator's settings.
    pub connection: &'a Connection,
    /// The account.
    pub account: &'a str,
    /// The tool's input; none for the proxy.
    pub input: Option<&'a Map<String, Value>>,
    /// What is known of the account, as soon as its token is leased: limits of a whole customer are counted by it.
    pub variables: Option<&'a BTreeMap<String, String>>,
    /// Requests about to be sent: the steps before a tool's own and that, or one that is repeated.
    pub requests: &'a [Option<&'static Step>],
}

/// The request of a tool itself, or of the proxy.
pub const OWN: &[Option<&Step>] = &[None];

impl Call<'_> {
    /// The scope a limit is counted in: one Durable Object each.
    fn scope(&self, limit: &Limit) -> String {
        match limit.scope {
            LimitScope::PerApp => self.connection.id.clone(),
            LimitScope::PerAccount | LimitScope::PerTool => self.account.to_owned(),
            LimitScope::PerTenant | LimitScope::PerTenantTool => self.tenant(limit),
            LimitScope::PerParameter => {
                let value = self.input.and_then(|input| json::to_text(input.get(limit.by)?)).unwrap_or_default();
                format!("{}/{}", self.connection.id, crate::digest::short(&value))
            }
        }
    }

    /// The customer an account belongs to. As long as that is not known of an account, it counts by itself.
    fn tenant(&self, limit: &Limit) -> String {
        let tenant = self.variables.and_then(|known| known.get(limit.by)).filter(|tenant| !tenant.is_empty());
        tenant.map_or_else(
            || self.account.to_owned(),
            |tenant| format!("{}/tenant/{}", self.connection.id, crate::digest::short(&tenant.to_lowercase())),
        )
    }

    /// Whether a limit has anything to do with this call.
    fn counts(&self, limit: &Limit) -> bool {
        let has_parameter = || self.input.is_some_and(|input| input.contains_key(limit.by));
        self.requests.iter().any(|request| limit.counts(self.tool, *request))
            && (limit.scope != LimitScope::PerParameter || has_parameter())
    }

    fn counter(&self, limit: &Limit) -> String {
        match (limit.scope, self.tool) {
            (LimitScope::PerTool | LimitScope::PerTenantTool, Some(tool)) => format!("{}/{}", limit.name, tool.name),
            _ => limit.name.to_owned(),
        }
    }

    fn wants(&self) -> Result<BTreeMap<String, Vec<Want>>> {
        let mut wants: BTreeMap<String, Vec<Want>> = BTreeMap::new();
        for limit in self.connector.limits.iter().filter(|limit| self.counts(limit)) {
            let need = limit.need(self.tool, self.requests);
            let units = limit.units_with(self.connection.limits.get(limit.name).copied());
            if need > units {
                return Err(self.never(limit, need, units));
            }
            wants.entry(self.scope(limit)).or_default().push(Want {
                counter: self.counter(limit),
                limit: limit.name.to_owned(),
                units,
                per: period(limit),
                need,
                lease: need,
                ended: Vec::new(),
            });
        }
        Ok(wants)
    }

    /// A call that no wait helps.
    fn never(&self, limit: &Limit, need: u32, units: u32) -> Error {
        let what = self.tool.map_or("a request", |tool| tool.name);
        let message = format!(
            "{what} needs {need} units of the limit {}, and the connection `{}` allows {units}: PATCH its `limits`",
            limit.name, self.connection.name
        );
        Error::new(Code::ConnectionMisconfigured, message).of(self.connector.id).with(|details| {
            details.origin = Origin::Platform;
            details.limit_type = Some(limit.name.to_owned());
        })
    }

    fn error(&self, Refusal { limit, until, learnt, .. }: &Refusal, now: Millis) -> Error {
        let wait = until.saturating_sub(now).div_ceil(1000).max(1);
        let name = self.connector.name;
        let message = if *learnt {
            format!("{name} asked to wait, and the wait is not over; try again in {wait} s")
        } else {
            format!("the limit {limit} of {name} is used up; try again in {wait} s")
        };
        Error::new(Code::RateLimitExceeded, message).of(self.connector.id).with(|details| {
            details.origin = if *learnt { Origin::Provider } else { Origin::Platform };
            details.retry_after = Some(wait);
            details.limit_type = Some(limit.clone());
        })
    }
}

fn period(limit: &Limit) -> Millis {
    Millis::from(limit.per_seconds) * 1000
}

impl Leases {
    /// Grants a call, or fails with the exact time to wait. Afterwards there may be something to do [`behind`](Self::behind)
    /// the answer. What comes back is to be [lifted](Self::lift) if the provider lets the call through.
    pub async fn enter(&self, call: &Call<'_>, limiters: &dyn Limiters, clock: &dyn Clock) -> Result<Looks> {
        let mut wants = call.wants()?;
        let now = clock.now();
        if self.is_told_to_wait(call.account, now) {
            wants.entry(call.account.to_owned()).or_default();
        }
        for (scope, wants) in &wants {
            let counters = wants.iter().map(|want| want.counter.as_str()).chain([""]);
            let mut refusals = counters.filter_map(|counter| self.refusal(scope, counter, now));
            if let Some(refusal) = refusals.find(|refusal| refusal.learnt) {
                return Err(call.error(&refusal, now));
            }
        }
        let (mut granted, mut asks, mut looks) = (Vec::new(), Vec::new(), Looks::default());
        for (scope, wants) in wants {
            let ask = Ask { scope, wants, since: call.connection.updated_at };
            asks.push(ask.clone());
            // A counter may take seconds, and what is leased of the next one may be over by then.
            match self.enter_scope(ask, &mut looks, limiters, clock).await {
                Ok(units) => granted.extend(units),
                Err(failure) => {
                    // What another scope granted is left to the next call, or given back.
                    let now = clock.now();
                    self.put_back(granted, asks, now);
                    return Err(failure.map_or_else(|error| error, |refusal| call.error(&refusal, now)));
                }
            }
        }
        Ok(looks)
    }

    /// The provider let a call through that looked whether it still is to be waited: it is not.
    pub async fn lift(&self, looks: Looks, limiters: &dyn Limiters) {
        for (scope, look, since) in looks.0 {
            // What was heard since then is newer than what this call found.
            self.refusals
                .borrow_mut()
                .retain(|(of, counter), refusal| *of != scope || *counter != look.counter || refusal.at > since);
            // If this fails, another call looks.
            let _ = limiters.ask(&scope, Question::Lift(look)).await;
        }
    }

    /// What has come up that nobody needs to wait for.
    pub fn behind(&self) -> Vec<Behind> {
        std::mem::take(&mut *self.behind.borrow_mut())
    }

    async fn enter_scope(
        &self,
        ask: Ask,
        looks: &mut Looks,
        limiters: &dyn Limiters,
        clock: &dyn Clock,
    ) -> std::result::Result<Vec<Granted>, Result<Refusal>> {
        let now = clock.now();
        if let Some(granted) = self.take_leased(&ask, now) {
            self.ask_ahead(ask, now);
            return Ok(granted);
        }
        if let Some(refusal) = ask.wants.iter().find_map(|want| self.refusal(&ask.scope, &want.counter, now)) {
            return Err(Ok(refusal));
        }
        let ask = self.with_leases(ask, now);
        match put(&ask, limiters).await.map_err(Err)? {
            Answer::Taken { units, at, looks: looked } => {
                if looked.is_empty() {
                    self.refusals.borrow_mut().remove(&(ask.scope.clone(), String::new()));
                }
                looks.0.extend(looked.into_iter().map(|look| (ask.scope.clone(), look, now)));
                Ok(self.keep(&ask, &units, at, now))
            }
            Answer::Refused { limit, counter, until, learnt } => {
                self.answered(&ask);
                let now = clock.now();
                // What was leased meanwhile is as good.
                if let Some(granted) = self.take_leased(&ask, now).filter(|_| !learnt) {
                    return Ok(granted);
                }
                Err(Ok(self.refuse(&ask.scope, counter, limit, until, learnt, now)))
            }
            Answer::Blocked => Ok(Vec::new()),
        }
    }

    /// Asks for a lease ahead, or gives back what was not used. If that fails, the next call that finds none left asks for
    /// itself, and what was not given back comes back when its period is over.
    pub async fn settle(&self, ask: Ask, limiters: &dyn Limiters, now: Millis) {
        match put(&ask, limiters).await {
            Ok(Answer::Taken { units, at, .. }) => {
                self.keep(&ask, &units, at, now);
            }
            Ok(Answer::Refused { limit, counter, until, learnt }) => {
                self.answered(&ask);
                self.refuse(&ask.scope, counter, limit, until, learnt, now);
            }
            Ok(Answer::Blocked) | Err(_) => self.answered(&ask),
        }
    }

    /// The question that gives back what was not used; none when all of it was used or is given back already.
    pub fn unused(&self, ask: Ask, now: Millis) -> Option<Ask> {
        let mut pools = self.pools.borrow_mut();
        let mut wants = Vec::new();
        for want in ask.wants {
            let key = (ask.scope.clone(), want.counter.clone());
            let ended = pools.get_mut(&key).map(|pool| pool.ended(now)).unwrap_or_default();
            if !ended.is_empty() {
                wants.push(Want { need: 0, lease: 0, ended, ..want });
            }
        }
        (!wants.is_empty()).then_some(Ask { wants, ..ask })
    }

    /// The provider said when to come back: nobody asks it before. Of a limit that is known, that is said of what counts
    /// against it; of anything else, of the account.
    pub async fn learn(&self, call: &Call<'_>, limit_type: &str, wait: Millis, limiters: &dyn Limiters, now: Millis) {
        let limit = call.connector.limits.iter().find(|limit| limit.name == limit_type && call.counts(limit));
        let scope = limit.map_or_else(|| call.account.to_owned(), |limit| call.scope(limit));
        let counter = limit.map_or_else(String::new, |limit| call.counter(limit));
        let believed = limit.map_or(0, period).max(WAIT_BELIEVED);
        let wait = wait.min(LONGEST_WAIT);
        let refusal = self.refuse(&scope, counter.clone(), limit_type.to_owned(), now + wait.min(believed), true, now);
        let ends = now + wait;
        self.refusals.borrow_mut().insert((scope.clone(), counter.clone()), Refusal { ends, ..refusal });
        // If this fails the next 429 teaches it again.
        let limit = limit_type.to_owned();
        let _ = limiters.ask(&scope, Question::Block { limit, counter, until: now + wait, believed }).await;
    }

    fn refuse(&self, scope: &str, counter: String, limit: String, until: Millis, learnt: bool, now: Millis) -> Refusal {
        let mut refusals = self.refusals.borrow_mut();
        if refusals.len() > MANY {
            refusals.retain(|_, refusal| now < refusal.believed);
        }
        let key = (scope.to_owned(), counter);
        let ends = refusals.get(&key).map_or(0, |known| known.ends).max(until);
        let refusal = Refusal { limit, until, learnt, at: now, believed: until.min(now + BELIEVED), ends };
        refusals.insert(key, refusal.clone());
        refusal
    }

    fn refusal(&self, scope: &str, counter: &str, now: Millis) -> Option<Refusal> {
        let refusals = self.refusals.borrow();
        refusals.get(&(scope.to_owned(), counter.to_owned())).filter(|refusal| now < refusal.believed).cloned()
    }

    /// Whether a provider told all of an account to wait.
    fn is_told_to_wait(&self, account: &str, now: Millis) -> bool {
        let refusals = self.refusals.borrow();
        refusals.get(&(account.to_owned(), String::new())).is_some_and(|refusal| now < refusal.ends)
    }

    fn take_leased(&self, ask: &Ask, now: Millis) -> Option<Vec<Granted>> {
        let mut pools = self.pools.borrow_mut();
        let key = |want: &Want| (ask.scope.clone(), want.counter.clone());
        let mut enough = !ask.wants.is_empty();
        for want in &ask.wants {
            // Each is looked at, whatever the one before had: what is over in it must be given back in time.
            enough &= pools.get_mut(&key(want)).is_some_and(|pool| pool.left(now) >= want.need);
        }
        if !enough {
            return None;
        }
        let mut granted = Vec::new();
        for want in &ask.wants {
            if let Some(pool) = pools.get_mut(&key(want)) {
                granted.extend(pool.take(want.need).into_iter().map(|units| (key(want), units)));
            }
        }
        Some(granted)
    }

    fn put_back(&self, granted: Vec<Granted>, asks: Vec<Ask>, now: Millis) {
        let mut pools = self.pools.borrow_mut();
        for (key, units) in granted {
            pools.entry(key).or_default().put(units);
        }
        let over = |ask| Behind::GiveBack(ask, now + super::LONGEST_LEASE);
        self.behind.borrow_mut().extend(asks.into_iter().map(over));
    }

    /// Asks for the lease that will be needed although there was enough for this call.
    fn ask_ahead(&self, mut ask: Ask, now: Millis) {
        let mut pools = self.pools.borrow_mut();
        let mut low = Vec::new();
        for mut want in ask.wants {
            let Some(pool) = pools.get_mut(&(ask.scope.clone(), want.counter.clone())) else { continue };
            if pool.is_low(now, want.lease_time()) {
                (want.ended, want.lease, want.need) = (pool.ended(now), pool.ask(now, want.lease_time(), want.need), 0);
                low.push(want);
            }
        }
        if !low.is_empty() {
            ask.wants = low;
            self.behind.borrow_mut().push(Behind::Refill(ask));
        }
    }

    /// Says how much to lease: the need of this call, and if nobody else is asking, what the next ones will need.
    fn with_leases(&self, mut ask: Ask, now: Millis) -> Ask {
        let mut pools = self.pools.borrow_mut();
        if pools.len() > MANY {
            pools.retain(|_, pool| !pool.is_over(now));
        }
        for want in &mut ask.wants {
            let pool = pools.entry((ask.scope.clone(), want.counter.clone())).or_default();
            want.ended = pool.ended(now);
            want.lease = pool.ask(now, want.lease_time(), want.need);
            pool.use_up(want.need);
        }
        ask
    }

    /// Keeps what was granted beyond the need of this call. Its time runs from when it was asked for.
    fn keep(&self, ask: &Ask, granted: &[u32], taken_at: Millis, asked_at: Millis) -> Vec<Granted> {
        let mut pools = self.pools.borrow_mut();
        let (mut used, mut until) = (Vec::new(), 0);
        for (want, units) in ask.wants.iter().zip(granted) {
            let key = (ask.scope.clone(), want.counter.clone());
            let Some(pool) = pools.get_mut(&key) else { continue };
            let of = |units: u32| Units { units, until: asked_at + want.lease_time(), taken_at };
            if *units > want.need {
                pool.lease(*units, of(units - want.need));
                until = until.max(asked_at + want.lease_time());
            }
            if want.lease > want.need {
                pool.answered();
            }
            used.push((key, of(want.need)));
        }
        if until > 0 {
            self.behind.borrow_mut().push(Behind::GiveBack(ask.clone(), until));
        }
        used
    }

    /// Nobody waits for the answer to this any more.
    fn answered(&self, ask: &Ask) {
        let mut pools = self.pools.borrow_mut();
        for want in ask.wants.iter().filter(|want| want.lease > want.need) {
            if let Some(pool) = pools.get_mut(&(ask.scope.clone(), want.counter.clone())) {
                pool.answered();
            }
        }
    }
}

/// Asks. Whether units that were given back have come back cannot be known when no answer came, so they are not given back
/// again: they come back by themselves when their period is over.
async fn put(ask: &Ask, limiters: &dyn Limiters) -> Result<Answer> {
    let question = Question::Take { wants: ask.wants.clone(), since: ask.since };
    let again = question.gives_back();
    match limiters.ask(&ask.scope, question).await {
        Err(_) if again => {
            let wants = ask.wants.iter().map(|want| Want { ended: Vec::new(), ..want.clone() }).collect();
            limiters.ask(&ask.scope, Question::Take { wants, since: ask.since }).await
        }
        answer => answer,
    }
}
