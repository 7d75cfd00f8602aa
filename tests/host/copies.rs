//! Copies that are older than what is known: KV tells for a minute what was, in another place for longer than here.

use crate::idempotency::{Asked, fresh_bearer, send};
use crate::support::{Deployment, NOW, connected, deployment};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use valetkey::account::AccountId;
use valetkey::account::command::{Accounts, Command, Mark, Reply};
use valetkey::account::object::Object;
use valetkey::account::snapshot;
use valetkey::app::{App, Noted};
use valetkey::connection;
use valetkey::ports::{Request, Response, get};
use valetkey::secret::Secret;

/// A GitHub account with `old-token`, which the provider takes or not, and a renewal that gives `new-token`.
async fn world(takes: &'static str) -> (Deployment, AccountId, Rc<RefCell<Vec<String>>>) {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let noted = seen.clone();
    let world = deployment(move |request: &Request| {
        if request.url.ends_with("/access_token") {
            let tokens =
                json!({ "access_token": "new-token", "refresh_token": "r2", "scope": "repo", "expires_in": 28_800 });
            return Ok(Response::new(200, "application/json", tokens.to_string()));
        }
        let bearer = get(&request.headers, "authorization").unwrap_or_default().to_owned();
        let fine = bearer.ends_with(takes);
        noted.borrow_mut().push(bearer);
        let (status, body) = match (fine, takes) {
            (true, _) => (200, json!({ "login": "jo", "id": 1 })),
            // It was granted less: GitHub says so with a header and a 403.
            (false, "new-token") if request.method == "GET" => {
                (403, json!({ "message": "Resource not accessible by integration" }))
            }
            _ => (401, json!({ "message": "Bad credentials" })),
        };
        Ok(Response::new(status, "application/json", body.to_string()))
    });
    let app = &world.app;
    let mut connection = connection::fresh("github", "github", &app.keys, &*app.clock, &*app.random);
    connection.client_id = "client".into();
    connection.set_client_secret(&Secret::new("client-secret-0123"), &app.keys, &*app.random);
    let id = connected(&world, &connection, &BTreeMap::new(), ("old-token", Some("r1")), NOW - 3_600_000).await;
    (world, id, seen)
}

/// The same deployment in another isolate.
fn elsewhere(world: &Deployment) -> Deployment {
    let isolate = Rc::default();
    let (accounts, clock) = (world.objects.clone(), world.clock.clone());
    let accounts = Rc::new(Noted { accounts, isolate: Rc::clone(&isolate), clock });
    Deployment { app: App { accounts, isolate, ..world.app.clone() }, ..world.clone() }
}

async fn execute(world: &Deployment, tool: &str, params: Value) -> Asked {
    let bearer = fresh_bearer(world).await;
    let body = json!({ "tool_name": tool, "connection_name": "github", "identifier": "user", "params": params });
    send(world, "POST", "/api/v1/execute_tool", &[("authorization", &bearer)], &body.to_string()).await
}

async fn whoami(world: &Deployment) -> Asked {
    execute(world, "github_user_get_authenticated", json!({})).await
}

/// KV goes on telling of an account as it was before something is done.
async fn behind_kvs_back(world: &Deployment, id: &AccountId, work: LocalBoxFuture<'_, ()>) {
    let key = snapshot::key(id.as_str());
    let before = world.snapshots.0.borrow()[&key].clone();
    work.await;
    world.snapshots.0.borrow_mut().insert(key, before);
    // A lease is over after a second.
    world.clock.0.set(world.clock.0.get() + 1_500);
}

#[test]
fn a_disconnected_account_is_refused_where_it_was_disconnected_whatever_kv_says() {
    pollster::block_on(async {
        let (world, id, seen) = world("old-token").await;
        assert_eq!(whoami(&world).await.status, 200);
        let calls = seen.borrow().len();
        let disconnect = async {
            let (bearer, body) = (fresh_bearer(&world).await, json!({ "id": id }).to_string());
            let gone =
                send(&world, "POST", "/api/v1/connected_accounts:delete", &[("authorization", &bearer)], &body).await;
            assert_eq!(gone.status, 200, "{}", gone.body);
        };
        behind_kvs_back(&world, &id, disconnect.boxed_local()).await;
        let revoked = seen.borrow().len();
        for _ in 0..2 {
            assert_eq!(whoami(&world).await.code(), (401, "REAUTHORIZATION_REQUIRED", false));
            world.clock.0.set(world.clock.0.get() + 20_000);
        }
        assert_eq!(seen.borrow().len(), revoked, "nothing was sent after {calls} calls and the revocation");
    });
}

#[test]
fn a_renewed_token_is_used_where_it_was_renewed_whatever_kv_says() {
    pollster::block_on(async {
        let (world, id, seen) = world("new-token").await;
        let bearer = fresh_bearer(&world).await;
        let post = async || {
            let headers = [("authorization", bearer.as_str()), ("connection_name", "github"), ("identifier", "user")];
            send(&world, "POST", "/proxy/user", &headers, "{}").await.status
        };
        let refused = async { assert_eq!(post().await, 401, "it is dead, and the call is not repeated") };
        behind_kvs_back(&world, &id, refused.boxed_local()).await;
        assert_eq!(post().await, 200);
        assert!(seen.borrow().last().unwrap().ends_with("new-token"));
    });
}

#[test]
fn what_a_user_has_consented_to_meanwhile_is_used_before_they_are_asked_again() {
    pollster::block_on(async {
        let (world, id, seen) = world("new-token").await;
        // The account has a token that may do more; another isolate has not heard of it.
        let renew = async { world.objects.ask(&id, Command::Renew).await.map_or((), |_| ()) };
        behind_kvs_back(&world, &id, renew.boxed_local()).await;
        let answer = execute(&elsewhere(&world), "github_repo_get", json!({ "owner": "jo", "repo": "r" })).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(*seen.borrow(), ["Bearer old-token", "Bearer new-token"]);
    });
}

#[test]
fn a_refusal_of_before_a_consent_says_nothing_of_the_same_key_after_it() {
    pollster::block_on(async {
        let (world, id, _) = world("old-token").await;
        let (_, storage) = world.objects.object(id.as_str());
        let mut account: Value = serde_json::from_str(&storage.0.borrow()["account"]).unwrap();
        account["tokens"]["refresh"] = Value::Null;
        account["epoch"] = json!(2);
        storage.0.borrow_mut().insert("account".into(), account.to_string());
        let lease = async |epoch| {
            let rejected = Some(Mark { token: Secret::new("old-token").fingerprint(), epoch: Some(epoch) });
            world.objects.ask(&id, Command::Lease { rejected, for_at_least: 0 }).await
        };
        assert!(matches!(lease(1).await, Ok(Reply::Snapshot(_))));
        assert!(lease(2).await.is_err(), "of this one it does");
    });
}

#[test]
fn an_account_whose_connection_was_made_anew_can_be_made_to_forget() {
    pollster::block_on(async {
        let (world, id, _) = world("old-token").await;
        let app = &world.app;
        let again = connection::fresh("github", "github", &app.keys, &*app.clock, &*app.random);
        connection::save(&*app.config, &again).await.unwrap();
        let world = elsewhere(&world);
        let (bearer, body) = (fresh_bearer(&world).await, json!({ "id": id }).to_string());
        let gone =
            send(&world, "POST", "/api/v1/connected_accounts:delete", &[("authorization", &bearer)], &body).await;
        assert_eq!(gone.body["connected_account"]["status"], "DISCONNECTED", "{}", gone.body);
        let stored = world.objects.object(id.as_str()).1.0.borrow()["account"].clone();
        assert!(stored.contains("\"tokens\":null"), "{stored}");
    });
}

#[test]
fn whoever_asks_an_account_does_not_put_off_the_write_that_failed() {
    pollster::block_on(async {
        let (world, id, _) = world("old-token").await;
        let (object, _) = world.objects.object(id.as_str());
        world.snapshots.2.set(true);
        world.snapshots.3.set(true);
        object.handle(Command::Disconnect).await.unwrap();
        let due = object.next_wake();
        for _ in 0..3 {
            world.clock.0.set(world.clock.0.get() + 1_000);
            assert!(object.handle(Command::Lease { rejected: None, for_at_least: 0 }).await.is_err());
            assert_eq!(object.next_wake(), due);
        }
    });
}

#[test]
fn a_write_that_a_former_object_began_may_arrive_after_the_next_one() {
    pollster::block_on(async {
        let (world, id, _) = world("old-token").await;
        let key = snapshot::key(id.as_str());
        let active = world.snapshots.0.borrow()[&key].clone();
        let (_, storage) = world.objects.known.borrow_mut().remove(id.as_str()).unwrap();
        let mut account: Value = serde_json::from_str(&storage.0.borrow()["account"]).unwrap();
        // The object was reset while it wrote.
        account["unpublished"] = json!(true);
        storage.0.borrow_mut().insert("account".into(), account.to_string());
        let object = Object::new(world.objects.world.clone(), storage);
        object.handle(Command::Disconnect).await.unwrap();
        world.snapshots.0.borrow_mut().insert(key.clone(), active);
        while let Some(at) = object.next_wake() {
            world.clock.0.set(at.max(world.clock.0.get()));
            object.wake().await;
        }
        assert!(world.snapshots.0.borrow()[&key].0.contains("DISCONNECTED"));
    });
}
