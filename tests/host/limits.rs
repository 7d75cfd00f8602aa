//! Rate limits: never over, exact when small, and seldom asked for when hot.

use crate::support::{Deployment, deployment};
use std::collections::BTreeMap;
use valetkey::app::Isolate;
use valetkey::catalog;
use valetkey::code::Code;
use valetkey::connection::{self, Connection};
use valetkey::error::Result;
use valetkey::limit::gate::Call;
use valetkey::ports::{Response, Unanswered};

const LIMIT: &str = "requests_per_hour";

fn world(units: u32) -> (Deployment, Connection) {
    let world = deployment(|_| Err::<Response, _>(Unanswered::Unreachable));
    let app = &world.app;
    let mut connection = connection::fresh("linear", "linear", &app.keys, &*app.clock, &*app.random);
    connection.limits = BTreeMap::from([(LIMIT.to_owned(), units)]);
    (world, connection)
}

/// One call through one isolate; what it asks for ahead is asked at once.
async fn enter(world: &Deployment, isolate: &Isolate, connection: &Connection) -> Result<()> {
    let connector = catalog::find_connector("linear").unwrap();
    let call = Call { connector, tool: None, connection, account: "ca_one", input: None, variables: None, requests: 1 };
    let now = world.app.now();
    for refill in isolate.leases.enter(&call, &*world.counters, now).await? {
        isolate.leases.refill(refill, &*world.counters, now).await;
    }
    Ok(())
}

#[test]
fn a_small_limit_is_exact_across_isolates_and_names_the_exact_wait() {
    pollster::block_on(async {
        let (world, connection) = world(20);
        let isolates = [Isolate::default(), Isolate::default()];
        let mut passed = 0;
        let mut refused = None;
        for call in 0..60 {
            match enter(&world, &isolates[call % 2], &connection).await {
                Ok(()) => passed += 1,
                Err(error) => refused = Some(error),
            }
        }
        assert_eq!(passed, 20);
        let refused = refused.unwrap();
        assert_eq!((refused.code, refused.details.limit_type.as_deref()), (Code::RateLimitExceeded, Some(LIMIT)));
        let wait = refused.details.retry_after.unwrap() * 1000;
        world.clock.0.set(world.clock.0.get() + wait - 1000);
        assert!(enter(&world, &isolates[0], &connection).await.is_err());
        world.clock.0.set(world.clock.0.get() + 1000);
        assert!(enter(&world, &isolates[0], &connection).await.is_ok());
    });
}

#[test]
fn a_hot_isolate_asks_seldom_and_never_passes_the_limit() {
    pollster::block_on(async {
        let (world, connection) = world(2000);
        let isolates = [Isolate::default(), Isolate::default()];
        let mut passed = 0;
        for call in 0..3000 {
            world.clock.0.set(world.clock.0.get() + 2);
            passed += u32::from(enter(&world, &isolates[call / 10 % 2], &connection).await.is_ok());
        }
        assert!(passed <= 2000, "{passed}");
        assert!(passed >= 1900, "leases leave little unused: {passed}");
        assert!(world.counters.asked.get() < 400, "{} questions for {passed} calls", world.counters.asked.get());
    });
}

#[test]
fn what_the_provider_said_is_kept_for_everyone_until_then() {
    pollster::block_on(async {
        let (world, connection) = world(1000);
        let isolates = [Isolate::default(), Isolate::default()];
        let connector = catalog::find_connector("linear").unwrap();
        let call = Call {
            connector,
            tool: None,
            connection: &connection,
            account: "ca_one",
            input: None,
            variables: None,
            requests: 1,
        };
        let until = world.app.now() + 30_000;
        isolates[0].leases.learn(&call, LIMIT, until, &*world.counters).await;
        for isolate in &isolates {
            let error = enter(&world, isolate, &connection).await.unwrap_err();
            assert_eq!(error.details.retry_after, Some(30));
        }
        world.clock.0.set(until);
        assert!(enter(&world, &isolates[1], &connection).await.is_ok());
    });
}
