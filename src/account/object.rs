//! An account's Durable Object without Cloudflare: storage, commands, and what happens when time passes.

use super::command::{Birth, Command, Import, Reply};
use super::snapshot::{self, Snapshot};
use super::typed::{self, Secrets};
use super::{Account, Event, Reason, Renewal, Status, Tokens};
use crate::code::Code;
use crate::connection::{self, Connection};
use crate::error::{Error, Result};
use crate::keys::Keys;
use crate::ports::{Clock, Http, Millis, Random, Signer, Storage, Store};
use crate::secret::Secret;
use crate::target::{Target, Variables};
use futures_util::future::{LocalBoxFuture, Shared};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cell::RefCell;
use std::rc::Rc;

/// The last hundred events are kept.
const AUDIT_LENGTH: usize = 100;
/// Milliseconds until a write to KV that failed is tried again.
const PUBLISH_AGAIN: Millis = 5_000;
/// The alarm does not renew a token again within this time.
const REST: Millis = 30_000;
/// An account used within this time is renewed in the background.
const IN_USE: Millis = 24 * 3_600_000;

pub(super) const ACCOUNT: &str = "account";
pub(super) const PENDING: &str = "pending";
const AUDIT: &str = "audit";

/// What an account needs of the world.
#[derive(Clone)]
pub struct World {
    /// The time.
    pub clock: Rc<dyn Clock>,
    /// Randomness.
    pub random: Rc<dyn Random>,
    /// Signatures.
    pub signer: Rc<dyn Signer>,
    /// The network.
    pub http: Rc<dyn Http>,
    /// KV: connections.
    pub config: Rc<dyn Store>,
    /// KV: snapshots of accounts.
    pub snapshots: Rc<dyn Store>,
    /// The deployment's keys.
    pub keys: Rc<Keys>,
}

pub(super) type Flight = Shared<LocalBoxFuture<'static, Result<()>>>;

/// One account's object. Cheap to clone: all clones share storage and the renewal under way.
#[derive(Clone)]
pub struct Object {
    pub(super) world: World,
    pub(super) storage: Rc<dyn Storage>,
    /// The renewal under way, which every call that needs it waits for.
    pub(super) flight: Rc<RefCell<Option<Flight>>>,
}

impl Object {
    /// The object over its storage.
    pub fn new(world: World, storage: Rc<dyn Storage>) -> Self {
        Self { world, storage, flight: Rc::default() }
    }

    /// Carries out a command.
    pub async fn handle(&self, command: Command) -> Result<Reply> {
        match command {
            Command::Create { birth, import, fields } => self.create(birth, import, &fields).await,
            Command::View => self.view(),
            Command::Link { birth, verify, more_scopes, fields } => self.link(birth, verify, more_scopes, fields).await,
            Command::Relink { more_scopes } => self.relink(&more_scopes),
            Command::Open { ticket } => self.open(&ticket).await,
            Command::Start { ticket, browser, redirect_uri, fields } => {
                self.start(&ticket, &browser, &redirect_uri, &fields).await
            }
            Command::Choices { ticket, browser } => self.choices(&ticket, &browser),
            Command::Choose { ticket, browser, option } => self.choose(&ticket, &browser, option).await,
            Command::Finish { state, browser, connection_name, answer } => {
                self.finish(&state, &browser, &connection_name, answer).await
            }
            Command::Verify { ticket, identifier } => self.verify(&ticket, &identifier).await,
            Command::Lease { rejected, for_at_least } => self.lease(rejected, for_at_least).await,
            Command::Read { by, with_refresh_token } => self.read(&by, with_refresh_token).await,
            Command::Renew => self.renew_now().await,
            Command::Nudge => {
                if let Some(mut account) = self.find() {
                    account.last_used_at = Some(self.now());
                    self.put(ACCOUNT, &account);
                }
                self.wake().await;
                Ok(Reply::Done)
            }
            Command::Disconnect => self.disconnect().await,
            Command::Claim { key, request, by } => self.claim(&key, &request, &by),
            Command::Settle { key, by, answer } => self.settle(&key, &by, answer),
        }
    }

    /// What is due now: publishing, renewing, forgetting. The alarm calls it.
    pub async fn wake(&self) {
        self.forget_expired();
        let Some(account) = self.find() else { return };
        if account.unpublished {
            self.publish().await;
        }
        // Read again: while KV was written a call may have renewed the token.
        let Some(account) = self.find() else { return };
        if self.renewal_due(&account).is_some_and(|at| self.now() >= at) {
            // The outcome is stored; nobody waits for it here.
            let _ = self.renew().await;
        }
    }

    /// When the object wants to be woken next.
    pub fn next_wake(&self) -> Option<Millis> {
        let account = self.find();
        let publish = account.as_ref().filter(|account| account.unpublished).map(|_| self.now() + PUBLISH_AGAIN);
        let renew = account.as_ref().and_then(|account| self.renewal_due(account));
        [publish, renew, self.storage.next_due()].into_iter().flatten().min()
    }

    /// When an account in use should be renewed in the background.
    fn renewal_due(&self, account: &Account) -> Option<Millis> {
        let tokens = account.tokens.as_ref().filter(|tokens| tokens.refresh.is_some())?;
        let in_use = account.last_used_at.is_some_and(|at| self.now() < at + IN_USE);
        (account.status == Status::Active && in_use).then_some(())?;
        // Whatever a provider says of lifetimes, the alarm asks it for a token twice a minute at most.
        let rested = account.renewal.renewed_at.map_or(0, |at| at + REST);
        Some(tokens.renew_at()?.max(account.renewal.next_attempt_at).max(rested))
    }

    async fn create(&self, birth: Birth, import: Option<Import>, fields: &Secrets) -> Result<Reply> {
        // One that never worked may be given another credential.
        let replaceable = |account: &Account| match account.status {
            Status::Disconnected => true,
            Status::PendingAuth => !fields.is_empty() && import.is_none(),
            _ => false,
        };
        if self.find().is_some_and(|account| !replaceable(&account)) {
            let message =
                format!("the account of `{}` on `{}` exists already", birth.identifier, birth.connection_name);
            return Err(Error::new(Code::Conflict, message).of(&birth.connector));
        }
        let mut account = self.born(birth);
        if !fields.is_empty() {
            let connection = self.connection(&account).await?;
            let (variables, secrets) = typed::sort(&connection, &Variables::new(), fields)?;
            if import.is_none() {
                self.save(&mut account);
                let consented = self.typed(&account, &connection, variables, &secrets).await;
                return match self.complete(consented?, &connection, None).await? {
                    Reply::Finished { snapshot, .. } => Ok(Reply::Snapshot(snapshot)),
                    other => Ok(other),
                };
            }
            account.variables = variables;
        }
        if let Some(import) = import {
            account.scopes = import.scopes;
            account.tokens =
                Some(self.sealed(&account, &import.access_token, import.refresh_token.as_ref(), import.expires_at));
            account.status = Status::Active;
            account.status_reason = Reason::Imported;
            account.connected_at = Some(self.now());
            self.note("imported", None);
        }
        self.save(&mut account);
        self.publish().await;
        Ok(Reply::Snapshot(Box::new(Snapshot::of(&account))))
    }

    /// A fresh record.
    pub(super) fn born(&self, birth: Birth) -> Account {
        let now = self.now();
        Account {
            v: 1,
            connection_id: birth.id.connection_id(),
            id: birth.id,
            connection_name: birth.connection_name,
            connector: birth.connector,
            identifier: birth.identifier,
            authorization_type: birth.authorization_type,
            status: Status::PendingAuth,
            status_reason: Reason::NeverConnected,
            label: None,
            external_id: None,
            variables: Variables::new(),
            scopes: Vec::new(),
            tokens: None,
            renewal: Renewal::default(),
            user_verify_url: None,
            created_at: now,
            updated_at: now,
            connected_at: None,
            last_used_at: None,
            links_from: 0,
            unpublished: false,
        }
    }

    fn view(&self) -> Result<Reply> {
        let account = self.load()?;
        let refresh = serde_json::json!({
            "failures": account.renewal.failures,
            "next_attempt_at": (account.renewal.failures > 0).then(|| crate::timestamp::format(account.renewal.next_attempt_at)),
            "last_error": account.renewal.last_error.as_ref().map(|error| error.to_json()["error"].clone()),
            "renewed_at": account.renewal.renewed_at.map(crate::timestamp::format),
        });
        let audit = self.get(AUDIT).unwrap_or_default();
        Ok(Reply::View { snapshot: Box::new(Snapshot::of(&account)), refresh, audit })
    }

    // The parts share what follows.

    pub(super) fn now(&self) -> Millis {
        self.world.clock.now()
    }

    pub(super) fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        serde_json::from_str(&self.storage.get(key)?).ok()
    }

    pub(super) fn put<T: Serialize>(&self, key: &str, value: &T) {
        self.storage.put(key, &serde_json::to_string(value).expect("records are plain data"));
    }

    /// As `put`, for what ends by itself.
    pub(super) fn put_until<T: Serialize>(&self, key: &str, value: &T, due_at: Millis) {
        self.storage.put_until(key, &serde_json::to_string(value).expect("records are plain data"), due_at);
    }

    pub(super) fn find(&self) -> Option<Account> {
        self.get(ACCOUNT)
    }

    pub(super) fn load(&self) -> Result<Account> {
        self.find().ok_or_else(|| {
            let message = "no such connected account; POST /api/v1/connected_accounts/magic_link makes one";
            Error::new(Code::ConnectedAccountNotFound, message)
        })
    }

    /// Stores the account, and marks it as not yet in KV.
    pub(super) fn save(&self, account: &mut Account) {
        account.updated_at = self.now();
        account.unpublished = true;
        self.put(ACCOUNT, account);
    }

    /// Writes the copy in KV. Comes after the object's own storage, and is tried again when it fails.
    pub(super) async fn publish(&self) {
        let Some(account) = self.find() else { return };
        let snapshot = Snapshot::of(&account);
        let value = serde_json::to_string(&snapshot).expect("a snapshot is plain data");
        let row = serde_json::to_string(&snapshot.row).expect("a row is plain data");
        if self.world.snapshots.put(&snapshot::key(account.id.as_str()), &value, Some(&row)).await.is_err() {
            return;
        }
        // The account may have changed during the write; then it is still unpublished. That it was used is no change.
        let Some(mut now) = self.find() else { return };
        let published = Account { last_used_at: account.last_used_at, ..now.clone() };
        if Snapshot::of(&published) == snapshot {
            now.unpublished = false;
            self.put(ACCOUNT, &now);
        }
    }

    pub(super) fn note(&self, event: &str, detail: Option<String>) {
        let mut audit: Vec<Event> = self.get(AUDIT).unwrap_or_default();
        audit.push(Event { at: self.now(), event: event.to_owned(), detail });
        let surplus = audit.len().saturating_sub(AUDIT_LENGTH);
        audit.drain(..surplus);
        self.put(AUDIT, &audit);
    }

    /// The account's connection, as KV has it now.
    pub(super) async fn connection(&self, account: &Account) -> Result<Connection> {
        let connection = connection::load(&*self.world.config, &self.world.keys, &account.connection_name).await?;
        if connection.id != account.connection_id {
            return Err(connection::not_found(&account.connection_name));
        }
        Ok(connection)
    }

    pub(super) fn target<'a>(connection: &'a Connection, variables: &'a Variables) -> Result<Target<'a>> {
        Ok(Target { connector: connection.connector()?, connection, variables })
    }

    pub(super) fn seal(&self, account: &Account, field: &str, secret: &Secret) -> String {
        self.world.keys.seal(&format!("{}/{field}", account.id), secret, &*self.world.random)
    }

    pub(super) fn open_sealed(&self, account: &Account, field: &str, sealed: &str) -> Result<Secret> {
        self.world.keys.open(&format!("{}/{field}", account.id), sealed)
    }

    /// Tokens as they are stored.
    pub(super) fn sealed(
        &self,
        account: &Account,
        access: &Secret,
        refresh: Option<&Secret>,
        expires_at: Option<Millis>,
    ) -> Tokens {
        Tokens {
            access: self.seal(account, "access", access),
            refresh: refresh.map(|token| self.seal(account, "refresh", token)),
            previous_refresh: None,
            obtained_at: self.now(),
            expires_at,
        }
    }
}
