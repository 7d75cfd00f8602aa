//! Idempotency keys: the same key with the same request gets the first answer again, and what may have been sent is never
//! sent again by itself.

use super::command::Reply;
use super::object::Object;
use crate::digest;
use crate::error::{Error, Result};
use crate::ports::{Millis, Usage};
use crate::secret::Secret;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A key, and the answer it led to, is kept for a day.
const KEEP: Millis = 24 * 3_600_000;
/// Longer than any call may take. One that has not settled by then never will: its Worker died.
const UNDER_WAY: Millis = 5 * 60_000;
/// A longer answer is not kept; a repetition is refused instead of sent twice. A row holds 2 MB.
pub const LONGEST: usize = 1_000_000;
/// The most answers kept of one account.
const MOST_ANSWERS: u64 = 1_000;
/// The most bytes of them, as they are stored.
const MOST_BYTES: u64 = 8 * 1024 * 1024;

/// Answers stand apart from what is known of their keys, so that an old one can go while its key still refuses.
const ANSWER: &str = "answer:";

/// What is known of a key.
#[derive(Serialize, Deserialize)]
struct Claim {
    /// Hash of the call.
    request: String,
    /// The execution that claimed it.
    #[serde(default)]
    by: String,
    #[serde(default)]
    claimed_at: Millis,
    /// Whether it is known how that ended.
    #[serde(default)]
    settled: bool,
    /// The answer, where versions before kept it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answer: Option<String>,
    expires_at: Millis,
}

impl Object {
    /// Claims a key for an execution. Asked again by the same one, it says the same: the first answer may have been lost.
    pub(super) fn claim(&self, key: &str, request: &str, by: &str) -> Result<Reply> {
        let account = self.load()?;
        let hash = digest::hash(key);
        let known = self.get::<Claim>(&place(&hash)).filter(|claim| self.now() < claim.expires_at);
        let Some(claim) = known else {
            let expires_at = self.now() + KEEP;
            let claim = Claim {
                request: request.to_owned(),
                by: by.to_owned(),
                claimed_at: self.now(),
                settled: false,
                answer: None,
                expires_at,
            };
            self.put_until(&place(&hash), &claim, expires_at);
            return Ok(Reply::Claimed);
        };
        if claim.request != request {
            return Err(Error::conflict(
                "this Idempotency-Key was used for another request; use a new key for a new request",
            ));
        }
        let answer = claim.answer.clone().or_else(|| self.storage.get(&answer_at(&hash)));
        if let Some(sealed) = answer {
            let answer = self.open_sealed(&account, "idempotency", &sealed)?;
            let answer =
                serde_json::from_str(answer.reveal()).map_err(|_| Error::internal("a kept answer cannot be read"))?;
            return Ok(Reply::Settled { answer });
        }
        if !claim.settled && claim.by == by && !by.is_empty() {
            return Ok(Reply::Claimed);
        }
        Err(self.unanswered(&claim))
    }

    /// Why a key that was used has no answer to give.
    fn unanswered(&self, claim: &Claim) -> Error {
        let first = if claim.by.is_empty() { "the first call".into() } else { format!("the call {}", claim.by) };
        if claim.settled {
            return Error::conflict(format!(
                "{first} with this Idempotency-Key was carried out and answered, but its answer is not kept: it was too long, \
                 or newer ones took its place"
            ));
        }
        // A claim of the version before, which has no name, ends when it cannot run any more.
        if claim.by.is_empty() || self.now() < claim.claimed_at + UNDER_WAY {
            let message = format!("{first} with this Idempotency-Key still runs; try again in a moment");
            return Error::conflict(message).with(|details| {
                details.retryable = Some(true);
                details.retry_after = Some(1);
            });
        }
        Error::conflict(format!(
            "outcome unknown: {first} with this Idempotency-Key broke off, and may have changed something at the provider. \
             Look there first; a new key sends it again"
        ))
    }

    /// Keeps what a key led to. None gives it free again: nothing was done.
    pub(super) fn settle(&self, key: &str, by: &str, answer: Option<Value>) -> Result<Reply> {
        let account = self.load()?;
        let hash = digest::hash(key);
        let mine = |claim: &Claim| !claim.settled && claim.answer.is_none() && (claim.by.is_empty() || claim.by == by);
        let Some(mut claim) = self.get::<Claim>(&place(&hash)).filter(mine) else { return Ok(Reply::Done) };
        let Some(answer) = answer else {
            self.storage.delete(&place(&hash));
            return Ok(Reply::Done);
        };
        claim.settled = true;
        claim.expires_at = self.now() + KEEP;
        let text = answer.to_string();
        if text.len() <= LONGEST {
            let sealed = self.seal(&account, "idempotency", &Secret::new(text));
            self.storage.put_until(&answer_at(&hash), &sealed, claim.expires_at);
            self.make_room();
        }
        self.put_until(&place(&hash), &claim, claim.expires_at);
        Ok(Reply::Done)
    }

    /// Lets the oldest answers go when there are too many, a tenth more than must: so that is seldom.
    fn make_room(&self) {
        let Usage { mut records, mut bytes } = self.storage.usage(ANSWER);
        if records <= MOST_ANSWERS && bytes <= MOST_BYTES {
            return;
        }
        for (key, size) in self.storage.sizes(ANSWER) {
            if records <= MOST_ANSWERS / 10 * 9 && bytes <= MOST_BYTES / 10 * 9 {
                break;
            }
            self.storage.delete(&key);
            records -= 1;
            bytes -= size;
        }
    }
}

fn place(hash: &str) -> String {
    format!("idempotency:{hash}")
}

fn answer_at(hash: &str) -> String {
    format!("answer:{hash}")
}
