//! The way into a provider: what a call must be granted before it is sent.
//!
//! Permits are leased. An isolate that is busy with one account gets as many at a time as it will need in the next second,
//! and asks for more behind an answer before they are used up, so that a hot path does not wait for the counter. However many
//! calls run at once, one of them asks for more; what is not used within a second is given back with the next question.

use super::{Answer, Limiters, Question, Want};
use crate::catalog::model::{Limit, LimitScope};
use crate::catalog::{Connector, Tool};
use crate::code::Code;
use crate::connection::Connection;
use crate::error::{Error, Origin, Result};
use crate::json;
use crate::ports::Millis;
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// How long a lease may be used.
const LEASE: Millis = 1_000;
/// The most units leased at once.
const LARGEST_LEASE: u32 = 256;
/// Fewer units than this in a second are not worth asking ahead.
const WORTH_IT: u32 = 4;
/// How long one question keeps others from asking for more.
const PATIENCE: Millis = 5_000;
/// More pools than this are cleared of those that are over.
const MANY: usize = 4096;

/// What an isolate remembers: leases, and refusals that still hold.
#[derive(Default)]
pub struct Leases {
    pools: RefCell<HashMap<(String, String), Pool>>,
    refusals: RefCell<HashMap<String, (String, Millis, bool)>>,
}

#[derive(Default)]
struct Pool {
    /// Units and until when they may be used, oldest first.
    units: VecDeque<(u32, Millis)>,
    /// Units whose time was over before they were used.
    unused: u32,
    /// Units used since `asked`.
    used: u32,
    /// When more than the need of one call was last asked for.
    asked: Millis,
    /// Until when the answer to that is waited for.
    asking: Millis,
    /// The size of the last lease.
    size: u32,
}

impl Pool {
    fn left(&mut self, now: Millis) -> u32 {
        while let Some((units, _)) = self.units.front().filter(|(_, until)| now >= *until) {
            self.unused += units;
            self.units.pop_front();
        }
        self.units.iter().map(|(units, _)| units).sum()
    }

    fn take(&mut self, mut need: u32) {
        self.used += need;
        while let Some((units, _)) = self.units.front_mut().filter(|_| need > 0) {
            let taken = need.min(*units);
            (*units, need) = (*units - taken, need - taken);
            if *units == 0 {
                self.units.pop_front();
            }
        }
    }

    /// Whether the next lease should be asked for ahead: little is left, or what is left is soon over, and it is used.
    fn is_low(&mut self, now: Millis) -> bool {
        let left = self.left(now);
        let until = self.units.back().map_or(0, |(_, until)| *until);
        now >= self.asking && self.used >= WORTH_IT && (left * 4 < self.size || now + LEASE / 2 > until)
    }

    /// How much to ask for: what a second takes at the speed of lately.
    fn ask(&mut self, now: Millis, need: u32) -> u32 {
        if now >= self.asked + 2 * LEASE {
            self.used = 0;
        }
        self.asked = now;
        let lease = (self.used * 2).min(LARGEST_LEASE).max(need);
        if lease > need {
            (self.used, self.asking) = (0, now + PATIENCE);
        }
        lease
    }

    fn is_over(&self, now: Millis) -> bool {
        now >= self.asking.max(self.asked + 2 * LEASE)
    }
}

/// A lease to ask for behind an answer.
pub struct Refill {
    scope: String,
    wants: Vec<Want>,
}

/// Which limits a call counts against, and how much.
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
    /// Requests about to be sent: the tool's own and the steps before it, or one that is repeated.
    pub requests: u32,
}

impl Call<'_> {
    /// The scope a limit is counted in: one Durable Object each.
    fn scope(&self, limit: &Limit) -> String {
        match limit.scope {
            LimitScope::PerApp => self.connection.id.clone(),
            LimitScope::PerAccount | LimitScope::PerTool => self.account.to_owned(),
            LimitScope::PerParameter => {
                let value = self.input.and_then(|input| json::to_text(input.get(limit.by)?)).unwrap_or_default();
                format!("{}/{}", self.connection.id, crate::digest::short(&value))
            }
        }
    }

    /// Whether a limit has anything to do with this call.
    fn counts(&self, limit: &Limit) -> bool {
        let has_parameter = || self.input.is_some_and(|input| input.contains_key(limit.by));
        limit.counts(self.tool) && (limit.scope != LimitScope::PerParameter || has_parameter())
    }

    fn counter(&self, limit: &Limit) -> String {
        match (limit.scope, self.tool) {
            (LimitScope::PerTool, Some(tool)) => format!("{}/{}", limit.name, tool.name),
            _ => limit.name.to_owned(),
        }
    }

    fn wants(&self) -> BTreeMap<String, Vec<Want>> {
        let mut wants: BTreeMap<String, Vec<Want>> = BTreeMap::new();
        for limit in self.connector.limits.iter().filter(|limit| self.counts(limit)) {
            let need = limit.need(self.tool, self.requests);
            let units = self.connection.limits.get(limit.name).map_or(limit.units, |units| (*units).min(limit.units));
            wants.entry(self.scope(limit)).or_default().push(Want {
                counter: self.counter(limit),
                limit: limit.name.to_owned(),
                units,
                per: Millis::from(limit.per_seconds) * 1000,
                need,
                lease: need,
                unused: 0,
            });
        }
        wants
    }

    fn error(&self, limit: &str, until: Millis, now: Millis, learnt: bool) -> Error {
        let wait = until.saturating_sub(now).div_ceil(1000).max(1);
        let name = self.connector.name;
        let message = if learnt {
            format!("{name} asked to wait, and the wait is not over; try again in {wait} s")
        } else {
            format!("the limit {limit} of {name} is used up; try again in {wait} s")
        };
        Error::new(Code::RateLimitExceeded, message).of(self.connector.id).with(|details| {
            details.origin = if learnt { Origin::Provider } else { Origin::Platform };
            details.retry_after = Some(wait);
            details.limit_type = Some(limit.to_owned());
        })
    }
}

impl Leases {
    /// Grants a call, or fails with the exact time to wait. What it answers with is to be asked for behind the answer.
    pub async fn enter(&self, call: &Call<'_>, limiters: &dyn Limiters, now: Millis) -> Result<Vec<Refill>> {
        let wants = call.wants();
        for scope in wants.keys().map(String::as_str).chain([call.account]) {
            if let Some((limit, until, learnt)) = self.refusal(scope, now) {
                return Err(call.error(&limit, until, now, learnt));
            }
        }
        let mut refills = Vec::new();
        for (scope, wants) in wants {
            if self.take_leased(&scope, &wants, now) {
                refills.extend(self.ahead(scope, wants, now));
                continue;
            }
            let wants = self.with_leases(&scope, wants, now);
            match limiters.ask(&scope, Question::Take(wants.clone())).await? {
                Answer::Taken(units) => self.keep(&scope, &wants, &units, now),
                Answer::Refused { limit, until, learnt } => {
                    let error = call.error(&limit, until, now, learnt);
                    self.refusals.borrow_mut().insert(scope, (limit, until, learnt));
                    return Err(error);
                }
                Answer::Blocked => {}
            }
        }
        Ok(refills)
    }

    /// Asks for a lease ahead. If that fails, the next call that finds none left asks for itself.
    pub async fn refill(&self, Refill { scope, wants }: Refill, limiters: &dyn Limiters, now: Millis) {
        match limiters.ask(&scope, Question::Take(wants.clone())).await {
            Ok(Answer::Taken(units)) => self.keep(&scope, &wants, &units, now),
            Ok(Answer::Refused { limit, until, learnt }) => {
                self.refusals.borrow_mut().insert(scope, (limit, until, learnt));
            }
            Ok(Answer::Blocked) | Err(_) => {}
        }
    }

    /// The provider said when to come back: nobody asks it before.
    pub async fn learn(&self, call: &Call<'_>, limit_type: &str, until: Millis, limiters: &dyn Limiters) {
        let limit = call.connector.limits.iter().find(|limit| limit.name == limit_type);
        let scope = limit.map_or_else(|| call.account.to_owned(), |limit| call.scope(limit));
        self.refusals.borrow_mut().insert(scope.clone(), (limit_type.to_owned(), until, true));
        // If this fails the next 429 teaches it again.
        let _ = limiters.ask(&scope, Question::Block { limit: limit_type.to_owned(), until }).await;
    }

    fn refusal(&self, scope: &str, now: Millis) -> Option<(String, Millis, bool)> {
        let mut refusals = self.refusals.borrow_mut();
        if refusals.len() > MANY {
            refusals.retain(|_, (_, until, _)| now < *until);
        }
        refusals.get(scope).filter(|(_, until, _)| now < *until).cloned()
    }

    fn take_leased(&self, scope: &str, wants: &[Want], now: Millis) -> bool {
        let mut pools = self.pools.borrow_mut();
        let key = |want: &Want| (scope.to_owned(), want.counter.clone());
        let mut enough = |want: &Want| pools.get_mut(&key(want)).is_some_and(|pool| pool.left(now) >= want.need);
        if !wants.iter().all(&mut enough) {
            return false;
        }
        for want in wants {
            if let Some(pool) = pools.get_mut(&key(want)) {
                pool.take(want.need);
            }
        }
        true
    }

    /// The lease to ask for now although there is enough for this call.
    fn ahead(&self, scope: String, wants: Vec<Want>, now: Millis) -> Option<Refill> {
        let mut pools = self.pools.borrow_mut();
        let mut low = Vec::new();
        for mut want in wants {
            let Some(pool) = pools.get_mut(&(scope.clone(), want.counter.clone())) else { continue };
            if pool.is_low(now) {
                (want.unused, want.lease, want.need) = (std::mem::take(&mut pool.unused), pool.ask(now, want.need), 0);
                low.push(want);
            }
        }
        (!low.is_empty()).then_some(Refill { scope, wants: low })
    }

    /// Says how much to lease: the need of this call, and if nobody else is asking, what the next ones will need.
    fn with_leases(&self, scope: &str, wants: Vec<Want>, now: Millis) -> Vec<Want> {
        let mut pools = self.pools.borrow_mut();
        if pools.len() > MANY {
            pools.retain(|_, pool| !pool.is_over(now));
        }
        wants
            .into_iter()
            .map(|mut want| {
                let pool = pools.entry((scope.to_owned(), want.counter.clone())).or_default();
                want.unused = std::mem::take(&mut pool.unused);
                if now >= pool.asking {
                    want.lease = pool.ask(now, want.need);
                }
                pool.used += want.need;
                want
            })
            .collect()
    }

    fn keep(&self, scope: &str, wants: &[Want], units: &[u32], now: Millis) {
        let mut pools = self.pools.borrow_mut();
        for (want, units) in wants.iter().zip(units) {
            let Some(pool) = pools.get_mut(&(scope.to_owned(), want.counter.clone())) else { continue };
            if *units > want.need {
                pool.units.push_back((units - want.need, now + LEASE));
                pool.size = *units;
            }
            if want.lease > want.need || want.need == 0 {
                pool.asking = 0;
            }
        }
    }
}
