//! How long tokens live, what a token answer says beside the token, and what a refusal means.

use crate::support::{Deployment, NOW, deployment};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use valetkey::account::AccountId;
use valetkey::account::command::{Accounts, Birth, Command, Import, Mark, Reply};
use valetkey::catalog::CONNECTORS;
use valetkey::code::Code;
use valetkey::connection;
use valetkey::error::Error;
use valetkey::ports::{Response, Storage, Unanswered};
use valetkey::secret::Secret;

/// An account of a connector with a token that has ended, and a token endpoint with these answers.
async fn world(connector: &str, answers: Vec<(u16, Value)>) -> (Deployment, AccountId) {
    let answers = RefCell::new(VecDeque::from(answers));
    let world = deployment(move |request| {
        if !String::from_utf8_lossy(request.body.bytes()).contains("grant_type=") {
            // Whose imported tokens are, in every connector's words.
            let viewer = json!({ "viewer": { "id": "1", "email": "jo@example.com" },
                "organization": { "id": "o", "name": "Example", "urlKey": "ex" } });
            let who = json!({ "id": "1", "userPrincipalName": "jo@example.com", "data": viewer, "user_id": "1",
                "organization_id": "o", "preferred_username": "jo@example.com" });
            return Ok(Response::new(200, "application/json", who.to_string()));
        }
        let (status, body) = answers.borrow_mut().pop_front().ok_or(Unanswered::Unreachable)?;
        Ok(Response::new(status, "application/json", body.to_string()))
    });
    let app = &world.app;
    let mut connection = connection::fresh("one", connector, &app.keys, &*app.clock, &*app.random);
    connection.client_id = "client".into();
    connection.set_client_secret(&Secret::new("client-secret"), &app.keys, &*app.random);
    connection::save(&*app.config, &connection).await.unwrap();
    let id = app.connection("one").await.unwrap().account_id("user", &app.keys).unwrap();
    let birth = Birth {
        id: id.clone(),
        connection_name: "one".into(),
        connector: connector.into(),
        authorization_type: "OAUTH".into(),
        identifier: "user".into(),
    };
    let import = Import {
        access_token: Secret::new("access-0"),
        refresh_token: Some(Secret::new("refresh-0")),
        scopes: vec!["Mail.Send".into(), "User.Read".into()],
        expires_at: Some(NOW),
    };
    let there = ("instance_url".to_owned(), Secret::new("https://acme.my.salesforce.com"));
    let fields = BTreeMap::from_iter(Some(there).filter(|_| connector == "salesforce"));
    world.objects.ask(&id, Command::Create { birth, import: Some(import), fields, other_person: false }).await.unwrap();
    world.http.sent.borrow_mut().clear();
    (world, id)
}

async fn lease(world: &Deployment, id: &AccountId, rejected: Option<&str>) -> Result<String, Error> {
    let rejected = rejected.map(|token| Mark { token: Secret::new(token).fingerprint(), epoch: None });
    match world.objects.ask(id, Command::Lease { rejected, for_at_least: 0 }).await? {
        Reply::Snapshot(snapshot) => Ok(snapshot.open(&world.app.keys)?.reveal().to_owned()),
        _ => panic!("not a snapshot"),
    }
}

fn account(world: &Deployment, id: &AccountId) -> Value {
    let (_, storage) = world.objects.object(id.as_str());
    serde_json::from_str(&storage.get("account").unwrap()).unwrap()
}

fn set(world: &Deployment, id: &AccountId, change: impl FnOnce(&mut Value)) {
    let (_, storage) = world.objects.object(id.as_str());
    let mut stored = account(world, id);
    change(&mut stored);
    storage.put("account", &stored.to_string());
}

#[test]
fn no_lifetime_makes_the_alarm_ask_again_and_again() {
    for (said, most) in [
        (json!("0.5"), 0),
        (json!(1), 0),
        (json!(5), 0),
        (json!(59), 0),
        (json!(60), 20),
        (json!("1e30"), 0),
        (json!(1e19), 0),
    ] {
        pollster::block_on(async {
            let answer = (200, json!({ "access_token": "a", "refresh_token": "r", "expires_in": said }));
            let (world, id) = world("linear", vec![answer; 1000]).await;
            lease(&world, &id, None).await.unwrap();
            let asked = world.http.sent.borrow().len();
            let (object, _) = world.objects.object(id.as_str());
            let from = world.clock.0.get();
            while let Some(next) = object.next_wake().filter(|next| *next < from + 600_000) {
                world.clock.0.set(next.max(world.clock.0.get() + 1));
                object.wake().await;
            }
            let more = world.http.sent.borrow().len() - asked;
            assert!(more <= most, "expires_in {said}: {more} token requests in ten minutes without a caller");
            let expires_at = account(&world, &id)["tokens"]["expires_at"].as_u64().unwrap();
            assert!(expires_at > from && expires_at <= from + 10 * 366 * 86_400_000, "{said}: {expires_at}");
        });
    }
}

#[test]
fn a_refresh_that_says_where_the_api_is_now_is_heard() {
    pollster::block_on(async {
        let said = |url: &str| (200, json!({ "access_token": "a", "expires_in": 60, "instance_url": url }));
        let there = "https://acme--uat2.sandbox.my.salesforce.com";
        let none = (200, json!({ "access_token": "a", "expires_in": 60 }));
        let (world, id) = world("salesforce", vec![said(there), none, said("https://attacker.example")]).await;
        set(&world, &id, |account| account["variables"] = json!({ "instance_url": "https://acme.my.salesforce.com" }));
        for what in ["said", "not said: stays", "has not the form it must have: stays"] {
            lease(&world, &id, None).await.unwrap();
            assert_eq!(account(&world, &id)["variables"]["instance_url"], there, "{what}");
            world.clock.0.set(world.clock.0.get() + 120_000);
        }
        assert_eq!(world.http.sent.borrow().len(), 3);
    });
}

#[test]
fn what_token_answers_save_has_a_form_to_be_held_to() {
    for connector in CONNECTORS {
        let Some(oauth2) = &connector.auth.oauth2 else { continue };
        for (name, _) in oauth2.response.save.iter().filter(|(name, _)| !matches!(*name, "label" | "external_id")) {
            let in_url = |url: &&str| url.contains(&format!("{{account.{name}}}"));
            let decides = connector.http.hosts.iter().any(in_url) || in_url(&connector.http.base_url);
            let held = connector.auth.patterns.iter().any(|(known, _)| known == name);
            assert!(!decides || held, "{}: {name} decides where requests go", connector.id);
        }
    }
}

#[test]
fn microsoft_hears_the_granted_scopes_with_every_refresh() {
    let of_microsoft = |url: &str| url.starts_with("https://login.microsoftonline.com/");
    let mut seen = 0;
    for connector in CONNECTORS {
        let Some(oauth2) = &connector.auth.oauth2 else { continue };
        assert_eq!(oauth2.refresh_scopes, of_microsoft(oauth2.token_url), "{}", connector.id);
        seen += u32::from(oauth2.refresh_scopes);
    }
    assert_eq!(seen, 7);
    pollster::block_on(async {
        let (world, id) = world("outlook", vec![(200, json!({ "access_token": "a", "expires_in": 3600 }))]).await;
        lease(&world, &id, None).await.unwrap();
        let sent = world.http.sent.borrow();
        let form: BTreeMap<_, _> = form_urlencoded::parse(sent[0].body.bytes()).into_owned().collect();
        assert_eq!(form["scope"], "Mail.Send User.Read offline_access");
    });
}

#[test]
fn connectors_of_one_token_endpoint_hear_the_same_refusals() {
    let mut known: BTreeMap<&str, (&str, Vec<String>)> = BTreeMap::new();
    for connector in CONNECTORS {
        let Some(oauth2) = &connector.auth.oauth2 else { continue };
        let mut said: Vec<_> = oauth2.refusals.iter().map(|refusal| format!("{refusal:?}")).collect();
        said.sort();
        let (first, refusals) = known.entry(oauth2.token_url).or_insert_with(|| (connector.id, said.clone()));
        assert_eq!(*refusals, said, "{} and {first}", connector.id);
    }
}

#[test]
fn a_token_endpoint_that_is_broken_ends_no_account() {
    pollster::block_on(async {
        for status in [500, 502, 503, 429] {
            let (world, id) = world("linear", vec![(status, json!({ "error": "invalid_grant" }))]).await;
            let error = lease(&world, &id, None).await.unwrap_err();
            assert!(error.code.retryable() && error.details.reauthorize_url.is_none(), "{status}: {error}");
            assert_eq!(account(&world, &id)["status"], "ACTIVE", "{status}");
        }
    });
}

#[test]
fn a_token_refused_right_after_its_renewal_is_a_matter_of_waiting() {
    pollster::block_on(async {
        let tokens =
            |n: u32| (200, json!({ "access_token": format!("a{n}"), "refresh_token": "r", "expires_in": 3600 }));
        let (world, id) = world("linear", (1..10).map(tokens).collect()).await;
        assert_eq!(lease(&world, &id, None).await.as_deref(), Ok("a1"));
        world.clock.0.set(NOW + 4_000);
        let error = lease(&world, &id, Some("a1")).await.unwrap_err();
        assert_eq!(error.code, Code::ProviderUnavailable);
        assert_eq!((error.details.retryable, error.details.retry_after), (Some(true), Some(6)));
        assert_eq!(error.details.reauthorize_url, None);
        assert_eq!(world.http.sent.borrow().len(), 1);
        // It stays refused: three fresh tokens later it is no matter of waiting any more.
        let mut outcomes = Vec::new();
        let mut token = "a1".to_owned();
        for n in 1..8 {
            world.clock.0.set(NOW + n * 20_000);
            token = lease(&world, &id, Some(&token)).await.unwrap();
            outcomes.push(lease(&world, &id, Some(&token)).await.unwrap_err());
        }
        let codes: Vec<_> = outcomes.iter().map(|error| error.code).collect();
        assert_eq!(codes[..2], [Code::ProviderUnavailable; 2]);
        assert_eq!(codes[2..], [Code::ReauthorizationRequired; 5]);
        assert!(outcomes[6].details.reauthorize_url.is_some());
        assert_eq!(account(&world, &id)["status"], "ACTIVE");
    });
}
