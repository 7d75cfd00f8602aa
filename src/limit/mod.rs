//! Rate limits: a counter per scope in a Durable Object, permits leased to isolates, a provider's own 429 learnt.

pub mod counter;
pub mod gate;
pub mod window;

use crate::error::Result;
use crate::ports::Millis;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

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
    /// Units of an earlier lease that were not used.
    pub unused: u32,
}

/// A question to the counters of one scope.
#[expect(missing_docs, reason = "the fields are named by what they are")]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Question {
    /// Take from all of these, or from none.
    Take(Vec<Want>),
    /// The provider said: nothing before this time.
    Block { limit: String, until: Millis },
}

/// What the counters answer.
#[expect(missing_docs, reason = "the fields are named by what they are")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Units leased, in the order asked for.
    Taken(Vec<u32>),
    /// Not before this time, because of this limit.
    Refused { limit: String, until: Millis, learnt: bool },
    /// Noted.
    Blocked,
}
