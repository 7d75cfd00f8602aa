//! The copy of an account in KV: written after the object's own storage, one write at a time, the newest last.

use super::object::Object;
use super::snapshot::{self, Snapshot};
use super::{Account, Status};
use crate::ports::Millis;
use std::cell::Cell;

/// Milliseconds until a write that failed is tried again the first time; doubles with each further one.
const FIRST_AGAIN: Millis = 5_000;
/// The longest time until it is tried again.
const LONGEST_AGAIN: Millis = 600_000;
/// Writes in a row, for as long as the account changes during each; then the alarm goes on.
const IN_A_ROW: usize = 10;

/// What an object remembers of its writes to KV. Lost with its memory without harm: whoever finds an account unpublished
/// takes it that a write may still arrive.
#[derive(Default)]
pub(super) struct KvCopy {
    /// Failures since the last success.
    failures: Cell<u32>,
    /// When the next one is due.
    again_at: Cell<Option<Millis>>,
    /// Whether the copy in KV may let calls go on that must not: it is older than a disconnect, a consent or an end.
    pub(super) misleads: Cell<bool>,
    /// Whether a write that failed may still arrive, after one that worked.
    pub(super) late: Cell<bool>,
}

impl Object {
    /// Writes the copy in KV. True when what the account is now, or a newer state, stands there.
    ///
    /// Two writes at once could arrive in either order, so there is one at a time: whoever changes the account meanwhile
    /// waits for that one, and it writes again.
    pub(super) async fn publish(&self) -> bool {
        if self.find().is_none_or(|account| !account.unpublished) {
            return true;
        }
        let object = self.clone();
        self.publishing.join(Box::pin(async move { object.write_copies().await })).await
    }

    async fn write_copies(&self) -> bool {
        for _ in 0..IN_A_ROW {
            let Some(account) = self.find().filter(|account| account.unpublished) else { return true };
            if !self.write_copy(&account).await {
                return self.without_copy(&account).await;
            }
            self.copy.failures.set(0);
            self.copy.again_at.set(None);
            if self.is_published(&account) {
                self.copy.misleads.set(false);
                return true;
            }
        }
        false
    }

    async fn write_copy(&self, account: &Account) -> bool {
        let snapshot = Snapshot::of(account);
        let value = serde_json::to_string(&snapshot).expect("a snapshot is plain data");
        let (key, row) = (snapshot::key(account.id.as_str()), snapshot.row.metadata());
        self.world.snapshots.put(&key, &value, Some(&row)).await.is_ok()
    }

    /// Marks the account as published, unless it changed during the write. That it was used is no change.
    fn is_published(&self, written: &Account) -> bool {
        let Some(mut now) = self.find() else { return true };
        let unused = Account { last_used_at: written.last_used_at, ..now.clone() };
        if Snapshot::of(&unused) != Snapshot::of(written) {
            return false;
        }
        // After a write that failed the alarm writes once more: the failed one may have arrived since.
        now.unpublished = self.copy.late.replace(false);
        self.put(super::object::ACCOUNT, &now);
        true
    }

    /// A copy that cannot be written. None at all is better than one that lets calls go on: then the object is asked.
    async fn without_copy(&self, account: &Account) -> bool {
        self.copy.failures.set(self.copy.failures.get().saturating_add(1));
        self.copy.again_at.set(None);
        self.copy.late.set(true);
        if account.status == Status::Active && !self.copy.misleads.get() {
            return false;
        }
        let deleted = self.world.snapshots.delete(&snapshot::key(account.id.as_str())).await.is_ok();
        if deleted {
            self.copy.misleads.set(false);
        }
        deleted
    }

    /// When a write that failed, or that nobody knows to have arrived, is tried again. It is settled when it is first asked
    /// for: whoever asks the account meanwhile must not put it off.
    pub(super) fn publish_again_at(&self) -> Millis {
        let failures = self.copy.failures.get().saturating_sub(1).min(10);
        let at = self.copy.again_at.get().unwrap_or_else(|| self.now() + (FIRST_AGAIN << failures).min(LONGEST_AGAIN));
        self.copy.again_at.set(Some(at));
        at
    }
}
