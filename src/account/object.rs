//! An account's Durable Object without Cloudflare: storage, commands, and what happens when time passes.

use super::command::{Birth, Command, Reply};
use super::flight::Flight;
use super::leftovers::Watches;
use super::publish::KvCopy;
use super::snapshot::Snapshot;
use super::{Account, Event, Reason, Renewal, Status, Tokens};
use crate::code::Code;
use crate::connection::{self, Connection};
use crate::error::{Error, Result};
use crate::keys::Keys;
use crate::ports::{Clock, Http, Millis, Random, Signer, Storage, Store};
use crate::secret::Secret;
use crate::target::{Target, Variables};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cell::RefCell;
use std::rc::Rc;

/// The last hundred events are kept, of each kind.
const AUDIT_LENGTH: usize = 100;
/// Events that happen again and again, whoever makes them: the same ones are counted in one line, and they stand apart, so
/// that they do not push out who connected and who disconnected.
const REPEATED: [&str; 9] = [
    "link_created",
    "connect_failed",
    "other_account",
    "revoked",
    "not_revoked",
    "refreshed",
    "refresh_failed",
    "refused",
    "token_read",
];
/// The alarm does not renew a token again within this time.
const REST: Millis = 30_000;
/// An account used within this time is renewed in the background.
const IN_USE: Millis = 24 * 3_600_000;

pub(super) const ACCOUNT: &str = "account";
pub(super) const PENDING: &str = "pending";
pub(super) const LEFTOVERS: &str = "leftovers";
const AUDIT: &str = "audit";
const ROUTINE: &str = "routine";

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

/// One account's object. Cheap to clone: all clones share storage and the renewal under way.
#[derive(Clone)]
pub struct Object {
    pub(super) world: World,
    pub(super) storage: Rc<dyn Storage>,
    /// The renewal under way, which every call that needs it waits for, with the epoch it was begun in.
    pub(super) renewing: Flight<(u32, Result<()>)>,
    /// The write to KV under way.
    pub(super) publishing: Flight<bool>,
    pub(super) copy: Rc<KvCopy>,
    /// The epochs of the consents being completed.
    pub(super) consents: Rc<RefCell<Vec<u32>>>,
    /// What is being ended at the provider.
    pub(super) ending: Flight<()>,
    /// Who waits to hear of that.
    pub(super) watches: Watches,
    /// The caller for whom this command is carried out.
    by: Option<Rc<str>>,
}

impl Object {
    /// The object over its storage.
    pub fn new(world: World, storage: Rc<dyn Storage>) -> Self {
        let object = Self {
            world,
            storage,
            renewing: Flight::default(),
            publishing: Flight::default(),
            copy: Rc::default(),
            consents: Rc::default(),
            ending: Flight::default(),
            watches: Watches::default(),
            by: None,
        };
        // A write to KV that an object began which was reset since may arrive after the next one.
        object.copy.late.set(object.find().is_some_and(|account| account.unpublished));
        object
    }

    /// Carries out a command.
    pub async fn handle(&self, command: Command) -> Result<Reply> {
        match command {
            Command::As { by, command } => {
                let acting = Self { by: Some(by.into()), ..self.clone() };
                Box::pin(acting.handle(*command)).await
            }
            Command::Create { birth, import, fields, other_person } => {
                self.create(birth, import, &fields, other_person).await
            }
            Command::View => self.view(),
            Command::Link { birth, verify, fields, other_person } => {
                self.link(birth, verify, fields, other_person).await
            }
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
            Command::Doubt { token, older_than } => self.doubt(&token, older_than).await,
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
            Command::Reseal => self.reseal_now().await,
            Command::Disconnect => self.disconnect().await,
            Command::Claim { key, request, by } => self.claim(&key, &request, &by),
            Command::Settle { key, by, answer } => self.settle(&key, &by, answer),
        }
    }

    /// What is due now: forgetting, publishing, renewing, ending what is not kept. The alarm calls it.
    pub async fn wake(&self) {
        self.forget_expired();
        self.publish().await;
        // Read now: while KV was written a call may have renewed the token.
        let Some(account) = self.find() else { return };
        if self.renewal_due(&account).is_some_and(|at| self.now() >= at) {
            // The outcome is stored; nobody waits for it here.
            let _ = self.renew().await;
        }
        self.end_leftovers().await;
    }

    /// When the object wants to be woken next.
    pub fn next_wake(&self) -> Option<Millis> {
        let account = self.find();
        let publish = account.as_ref().filter(|account| account.unpublished).map(|_| self.publish_again_at());
        let renew = account.as_ref().and_then(|account| self.renewal_due(account));
        [publish, renew, self.storage.next_due(), self.next_end()].into_iter().flatten().min()
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
            epoch: 0,
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
        let mut audit: Vec<Event> = self.get(AUDIT).unwrap_or_default();
        audit.extend(self.get::<Vec<Event>>(ROUTINE).unwrap_or_default());
        audit.sort_by_key(|event| event.last_at.unwrap_or(event.at));
        let external_id = account.external_id.clone();
        Ok(Reply::View { snapshot: Box::new(Snapshot::of(&account)), external_id, refresh, audit })
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

    pub(super) fn note(&self, event: &str, detail: Option<String>) {
        let by = self.by.as_deref().map(str::to_owned);
        let mut event = Event { at: self.now(), event: event.to_owned(), detail, by, count: 1, last_at: None };
        let repeats = REPEATED.contains(&event.event.as_str());
        let trail = if repeats { ROUTINE } else { AUDIT };
        let mut audit: Vec<Event> = self.get(trail).unwrap_or_default();
        let same = |known: &Event| (&known.event, &known.detail, &known.by) == (&event.event, &event.detail, &event.by);
        if let Some(at) = audit.iter().rposition(same).filter(|_| repeats) {
            let known = audit.remove(at);
            event = Event { count: known.count.saturating_add(1), at: known.at, last_at: Some(self.now()), ..event };
        }
        audit.push(event);
        let surplus = audit.len().saturating_sub(AUDIT_LENGTH);
        audit.drain(..surplus);
        self.put(trail, &audit);
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
