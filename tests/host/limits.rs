//! Rate limits: never over, exact when small, and seldom asked for when hot.

use crate::support::{AllCounters, Deployment, NOW, SetClock, deployment};
use async_trait::async_trait;
use futures_util::future::LocalBoxFuture;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::{Context, Poll};
use valetkey::app::Isolate;
use valetkey::catalog;
use valetkey::catalog::Tool;
use valetkey::catalog::model::Step;
use valetkey::code::Code;
use valetkey::connection::{self, Connection};
use valetkey::error::{Error, Origin, Result};
use valetkey::limit::counter::LOOKING;
use valetkey::limit::gate::{Ask, Behind, Call, OWN, WAIT_BELIEVED};
use valetkey::limit::{Answer, Limiters, Question, lease_time};
use valetkey::ports::{Millis, Response, Unanswered};

const LIMIT: &str = "requests_per_hour";

fn world(units: u32) -> (Deployment, Connection) {
    world_of("linear", LIMIT, units)
}

fn world_of(connector: &str, limit: &str, units: u32) -> (Deployment, Connection) {
    let world = deployment(|_| Err::<Response, _>(Unanswered::Unreachable));
    let app = &world.app;
    let mut connection = connection::fresh(connector, connector, &app.keys, &*app.clock, &*app.random);
    connection.limits = BTreeMap::from([(limit.to_owned(), units)]);
    (world, connection)
}

fn call(connection: &Connection) -> Call<'_> {
    let connector = catalog::find_connector(&connection.connector).unwrap();
    Call { connector, tool: None, connection, account: "ca_one", input: None, variables: None, requests: OWN }
}

/// One call through one isolate; what it asks for ahead is asked at once.
async fn enter(world: &Deployment, isolate: &Isolate, connection: &Connection) -> Result<()> {
    enter_as(world, isolate, &call(connection)).await
}

async fn enter_as(world: &Deployment, isolate: &Isolate, call: &Call<'_>) -> Result<()> {
    let now = world.app.now();
    let granted = isolate.leases.enter(call, &*world.counters, &*world.clock).await;
    for work in isolate.leases.behind() {
        if let Behind::Refill(ask) = work {
            isolate.leases.settle(ask, &*world.counters, now).await;
        }
    }
    granted.map(|_| ())
}

fn pass(world: &Deployment, time: Millis) {
    world.clock.0.set(world.clock.0.get() + time);
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
        pass(&world, wait - 1000);
        assert!(enter(&world, &isolates[0], &connection).await.is_err());
        pass(&world, 1000);
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
            pass(&world, 2);
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
        isolates[0].leases.learn(&call(&connection), LIMIT, 30_000, &*world.counters, world.app.now()).await;
        for isolate in &isolates {
            let error = enter(&world, isolate, &connection).await.unwrap_err();
            assert_eq!(error.details.retry_after, Some(30));
        }
        pass(&world, 30_000);
        assert!(enter(&world, &isolates[1], &connection).await.is_ok());
    });
}

/// Small and fast, and the same in every run.
struct Dice(u64);
impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Many isolates, a network that takes its time and loses answers, and a clock that runs to the next thing that happens.
struct Simulation {
    clock: Rc<SetClock>,
    counters: Rc<AllCounters>,
    /// What the task that runs waits for.
    wake: Cell<Option<Millis>>,
    started: RefCell<Vec<LocalBoxFuture<'static, ()>>>,
    dice: RefCell<Dice>,
    /// Milliseconds an answer takes at most. Only what is leased may be used late, so small limits are measured without.
    late: u64,
    /// One answer of so many is lost; none with 0.
    loses: u64,
    passed: RefCell<Vec<Millis>>,
    refused: Cell<u32>,
}

impl Simulation {
    fn new(world: &Deployment, seed: u64, late: u64, loses: u64) -> Rc<Self> {
        Rc::new(Self {
            clock: world.clock.clone(),
            counters: world.counters.clone(),
            wake: Cell::new(None),
            started: RefCell::default(),
            dice: RefCell::new(Dice(seed)),
            late,
            loses,
            passed: RefCell::default(),
            refused: Cell::new(0),
        })
    }

    fn roll(&self, sides: u64) -> u64 {
        self.dice.borrow_mut().below(sides)
    }

    async fn until(&self, time: Millis) {
        std::future::poll_fn(|_| {
            if self.clock.0.get() >= time {
                return Poll::Ready(());
            }
            self.wake.set(Some(time));
            Poll::Pending
        })
        .await;
    }

    async fn sleep(&self, time: Millis) {
        self.until(self.clock.0.get() + time).await;
    }

    fn start(&self, work: impl Future<Output = ()> + 'static) {
        self.started.borrow_mut().push(Box::pin(work));
    }

    /// Runs until nothing is left to do.
    fn run(&self) {
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut waiting: BTreeMap<(Millis, usize), LocalBoxFuture<'static, ()>> = BTreeMap::new();
        let mut number = 0;
        loop {
            let mut ready = std::mem::take(&mut *self.started.borrow_mut());
            if ready.is_empty() {
                let Some(((time, _), task)) = waiting.pop_first() else { break };
                self.clock.0.set(self.clock.0.get().max(time));
                ready.push(task);
            }
            for mut task in ready {
                if task.as_mut().poll(&mut context).is_pending() {
                    number += 1;
                    let time = self.wake.take().expect("a task waits for a time");
                    waiting.insert((time, number), task);
                }
            }
        }
    }

    async fn call(self: Rc<Self>, isolate: Rc<Isolate>, connection: Rc<Connection>) {
        let granted = isolate.leases.enter(&call(&connection), &*self, &*self.clock).await;
        match granted {
            Ok(_) => self.passed.borrow_mut().push(self.clock.0.get()),
            Err(_) => self.refused.set(self.refused.get() + 1),
        }
        self.behind(&isolate);
    }

    fn behind(self: &Rc<Self>, isolate: &Rc<Isolate>) {
        for work in isolate.leases.behind() {
            let (simulation, isolate) = (self.clone(), isolate.clone());
            self.start(async move {
                let ask: Option<Ask> = match work {
                    Behind::Refill(ask) => Some(ask),
                    Behind::GiveBack(ask, at) => {
                        simulation.until(at).await;
                        isolate.leases.unused(ask, simulation.clock.0.get())
                    }
                };
                if let Some(ask) = ask {
                    isolate.leases.settle(ask, &*simulation, simulation.clock.0.get()).await;
                }
                simulation.behind(&isolate);
            });
        }
    }

    fn most_in_any(&self, period: Millis) -> usize {
        let mut passed = self.passed.borrow().clone();
        passed.sort_unstable();
        let within = |at: usize| passed[at..].partition_point(|time| *time < passed[at] + period);
        (0..passed.len()).map(within).max().unwrap_or_default()
    }
}

#[async_trait(?Send)]
impl Limiters for Simulation {
    async fn ask(&self, scope: &str, question: Question) -> Result<Answer> {
        // As the platform does: what may be asked twice is asked again when no answer came.
        let attempts = if question.gives_back() { 1 } else { 3 };
        for _ in 0..attempts {
            self.sleep(self.roll(120)).await;
            let answer = self.counters.ask(scope, question.clone()).await;
            self.sleep(self.roll(self.late + 1)).await;
            if self.loses == 0 || self.roll(self.loses) > 0 {
                return answer;
            }
        }
        Err(Error::internal("lost"))
    }
}

const PER_MINUTE: &str = "requests_per_minute"; // Asana's, per account
const MINUTE: Millis = 60_000;

/// Isolates that call in bursts, each at its own times, for some minutes.
fn simulate(units: u32, seed: u64, loses: u64) -> (Deployment, Rc<Connection>, Rc<Simulation>) {
    let (world, connection) = world_of("asana", PER_MINUTE, units);
    let (connection, simulation) =
        (Rc::new(connection), Simulation::new(&world, seed, if units < 100 { 0 } else { 120 }, loses));
    for _ in 0..4 {
        let (isolate, connection, simulation) = (Rc::new(Isolate::default()), connection.clone(), simulation.clone());
        let task = simulation.clone();
        simulation.start(async move {
            while task.clock.0.get() < NOW + 4 * MINUTE {
                task.sleep(task.roll(9_000)).await;
                let (calls, gap) = (task.roll(u64::from(units) / 3), task.roll(30));
                for _ in 0..calls {
                    task.sleep(task.roll(gap + 1)).await;
                    let (isolate, connection) = (isolate.clone(), connection.clone());
                    task.start(task.clone().call(isolate, connection));
                }
            }
        });
    }
    simulation.run();
    (world, connection, simulation)
}

#[test]
fn whatever_isolates_do_no_period_has_more_than_the_limit() {
    for seed in 0..12 {
        let units = [12, 60, 300, 600][usize::try_from(seed % 4).unwrap()];
        let (.., simulation) = simulate(units, seed, [0, 9][usize::try_from(seed / 4 % 2).unwrap()]);
        let most = simulation.most_in_any(MINUTE);
        assert!(most <= units as usize, "seed {seed}: {most} of {units}");
        // Units whose answer is lost are lost for a period.
        let least = units as usize * if simulation.loses > 0 { 8 } else { 9 } / 10;
        assert!(most >= least, "seed {seed}: the limit is also reached: {most} of {units}");
        assert!(simulation.refused.get() > 0, "seed {seed}");
    }
}

#[test]
fn what_was_leased_and_not_used_is_there_for_others_a_moment_later() {
    for seed in 0..6 {
        let (world, connection, simulation) = simulate(600, seed, 0);
        // All leases have ended now. What can be had is all but what was used.
        let now = simulation.clock.0.get();
        let counts = (MINUTE + lease_time(600, MINUTE)) * 61 / 60;
        let recent = simulation.passed.borrow().iter().filter(|time| **time + counts > now).count();
        let fresh = Isolate::default();
        let mut more = 0;
        while pollster::block_on(enter(&world, &fresh, &connection)).is_ok() {
            more += 1;
        }
        assert!(more + recent >= 600, "seed {seed}: {recent} used and only {more} to be had");
    }
}

#[test]
fn of_a_thousand_calls_at_once_the_whole_limit_goes_through() {
    let (world, connection) = world_of("asana", PER_MINUTE, 900);
    let (connection, simulation) = (Rc::new(connection), Simulation::new(&world, 7, 120, 0));
    let isolates = [Rc::new(Isolate::default()), Rc::new(Isolate::default()), Rc::new(Isolate::default())];
    for call in 0..1000 {
        simulation.start(simulation.clone().call(isolates[call % 3].clone(), connection.clone()));
    }
    simulation.run();
    assert_eq!((simulation.passed.borrow().len(), simulation.refused.get()), (900, 100));
}

#[test]
fn a_limit_of_one_kind_of_call_stops_no_other() {
    pollster::block_on(async {
        let (world, connection) = world_of("github", "search_per_minute", 1);
        let isolate = Isolate::default();
        let search = catalog::find_tool("github_search_issues").unwrap().1;
        let search = Call { tool: Some(search), ..call(&connection) };
        assert!(enter_as(&world, &isolate, &search).await.is_ok());
        assert!(enter_as(&world, &isolate, &search).await.is_err());
        assert!(enter(&world, &isolate, &connection).await.is_ok());
        // And so with what the provider says of it.
        isolate.leases.learn(&search, "search_per_minute", 120_000, &*world.counters, world.app.now()).await;
        assert_eq!(enter_as(&world, &isolate, &search).await.unwrap_err().details.origin, Origin::Provider);
        assert!(enter(&world, &isolate, &connection).await.is_ok());
    });
}

#[test]
fn a_provider_is_not_believed_for_a_day_about_a_limit_of_seconds() {
    pollster::block_on(async {
        let limit = "requests_of_key_per_10_seconds";
        let (world, connection) = world_of("trello", limit, 300);
        let isolates = [Isolate::default(), Isolate::default()];
        isolates[0].leases.learn(&call(&connection), limit, 86_400_000, &*world.counters, world.app.now()).await;
        let other = Call { account: "ca_two", ..call(&connection) };
        for isolate in &isolates {
            let error = enter_as(&world, isolate, &other).await.unwrap_err();
            assert_eq!(error.details.retry_after, Some(WAIT_BELIEVED / 1000));
        }
        pass(&world, WAIT_BELIEVED);
        // One looks, the others wait for what it finds.
        assert!(enter_as(&world, &isolates[1], &other).await.is_ok());
        let error = enter_as(&world, &isolates[0], &other).await.unwrap_err();
        assert_eq!(error.details.retry_after, Some(LOOKING / 1000));
        // If it was never sent, another one looks a while later; the others go on waiting.
        pass(&world, LOOKING);
        assert!(enter_as(&world, &isolates[0], &other).await.is_ok());
        assert!(enter_as(&world, &isolates[1], &other).await.is_err());
        // It is told the same again.
        isolates[1].leases.learn(&other, limit, 86_400_000, &*world.counters, world.app.now()).await;
        pass(&world, LOOKING);
        assert!(enter_as(&world, &isolates[0], &other).await.is_err());
        pass(&world, WAIT_BELIEVED);
        let looks = isolates[0].leases.enter(&other, &*world.counters, &*world.clock).await.unwrap();
        assert!(!looks.is_empty());
        assert!(enter_as(&world, &isolates[1], &other).await.is_err());
        // This time nothing is said against it.
        isolates[0].leases.lift(looks, &*world.counters).await;
        pass(&world, 5_000);
        for isolate in &isolates {
            assert!(enter_as(&world, isolate, &other).await.is_ok());
        }
    });
}

#[test]
fn a_shorter_wait_replaces_a_longer_one_and_a_change_of_the_connection_lifts_it() {
    pollster::block_on(async {
        let (world, mut connection) = world(1000);
        let isolates = [Isolate::default(), Isolate::default()];
        let learn = |connection: &Connection, wait| {
            let (connection, now) = (connection.clone(), world.app.now());
            let (world, isolate) = (&world, &isolates[0]);
            async move { isolate.leases.learn(&call(&connection), LIMIT, wait, &*world.counters, now).await }
        };
        learn(&connection, 1_800_000).await;
        learn(&connection, 20_000).await;
        pass(&world, 20_000);
        assert!(enter(&world, &isolates[1], &connection).await.is_ok());
        learn(&connection, 1_800_000).await;
        pass(&world, 10_000);
        assert!(enter(&world, &isolates[1], &connection).await.is_err());
        pass(&world, 10_000);
        connection.updated_at = world.app.now();
        for isolate in &isolates {
            assert!(enter(&world, isolate, &connection).await.is_ok(), "PATCH lifts what the provider said before");
        }
    });
}

#[test]
fn accounts_of_one_customer_share_the_limits_of_that_customer() {
    pollster::block_on(async {
        let (world, connection) = world_of("zendesk", "requests_per_minute", 5);
        let isolate = Isolate::default();
        let of = |domain: &str| BTreeMap::from([("subdomain".to_owned(), domain.to_owned())]);
        let (acme, shouted, other) = (of("acme"), of("ACME"), of("other"));
        let call = |account, variables| Call { account, variables, ..call(&connection) };
        for account in ["ca_one", "ca_two", "ca_one", "ca_two", "ca_one"] {
            assert!(enter_as(&world, &isolate, &call(account, Some(&acme))).await.is_ok());
        }
        let error = enter_as(&world, &isolate, &call("ca_three", Some(&shouted))).await.unwrap_err();
        assert_eq!(error.details.limit_type.as_deref(), Some("requests_per_minute"));
        assert!(enter_as(&world, &isolate, &call("ca_four", Some(&other))).await.is_ok());
        // As long as nothing is known of an account it counts by itself.
        assert!(enter_as(&world, &isolate, &call("ca_three", None)).await.is_ok());
    });
}

#[test]
fn a_call_that_costs_more_than_the_limit_is_the_operators_to_mend() {
    pollster::block_on(async {
        // Stored before it was refused.
        let (world, connection) = world_of("gmail", "quota_units_per_minute", 50);
        let send = catalog::find_tool("gmail_send_message").unwrap().1;
        let isolate = Isolate::default();
        let error = enter_as(&world, &isolate, &Call { tool: Some(send), ..call(&connection) }).await.unwrap_err();
        assert_eq!(error.code, Code::ConnectionMisconfigured);
        assert!(error.message.contains("quota_units_per_minute") && error.message.contains("100"), "{}", error.message);
        assert_eq!(error.details.retry_after, None);
        let problems = connection.problems();
        let (path, words) = problems.iter().find(|(path, _)| path.starts_with("/limits")).unwrap();
        assert_eq!(path, "/limits/quota_units_per_minute");
        assert!(words.contains("at least 140") && words.contains("gmail_reply_to_thread"), "{words}");
    });
}

/// With its steps: what is allowed here is never refused by ourselves for ever.
#[test]
fn no_limit_may_be_set_below_what_one_call_sends() {
    let (_, connection) = world_of("github", "requests_per_hour", 1);
    let problems = connection.problems();
    let (path, words) = problems.iter().find(|(path, _)| path.starts_with("/limits")).unwrap();
    assert_eq!(path, "/limits/requests_per_hour");
    assert!(words.contains("at least 2") && words.contains("github_branch_create"), "{words}");
    let of = |units| world_of("github", "requests_per_hour", units).1.problems();
    assert!(!of(2).iter().any(|(path, _)| path.starts_with("/limits")), "{:?}", of(2));
    // Whatever passes is enough for each call there is, with all its steps.
    for connector in catalog::CONNECTORS {
        for limit in connector.limits.iter() {
            let least = (1..=limit.units).find(|units| {
                let problems = world_of(connector.id, limit.name, *units).1.problems();
                !problems.iter().any(|(path, _)| path.starts_with("/limits"))
            });
            let (least, world) = (least.unwrap(), world_of(connector.id, limit.name, 1));
            let connection = Connection { limits: BTreeMap::from([(limit.name.into(), least)]), ..world.1 };
            for tool in connector.tools.iter() {
                let requests = every_request(tool);
                let call = Call { tool: Some(tool), requests: &requests, connector, ..call(&connection) };
                pollster::block_on(async {
                    let world = deployment(|_| Err::<Response, _>(Unanswered::Unreachable));
                    let entered = enter_as(&world, &Isolate::default(), &call).await;
                    assert!(entered.is_ok(), "{} {} {least}: {entered:?}", tool.name, limit.name);
                });
            }
        }
    }
}

/// All that one call of a tool may send.
fn every_request(tool: &'static Tool) -> Vec<Option<&'static Step>> {
    tool.before.iter().map(Some).chain([None]).collect()
}

#[test]
fn a_step_counts_against_the_limits_it_names() {
    pollster::block_on(async {
        let (connector, tool) = catalog::find_tool("zoom_meeting_transcript_download").unwrap();
        let (world, connection) = world_of("zoom", "light_per_second", 4);
        let isolate = Isolate::default();
        let requests = every_request(tool);
        let call = Call { connector, tool: Some(tool), requests: &requests, ..call(&connection) };
        for passes in [true, true, false] {
            assert_eq!(enter_as(&world, &isolate, &call).await.is_ok(), passes, "two requests each");
        }
        // One of them that is sent again counts as one, and a step by what it is.
        pass(&world, 2_000);
        for request in [&requests[..1], &requests[1..], &requests[..1], &requests[1..]] {
            assert!(enter_as(&world, &isolate, &Call { requests: request, ..call }).await.is_ok());
        }
        assert!(enter_as(&world, &isolate, &Call { requests: &requests[..1], ..call }).await.is_err());

        let (connector, tool) = catalog::find_tool("googleforms_add_text").unwrap();
        let (world, connection) = world_of("googleforms", "reads_per_minute", 1);
        let requests = every_request(tool);
        let call = Call { connector, tool: Some(tool), requests: &requests, ..self::call(&connection) };
        assert!(enter_as(&world, &isolate, &call).await.is_ok());
        let error = enter_as(&world, &isolate, &call).await.unwrap_err();
        assert_eq!(error.details.limit_type.as_deref(), Some("reads_per_minute"), "what it reads first is a read");
        let without = Call { requests: &requests[1..], ..call };
        assert!(enter_as(&world, &isolate, &without).await.is_ok(), "and without that it reads nothing");
    });
}

#[test]
fn what_an_earlier_version_stored_is_read() {
    pollster::block_on(async {
        let (world, connection) = world(10);
        let storage = world.counters.scopes.borrow_mut().entry("ca_one".to_owned()).or_default().clone();
        let at = world.app.now() - 1000;
        let counter = format!(r#"{{"window":[[{at},{at},10]],"empty_at":{}}}"#, at + 3_600_000);
        storage.0.borrow_mut().insert(format!("counter:{LIMIT}"), counter);
        assert!(enter(&world, &Isolate::default(), &connection).await.is_err());
        storage.0.borrow_mut().clear();
        let until = world.app.now() + 30_000;
        storage.0.borrow_mut().insert("block".into(), format!(r#"{{"limit":"{LIMIT}","until":{until}}}"#));
        // It was made by nobody knows when, so one call looks.
        assert!(enter(&world, &Isolate::default(), &connection).await.is_ok());
        assert!(enter(&world, &Isolate::default(), &connection).await.is_err());
    });
}
