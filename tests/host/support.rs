//! In-memory ports: a clock that is set, an internet that is scripted, storage that is a map.

use async_trait::async_trait;
use futures_util::future::LocalBoxFuture;
use rsa::PrivateKey;
use rsa::pkcs1v15::SigningKey;
use rsa::pkcs8::DecodePrivateKey;
use rsa::signature::{SignatureEncoding, Signer as _};
use serde_json::json;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use valetkey::account::command::{Accounts, Command, Reply};
use valetkey::account::object::{Object, World};
use valetkey::account::snapshot::{self, Snapshot};
use valetkey::account::{Account, AccountId};
use valetkey::app::{App, Background, Isolate, Noted, Settings};
use valetkey::connection::{self, Connection};
use valetkey::error::{Error, Result};
use valetkey::keys::Keys;
use valetkey::limit::counter::Counters;
use valetkey::limit::{Answer, Limiters, Question};
use valetkey::ports::{
    Clock, Http, Millis, Page, Random, Request, Response, Signer, Storage, Store, Unanswered, Usage,
};
use valetkey::secret::Secret;

pub const KEYS: &str = "k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// 2027-01-15T08:00:00Z
pub const NOW: Millis = 1_800_000_000_000;

pub struct SetClock(pub Cell<Millis>);
impl Clock for SetClock {
    fn now(&self) -> Millis {
        self.0.get()
    }
}

/// Different bytes every time, the same in every run.
#[derive(Default)]
pub struct Counted(Cell<u64>);
impl Random for Counted {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            self.0.set(self.0.get() + 1);
            let bytes = (self.0.get().wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}

/// Signatures of the `rsa` crate; the Worker has Web Crypto's.
pub struct RsaCrate;
#[async_trait(?Send)]
impl Signer for RsaCrate {
    async fn rs256(&self, pkcs8: &[u8], message: &[u8]) -> Option<Vec<u8>> {
        let key = PrivateKey::from_pkcs8_der(pkcs8).ok()?;
        let signing = SigningKey::<sha2::Sha256>::new(key);
        Some(signing.try_sign(message).ok()?.to_vec())
    }
}

/// Keys and values; how often it was asked; whether writing fails, and whether deleting does.
#[derive(Default)]
pub struct MapStore(pub RefCell<BTreeMap<String, (String, Option<String>)>>, pub Reads, pub Cell<bool>, pub Cell<bool>);
/// How often a store was asked, for a key or for a list.
pub type Reads = Cell<u32>;
#[async_trait(?Send)]
impl Store for MapStore {
    async fn get(&self, key: &str) -> Result<Option<String>> {
        self.1.set(self.1.get() + 1);
        Ok(self.0.borrow().get(key).map(|(value, _)| value.clone()))
    }
    async fn put(&self, key: &str, value: &str, metadata: Option<&str>) -> Result<()> {
        assert!(metadata.is_none_or(|text| text.len() <= 1024), "KV takes 1024 bytes of metadata");
        if self.2.get() {
            return Err(Error::internal("KV failed"));
        }
        self.0.borrow_mut().insert(key.to_owned(), (value.to_owned(), metadata.map(str::to_owned)));
        Ok(())
    }
    async fn delete(&self, key: &str) -> Result<()> {
        if self.3.get() {
            return Err(Error::internal("KV failed"));
        }
        self.0.borrow_mut().remove(key);
        Ok(())
    }
    async fn list(&self, prefix: &str, limit: u32, cursor: Option<&str>) -> Result<Page> {
        self.1.set(self.1.get() + 1);
        let map = self.0.borrow();
        let after = |key: &String| cursor.is_none_or(|cursor| key.as_str() > cursor);
        let mut keys: Vec<_> = map
            .iter()
            .filter(|(key, _)| key.starts_with(prefix) && after(key))
            .map(|(key, (_, metadata))| (key.clone(), metadata.clone()))
            .take(limit as usize + 1)
            .collect();
        let more = keys.len() > limit as usize;
        keys.truncate(limit as usize);
        let cursor = keys.last().map(|(key, _)| key.clone()).filter(|_| more);
        Ok(Page { keys, cursor })
    }
}

/// Values, when they are due, and the bytes of values that were loaded.
#[derive(Default)]
pub struct MapStorage(pub RefCell<BTreeMap<String, String>>, pub RefCell<BTreeMap<String, Millis>>, pub Cell<usize>);
impl MapStorage {
    fn ordered(&self, wanted: impl Fn(&str, Option<Millis>) -> bool) -> Vec<String> {
        let dues = self.1.borrow();
        let mut keys: Vec<_> = self.0.borrow().keys().map(|key| (dues.get(key).copied(), key.clone())).collect();
        keys.retain(|(due, key)| wanted(key, *due));
        keys.sort();
        keys.into_iter().map(|(_, key)| key).collect()
    }
}
impl Storage for MapStorage {
    fn get(&self, key: &str) -> Option<String> {
        let value = self.0.borrow().get(key).cloned();
        self.2.set(self.2.get() + value.as_ref().map_or(0, String::len));
        value
    }
    fn put(&self, key: &str, value: &str) {
        self.0.borrow_mut().insert(key.to_owned(), value.to_owned());
        self.1.borrow_mut().remove(key);
    }
    fn put_until(&self, key: &str, value: &str, due_at: Millis) {
        self.0.borrow_mut().insert(key.to_owned(), value.to_owned());
        self.1.borrow_mut().insert(key.to_owned(), due_at);
    }
    fn delete(&self, key: &str) {
        self.0.borrow_mut().remove(key);
        self.1.borrow_mut().remove(key);
    }
    fn delete_below(&self, prefix: &str) {
        self.keys(prefix).iter().for_each(|key| self.delete(key));
    }
    fn keys(&self, prefix: &str) -> Vec<String> {
        self.ordered(|key, _| key.starts_with(prefix))
    }
    fn usage(&self, prefix: &str) -> Usage {
        let sizes = self.sizes(prefix);
        Usage { records: sizes.len() as u64, bytes: sizes.iter().map(|(_, bytes)| bytes).sum() }
    }
    fn sizes(&self, prefix: &str) -> Vec<(String, u64)> {
        let map = self.0.borrow();
        self.keys(prefix).into_iter().map(|key| (key.clone(), map[&key].len() as u64)).collect()
    }
    fn due(&self, by: Millis, most: u32) -> Vec<String> {
        let mut due = self.ordered(|_, due| due.is_some_and(|at| at <= by));
        due.truncate(most as usize);
        due
    }
    fn next_due(&self) -> Option<Millis> {
        self.1.borrow().values().min().copied()
    }
    fn last_due(&self) -> Option<Millis> {
        self.1.borrow().values().max().copied()
    }
}

/// The internet: every request is written down and answered by a script.
type Answers = Box<dyn FnMut(&Request) -> std::result::Result<Response, Unanswered>>;
pub struct Script {
    pub sent: RefCell<Vec<Request>>,
    pub answer: RefCell<Answers>,
}
impl Script {
    pub fn new(answer: impl FnMut(&Request) -> std::result::Result<Response, Unanswered> + 'static) -> Rc<Self> {
        Rc::new(Self { sent: RefCell::default(), answer: RefCell::new(Box::new(answer)) })
    }
}
#[async_trait(?Send)]
impl Http for Script {
    async fn send(&self, request: Request) -> std::result::Result<Response, Unanswered> {
        // Whoever waits for the network lets others run, as in a Durable Object.
        yield_now().await;
        let answer = (self.answer.borrow_mut())(&request);
        self.sent.borrow_mut().push(request);
        answer
    }
    async fn stream(&self, request: Request) -> std::result::Result<Response, Unanswered> {
        self.send(request).await
    }
    async fn peek(&self, answer: &mut Response, most: usize) -> Option<Vec<u8>> {
        let bytes = answer.body.bytes();
        (bytes.len() <= most).then(|| bytes.to_vec())
    }
}

async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if yielded {
            return std::task::Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

/// All accounts' objects in one place.
pub struct Objects {
    pub world: World,
    pub known: RefCell<HashMap<String, (Object, Rc<MapStorage>)>>,
    pub asked: Cell<u32>,
    /// Whether objects do not answer what is to be kept.
    pub deaf: Cell<bool>,
}
impl Objects {
    pub fn object(&self, id: &str) -> (Object, Rc<MapStorage>) {
        let mut objects = self.known.borrow_mut();
        let made = objects.entry(id.to_owned()).or_insert_with(|| {
            let storage = Rc::new(MapStorage::default());
            (Object::new(self.world.clone(), storage.clone()), storage)
        });
        made.clone()
    }
}
#[async_trait(?Send)]
impl Accounts for Objects {
    async fn ask(&self, id: &AccountId, command: Command) -> Result<Reply> {
        self.asked.set(self.asked.get() + 1);
        // Through JSON, as it travels.
        let text = serde_json::to_string(&command).unwrap();
        if self.deaf.get() && matches!(command, Command::Settle { .. }) {
            return Err(Error::internal("an object did not answer; try again"));
        }
        let (object, _) = self.object(id.as_str());
        let outcome = object.handle(serde_json::from_str(&text).unwrap()).await;
        // The alarm comes at once for what is due.
        let mut alarms = 0;
        while alarms < 10 && object.next_wake().is_some_and(|at| at <= self.world.clock.now()) {
            object.wake().await;
            alarms += 1;
        }
        serde_json::from_str(&serde_json::to_string(&outcome).unwrap()).unwrap()
    }
}

pub struct AllCounters {
    pub clock: Rc<SetClock>,
    pub scopes: RefCell<HashMap<String, Rc<MapStorage>>>,
    pub asked: Cell<u32>,
}
#[async_trait(?Send)]
impl Limiters for AllCounters {
    async fn ask(&self, scope: &str, question: Question) -> Result<Answer> {
        self.asked.set(self.asked.get() + 1);
        let storage = self.scopes.borrow_mut().entry(scope.to_owned()).or_default().clone();
        Ok(Counters::new(self.clock.clone(), storage).handle(question))
    }
}

/// Work behind the answer runs when a test says so.
#[derive(Default)]
pub struct Later(pub RefCell<Vec<LocalBoxFuture<'static, ()>>>);
#[async_trait(?Send)]
impl Background for Later {
    fn spawn(&self, work: LocalBoxFuture<'static, ()>) {
        self.0.borrow_mut().push(work);
    }
    async fn sleep(&self, _time: Millis) {}
}

impl Later {
    /// Runs something, and what it spawns beside it, as the platform does. What has not ended with it is left.
    pub async fn beside<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|context| {
            let done = work.as_mut().poll(context);
            if done.is_pending() {
                let mut spawned = self.0.take();
                spawned.retain_mut(|one| one.as_mut().poll(context).is_pending());
                self.0.borrow_mut().extend(spawned);
            }
            done
        })
        .await
    }
}

/// A whole deployment. Clones share everything.
#[derive(Clone)]
pub struct Deployment {
    pub app: App,
    pub clock: Rc<SetClock>,
    pub http: Rc<Script>,
    pub config: Rc<MapStore>,
    pub snapshots: Rc<MapStore>,
    pub objects: Rc<Objects>,
    pub counters: Rc<AllCounters>,
    pub later: Rc<Later>,
}

/// Connects `user` on a connection: the copy in KV, and the account itself, as a consent leaves them. Without a refresh token
/// its token cannot be renewed.
pub async fn connected(
    world: &Deployment,
    connection: &Connection,
    variables: &BTreeMap<String, String>,
    (token, refresh): (&str, Option<&str>),
    obtained_at: Millis,
) -> AccountId {
    let app = &world.app;
    connection::save(&*app.config, connection).await.unwrap();
    let (name, connector) = (&connection.name, &connection.connector);
    let id = app.connection(name).await.unwrap().account_id("user", &app.keys).unwrap();
    let seal = |field: &str, text: &str| app.keys.seal(&format!("{id}/{field}"), &Secret::new(text), &*app.random);
    let account = json!({ "v": 1, "id": id, "connection_id": id.connection_id(), "connection_name": name,
        "connector": connector, "identifier": "user", "status": "ACTIVE", "status_reason": "connected", "label": null,
        "external_id": null, "variables": variables, "scopes": [], "user_verify_url": null, "created_at": NOW,
        "updated_at": obtained_at, "connected_at": NOW, "last_used_at": null,
        "tokens": { "access": seal("access", token), "refresh": refresh.map(|token| seal("refresh", token)),
            "previous_refresh": null, "obtained_at": obtained_at, "expires_at": null } });
    world.objects.object(id.as_str()).1.put("account", &account.to_string());
    let account: Account = serde_json::from_value(account).unwrap();
    let value = serde_json::to_string(&Snapshot::of(&account)).unwrap();
    world.snapshots.put(&snapshot::key(id.as_str()), &value, None).await.unwrap();
    id
}

pub fn deployment(answer: impl FnMut(&Request) -> std::result::Result<Response, Unanswered> + 'static) -> Deployment {
    let clock = Rc::new(SetClock(Cell::new(NOW)));
    let http = Script::new(answer);
    let (config, snapshots) = (Rc::new(MapStore::default()), Rc::new(MapStore::default()));
    let keys = Rc::new(Keys::parse(KEYS).unwrap_or_else(|problem| panic!("{problem}")));
    let random = Rc::new(Counted::default());
    let world = World {
        clock: clock.clone(),
        random: random.clone(),
        signer: Rc::new(RsaCrate),
        http: http.clone(),
        config: config.clone(),
        snapshots: snapshots.clone(),
        keys: keys.clone(),
    };
    let objects = Rc::new(Objects { world, known: RefCell::default(), asked: Cell::new(0), deaf: Cell::new(false) });
    let counters = Rc::new(AllCounters { clock: clock.clone(), scopes: RefCell::default(), asked: Cell::new(0) });
    let later = Rc::new(Later::default());
    let isolate = Rc::new(Isolate::default());
    let app = App {
        clock: clock.clone(),
        random,
        http: http.clone(),
        config: config.clone(),
        snapshots: snapshots.clone(),
        accounts: Rc::new(Noted { accounts: objects.clone(), isolate: isolate.clone(), clock: clock.clone() }),
        limiters: counters.clone(),
        background: later.clone(),
        keys,
        settings: Settings {
            base_url: "https://vk.example.com".into(),
            client_id: Some("first".into()),
            client_secret_hash: Some(valetkey::digest::hash("first-secret-0000")),
        },
        isolate,
    };
    Deployment { app, clock, http, config, snapshots, objects, counters, later }
}
