//! What an account forgets when its time is over: links, consents under way, idempotency keys, consents nobody verified.

use super::completion::Pending;
use super::object::{Object, PENDING};
use super::{Reason, Status};
use crate::ports::Millis;
use crate::timestamp;
use serde_json::Value;

/// The records that end by themselves.
const TIMED: [&str; 4] = ["link:", "flow:", "choice:", "idempotency:"];

impl Object {
    /// Forgets links, flows and idempotency keys that are over, and a consent nobody verified.
    pub(super) fn forget_expired(&self) {
        let now = self.now();
        for prefix in TIMED {
            for (key, value) in self.storage.list(prefix) {
                if expiry(&value).is_none_or(|at| now >= at) {
                    self.storage.delete(&key);
                }
            }
        }
        if self.get::<Pending>(PENDING).is_some_and(|pending| now >= pending.expires_at) {
            self.storage.delete(PENDING);
            self.note("verification_expired", Some(timestamp::format(now)));
            if let Some(mut account) = self.find().filter(|account| account.status == Status::PendingVerification) {
                account.status = Status::PendingAuth;
                account.status_reason = Reason::VerificationExpired;
                self.save(&mut account);
            }
        }
    }

    pub(super) fn next_expiry(&self) -> Option<Millis> {
        let listed = TIMED.into_iter().flat_map(|prefix| self.storage.list(prefix));
        let pending = self.storage.get(PENDING).into_iter();
        listed.map(|(_, value)| value).chain(pending).filter_map(|value| expiry(&value)).min()
    }
}

fn expiry(record: &str) -> Option<Millis> {
    serde_json::from_str::<Value>(record).ok()?.get("expires_at")?.as_u64()
}
