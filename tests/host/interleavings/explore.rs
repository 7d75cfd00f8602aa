//! Every order there is: who goes on next is chosen, and then chosen otherwise.

use super::check::{check, read};
use super::place::{Place, Prepared, birth, finish, import, place};
use super::{
    Act, Begin, Confirm, ConnectJo, ConnectJoAgain, ConnectMallory, Disconnect, Expire, Publish, Refresh, Weather,
    Withdraw,
};
use futures_util::future::LocalBoxFuture;
use std::collections::BTreeMap;
use std::task::{Context, Waker};
use valetkey::account::command::{Command, Reply};
use valetkey::ports::Storage;

pub(super) type Work = LocalBoxFuture<'static, ()>;

pub(super) fn work(act: Act, place: &Place, prepared: &Prepared) -> Work {
    let object = place.object.clone();
    let state = prepared.states.iter().find(|(known, _)| *known == act).map(|(_, state)| state.clone());
    let command = match act {
        ConnectJo => finish(&state.unwrap(), "jo-1"),
        ConnectJoAgain => finish(&state.unwrap(), "jo-2"),
        ConnectMallory => finish(&state.unwrap(), "mallory-3"),
        Refresh => {
            let (vendor, keys, id) = (place.http.vendor.clone(), place.keys.clone(), place.id.clone());
            let untrue = place.untrue.clone();
            return Box::pin(async move {
                let Ok(Reply::Snapshot(snapshot)) = object.handle(Command::Renew).await else { return };
                let access = keys.open(&format!("{id}/access"), snapshot.access.as_deref().unwrap_or_default());
                let access = access.expect("a renewal that worked ends with a token");
                if !vendor.borrow().has_renewed(access.reveal()) {
                    untrue.borrow_mut().push(format!("renewed: {}", access.reveal()));
                }
            });
        }
        Withdraw => {
            let (vendor, clock) = (place.http.vendor.clone(), place.clock.clone());
            return Box::pin(async move {
                vendor.borrow_mut().withdraw("jo");
                clock.0.set(clock.0.get() + 20_000);
                let _ = object.handle(Command::Renew).await;
            });
        }
        Disconnect => {
            let (storage, untrue) = (place.storage.clone(), place.untrue.clone());
            return Box::pin(async move {
                let held = storage.get("account").is_some_and(|text| read(&text).tokens.is_some());
                let Ok(Reply::Disconnected { detail, .. }) = object.handle(Command::Disconnect).await else { return };
                if held && (detail.contains("no revocation") || detail.contains("nothing")) {
                    untrue.borrow_mut().push(detail);
                }
            });
        }
        Act::Import => {
            let import = Some(import("elsewhere"));
            Command::Create { birth: birth(&place.id), import, fields: BTreeMap::new(), other_person: false }
        }
        Confirm => Command::Verify { ticket: prepared.ticket.clone(), identifier: "user".into() },
        Expire => {
            let clock = place.clock.clone();
            return Box::pin(async move {
                clock.0.set(clock.0.get() + 11 * 60_000);
                object.wake().await;
            });
        }
        Publish => return Box::pin(async move { object.wake().await }),
    };
    // What a command comes to is in the object's storage; its answer is another test's matter.
    Box::pin(async move { object.handle(command).await.map_or((), |_| ()) })
}

/// What can be done next: begin something, let somebody go on, or let a late write arrive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Step {
    Begin(usize),
    GoOn(usize, usize),
    Arrive,
}

/// One run: `choose` says which of the steps there are is taken. With a bound on interruptions, who could go on is only
/// left that often.
pub(super) fn run(
    acts: &[Act],
    prepared: &Prepared,
    weather: Weather,
    mut interruptions: usize,
    choose: &mut dyn FnMut(usize) -> usize,
) -> (Place, Vec<Step>) {
    let place = place(prepared, weather);
    place.gates.open.set(false);
    let mut tasks: Vec<Option<Work>> = acts.iter().map(|act| Some(work(*act, &place, prepared))).collect();
    let mut begun = vec![false; tasks.len()];
    let (mut taken, mut last) = (Vec::new(), None);
    loop {
        let mut steps: Vec<Step> =
            place.gates.closed.borrow().iter().map(|(gate, whose)| Step::GoOn(*gate, *whose)).collect();
        steps.extend((0..tasks.len()).filter(|number| !begun[*number]).map(Step::Begin));
        if place.snapshots.late.borrow().is_some() {
            steps.push(Step::Arrive);
        }
        let goes_on = |step: &Step| matches!(step, Step::GoOn(_, whose) if Some(*whose) == last);
        steps.sort_by_key(|step| !goes_on(step));
        let could_go_on = steps.iter().any(goes_on);
        if could_go_on && interruptions == 0 {
            steps.retain(goes_on);
        }
        if steps.is_empty() {
            break;
        }
        let step = steps[choose(steps.len())];
        if could_go_on && !goes_on(&step) {
            interruptions -= 1;
        }
        taken.push(step);
        match step {
            Step::Begin(number) => {
                begun[number] = true;
                last = Some(number);
            }
            Step::GoOn(gate, whose) => {
                place.gates.closed.borrow_mut().retain(|(known, _)| *known != gate);
                last = Some(whose);
            }
            Step::Arrive => {
                let late = place.snapshots.late.borrow_mut().take();
                let (key, value, metadata) = late.unwrap();
                place.snapshots.store.0.borrow_mut().insert(key, (value, metadata));
            }
        }
        settle(&place, &mut tasks, &begun);
    }
    assert!(tasks.iter().all(Option::is_none), "{acts:?} {taken:?}: somebody waits for ever");
    (place, taken)
}

/// Polls everybody until nobody gets any further: one that ends may be what another waits for.
pub(super) fn settle(place: &Place, tasks: &mut [Option<Work>], begun: &[bool]) {
    let mut context = Context::from_waker(Waker::noop());
    let mut quiet = 0;
    while quiet < 2 {
        let before = (place.gates.next.get(), tasks.iter().flatten().count());
        for number in 0..tasks.len() {
            place.gates.turn.set(number);
            let done =
                begun[number] && tasks[number].as_mut().is_some_and(|task| task.as_mut().poll(&mut context).is_ready());
            if done {
                tasks[number] = None;
            }
        }
        quiet = if before == (place.gates.next.get(), tasks.iter().flatten().count()) { quiet + 1 } else { 0 };
    }
}

/// Every run there is, by depth first: the last choice that has another is changed.
pub(super) fn explore(
    acts: &[Act],
    prepared: &Prepared,
    begin: Begin,
    weather: Weather,
    interruptions: usize,
) -> usize {
    let (mut path, mut runs): (Vec<(usize, usize)>, usize) = (Vec::new(), 0);
    loop {
        let mut depth = 0;
        let mut choose = |options: usize| {
            if depth == path.len() {
                path.push((0, options));
            }
            depth += 1;
            path[depth - 1].0
        };
        let (place, steps) = run(acts, prepared, weather, interruptions, &mut choose);
        check(&place, begin, &format!("{begin:?} {acts:?} {weather:?} {steps:?}"), acts);
        runs += 1;
        while path.last().is_some_and(|(taken, options)| taken + 1 == *options) {
            path.pop();
        }
        let Some(last) = path.last_mut() else { return runs };
        last.0 += 1;
    }
}
