//! Renewing tokens: once, stored before it is seen, every outcome told apart.

use crate::support::{Deployment, NOW, deployment};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use valetkey::account::AccountId;
use valetkey::account::command::{Accounts, Birth, Command, Import, Mark, Reply};
use valetkey::code::Code;
use valetkey::connection;
use valetkey::error::Error;
use valetkey::ports::{Response, Storage, Unanswered};
use valetkey::secret::Secret;

type Answer = Result<Response, Unanswered>;

#[expect(clippy::unnecessary_wraps, reason = "one of the answers a script gives")]
fn reply(status: u16, body: &Value) -> Answer {
    Ok(Response::new(status, "application/json", body.to_string()))
}

fn tokens(number: u32) -> Answer {
    reply(
        200,
        &json!({ "access_token": format!("access-{number}"), "refresh_token": format!("refresh-{number}"), "expires_in": 3600 }),
    )
}

/// A Linear account (rotating refresh tokens) whose token ends in a minute, and a token endpoint with these answers.
async fn world(answers: Vec<Answer>) -> (Deployment, AccountId) {
    let answers = RefCell::new(VecDeque::from(answers));
    let world = deployment(move |request| {
        if request.url.ends_with("/graphql") {
            return reply(
                200,
                &json!({ "data": { "viewer": { "id": "u1", "email": "jo@example.com" },
                "organization": { "id": "o1", "name": "Example", "urlKey": "ex" } } }),
            );
        }
        answers.borrow_mut().pop_front().unwrap_or(Err(Unanswered::Unreachable))
    });
    let app = &world.app;
    let mut connection = connection::fresh("linear", "linear", &app.keys, &*app.clock, &*app.random);
    connection.client_id = "client".into();
    connection.set_client_secret(&Secret::new("client-secret"), &app.keys, &*app.random);
    connection::save(&*app.config, &connection).await.unwrap();
    let id = app.connection("linear").await.unwrap().account_id("user", &app.keys).unwrap();
    let birth = Birth {
        id: id.clone(),
        connection_name: "linear".into(),
        connector: "linear".into(),
        authorization_type: "OAUTH".into(),
        identifier: "user".into(),
    };
    let import = Import {
        access_token: Secret::new("access-0"),
        refresh_token: Some(Secret::new("refresh-0")),
        scopes: vec!["read".into()],
        expires_at: Some(NOW + 60_000),
    };
    world
        .objects
        .ask(&id, Command::Create { birth, import: Some(import), fields: BTreeMap::new(), other_person: false })
        .await
        .unwrap();
    // Whose tokens they are was asked; the tests count what comes after that.
    world.http.sent.borrow_mut().clear();
    (world, id)
}

async fn lease(world: &Deployment, id: &AccountId) -> Result<String, Error> {
    match world.objects.ask(id, Command::Lease { rejected: None, for_at_least: 0 }).await? {
        Reply::Snapshot(snapshot) => Ok(snapshot.open(&world.app.keys)?.reveal().to_owned()),
        _ => panic!("not a snapshot"),
    }
}

fn expire(world: &Deployment) {
    world.clock.0.set(world.clock.0.get() + 3_700_000);
}

fn sent_refresh_tokens(world: &Deployment) -> Vec<String> {
    let form = |body: &[u8]| {
        form_urlencoded::parse(body).find(|(name, _)| name == "refresh_token").map(|(_, value)| value.into_owned())
    };
    world.http.sent.borrow().iter().filter_map(|request| form(request.body.bytes())).collect()
}

fn account(world: &Deployment, id: &AccountId) -> Value {
    let (_, storage) = world.objects.object(id.as_str());
    serde_json::from_str(&storage.0.borrow()["account"]).unwrap()
}

#[test]
fn two_hundred_callers_share_one_refresh() {
    pollster::block_on(async {
        let (world, id) = world(vec![tokens(1)]).await;
        expire(&world);
        let leases = join_all((0..200).map(|_| lease(&world, &id))).await;
        assert!(leases.iter().all(|lease| lease.as_deref() == Ok("access-1")));
        assert_eq!(sent_refresh_tokens(&world), ["refresh-0"]);
    });
}

#[test]
fn a_token_about_to_end_is_renewed_behind_the_call() {
    pollster::block_on(async {
        let (world, id) = world(vec![tokens(1)]).await;
        world.clock.0.set(NOW + 50_000);
        assert_eq!(lease(&world, &id).await.as_deref(), Ok("access-0"));
        world.objects.ask(&id, Command::Nudge).await.unwrap();
        world.objects.ask(&id, Command::Nudge).await.unwrap();
        assert_eq!(lease(&world, &id).await.as_deref(), Ok("access-1"));
        assert_eq!(sent_refresh_tokens(&world), ["refresh-0"]);
    });
}

#[test]
fn what_passes_never_costs_the_account_and_waits_longer_each_time() {
    pollster::block_on(async {
        let html = || Ok(Response::new(200, "text/html", "<html>sign in</html>"));
        let down = || Ok(Response::new(503, "text/plain", "down"));
        let limited = || Ok(Response::new(429, "text/plain", "").with_header("retry-after", "7"));
        for (answer, code) in [
            (down as fn() -> Answer, Code::ProviderUnavailable),
            (html, Code::ProviderUnavailable),
            (|| Err(Unanswered::TimedOut), Code::ProviderTimeout),
            (|| Err(Unanswered::Unreachable), Code::ProviderUnavailable),
            (|| reply(401, &json!({ "error": "invalid_client" })), Code::ConnectionMisconfigured),
            (limited, Code::RateLimitExceeded),
        ] {
            let (world, id) = world(vec![answer(), answer(), tokens(1)]).await;
            expire(&world);
            let first = lease(&world, &id).await.unwrap_err();
            assert_eq!(first.code, code);
            let wait = first.details.retry_after.unwrap();
            // Before its time nobody is asked again.
            assert_eq!(lease(&world, &id).await.unwrap_err().code, code);
            assert_eq!(world.http.sent.borrow().len(), 1);
            world.clock.0.set(world.clock.0.get() + wait * 1000);
            let second = lease(&world, &id).await.unwrap_err();
            assert!(second.details.retry_after.unwrap() >= wait.min(7));
            world.clock.0.set(world.clock.0.get() + second.details.retry_after.unwrap() * 1000);
            assert_eq!(lease(&world, &id).await.as_deref(), Ok("access-1"));
            assert_eq!(account(&world, &id)["status"], "ACTIVE");
        }
    });
}

#[test]
fn a_revoked_refresh_token_ends_the_account_at_once_with_a_link() {
    pollster::block_on(async {
        let (world, id) = world(vec![reply(400, &json!({ "error": "invalid_grant" }))]).await;
        expire(&world);
        let error = lease(&world, &id).await.unwrap_err();
        assert_eq!(error.code, Code::ReauthorizationRequired);
        assert_eq!(error.details.status_reason.as_deref(), Some("refresh_token_revoked"));
        assert!(error.details.reauthorize_url.unwrap().starts_with("/connect/ca_"));
        lease(&world, &id).await.unwrap_err();
        assert_eq!(world.http.sent.borrow().len(), 1, "a dead account does not ask again");
    });
}

#[test]
fn the_refresh_token_before_is_tried_until_the_new_one_has_worked() {
    pollster::block_on(async {
        let refused = reply(400, &json!({ "error": "invalid_grant" }));
        let (world, id) = world(vec![tokens(1), refused, tokens(2)]).await;
        expire(&world);
        lease(&world, &id).await.unwrap();
        expire(&world);
        assert_eq!(lease(&world, &id).await.as_deref(), Ok("access-2"));
        assert_eq!(sent_refresh_tokens(&world), ["refresh-0", "refresh-1", "refresh-0"]);
    });
}

#[test]
fn a_token_before_that_nobody_judged_proves_nothing() {
    pollster::block_on(async {
        for passing in
            [Err(Unanswered::TimedOut), Err(Unanswered::Unreachable), reply(429, &json!({})), reply(503, &json!({}))]
        {
            let refused = || reply(400, &json!({ "error": "invalid_grant" }));
            let (world, id) = world(vec![tokens(1), refused(), passing, refused(), tokens(2)]).await;
            expire(&world);
            lease(&world, &id).await.unwrap();
            expire(&world);
            assert!(lease(&world, &id).await.unwrap_err().code.retryable());
            assert_eq!(account(&world, &id)["status"], "ACTIVE");
            expire(&world);
            assert_eq!(lease(&world, &id).await.as_deref(), Ok("access-2"));
        }
    });
}

#[test]
fn a_revocation_that_could_not_be_sent_is_sent_later() {
    pollster::block_on(async {
        let (world, id) = world(vec![reply(200, &json!({}))]).await;
        let key = connection::key("linear");
        let record = world.config.0.borrow_mut().insert(key.clone(), ("nonsense".into(), None)).unwrap();
        let Reply::Disconnected { attempted, succeeded, detail, .. } =
            world.objects.ask(&id, Command::Disconnect).await.unwrap()
        else {
            panic!("not disconnected");
        };
        assert!(attempted && !succeeded && detail.contains("could not be read"), "{detail}");
        assert!(world.http.sent.borrow().is_empty());
        world.config.0.borrow_mut().insert(key, record);
        let (object, storage) = world.objects.object(id.as_str());
        world.clock.0.set(object.next_wake().unwrap());
        object.wake().await;
        let revoked: Vec<_> = world.http.sent.borrow().iter().map(|request| request.url.clone()).collect();
        assert!(matches!(revoked.as_slice(), [url] if url.ends_with("/revoke")), "{revoked:?}");
        assert!(!storage.0.borrow().contains_key("leftovers"));
    });
}

#[test]
fn a_disconnect_ends_all_that_was_obtained_and_its_own_above_all() {
    pollster::block_on(async {
        let (world, id) = world((0..40).map(|_| reply(200, &json!({}))).collect()).await;
        let (_, storage) = world.objects.object(id.as_str());
        let account = account(&world, &id);
        for number in 0..20 {
            let mut tokens = account["tokens"].clone();
            let sealed = world.app.keys.seal(
                &format!("{id}/refresh"),
                &Secret::new(format!("choice-{number}")),
                &*world.app.random,
            );
            tokens["refresh"] = sealed.into();
            let consented =
                json!({ "tokens": tokens, "scopes": [], "variables": {}, "verify": null, "step": 0, "epoch": 1 });
            let choice = json!({ "browser": "", "consented": consented, "options": [], "expires_at": NOW + 600_000 });
            storage.put_until(&format!("choice:{number}"), &choice.to_string(), NOW + 600_000);
        }
        let reply = world.objects.ask(&id, Command::Disconnect).await.unwrap();
        assert!(matches!(reply, Reply::Disconnected { succeeded: true, .. }));
        let token = |body: &[u8]| {
            form_urlencoded::parse(body).find(|(name, _)| name == "token").map(|(_, value)| value.into_owned())
        };
        let revoked: Vec<_> =
            world.http.sent.borrow().iter().filter_map(|request| token(request.body.bytes())).collect();
        assert_eq!(revoked.iter().filter(|token| *token == "refresh-0").count(), 1, "{revoked:?}");
        assert_eq!(revoked.len(), 21, "{revoked:?}");
    });
}

#[test]
fn a_disconnect_that_is_asked_for_again_and_again_spends_no_tries() {
    pollster::block_on(async {
        let (world, id) = world((0..9).map(|_| reply(503, &json!({}))).collect()).await;
        let (object, storage) = world.objects.object(id.as_str());
        for _ in 0..5 {
            let reply = object.handle(Command::Disconnect).await.unwrap();
            assert!(matches!(reply, Reply::Disconnected { attempted: true, succeeded: false, .. }));
        }
        assert!(storage.0.borrow().contains_key("leftovers"), "it is tried again when it is due");
    });
}

#[test]
fn no_command_waits_for_all_that_is_revoked() {
    pollster::block_on(async {
        let (world, id) = world(Vec::new()).await;
        let (object, storage) = world.objects.object(id.as_str());
        let tokens = account(&world, &id)["tokens"].clone();
        let left: Vec<_> = (1..20)
            .map(|id| json!({ "tokens": tokens, "variables": { "external_id": "u1" }, "id": id, "tries": 0, "next_try_at": 0 }))
            .collect();
        storage.put("leftovers", &Value::from(left).to_string());
        let sent = || world.http.sent.borrow().len();
        object.handle(Command::Disconnect).await.unwrap();
        assert_eq!(sent(), 1, "its own");
        object.wake().await;
        assert_eq!(sent(), 6, "and a few each time it wakes");
        assert!(object.next_wake().is_some_and(|at| at <= world.clock.0.get()), "at once again");
    });
}

#[test]
fn a_rotated_token_is_stored_before_anyone_sees_it() {
    pollster::block_on(async {
        let (world, id) = world(vec![tokens(1)]).await;
        expire(&world);
        lease(&world, &id).await.unwrap();
        // The object loses its memory; storage has the new token.
        let (_, storage) = world.objects.known.borrow_mut().remove(id.as_str()).unwrap();
        let object = valetkey::account::object::Object::new(world.objects.world.clone(), storage.clone());
        world.objects.known.borrow_mut().insert(id.to_string(), (object, storage));
        assert_eq!(lease(&world, &id).await.as_deref(), Ok("access-1"));
        assert_eq!(world.http.sent.borrow().len(), 1);
    });
}

#[test]
fn a_token_that_comes_after_the_account_was_disconnected_is_dropped() {
    pollster::block_on(async {
        let (world, id) = world(vec![tokens(1)]).await;
        expire(&world);
        let (leased, ()) = futures_util::future::join(lease(&world, &id), async {
            world.objects.ask(&id, Command::Disconnect).await.unwrap();
        })
        .await;
        assert!(leased.is_err());
        assert_eq!(account(&world, &id)["tokens"], Value::Null);
        assert_eq!(account(&world, &id)["status"], "DISCONNECTED");
    });
}

#[test]
fn a_refused_token_is_renewed_once_however_many_were_refused() {
    pollster::block_on(async {
        let (world, id) = world(vec![tokens(1)]).await;
        let rejected = Some(Mark { token: Secret::new("access-0").fingerprint(), epoch: None });
        let ask = || world.objects.ask(&id, Command::Lease { rejected: rejected.clone(), for_at_least: 0 });
        let replies = join_all((0..50).map(|_| ask())).await;
        assert!(replies.iter().all(Result::is_ok));
        ask().await.unwrap();
        assert_eq!(world.http.sent.borrow().len(), 1);
    });
}

#[test]
fn an_account_whose_connection_is_gone_waits_like_any_other() {
    pollster::block_on(async {
        let (world, id) = world(Vec::new()).await;
        lease(&world, &id).await.unwrap();
        world.config.0.borrow_mut().clear();
        expire(&world);
        let (object, _) = world.objects.object(id.as_str());
        for _ in 0..3 {
            object.wake().await;
            let next = object.next_wake().unwrap();
            assert!(next >= world.clock.0.get() + 1000, "the alarm does not come at once");
            world.clock.0.set(next);
        }
    });
}

#[test]
fn links_in_errors_leave_nothing_behind() {
    pollster::block_on(async {
        let (world, id) = world(vec![reply(400, &json!({ "error": "invalid_grant" }))]).await;
        expire(&world);
        for _ in 0..50 {
            lease(&world, &id).await.unwrap_err();
        }
        let (_, storage) = world.objects.object(id.as_str());
        assert!(storage.0.borrow().len() < 5, "{:?}", storage.0.borrow().keys());
    });
}
