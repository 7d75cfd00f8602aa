//! What a handler may use: the ports, the deployment's settings, and what an isolate may remember.

use crate::account::AccountId;
use crate::account::command::{Accounts, Command, Mark, Reply};
use crate::account::snapshot::Snapshot;
use crate::caller::Caller;
use crate::caller::throttle::Throttle;
use crate::code::Code;
use crate::connection::{self, Connection};
use crate::digest;
use crate::error::Result;
use crate::keys::Keys;
use crate::limit::Limiters;
use crate::limit::gate::Leases;
use crate::ports::{Clock, Http, Millis, Random, Store, random};
use crate::secret::Secret;
use async_trait::async_trait;
use futures_util::future::LocalBoxFuture;
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

/// How long an isolate believes what KV said of a connection or a caller.
const REMEMBER: Millis = 30_000;
/// A write to KV is everywhere after this time.
const SPREADS: Millis = 120_000;
/// More entries than this are forgotten, all at once: they are copies.
const MANY: usize = 2_000;

/// Work that outlives the answer, and waiting.
#[async_trait(?Send)]
pub trait Background {
    /// Runs after the answer was sent.
    fn spawn(&self, work: LocalBoxFuture<'static, ()>);
    /// Waits.
    async fn sleep(&self, time: Millis);
}

/// The deployment's settings.
#[derive(Clone)]
pub struct Settings {
    /// Where this Worker is reached, without a slash at the end.
    pub base_url: String,
    /// Id of the first caller.
    pub client_id: Option<String>,
    /// Hash of its secret.
    pub client_secret_hash: Option<String>,
}

/// Everything a handler may use.
#[derive(Clone)]
pub struct App {
    /// The time.
    pub clock: Rc<dyn Clock>,
    /// Randomness.
    pub random: Rc<dyn Random>,
    /// The network.
    pub http: Rc<dyn Http>,
    /// KV: connections and callers.
    pub config: Rc<dyn Store>,
    /// KV: snapshots of accounts.
    pub snapshots: Rc<dyn Store>,
    /// The accounts' objects.
    pub accounts: Rc<dyn Accounts>,
    /// The limits' objects.
    pub limiters: Rc<dyn Limiters>,
    /// Work that outlives the answer.
    pub background: Rc<dyn Background>,
    /// The deployment's keys.
    pub keys: Rc<Keys>,
    /// The deployment's settings.
    pub settings: Settings,
    /// What this isolate remembers.
    pub isolate: Rc<Isolate>,
}

/// What an isolate remembers. Only copies of finished values: no request ever waits for another through it.
#[derive(Default)]
pub struct Isolate {
    connections: RefCell<HashMap<String, (Millis, Rc<Known>)>>,
    callers: RefCell<HashMap<String, (Millis, Rc<Caller>)>>,
    /// What accounts said last of themselves: when they were changed. KV may tell of them as they were before.
    newest: RefCell<HashMap<AccountId, (Millis, Newest)>>,
    /// Accounts leased for a moment.
    pub leased: RefCell<HashMap<AccountId, (Millis, Rc<Leased>)>>,
    /// Permits.
    pub leases: Leases,
    /// Failures at the token endpoint.
    pub throttle: Throttle,
}

/// When an account was changed last.
struct Newest {
    updated_at: Millis,
    /// It said so itself; else it refused a question at that time, by this isolate's clock.
    by_itself: bool,
}

impl Isolate {
    /// Whether an account has said of itself that it is newer than a copy.
    pub fn knows_newer(&self, id: &AccountId, updated_at: Millis, now: Millis) -> bool {
        let newest = self.newest.borrow();
        newest.get(id).is_some_and(|(noted_at, newest)| now < noted_at + SPREADS && updated_at < newest.updated_at)
    }

    /// Notes when an account was changed, and gives up what is leased of it from before.
    fn note(&self, id: &AccountId, new: Newest, now: Millis) {
        let mut newest = self.newest.borrow_mut();
        if newest.len() >= MANY {
            newest.retain(|_, (noted_at, _)| now < *noted_at + SPREADS);
        }
        // Two answers may come in another order than they were given; two clocks cannot be compared.
        let is_older = |known: &Newest| known.by_itself && new.by_itself && new.updated_at < known.updated_at;
        if newest.get(id).is_some_and(|(_, known)| is_older(known)) {
            return;
        }
        drop(newest);
        let updated_at = new.updated_at;
        remember(&self.newest, id.clone(), now, new);
        let mut leased = self.leased.borrow_mut();
        if leased.get(id).is_some_and(|(_, leased)| leased.snapshot.row.updated_at < updated_at) {
            leased.remove(id);
        }
    }
}

/// The accounts' objects. What they say is noted, so that no older copy in KV is believed after it: the first call after a
/// disconnect, a consent or a renewal would be one of the account as it was.
pub struct Noted {
    /// The objects.
    pub accounts: Rc<dyn Accounts>,
    /// Where it is noted.
    pub isolate: Rc<Isolate>,
    /// The time.
    pub clock: Rc<dyn Clock>,
}

#[async_trait(?Send)]
impl Accounts for Noted {
    async fn ask(&self, id: &AccountId, command: Command) -> Result<Reply> {
        let outcome = self.accounts.ask(id, command).await;
        let now = self.clock.now();
        match &outcome {
            Ok(reply) => {
                if let Some(snapshot) = reply.snapshot() {
                    self.isolate.note(id, Newest { updated_at: snapshot.row.updated_at, by_itself: true }, now);
                }
            }
            // It cannot be used, whatever KV says of it.
            Err(error) if error.code == Code::ReauthorizationRequired => {
                self.isolate.note(id, Newest { updated_at: now, by_itself: false }, now);
            }
            Err(_) => {}
        }
        outcome
    }
}

/// A connection and, once it was needed, the key its account ids are made with.
pub struct Known {
    /// The connection.
    pub connection: Connection,
    salt: OnceCell<Vec<u8>>,
}

/// An account and its token, opened.
pub struct Leased {
    /// The account.
    pub snapshot: Snapshot,
    /// Its access token.
    pub token: Secret,
}

impl Leased {
    /// What tells its token from others of the account.
    pub fn mark(&self) -> Mark {
        Mark { token: self.token.fingerprint(), epoch: self.snapshot.epoch }
    }
}

impl Known {
    /// The id of the account with this identifier.
    pub fn account_id(&self, identifier: &str, keys: &Keys) -> Result<AccountId> {
        let salt = if let Some(salt) = self.salt.get() {
            salt
        } else {
            let salt = self.connection.open_salt(keys)?;
            self.salt.get_or_init(|| salt)
        };
        Ok(AccountId::derive(&self.connection.id, salt, identifier))
    }
}

impl App {
    /// Now.
    pub fn now(&self) -> Millis {
        self.clock.now()
    }

    /// A fresh id: a prefix and 120 random bits.
    pub fn fresh_id(&self, prefix: &str) -> String {
        format!("{prefix}_{}", digest::base32(&random::<15>(&*self.random)))
    }

    /// A connection, remembered for half a minute.
    pub async fn connection(&self, name: &str) -> Result<Rc<Known>> {
        let now = self.now();
        if let Some((at, known)) = self.isolate.connections.borrow().get(name)
            && now < at + REMEMBER
        {
            return Ok(known.clone());
        }
        if !connection::is_name(name) {
            return Err(connection::not_found(name));
        }
        let connection = connection::load(&*self.config, &self.keys, name).await?;
        let known = Rc::new(Known { connection, salt: OnceCell::new() });
        remember(&self.isolate.connections, name.to_owned(), now, known.clone());
        Ok(known)
    }

    /// Forgets a connection that was changed here.
    pub fn forget_connection(&self, name: &str) {
        self.isolate.connections.borrow_mut().remove(name);
    }

    /// A caller, remembered for half a minute.
    pub async fn caller(&self, client_id: &str) -> Result<Option<Rc<Caller>>> {
        let now = self.now();
        if let Some((at, caller)) = self.isolate.callers.borrow().get(client_id)
            && now < at + REMEMBER
        {
            return Ok(Some(caller.clone()));
        }
        let Some(caller) = crate::caller::find(&*self.config, client_id).await?.map(Rc::new) else { return Ok(None) };
        remember(&self.isolate.callers, client_id.to_owned(), now, caller.clone());
        Ok(Some(caller))
    }

    /// Forgets a caller that was removed here.
    pub fn forget_caller(&self, client_id: &str) {
        self.isolate.callers.borrow_mut().remove(client_id);
    }
}

/// Remembers a copy.
pub fn remember<K: std::hash::Hash + Eq, V>(map: &RefCell<HashMap<K, (Millis, V)>>, key: K, now: Millis, value: V) {
    let mut map = map.borrow_mut();
    if map.len() >= MANY {
        map.clear();
    }
    map.insert(key, (now, value));
}
