//! Rate limits: a counter per scope in a Durable Object, permits leased to isolates, a provider's own 429 learnt.

pub mod counter;
pub mod gate;
pub mod pool;
pub mod window;

use crate::error::Result;
use crate::ports::Millis;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// The longest that units of a limit may lie in an isolate before they are used.
pub const LONGEST_LEASE: Millis = 1_000;

/// A lease is at most this part of a limit: so much may lie unused in one isolate while another is refused.
pub const LEASED_SHARE: u32 = 50;
/// Permits that may be used for less than this are not worth leasing: they would be over before the next call.
const SHORTEST_LEASE: Millis = 250;

/// How long units taken may be used; not at all later where nothing is leased, which is so with small limits and short periods.
/// Whatever is taken counts for that much longer than the period, so that the provider sees no period with too many, however
/// late a unit was used.
pub fn lease_time(units: u32, per: Millis) -> Millis {
    let time = (per / 20).min(LONGEST_LEASE);
    if units / LEASED_SHARE > 1 && time >= SHORTEST_LEASE { time } else { 0 }
}

/// The counters, each scope behind its Durable Object.
#[async_trait(?Send)]
pub trait Limiters {
    /// Asks the counters of one scope.
    async fn ask(&self, scope: &str, question: Question) -> Result<Answer>;
}

/// Units wanted of one limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    /// Name of the counter inside its scope.
    pub counter: String,
    /// What `limitType` says.
    pub limit: String,
    /// Units in one period.
    pub units: u32,
    /// Length of the period in milliseconds.
    pub per: Millis,
    /// Units this call needs.
    pub need: u32,
    /// Units to lease if there are plenty; at least `need`.
    pub lease: u32,
    /// Units that were taken and not used.
    #[serde(default)]
    pub ended: Vec<Ended>,
}

impl Want {
    /// How long what is taken may be used.
    fn lease_time(&self) -> Millis {
        lease_time(self.units, self.per)
    }
}

/// Units that were not used in their time. They belong to the period they were taken in, and go back there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// How many.
    pub units: u32,
    /// When the counter gave them out, by its own clock.
    pub taken_at: Millis,
}

/// A question to the counters of one scope.
#[expect(missing_docs, reason = "the fields are named by what they are")]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Question {
    /// Take from all of these, or from none. What the provider said before `since` counts no more: the operator changed the
    /// connection since then.
    Take { wants: Vec<Want>, since: Millis },
    /// The provider said: nothing before this time. It holds for calls that count against one counter, or for all
    /// (`counter` is empty), and is believed for `believed` before a call may look whether it is still so.
    Block { limit: String, counter: String, until: Millis, believed: Millis },
    /// The call that looked was not refused: the wait is over, unless the provider has said something since.
    Lift(Look),
}

/// A wait that one call may look at, whether it still is so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// Of which counter; empty for the whole scope.
    pub counter: String,
    /// When the provider said so.
    pub made_at: Millis,
}

impl Question {
    /// Whether it must not be asked twice: what is given back, is given back once.
    pub fn gives_back(&self) -> bool {
        matches!(self, Self::Take { wants, .. } if wants.iter().any(|want| !want.ended.is_empty()))
    }
}

/// What the counters answer.
#[expect(missing_docs, reason = "the fields are named by what they are")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Units leased, in the order asked for, and when; and which waits this call looks at.
    Taken { units: Vec<u32>, at: Millis, looks: Vec<Look> },
    /// Not before this time, because of this limit; `counter` is empty when it holds for the whole scope.
    Refused { limit: String, counter: String, until: Millis, learnt: bool },
    /// Noted.
    Blocked,
}
