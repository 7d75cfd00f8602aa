//! What was obtained from a provider and is not kept: it is ended there, as soon as that harms nothing that is in use.
//!
//! At many vendors a person has one grant per application, and ending one token of it ends all. So what belongs to the
//! person whose tokens are in use waits until they are not, and so does what nobody can tell from theirs.

use super::completion::Pending;
use super::object::{LEFTOVERS, Object, PENDING};
use super::order::person;
use super::{Account, Status, Tokens};
use crate::ports::Millis;
use crate::target::Variables;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::rc::Rc;

/// More than this are not kept to be ended; the oldest goes.
const MOST: usize = 10;
/// How often a provider that does not answer is asked.
const TRIES: u32 = 3;
/// Milliseconds until it is asked again; four times as long each time.
const AGAIN: Millis = 60_000;

/// What was obtained from a provider and is not kept.
pub(super) struct Obtained {
    pub(super) tokens: Tokens,
    /// What is known of it; the person with it, if the provider said who it is.
    pub(super) variables: Variables,
}

/// The same, stored until it is ended.
#[derive(Clone, Serialize, Deserialize)]
struct Leftover {
    tokens: Tokens,
    variables: Variables,
    tries: u32,
    next_try_at: Millis,
}

/// What came of ending a grant at the provider.
pub(super) enum Ended {
    /// It waits: its person's tokens are in use.
    InUse,
    /// The provider has no way to do it.
    NoWay,
    /// It is done.
    Done,
    /// It is not, for this reason.
    Failed(String),
}

/// Why a revocation did not work.
pub(super) struct NotRevoked {
    pub(super) why: String,
    /// Whether it may work later.
    pub(super) for_now: bool,
}

/// A consent that has something of the provider, or is about to, and that nobody else knows of yet.
pub(super) struct Consenting(Rc<RefCell<Vec<u32>>>, u32);

impl Drop for Consenting {
    fn drop(&mut self) {
        if let Ok(mut epochs) = self.0.try_borrow_mut()
            && let Some(at) = epochs.iter().position(|epoch| *epoch == self.1)
        {
            epochs.swap_remove(at);
        }
    }
}

impl Object {
    /// Notes that a consent of this epoch is being completed, for as long as the answer lives: until it is known whose it
    /// is, nothing is ended that may be of the same person. What is being ended now is waited for.
    pub(super) fn consenting(&self, epoch: u32) -> Consenting {
        self.consents.borrow_mut().push(epoch);
        Consenting(self.consents.clone(), epoch)
    }

    /// Ends at the provider what was obtained and is not kept, now or when it harms nobody any more.
    pub(super) async fn discard(&self, obtained: Vec<Obtained>) {
        self.lay_aside(obtained);
        self.end_leftovers().await;
    }

    /// Stores what is to be ended. What the provider has no way to end is only forgotten.
    pub(super) fn lay_aside(&self, obtained: Vec<Obtained>) {
        if obtained.is_empty() || !self.find().is_some_and(|account| can_be_revoked(&account)) {
            return;
        }
        let mut leftovers = self.leftovers();
        leftovers.extend(obtained.into_iter().map(|Obtained { tokens, variables }| Leftover {
            tokens,
            variables,
            tries: 0,
            next_try_at: 0,
        }));
        let surplus = leftovers.len().saturating_sub(MOST);
        leftovers.drain(..surplus);
        self.put(LEFTOVERS, &leftovers);
    }

    fn leftovers(&self) -> Vec<Leftover> {
        self.get(LEFTOVERS).unwrap_or_default()
    }

    /// Ends what can be ended now.
    pub(super) async fn end_leftovers(&self) {
        if self.next_leftover().is_none() {
            return;
        }
        let object = self.clone();
        let work = async move {
            while let Some(leftover) = object.next_leftover() {
                object.end(leftover).await;
            }
        };
        self.ending.join(Box::pin(work)).await;
    }

    /// As [`Object::end_leftovers`], for one of them whose outcome somebody wants to know.
    pub(super) async fn end_and_tell(&self, access: &str) -> Ended {
        while self.ending.wait().await {}
        let Some(leftover) = self.leftovers().into_iter().find(|leftover| leftover.tokens.access == access) else {
            return Ended::NoWay;
        };
        if !self.may_end(&leftover) {
            return Ended::InUse;
        }
        let (object, outcome) = (self.clone(), Rc::new(RefCell::new(Ended::NoWay)));
        let told = outcome.clone();
        self.ending.join(Box::pin(async move { *told.borrow_mut() = object.end(leftover).await })).await;
        outcome.replace(Ended::NoWay)
    }

    /// When there is something to end next.
    pub(super) fn next_end(&self) -> Option<Millis> {
        self.leftovers().iter().filter(|leftover| self.may_end(leftover)).map(|leftover| leftover.next_try_at).min()
    }

    fn next_leftover(&self) -> Option<Leftover> {
        let due = |leftover: &Leftover| self.now() >= leftover.next_try_at && self.may_end(leftover);
        self.leftovers().into_iter().find(due)
    }

    fn may_end(&self, leftover: &Leftover) -> bool {
        let Some(account) = self.find() else { return false };
        let whose = person(&leftover.variables);
        let same = |holder: Option<&String>| holder.is_none() || whose.is_none() || holder == whose;
        let in_use = account.status == Status::Active && account.tokens.is_some();
        let waits = self.get::<Pending>(PENDING);
        // Whose the tokens are that wait for a choice, or in a consent being completed, is not known yet.
        let unknown = self.consents.borrow().contains(&account.epoch) || self.storage.usage("choice:").records > 0;
        let harms = (in_use && same(account.external_id.as_ref())) || waits.is_some_and(|wait| same(wait.person()));
        !harms && !unknown
    }

    /// Ends one grant, and forgets it unless it is worth another try.
    async fn end(&self, leftover: Leftover) -> Ended {
        let Some(account) = self.find() else { return Ended::NoWay };
        let Leftover { tokens, variables, tries, .. } = leftover;
        let access = tokens.access.clone();
        let outcome = self.revoke(&Account { tokens: Some(tokens), variables, ..account }).await;
        let mut leftovers = self.leftovers();
        let (again, ended) = match outcome {
            None => (false, Ended::NoWay),
            Some(Ok(())) => {
                self.note("revoked", None);
                (false, Ended::Done)
            }
            Some(Err(NotRevoked { why, for_now })) => {
                let again = for_now && tries + 1 < TRIES;
                self.note("not_revoked", Some(if again { format!("{why}; it is tried again") } else { why.clone() }));
                (again, Ended::Failed(why))
            }
        };
        if again {
            for leftover in leftovers.iter_mut().filter(|leftover| leftover.tokens.access == access) {
                leftover.tries = tries + 1;
                leftover.next_try_at = self.now() + (AGAIN << (2 * tries));
            }
        } else {
            leftovers.retain(|leftover| leftover.tokens.access != access);
        }
        if leftovers.is_empty() {
            self.storage.delete(LEFTOVERS);
        } else {
            self.put(LEFTOVERS, &leftovers);
        }
        ended
    }
}

/// Whether the provider has a way to end what an account is given. What a person typed in is theirs, and used elsewhere, too.
fn can_be_revoked(account: &Account) -> bool {
    let Some(connector) = crate::catalog::find_connector(&account.connector) else { return false };
    match account.authorization_type.as_str() {
        "OAUTH" => connector.auth.oauth2.as_ref().is_some_and(|oauth2| oauth2.revoke.is_some()),
        "OAUTH1" => connector.auth.oauth1.as_ref().is_some_and(|oauth1| oauth1.revoke.is_some()),
        _ => false,
    }
}
