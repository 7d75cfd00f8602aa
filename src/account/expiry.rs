//! What an account forgets when its time is over: links, consents under way, idempotency keys, consents nobody verified.

use super::completion::{Choice, Pending};
use super::object::{Object, PENDING};
use super::{Reason, Status};
use crate::ports::Millis;
use crate::timestamp;
use serde::Serialize;

/// Records forgotten at a time. More that are due wake the object again at once, so that each alarm is short.
const AT_A_TIME: u32 = 500;

/// Consents under way of one account, and choices: whoever has a link can begin one, and nobody has that many browsers.
pub(super) const MOST_UNDER_WAY: usize = 20;

impl Object {
    /// Stores what a browser began. When there are too many of its kind, the oldest goes, and what it had obtained is ended.
    pub(super) fn put_under_way<T: Serialize>(&self, prefix: &str, key: &str, value: &T, due_at: Millis) {
        let others = self.storage.keys(prefix);
        for surplus in others.iter().take((others.len() + 1).saturating_sub(MOST_UNDER_WAY)) {
            let obtained = self.get::<Choice>(surplus).map(Choice::obtained);
            self.storage.delete(surplus);
            self.lay_aside(obtained.into_iter().collect());
        }
        self.put_until(key, value, due_at);
    }

    /// Forgets links, flows and idempotency keys that are over, and a consent nobody verified. Nothing is read for it but
    /// what was obtained from a provider; that is laid aside, to be ended there.
    pub(super) fn forget_expired(&self) {
        let now = self.now();
        let mut obtained = Vec::new();
        for key in self.storage.due(now, AT_A_TIME) {
            if key == PENDING {
                obtained.extend(self.get::<Pending>(PENDING).map(Pending::obtained));
                self.verification_expired();
            } else if key.starts_with("choice:") {
                obtained.extend(self.get::<Choice>(&key).map(Choice::obtained));
            }
            self.storage.delete(&key);
        }
        self.lay_aside(obtained);
    }

    fn verification_expired(&self) {
        self.note("verification_expired", Some(timestamp::format(self.now())));
        if let Some(mut account) = self.find().filter(|account| account.status == Status::PendingVerification) {
            account.status = Status::PendingAuth;
            account.status_reason = Reason::VerificationExpired;
            self.save(&mut account);
        }
    }
}
