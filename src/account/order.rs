//! One order of events. An account counts what ends its past (its epoch): a consent that was kept, an import, a
//! disconnect, being made anew. Whoever waited for somebody else compares before writing; what belongs to an older epoch
//! is dead, and what it obtained is ended at the provider.

use super::Account;
use super::completion::{Choice, Pending};
use super::connect::flow_error;
use super::leftovers::Obtained;
use super::object::{Object, PENDING};
use crate::error::{Error, Result};
use crate::target::Variables;

/// The person behind tokens, by the provider's id.
const PERSON: &str = "external_id";

/// The person that variables tell of.
pub(super) fn person(variables: &Variables) -> Option<&String> {
    variables.get(PERSON)
}

/// The failure of a step that belongs to an older epoch.
pub(super) fn ended() -> Error {
    flow_error(
        "link_ended",
        "The account was connected, disconnected or made anew since this link was opened. Nothing was changed by it.",
    )
}

impl Account {
    /// The end of its past: what began before is dead.
    pub(super) fn begin_epoch(&mut self, now: crate::ports::Millis) {
        self.epoch += 1;
        self.links_from = now;
    }

    /// What it holds of a provider, with whose it is.
    pub(super) fn held(&self) -> Option<Obtained> {
        let mut variables = self.variables.clone();
        variables.extend(self.external_id.clone().map(|id| (PERSON.to_owned(), id)));
        Some(Obtained { tokens: self.tokens.clone()?, variables })
    }
}

/// What the past had obtained.
pub(super) struct Past {
    /// Nothing.
    pub(super) is_empty: bool,
    /// The account's own, or what waited last, as it was laid aside; none if the provider has no way to end it.
    pub(super) last: Option<u64>,
}

impl Object {
    /// The epoch now; 0 for an account that nobody made yet.
    pub(super) fn epoch(&self) -> u32 {
        self.find().map_or(0, |account| account.epoch)
    }

    /// The account, unless its epoch has passed. `None` stands for an account that nobody made yet, of epoch 0.
    pub(super) fn still(&self, epoch: u32) -> Result<Option<Account>> {
        let account = self.find();
        if account.as_ref().map_or(0, |account| account.epoch) == epoch { Ok(account) } else { Err(ended()) }
    }

    /// As [`Object::still`], for an account that is there.
    pub(super) fn still_there(&self, epoch: u32) -> Result<Account> {
        self.still(epoch)?.ok_or_else(ended)
    }

    /// Forgets the links, consents, choices and verifications of the past. What had been obtained by them, and what the
    /// account itself held, is laid aside to be ended; that is the last of it, so that it is the last to go when there is
    /// too much.
    pub(super) fn forget_the_past(&self, account: &Account) -> Past {
        let choices = self.storage.keys("choice:").into_iter().filter_map(|key| self.get::<Choice>(&key));
        let mut obtained: Vec<_> = choices.map(Choice::obtained).collect();
        obtained.extend(self.get::<Pending>(PENDING).map(Pending::obtained));
        obtained.extend(account.held());
        self.storage.delete(PENDING);
        for prefix in ["link:", "flow:", "choice:"] {
            self.storage.delete_below(prefix);
        }
        // Until KV has what comes now, its copy may let calls go on that must not.
        self.copy.misleads.set(true);
        Past { is_empty: obtained.is_empty(), last: self.lay_aside(obtained).last().copied() }
    }
}
