//! The way into a provider: what a call must be granted before it is sent.
//!
//! Permits are leased. An isolate that is busy with one account gets more of them at a time, twice as many as before, so a
//! hot path asks the counter seldom; what it does not use within a second it gives back with its next question.

use super::{Answer, Limiters, Question, Want};
use crate::catalog::model::{Limit, LimitScope};
use crate::catalog::{Connector, Tool};
use crate::code::Code;
use crate::connection::Connection;
use crate::error::{Error, Origin, Result};
use crate::ports::Millis;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

/// How long a lease may be used.
const LEASE: Millis = 1_000;
/// The most units leased at once.
const LARGEST_LEASE: u32 = 256;
/// More pools than this are cleared of those that are over.
const MANY: usize = 4096;

/// What an isolate remembers: leases, and refusals that still hold.
#[derive(Default)]
pub struct Leases {
    pools: RefCell<HashMap<(String, String), Pool>>,
    refusals: RefCell<HashMap<String, (String, Millis, bool)>>,
}

struct Pool {
    left: u32,
    size: u32,
    until: Millis,
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
}

impl Call<'_> {
    /// The scope a limit is counted in: one Durable Object each.
    fn scope(&self, limit: &Limit) -> String {
        match limit.scope {
            LimitScope::PerApp => self.connection.id.clone(),
            LimitScope::PerAccount | LimitScope::PerTool => self.account.to_owned(),
        }
    }

    fn counter(&self, limit: &Limit) -> String {
        match (limit.scope, self.tool) {
            (LimitScope::PerTool, Some(tool)) => format!("{}/{}", limit.name, tool.name),
            _ => limit.name.to_owned(),
        }
    }

    fn wants(&self) -> BTreeMap<String, Vec<Want>> {
        let mut wants: BTreeMap<String, Vec<Want>> = BTreeMap::new();
        for limit in self.connector.limits.iter() {
            let named = self.tool.is_some_and(|tool| tool.limits.contains(&limit.name));
            if !limit.every_request && !named {
                continue;
            }
            let cost = self.tool.and_then(|tool| tool.costs.iter().find(|(name, _)| *name == limit.name));
            let need = cost.map_or(limit.cost, |(_, cost)| *cost);
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
    /// Grants a call, or fails with the exact time to wait.
    pub async fn enter(&self, call: &Call<'_>, limiters: &dyn Limiters, now: Millis) -> Result<()> {
        let wants = call.wants();
        for scope in wants.keys().map(String::as_str).chain([call.account]) {
            if let Some((limit, until, learnt)) = self.refusal(scope, now) {
                return Err(call.error(&limit, until, now, learnt));
            }
        }
        for (scope, wants) in wants {
            if self.take_leased(&scope, &wants, now) {
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
        Ok(())
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
        let enough = |want: &Want| pools.get(&key(want)).is_some_and(|pool| now < pool.until && pool.left >= want.need);
        if !wants.iter().all(enough) {
            return false;
        }
        for want in wants {
            if let Some(pool) = pools.get_mut(&key(want)) {
                pool.left -= want.need;
            }
        }
        true
    }

    /// Says how much to lease: twice the last lease if that was used up in its time, else what is needed.
    fn with_leases(&self, scope: &str, wants: Vec<Want>, now: Millis) -> Vec<Want> {
        let mut pools = self.pools.borrow_mut();
        if pools.len() > MANY {
            pools.retain(|_, pool| now < pool.until);
        }
        wants
            .into_iter()
            .map(|mut want| {
                if let Some(pool) = pools.remove(&(scope.to_owned(), want.counter.clone())) {
                    want.unused = pool.left;
                    let used_up = now < pool.until && pool.left < want.need;
                    want.lease = if used_up { (pool.size * 2).min(LARGEST_LEASE).max(want.need) } else { want.need };
                }
                want
            })
            .collect()
    }

    fn keep(&self, scope: &str, wants: &[Want], units: &[u32], now: Millis) {
        let mut pools = self.pools.borrow_mut();
        for (want, units) in wants.iter().zip(units) {
            let pool =
                pools.entry((scope.to_owned(), want.counter.clone())).or_insert(Pool { left: 0, size: 0, until: 0 });
            pool.left += units.saturating_sub(want.need);
            pool.size = pool.size.max(*units);
            pool.until = now + LEASE;
        }
    }
}
