//! What an account forgets when its time is over: links, consents under way, idempotency keys, consents nobody verified.

use super::object::{Object, PENDING};
use super::{Reason, Status};
use crate::timestamp;

/// Records forgotten at a time. More that are due wake the object again at once, so that each alarm is short.
const AT_A_TIME: u32 = 500;

impl Object {
    /// Forgets links, flows and idempotency keys that are over, and a consent nobody verified. Nothing is read for it.
    pub(super) fn forget_expired(&self) {
        let now = self.now();
        for key in self.storage.due(now, AT_A_TIME) {
            self.storage.delete(&key);
            if key == PENDING {
                self.verification_expired();
            }
        }
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
