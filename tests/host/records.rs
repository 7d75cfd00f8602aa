//! Records that end: nothing is read to know when, and one object can hold only so much of them.

use crate::support::{NOW, deployment};
use std::collections::BTreeMap;
use valetkey::account::AccountId;
use valetkey::account::command::{Accounts, Birth, Command};
use valetkey::connection;
use valetkey::ports::{Storage, Unanswered};

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
fn no_command_reads_what_it_does_not_need() {
    pollster::block_on(async {
        let world = deployment(|_| Err(Unanswered::Unreachable));
        let app = &world.app;
        let connection = connection::fresh("github", "github", &app.keys, &*app.clock, &*app.random);
        connection::save(&*world.config, &connection).await.unwrap();
        let id = AccountId::parse(ID).unwrap();
        let birth = Birth { id: id.clone(), ..birth() };
        world.objects.ask(&id, Command::Create { birth, import: None, fields: BTreeMap::new() }).await.unwrap();
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
        assert_eq!([weigh(Command::View).await, weigh(Command::Nudge).await], empty);
        assert!(weigh(Command::Disconnect).await < 10_000);
        assert_eq!(object.next_wake(), Some(NOW + 60_000));
        world.clock.0.set(NOW + 60_019);
        storage.2.set(0);
        object.wake().await;
        assert_eq!(storage.keys("idempotency:").len(), 20, "what is over is forgotten, unread");
        assert!(storage.2.get() < 10_000);
    });
}
