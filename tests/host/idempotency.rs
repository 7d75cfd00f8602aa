//! Idempotency keys: one write for one key, whatever dies in between.

use crate::support::{Deployment, NOW, connected, deployment};
use serde_json::{Value, json};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use valetkey::account::AccountId;
use valetkey::account::command::{Accounts, Birth, Command, Import};
use valetkey::ports::{Body, Request, Response, Storage, Unanswered, put};
use valetkey::secret::Secret;
use valetkey::{connection, digest, http};

pub struct Asked {
    pub status: u16,
    pub body: Value,
    pub headers: ::http::HeaderMap,
}

impl Asked {
    pub fn code(&self) -> (u16, &str, bool) {
        let error = &self.body["error"];
        (self.status, error["code"].as_str().unwrap_or_default(), error["details"]["retryable"] == true)
    }
}

pub async fn send(world: &Deployment, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Asked {
    let mut request =
        Request { method: method.into(), url: format!("https://vk.example.com{path}"), ..Request::default() };
    for (name, value) in headers {
        put(&mut request.headers, name, value);
    }
    request.body = Body::Bytes(body.into());
    let response = world.later.beside(http::handle(&world.app, request)).await;
    let body = serde_json::from_slice(response.body.bytes()).unwrap_or_default();
    Asked { status: response.status, body, headers: response.headers }
}

/// A GitHub account, and a provider that counts what is asked of it and answers so many bytes.
async fn world(bytes: usize) -> (Deployment, AccountId, Rc<Cell<u32>>, String) {
    let count = Rc::new(Cell::new(0));
    let asked = count.clone();
    let world = deployment(move |request| {
        asked.set(asked.get() + 1);
        let status = if request.method == "GET" { 200 } else { 201 };
        let body = json!({ "number": asked.get(), "body": "x".repeat(bytes) });
        Ok(Response::new(status, "application/json", body.to_string()))
    });
    let app = &world.app;
    let mut connection = connection::fresh("github", "github", &app.keys, &*app.clock, &*app.random);
    connection.client_id = "client".into();
    connection::save(&*app.config, &connection).await.unwrap();
    let id = app.connection("github").await.unwrap().account_id("user", &app.keys).unwrap();
    let birth = Birth {
        id: id.clone(),
        connection_name: "github".into(),
        connector: "github".into(),
        authorization_type: "OAUTH".into(),
        identifier: "user".into(),
    };
    let import = Import {
        access_token: Secret::new("access-token-0"),
        refresh_token: None,
        scopes: vec!["repo".into()],
        expires_at: None,
    };
    world
        .objects
        .ask(&id, Command::Create { birth, import: Some(import), fields: BTreeMap::new(), other_person: false })
        .await
        .unwrap();
    let basic = format!("Basic {}", digest::base64(b"first:first-secret-0000"));
    let form = [("authorization", basic.as_str()), ("content-type", "application/x-www-form-urlencoded")];
    let token = send(&world, "POST", "/oauth/token", &form, "grant_type=client_credentials").await;
    let bearer = format!("Bearer {}", token.body["access_token"].as_str().unwrap());
    count.set(0);
    (world, id, count, bearer)
}

fn create(title: &str) -> String {
    json!({ "tool_name": "github_issue_create", "connection_name": "github", "identifier": "user",
        "params": { "owner": "jo", "repo": "r", "title": title } })
    .to_string()
}

/// A write under the key `key`, to be let go of in the middle.
fn keyed_write(bearer: &str) -> Request {
    let mut request = Request {
        method: "POST".into(),
        url: "https://vk.example.com/api/v1/execute_tool".into(),
        body: Body::Bytes(create("Broken").into()),
        ..Request::default()
    };
    put(&mut request.headers, "authorization", bearer);
    put(&mut request.headers, "idempotency-key", "key");
    request
}

async fn write(world: &Deployment, bearer: &str, key: &str) -> Asked {
    let headers = [("authorization", bearer), ("idempotency-key", key)];
    send(world, "POST", "/api/v1/execute_tool", &headers, &create("Broken")).await
}

#[test]
fn a_call_that_broke_off_is_not_sent_again_all_day() {
    pollster::block_on(async {
        let (world, _, asked, bearer) = world(10).await;
        {
            // The Worker dies while it waits for the provider.
            let mut call = Box::pin(world.later.beside(http::handle(&world.app, keyed_write(&bearer))));
            while asked.get() == 0 && world.later.0.borrow().is_empty() {
                assert!(futures_util::poll!(&mut call).is_pending());
            }
        }
        world.later.0.take();
        assert_eq!(write(&world, &bearer, "key").await.code(), (409, "CONFLICT", true), "it may still run");
        for hours in [1, 23] {
            world.clock.0.set(NOW + hours * 3_600_000);
            let (world, bearer) = (&world, fresh_bearer(&world).await);
            let again = write(world, &bearer, "key").await;
            assert_eq!(again.code(), (409, "CONFLICT", false));
            assert!(again.body["error"]["message"].as_str().unwrap().starts_with("outcome unknown"));
        }
        assert_eq!(asked.get(), 0);
        let bearer = fresh_bearer(&world).await;
        assert_eq!(write(&world, &bearer, "another key").await.status, 200, "only a new key sends it again");
        world.clock.0.set(NOW + 24 * 3_600_000);
        let bearer = fresh_bearer(&world).await;
        assert_eq!(write(&world, &bearer, "key").await.status, 200);
    });
}

pub async fn fresh_bearer(world: &Deployment) -> String {
    let basic = format!("Basic {}", digest::base64(b"first:first-secret-0000"));
    let form = [("authorization", basic.as_str()), ("content-type", "application/x-www-form-urlencoded")];
    let token = send(world, "POST", "/oauth/token", &form, "grant_type=client_credentials").await;
    format!("Bearer {}", token.body["access_token"].as_str().unwrap())
}

#[test]
fn a_call_whose_client_has_gone_away_is_finished_and_its_answer_kept() {
    pollster::block_on(async {
        let (world, _, asked, bearer) = world(10).await;
        {
            let mut call = Box::pin(http::handle(&world.app, keyed_write(&bearer)));
            while world.later.0.borrow().is_empty() {
                assert!(futures_util::poll!(&mut call).is_pending());
            }
        }
        for work in world.later.0.take() {
            work.await;
        }
        assert_eq!(asked.get(), 1);
        let again = write(&world, &bearer, "key").await;
        assert_eq!((again.status, again.headers["idempotent-replayed"].as_bytes()), (200, &b"true"[..]));
        assert_eq!(again.body["data"]["number"], 1);
        assert_eq!(asked.get(), 1);
    });
}

/// An agent does what `retryable` says: after a write whose end nobody knows it must not be true.
#[test]
fn a_write_that_nobody_knows_the_end_of_is_not_to_be_sent_again() {
    pollster::block_on(async {
        for (answer, is_open) in [
            (Err(Unanswered::TimedOut), true),
            (Err(Unanswered::Unreachable), true),
            (Ok(500), true),
            (Ok(502), true),
            (Ok(503), false),
            (Ok(422), false),
            (Ok(429), false),
        ] {
            let reply = answer.map(|status| move || Response::new(status, "application/json", "{}"));
            let world = deployment(move |_| match &reply {
                Ok(reply) => Ok(reply()),
                Err(unanswered) => Err(*unanswered),
            });
            let app = &world.app;
            let mut connection = connection::fresh("github", "github", &app.keys, &*app.clock, &*app.random);
            connection.client_id = "client".into();
            connected(&world, &connection, &BTreeMap::new(), ("token", None), NOW).await;
            let bearer = fresh_bearer(&world).await;
            let plain =
                send(&world, "POST", "/api/v1/execute_tool", &[("authorization", &bearer)], &create("Broken")).await;
            let message = plain.body["error"]["message"].as_str().unwrap().to_owned();
            assert_eq!(message.contains("may have been carried out"), is_open, "{answer:?}: {message}");
            assert!(!is_open || !plain.code().2, "{answer:?}: {message}");
            if is_open {
                let first = write(&world, &bearer, "key").await;
                let sent = world.http.sent.borrow().len();
                let again = write(&world, &bearer, "key").await;
                assert_eq!(
                    (again.code(), again.headers["idempotent-replayed"].as_bytes()),
                    (first.code(), &b"true"[..])
                );
                let details = &again.body["error"]["details"];
                assert_eq!((again.code().2, details.get("retryAfter")), (false, None), "{}", again.body);
                assert!(
                    again.body["error"]["message"].as_str().unwrap().contains("only a new one sends"),
                    "{}",
                    again.body
                );
                assert_eq!(world.http.sent.borrow().len(), sent);
            }
        }
    });
}

#[test]
fn a_call_that_sent_nothing_leaves_its_key_free() {
    pollster::block_on(async {
        let healthy = Rc::new(Cell::new(false));
        let (is_healthy, writes) = (healthy.clone(), Rc::new(Cell::new(0)));
        let counted = writes.clone();
        let world = deployment(move |request| {
            let answer = |status, body: Value| Ok(Response::new(status, "application/json", body.to_string()));
            match request.url.ends_with("/access_token") {
                true if is_healthy.get() => {
                    answer(200, json!({ "access_token": "new", "refresh_token": "r2", "expires_in": 28_800 }))
                }
                true => answer(503, json!({})),
                false => {
                    counted.set(counted.get() + 1);
                    answer(201, json!({ "number": 1 }))
                }
            }
        });
        let app = &world.app;
        let mut connection = connection::fresh("github", "github", &app.keys, &*app.clock, &*app.random);
        connection.client_id = "client".into();
        connection.set_client_secret(&Secret::new("client-secret-0123"), &app.keys, &*app.random);
        let id = connected(&world, &connection, &BTreeMap::new(), ("old", Some("r1")), NOW - 3_600_000).await;
        // The token has ended.
        let (_, storage) = world.objects.object(id.as_str());
        let mut account: Value = serde_json::from_str(&storage.0.borrow()["account"]).unwrap();
        account["tokens"]["expires_at"] = json!(NOW - 1000);
        storage.0.borrow_mut().insert("account".into(), account.to_string());
        world.snapshots.0.borrow_mut().clear();
        let bearer = fresh_bearer(&world).await;
        let failed = write(&world, &bearer, "key").await;
        assert_eq!(failed.code(), (503, "PROVIDER_UNAVAILABLE", true), "{}", failed.body);
        healthy.set(true);
        world.clock.0.set(NOW + 20_000);
        let done = write(&world, &bearer, "key").await;
        assert_eq!((done.status, writes.get()), (200, 1), "the same key sends what was not sent: {}", done.body);
    });
}

#[test]
fn a_success_that_cannot_be_kept_is_answered_and_not_sent_again() {
    pollster::block_on(async {
        let (world, _, asked, bearer) = world(10).await;
        world.objects.deaf.set(true);
        let first = write(&world, &bearer, "key").await;
        assert_eq!((first.status, first.headers["idempotent-kept"].as_bytes()), (200, &b"false"[..]));
        assert_eq!(first.body["data"]["number"], 1);
        world.objects.deaf.set(false);
        assert_eq!(write(&world, &bearer, "key").await.code(), (409, "CONFLICT", true));
        assert_eq!(asked.get(), 1);
    });
}

#[test]
fn an_answer_too_long_to_keep_is_refused_and_not_sent_again() {
    pollster::block_on(async {
        let (world, _, asked, bearer) = world(1_000_000).await;
        assert_eq!(write(&world, &bearer, "key").await.status, 200);
        let again = write(&world, &bearer, "key").await;
        assert_eq!(again.code(), (409, "CONFLICT", false), "{}", again.body);
        assert_eq!(asked.get(), 1);
    });
}

#[test]
fn kept_answers_are_bounded_and_the_oldest_goes_first() {
    pollster::block_on(async {
        let (world, id, asked, bearer) = world(900_000).await;
        for n in 0..9 {
            world.clock.0.set(NOW + n * 1000);
            assert_eq!(write(&world, &bearer, &format!("key-{n}")).await.status, 200);
        }
        let (_, storage) = world.objects.object(id.as_str());
        assert!(storage.usage("").bytes < 9 * 1024 * 1024, "{:?}", storage.usage(""));
        assert_eq!(
            write(&world, &bearer, "key-0").await.code(),
            (409, "CONFLICT", false),
            "gone, and still not sent again"
        );
        assert_eq!(write(&world, &bearer, "key-8").await.body["data"]["number"], 9);
        assert_eq!(asked.get(), 9);
        world.objects.ask(&id, Command::Disconnect).await.unwrap();
    });
}

#[test]
fn many_small_answers_are_bounded_in_number() {
    pollster::block_on(async {
        let (world, id, ..) = world(10).await;
        for n in 0..1_001 {
            let (key, by) = (format!("key-{n}"), "exec_1".to_owned());
            let claim = Command::Claim { key: key.clone(), request: "r".into(), by: by.clone() };
            world.objects.ask(&id, claim).await.unwrap();
            world.objects.ask(&id, Command::Settle { key, by, answer: Some(json!({})) }).await.unwrap();
        }
        let (object, storage) = world.objects.object(id.as_str());
        assert_eq!(storage.usage("answer:").records, 900);
        assert_eq!(storage.usage("idempotency:").records, 1_001, "the keys refuse all day");
        world.clock.0.set(NOW + 25 * 3_600_000);
        while object.next_wake().is_some_and(|at| at <= world.clock.0.get()) {
            object.wake().await;
        }
        assert_eq!(storage.usage("idempotency:").records + storage.usage("answer:").records, 0);
    });
}

#[test]
fn a_read_has_nothing_to_keep() {
    pollster::block_on(async {
        let (world, id, asked, bearer) = world(10).await;
        let read =
            json!({ "tool_name": "github_user_get_authenticated", "connection_name": "github", "identifier": "user" });
        let headers = [("authorization", bearer.as_str()), ("idempotency-key", "key")];
        for _ in 0..2 {
            let answer = send(&world, "POST", "/api/v1/execute_tool", &headers, &read.to_string()).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
        }
        assert_eq!(asked.get(), 2);
        let (_, storage) = world.objects.object(id.as_str());
        assert_eq!(storage.usage("idempotency:").records, 0);
    });
}

#[test]
fn a_claim_belongs_to_the_execution_that_made_it() {
    pollster::block_on(async {
        let (world, id, ..) = world(10).await;
        let claim = |by: &str| Command::Claim { key: "key".into(), request: "r".into(), by: by.into() };
        let free = |by: &str| Command::Settle { key: "key".into(), by: by.into(), answer: None };
        world.objects.ask(&id, claim("exec_1")).await.unwrap();
        assert!(world.objects.ask(&id, claim("exec_1")).await.is_ok(), "the first answer may have been lost");
        assert!(world.objects.ask(&id, claim("exec_2")).await.is_err());
        world.objects.ask(&id, free("exec_1")).await.unwrap();
        world.objects.ask(&id, claim("exec_2")).await.unwrap();
        // The first one's message comes a second time.
        world.objects.ask(&id, free("exec_1")).await.unwrap();
        assert!(world.objects.ask(&id, claim("exec_3")).await.is_err());
    });
}

#[test]
fn what_the_version_before_kept_is_still_answered() {
    pollster::block_on(async {
        let (world, id, asked, bearer) = world(10).await;
        let (_, storage) = world.objects.object(id.as_str());
        let kept = json!({ "status": 200, "body": { "data": { "number": 7 } } }).to_string();
        let context = format!("{id}/idempotency");
        let sealed = world.app.keys.seal(&context, &Secret::new(kept), &*world.app.random);
        // The call as it was hashed: the tool's name and its input.
        let request = digest::hash("github_issue_create\n{\"owner\":\"jo\",\"repo\":\"r\",\"title\":\"Broken\"}");
        let record = json!({ "request": request, "answer": sealed, "expires_at": NOW + 3_600_000 });
        let place = format!("idempotency:{}", digest::hash("first\nkey"));
        storage.put_until(&place, &record.to_string(), NOW + 3_600_000);
        assert_eq!(write(&world, &bearer, "key").await.body["data"]["number"], 7);
        assert_eq!(asked.get(), 0);
    });
}
