//! Rotating keys: everything is sealed again, a step at a time, and then the old key can go.

use crate::idempotency::{Asked, fresh_bearer, send};
use crate::support::{Deployment, KEYS, MapStore, NOW, Objects, deployment};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use valetkey::account::AccountId;
use valetkey::account::command::{Accounts, Birth, Command, Import, Reply};
use valetkey::account::object::{Object, World};
use valetkey::account::snapshot;
use valetkey::app::App;
use valetkey::connection;
use valetkey::error::Result;
use valetkey::keys::Keys;
use valetkey::ports::{Page, Response, Storage, Store};
use valetkey::secret::Secret;

const NEW: &str = "k2:HwECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// The same deployment with another value of `VALETKEY_KEYS`.
fn with_keys(world: &Deployment, text: &str) -> Deployment {
    let keys = Rc::new(Keys::parse(text).unwrap_or_else(|problem| panic!("{problem}")));
    let inner = World { keys: keys.clone(), ..world.objects.world.clone() };
    let mut known = std::collections::HashMap::new();
    for (id, (_, storage)) in &*world.objects.known.borrow() {
        known.insert(id.clone(), (Object::new(inner.clone(), storage.clone()), storage.clone()));
    }
    let objects =
        Rc::new(Objects { world: inner, known: RefCell::new(known), asked: Cell::new(0), deaf: Cell::new(false) });
    let app = App { keys, accounts: objects.clone(), isolate: Rc::default(), ..world.app.clone() };
    Deployment { app, objects, ..world.clone() }
}

async fn world(accounts: u32) -> (Deployment, Vec<AccountId>) {
    let who = json!({ "data": { "viewer": { "id": "1", "name": "jo", "email": "jo@example.com" },
        "organization": { "id": "O1", "name": "Workspace", "urlKey": "workspace" } } });
    let world = deployment(move |_| Ok(Response::new(200, "application/json", who.to_string())));
    let app = &world.app;
    let mut connection = connection::fresh("linear", "linear", &app.keys, &*app.clock, &*app.random);
    connection.client_id = "client".into();
    connection.updated_at = NOW - 3_600_000;
    connection.set_client_secret(&Secret::new("client-secret"), &app.keys, &*app.random);
    connection::save(&*app.config, &connection).await.unwrap();
    let mut ids = Vec::new();
    for n in 0..accounts {
        let id = app.connection("linear").await.unwrap().account_id(&format!("user-{n}"), &app.keys).unwrap();
        let birth = Birth {
            id: id.clone(),
            connection_name: "linear".into(),
            connector: "linear".into(),
            authorization_type: "OAUTH".into(),
            identifier: format!("user-{n}"),
        };
        let import = (n > 0).then(|| Import {
            access_token: Secret::new(format!("access-{n}")),
            refresh_token: Some(Secret::new(format!("refresh-{n}"))),
            scopes: Vec::new(),
            expires_at: None,
        });
        world
            .objects
            .ask(&id, Command::Create { birth, import, fields: BTreeMap::new(), other_person: false })
            .await
            .unwrap();
        ids.push(id);
    }
    (world, ids)
}

async fn reseal(world: &Deployment, method: &str) -> Asked {
    let bearer = fresh_bearer(world).await;
    send(world, method, "/api/v1/keys:reseal", &[("authorization", &bearer)], "").await
}

/// Everything that is stored, as text.
fn stored(world: &Deployment) -> String {
    let mut text = String::new();
    for store in [&world.config, &world.snapshots] {
        text.extend(store.0.borrow().values().map(|(value, _)| value.clone()));
    }
    for (_, storage) in world.objects.known.borrow().values() {
        text.extend(storage.0.borrow().values().cloned());
    }
    text
}

#[test]
fn everything_is_sealed_again_and_the_old_key_can_go() {
    pollster::block_on(async {
        let (old, ids) = world(100).await;
        assert_eq!(reseal(&old, "GET").await.body["reseal"], json!(null));
        let both = with_keys(&old, &format!("{KEYS},{NEW}"));
        assert!(stored(&both).contains(".k1."));
        let mut steps = 0;
        let finished = loop {
            // The Worker is another one each time: what it knows is in KV.
            let asked = reseal(&with_keys(&both, &format!("{KEYS},{NEW}")), "POST").await;
            assert_eq!(asked.status, 200, "{}", asked.body);
            steps += 1;
            let work = asked.body["reseal"].clone();
            assert_eq!(reseal(&both, "GET").await.body["reseal"], work);
            if work["state"] == "finished" {
                break work;
            }
            assert_eq!(work["old_keys_may_go_at"], json!(null));
        };
        assert_eq!(steps, 5, "one to count, one for the connections, three for the accounts");
        assert_eq!(finished["key"], "k2");
        assert_eq!(finished["accounts"], json!({ "total": 100, "done": 100, "resealed": 99, "failed": 0 }));
        assert_eq!(finished["connections"], json!({ "total": 1, "done": 1, "resealed": 1, "failed": 0 }));
        assert_eq!((&finished["left"], &finished["old_keys_may_go_at"]), (&json!(0), &json!("2027-01-16T08:00:00Z")));
        assert!(!stored(&both).contains(".k1."), "nothing needs the old key");
        let asked = both.objects.asked.get();
        assert_eq!(reseal(&both, "POST").await.body["reseal"], finished, "what is finished is not begun again");
        assert_eq!(both.objects.asked.get(), asked);
        let new = with_keys(&both, NEW);
        let command = Command::Read { by: "me".into(), with_refresh_token: true };
        let Reply::Tokens { refresh_token, .. } = new.objects.ask(&ids[7], command).await.unwrap() else {
            panic!("no tokens")
        };
        assert_eq!(refresh_token.unwrap().reveal(), "refresh-7");
        let connection = connection::load(&*new.config, &new.app.keys, "linear").await.unwrap();
        assert_eq!(connection.open_client_secret(&new.app.keys).unwrap().reveal(), "client-secret");
    });
}

/// Runs to the end. → how it ended
async fn run(world: &Deployment) -> Value {
    loop {
        let work = reseal(world, "POST").await.body["reseal"].clone();
        if work["state"] == "finished" {
            break work;
        }
    }
}

#[test]
fn what_waits_to_be_revoked_is_sealed_again() {
    pollster::block_on(async {
        let (old, ids) = world(2).await;
        let (_, storage) = old.objects.object(ids[1].as_str());
        let account: Value = serde_json::from_str(&storage.get("account").unwrap()).unwrap();
        // It waits: the same person's tokens are in use.
        let leftover = json!({ "tokens": account["tokens"], "variables": { "external_id": account["external_id"] },
            "tries": 0, "next_try_at": 0 });
        storage.put("leftovers", &json!([leftover]).to_string());
        let both = with_keys(&old, &format!("{KEYS},{NEW}"));
        assert_ne!(run(&both).await["old_keys_may_go_at"], json!(null));
        assert!(stored(&both).contains("next_try_at") && !stored(&both).contains(".k1."), "{}", stored(&both));
        let new = with_keys(&both, NEW);
        let sent = new.http.sent.borrow().len();
        new.objects.ask(&ids[1], Command::Disconnect).await.unwrap();
        assert_eq!(new.http.sent.borrow().len() - sent, 2, "both are revoked, with the new key alone");
    });
}

/// What waits for a word nobody gives is laid aside after its minutes, and there it may wait for as long as the account is in use.
#[test]
fn what_waits_for_a_word_is_sealed_again() {
    pollster::block_on(async {
        let (old, ids) = world(2).await;
        let (_, storage) = old.objects.object(ids[1].as_str());
        let account: Value = serde_json::from_str(&storage.get("account").unwrap()).unwrap();
        let (tokens, at) = (&account["tokens"], NOW + 600_000);
        let variables = json!({ "external_id": account["external_id"] });
        let pending = json!({ "ticket": "t", "tokens": tokens, "scopes": [], "variables": variables, "expires_at": at,
            "epoch": account["epoch"] });
        let consented =
            json!({ "tokens": tokens, "scopes": [], "variables": variables, "epoch": account["epoch"], "step": 0 });
        let choice = json!({ "browser": "b", "consented": consented, "options": [], "expires_at": at + 1 });
        storage.put_until("pending", &pending.to_string(), at);
        storage.put_until("choice:c", &choice.to_string(), at + 1);
        let both = with_keys(&old, &format!("{KEYS},{NEW}"));
        assert_ne!(run(&both).await["old_keys_may_go_at"], json!(null));
        assert!(!stored(&both).contains(".k1."), "{}", stored(&both));
        assert_eq!(storage.due(at, 9), ["pending"], "they end when they would have");
        assert_eq!(storage.due(at + 1, 9), ["pending", "choice:c"]);
        // Nobody said a word. A day later the old key is gone, and then the account is disconnected.
        both.clock.0.set(at + 1);
        both.objects.object(ids[1].as_str()).0.wake().await;
        let new = with_keys(&both, NEW);
        assert!(storage.get("leftovers").is_some());
        let sent = new.http.sent.borrow().len();
        new.objects.ask(&ids[1], Command::Disconnect).await.unwrap();
        new.objects.object(ids[1].as_str()).0.wake().await;
        assert_eq!(new.http.sent.borrow().len() - sent, 3, "all are revoked, with the new key alone");
    });
}

/// KV may be late: what it says of an account's status decides nothing.
#[test]
fn an_account_is_asked_whatever_kv_says_of_it() {
    pollster::block_on(async {
        let (old, ids) = world(4).await;
        for (id, status) in ids[1..].iter().zip(["DISCONNECTED", "PENDING_AUTH", "PENDING_VERIFICATION"]) {
            let mut snapshots = old.snapshots.0.borrow_mut();
            let (_, row) = snapshots.get_mut(&snapshot::key(id.as_str())).unwrap();
            *row = row.take().map(|row| row.replace("\"ACTIVE\"", &format!("\"{status}\"")));
            assert!(row.as_ref().is_some_and(|row| row.contains(status)), "{row:?}");
        }
        let both = with_keys(&old, &format!("{KEYS},{NEW}"));
        let work = run(&both).await;
        assert_eq!((&work["accounts"]["resealed"], &work["accounts"]["failed"]), (&json!(3), &json!(0)));
        assert!(!stored(&both).contains(".k1."), "{}", stored(&both));
    });
}

#[test]
fn a_connection_that_is_being_changed_stays_as_it_is() {
    pollster::block_on(async {
        let (old, _) = world(1).await;
        let both = with_keys(&old, &format!("{KEYS},{NEW}"));
        let key = connection::key("linear");
        let before = both.config.0.borrow()[&key].clone();
        let read = || serde_json::from_str::<Value>(&both.config.0.borrow()[&key].0).unwrap();
        // It was changed a moment ago, by a Worker that had the old key alone.
        both.config.0.borrow_mut().get_mut(&key).unwrap().0 = before
            .0
            .replace(&format!("\"updated_at\":{}", NOW - 3_600_000), &format!("\"updated_at\":{}", NOW - 60_000));
        let changed = read();
        let work = run(&both).await;
        assert_eq!((&work["failed"], &work["old_keys_may_go_at"]), (&json!(["linear"]), &json!(null)));
        assert_eq!(read(), changed);
        both.clock.0.set(NOW + 61_000);
        assert_ne!(run(&both).await["old_keys_may_go_at"], json!(null), "asked again, it is done");
        // It is changed, or deleted, between reading and writing.
        for after in [Some(before.0.replace("\"client\"", "\"another\"")), None] {
            both.config.0.borrow_mut().insert(key.clone(), before.clone());
            both.config.0.borrow_mut().remove("reseal");
            let moment =
                Moment { store: both.config.clone(), key: key.clone(), reads: Cell::new(0), after: after.clone() };
            let racing = Deployment {
                app: App { config: Rc::new(moment), ..both.app.clone() },
                ..with_keys(&both, &format!("{KEYS},{NEW}"))
            };
            run(&racing).await;
            assert_eq!(both.config.0.borrow().get(&key).map(|(text, _)| text.clone()), after);
        }
    });
}

/// A store in which a key is changed, or deleted, after it was read once.
struct Moment {
    store: Rc<MapStore>,
    key: String,
    reads: Cell<u32>,
    after: Option<String>,
}
#[async_trait(?Send)]
impl Store for Moment {
    async fn get(&self, key: &str) -> Result<Option<String>> {
        let found = self.store.get(key).await;
        if key == self.key && self.reads.replace(self.reads.get() + 1) == 0 {
            match &self.after {
                Some(text) => self.store.put(key, text, None).await?,
                None => self.store.delete(key).await?,
            }
        }
        found
    }
    async fn put(&self, key: &str, value: &str, metadata: Option<&str>) -> Result<()> {
        self.store.put(key, value, metadata).await
    }
    async fn delete(&self, key: &str) -> Result<()> {
        self.store.delete(key).await
    }
    async fn list(&self, prefix: &str, limit: u32, cursor: Option<&str>) -> Result<Page> {
        self.store.list(prefix, limit, cursor).await
    }
}

#[test]
fn what_cannot_be_opened_is_named_and_keeps_the_old_key() {
    pollster::block_on(async {
        let (old, ids) = world(3).await;
        let both = with_keys(&old, &format!("{KEYS},{NEW}"));
        let (_, storage) = both.objects.object(ids[1].as_str());
        let whole = storage.get("account").unwrap();
        storage.put("account", &whole.replace("v2.k1.", "v2.k0."));
        let work = run(&both).await;
        assert_eq!((&work["accounts"]["failed"], &work["accounts"]["resealed"]), (&json!(1), &json!(1)));
        assert_eq!(work["failed"], json!([ids[1].as_str()]));
        assert_eq!(work["old_keys_may_go_at"], json!(null));
        storage.put("account", &whole);
        both.clock.0.set(NOW + 60_000);
        assert_eq!(run(&both).await["old_keys_may_go_at"], "2027-01-16T08:01:00Z", "asked again, it begins again");
    });
}

#[test]
fn only_an_administrator_of_everything_reseals() {
    pollster::block_on(async {
        let (world, _) = world(1).await;
        let basic = format!("Basic {}", valetkey::digest::base64(b"first:first-secret-0000"));
        let form = [("authorization", basic.as_str()), ("content-type", "application/x-www-form-urlencoded")];
        let token = send(&world, "POST", "/oauth/token", &form, "grant_type=client_credentials&scope=tools").await;
        let bearer = format!("Bearer {}", token.body["access_token"].as_str().unwrap());
        let refused = send(&world, "POST", "/api/v1/keys:reseal", &[("authorization", &bearer)], "").await;
        assert_eq!(refused.code(), (403, "PERMISSION_DENIED", false));
    });
}

#[test]
fn a_connection_is_not_changed_by_who_has_not_seen_it() {
    pollster::block_on(async {
        let (world, _) = world(1).await;
        let bearer = fresh_bearer(&world).await;
        let path = "/api/v1/connections/linear";
        let seen = send(&world, "GET", path, &[("authorization", &bearer)], "").await;
        let tag = seen.headers["etag"].to_str().unwrap().to_owned();
        let patch = async |tag: &str, operator: &str| {
            let headers = [("authorization", bearer.as_str()), ("if-match", tag)];
            send(&world, "PATCH", path, &headers, &json!({ "operator": operator }).to_string()).await
        };
        let first = patch(&tag, "One").await;
        assert_eq!((first.status, first.body["connection"]["operator"].as_str()), (200, Some("One")));
        assert_eq!(patch(&tag, "Two").await.code(), (409, "CONFLICT", false));
        assert_eq!(patch(first.headers["etag"].to_str().unwrap(), "Three").await.status, 200);
        assert_eq!(patch("*", "Four").await.status, 200);
    });
}
