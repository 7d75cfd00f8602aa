//! Records that end: nothing is read to know when, and one object can hold only so much of them.

use crate::support::{NOW, deployment};
use std::collections::BTreeMap;
use valetkey::account::AccountId;
use valetkey::account::command::{Accounts, Answer, Birth, Command, Import, Reply};
use valetkey::connection;
use valetkey::ports::{Response, Storage, Unanswered};
use valetkey::secret::Secret;

const ID: &str = "ca_abcdefghijkl234567abcdefghijklmnopqr";

fn birth() -> Birth {
    Birth {
        id: AccountId::parse(ID).unwrap(),
        connection_name: "github".into(),
        connector: "github".into(),
        authorization_type: "OAUTH".into(),
        identifier: "user".into(),
    }
}

#[test]
fn whoever_begins_many_consents_pushes_out_the_oldest() {
    pollster::block_on(async {
        let world = deployment(|_| Err(Unanswered::Unreachable));
        let app = &world.app;
        let mut connection = connection::fresh("github", "github", &app.keys, &*app.clock, &*app.random);
        connection.client_id = "client".into();
        connection::save(&*world.config, &connection).await.unwrap();
        let id = app.connection("github").await.unwrap().account_id("user", &app.keys).unwrap();
        let birth = Birth { id: id.clone(), ..birth() };
        let link = Command::Link { birth, verify: None, fields: BTreeMap::new(), other_person: false };
        let Reply::Link { ticket, .. } = world.objects.ask(&id, link).await.unwrap() else { panic!("no link") };
        let mut states = Vec::new();
        for n in 0..30 {
            world.clock.0.set(NOW + n);
            let start = Command::Start {
                ticket: ticket.clone(),
                browser: "browser".into(),
                redirect_uri: "https://vk.example.com/callback/github".into(),
                fields: BTreeMap::new(),
            };
            let Reply::Go { url } = world.objects.ask(&id, start).await.unwrap() else { panic!("nowhere to go") };
            let url = url::Url::parse(&url).unwrap();
            states.push(url.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned());
        }
        let (_, storage) = world.objects.object(id.as_str());
        assert_eq!(storage.usage("flow:").records, 20);
        let finish = |state: &str| Command::Finish {
            state: state.to_owned(),
            browser: "browser".into(),
            connection_name: "github".into(),
            answer: Answer { code: Some(Secret::new("code")), ..Answer::default() },
        };
        let reason = async |state: &str| {
            let error = world.objects.ask(&id, finish(state)).await.err().unwrap();
            error.details.status_reason.unwrap()
        };
        assert_eq!(reason(&states[0]).await, "state_used");
        assert_eq!(reason(&states[29]).await, "provider_unreachable");
    });
}

#[test]
fn what_happens_again_and_again_pushes_nobody_out_of_the_audit_trail() {
    pollster::block_on(async {
        let world = deployment(|_| Ok(Response::new(200, "application/json", r#"{"login":"jo","id":1}"#)));
        let app = &world.app;
        let connection = connection::fresh("github", "github", &app.keys, &*app.clock, &*app.random);
        connection::save(&*world.config, &connection).await.unwrap();
        let id = app.connection("github").await.unwrap().account_id("user", &app.keys).unwrap();
        let birth = || Birth { id: id.clone(), ..birth() };
        let import = Import {
            access_token: Secret::new("access-token"),
            refresh_token: None,
            scopes: Vec::new(),
            expires_at: None,
        };
        let act = async |by: &str, command: Command| {
            let command = Command::As { by: by.into(), command: Box::new(command) };
            world.objects.ask(&id, command).await.unwrap()
        };
        let create =
            Command::Create { birth: birth(), import: Some(import), fields: BTreeMap::new(), other_person: false };
        act("vkc_backend", create).await;
        for n in 0..250 {
            world.clock.0.set(NOW + n * 1000);
            act("vkc_agent", Command::Read { by: "vkc_agent".into(), with_refresh_token: false }).await;
            let link = Command::Link { birth: birth(), verify: None, fields: BTreeMap::new(), other_person: false };
            act("vkc_backend", link).await;
        }
        world.clock.0.set(NOW + 300_000);
        act("vkc_other", Command::Disconnect).await;
        let Reply::View { audit, .. } = act("vkc_backend", Command::View).await else { panic!("no view") };
        let told: Vec<_> = audit.iter().map(|event| (event.event.as_str(), event.by.as_deref(), event.count)).collect();
        assert_eq!(
            told,
            [
                ("imported", Some("vkc_backend"), 1),
                ("token_read", Some("vkc_agent"), 250),
                ("link_created", Some("vkc_backend"), 250),
                ("disconnected", Some("vkc_other"), 1),
                ("revoked", Some("vkc_other"), 1),
            ]
        );
        assert_eq!((audit[1].at, audit[1].last_at), (NOW, Some(NOW + 249_000)));
        let (_, storage) = world.objects.object(id.as_str());
        assert!(storage.usage("audit").bytes + storage.usage("routine").bytes < 2_000);
    });
}

#[test]
fn no_command_reads_what_it_does_not_need() {
    pollster::block_on(async {
        let world = deployment(|_| Err(Unanswered::Unreachable));
        let app = &world.app;
        let connection = connection::fresh("github", "github", &app.keys, &*app.clock, &*app.random);
        connection::save(&*world.config, &connection).await.unwrap();
        let id = AccountId::parse(ID).unwrap();
        let birth = Birth { id: id.clone(), ..birth() };
        world
            .objects
            .ask(&id, Command::Create { birth, import: None, fields: BTreeMap::new(), other_person: false })
            .await
            .unwrap();
        let (object, storage) = world.objects.object(ID);
        let weigh = async |command: Command| {
            storage.2.set(0);
            world.objects.ask(&id, command).await.unwrap();
            object.next_wake();
            storage.2.get()
        };
        let empty = [weigh(Command::View).await, weigh(Command::Nudge).await];
        for n in 0..40 {
            storage.put_until(&format!("idempotency:{n}"), &"x".repeat(950_000), NOW + 60_000 + n);
        }
        let full = [weigh(Command::View).await, weigh(Command::Nudge).await];
        assert!(full[0] < empty[0] + 100 && full[1] < empty[1] + 100, "{full:?} bytes read, and {empty:?} when empty");
        assert!(weigh(Command::Disconnect).await < 10_000);
        assert_eq!(object.next_wake(), Some(NOW + 60_000));
        world.clock.0.set(NOW + 60_019);
        storage.2.set(0);
        object.wake().await;
        assert_eq!(storage.keys("idempotency:").len(), 20, "what is over is forgotten, unread");
        assert!(storage.2.get() < 10_000);
    });
}
