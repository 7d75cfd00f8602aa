//! What was obtained from a provider and is not kept: it is ended there, as soon as that harms nothing that is in use.
//!
//! At many vendors a person has one grant per application, and ending one token of it ends all. So what belongs to the
//! person whose tokens are in use waits until they are not, and so does what nobody can tell from theirs.

use super::completion::Pending;
use super::object::{LEFTOVERS, Object, PENDING};
use super::order::person;
use super::{Account, Status, Tokens};
use crate::error::Result;
use crate::ports::{Millis, random};
use crate::target::Variables;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::rc::{Rc, Weak};

/// More than this are not kept to be ended; the oldest goes. All that a disconnect may find fits: choices, a verification
/// and the account's own.
const MOST: usize = 24;
const _: () = assert!(MOST >= super::expiry::MOST_UNDER_WAY + 2);
/// So many are ended each time the object wakes.
const AT_A_TIME: usize = 5;
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
    /// Random; 0 where an older version stored it.
    #[serde(default)]
    id: u64,
    tries: u32,
    next_try_at: Millis,
}

impl Leftover {
    fn is(&self, other: &Self) -> bool {
        self.id == other.id && (self.id != 0 || self.tokens.access == other.tokens.access)
    }
}

/// What came of ending a grant at the provider.
#[derive(Clone)]
pub(super) enum Ended {
    /// There was nothing to end.
    Nothing,
    /// It waits: its person's tokens are in use.
    InUse,
    /// The provider has no way to do it.
    NoWay,
    /// It is done.
    Done,
    /// It is not, for this reason.
    Failed(String),
}

/// Where somebody is told what comes of ending one of them.
pub(super) struct Watch(u64, Rc<RefCell<Option<Ended>>>);

/// Those who want to know, and of which.
pub(super) type Watches = Rc<RefCell<Vec<(u64, Weak<RefCell<Option<Ended>>>)>>>;

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
    /// is, nothing is ended that may be of the same person.
    pub(super) fn consenting(&self, epoch: u32) -> Consenting {
        self.consents.borrow_mut().push(epoch);
        Consenting(self.consents.clone(), epoch)
    }

    /// The same, of the epoch now, after what is being ended at the moment: that may be of the person who comes.
    pub(super) async fn consenting_alone(&self) -> Consenting {
        loop {
            let epoch = self.epoch();
            let consenting = self.consenting(epoch);
            // One at most: nothing else is begun meanwhile.
            while self.ending.wait().await {}
            if self.epoch() == epoch {
                return consenting;
            }
        }
    }

    /// Stores what was obtained from the provider and is not kept, to be ended there when it harms nobody any more, and says
    /// under which ids. The alarm does it: no command waits for a provider to forget. What the provider has no way to end is
    /// only forgotten. This belongs in the same turn as what takes it out of storage elsewhere, or it could be lost between.
    pub(super) fn lay_aside(&self, obtained: Vec<Obtained>) -> Vec<u64> {
        if obtained.is_empty() || !self.find().is_some_and(|account| can_be_revoked(&account)) {
            return Vec::new();
        }
        let mut leftovers = self.leftovers();
        let before = leftovers.len();
        leftovers.extend(obtained.into_iter().map(|Obtained { tokens, variables }| {
            let id = u64::from_le_bytes(random(&*self.world.random));
            Leftover { tokens, variables, id, tries: 0, next_try_at: 0 }
        }));
        let ids = leftovers[before..].iter().map(|leftover| leftover.id).collect();
        let surplus = leftovers.len().saturating_sub(MOST);
        leftovers.drain(..surplus);
        self.put(LEFTOVERS, &leftovers);
        ids
    }

    /// Seals again what an older key sealed. Whether there was any.
    pub(super) fn reseal_leftovers(&self, account: &Account) -> Result<bool> {
        let (mut leftovers, mut changed) = (self.leftovers(), false);
        for leftover in &mut leftovers {
            changed |= self.reseal_tokens(account, &mut leftover.tokens)?;
        }
        if changed {
            self.put(LEFTOVERS, &leftovers);
        }
        Ok(changed)
    }

    fn leftovers(&self) -> Vec<Leftover> {
        self.get(LEFTOVERS).unwrap_or_default()
    }

    /// Ends what can be ended now, a few at a time: what is left wakes the object again at once.
    pub(super) async fn end_leftovers(&self) {
        for _ in 0..AT_A_TIME {
            let Some(leftover) = self.next_leftover() else { return };
            let object = self.clone();
            self.ending.join(Box::pin(async move { object.end(leftover).await })).await;
        }
    }

    /// Asks to be told what comes of ending this one, whoever does it.
    pub(super) fn watch(&self, id: u64) -> Watch {
        let watch = Watch(id, Rc::default());
        let mut watches = self.watches.borrow_mut();
        watches.retain(|(_, known)| known.strong_count() > 0);
        watches.push((id, Rc::downgrade(&watch.1)));
        watch
    }

    /// Ends the one that is watched, if nobody does already, and tells what came of it.
    pub(super) async fn end_and_tell(&self, Watch(id, told): Watch) -> Ended {
        while told.borrow().is_none() && self.ending.wait().await {}
        if told.borrow().is_none() {
            let Some(leftover) = self.leftovers().into_iter().find(|leftover| leftover.id == id) else {
                return Ended::NoWay;
            };
            if !self.may_end(&leftover) {
                return Ended::InUse;
            }
            let object = self.clone();
            self.ending.join(Box::pin(async move { object.end(leftover).await })).await;
        }
        told.take().unwrap_or(Ended::NoWay)
    }

    /// The one that was laid aside last.
    pub(super) fn last_leftover(&self) -> Option<u64> {
        self.leftovers().last().map(|leftover| leftover.id).filter(|id| *id != 0)
    }

    /// When there is something to end next.
    pub(super) fn next_end(&self) -> Option<Millis> {
        self.leftovers().iter().filter(|leftover| self.may_end(leftover)).map(|leftover| leftover.next_try_at).min()
    }

    fn next_leftover(&self) -> Option<Leftover> {
        let mut due = self.leftovers();
        due.retain(|leftover| self.now() >= leftover.next_try_at && self.may_end(leftover));
        // First the one that somebody waits for.
        let watches = self.watches.borrow();
        let is_watched = |one: &Leftover| watches.iter().any(|(id, watch)| *id == one.id && watch.strong_count() > 0);
        let at = due.iter().position(is_watched).unwrap_or(0);
        (!due.is_empty()).then(|| due.swap_remove(at))
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
    async fn end(&self, leftover: Leftover) {
        let Some(account) = self.find() else { return };
        let Leftover { tokens, variables, id, tries, next_try_at } = leftover.clone();
        let is_early = self.now() < next_try_at;
        let outcome = self.revoke(&Account { tokens: Some(tokens), variables, ..account }).await;
        let mut leftovers = self.leftovers();
        let (again, ended) = match outcome {
            None => (false, Ended::NoWay),
            Some(Ok(())) => {
                self.note("revoked", None);
                (false, Ended::Done)
            }
            Some(Err(NotRevoked { why, for_now })) => {
                // A try that somebody asks for before it is due does not count.
                let again = for_now && (is_early || tries + 1 < TRIES);
                self.note("not_revoked", Some(if again { format!("{why}; it is tried again") } else { why.clone() }));
                (again, Ended::Failed(why))
            }
        };
        if again {
            for leftover in leftovers.iter_mut().filter(|known| !is_early && known.is(&leftover)) {
                leftover.tries = tries + 1;
                leftover.next_try_at = self.now() + (AGAIN << (2 * tries));
            }
        } else {
            leftovers.retain(|known| !known.is(&leftover));
        }
        if leftovers.is_empty() {
            self.storage.delete(LEFTOVERS);
        } else {
            self.put(LEFTOVERS, &leftovers);
        }
        let watches = self.watches.borrow();
        for (_, watch) in watches.iter().filter(|(watched, _)| *watched == id) {
            if let Some(watch) = watch.upgrade() {
                watch.replace(Some(ended.clone()));
            }
        }
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
