//! What has to be true whatever the order was.

use super::place::Place;
use super::{Act, Begin, Withdraw};
use valetkey::account::command::Command;
use valetkey::account::snapshot::{self, Snapshot};
use valetkey::account::{Account, Reason, Status};
use valetkey::ports::{Millis, Storage};

pub(super) fn read(text: &str) -> Account {
    serde_json::from_str(text).unwrap()
}

/// What has to be true whatever the order was.
pub(super) fn check(place: &Place, begin: Begin, how: &str, acts: &[Act]) {
    place.gates.open.set(true);
    assert_eq!(*place.untrue.borrow(), [""; 0], "{how}: not so");
    let states: Vec<Account> = place.storage.states.borrow().iter().map(|text| read(text)).collect();
    // A consent that was begun before is kept at most once, and not after a disconnect.
    for pair in states.windows(2) {
        let [before, after] = pair else { continue };
        let activated = before.epoch != after.epoch && after.status == Status::Active;
        let by_flow = after.status_reason == Reason::Connected;
        let first = after.epoch == begin_epoch(begin) + 1;
        assert!(!(activated && by_flow) || first, "{how}: a consent of the past was kept");
        let revived = before.status == Status::Disconnected && after.status != Status::Disconnected;
        assert!(!revived || after.epoch > before.epoch, "{how}: {:?} after a disconnect", after.status);
        // It ends by what the provider says of this consent, not of one before.
        let ended = before.status != Status::Expired && after.status == Status::Expired;
        assert!(!ended || place.http.asked_in.borrow().contains(&after.epoch), "{how}: ended for what was before");
        // Nobody consents to less here.
        let narrower = after.epoch == before.epoch && !before.scopes.iter().all(|scope| after.scopes.contains(scope));
        assert!(!narrower, "{how}: scopes {:?} became {:?}", before.scopes, after.scopes);
    }
    // KV converges to the object.
    alarms(place);
    let account = read(&place.storage.get("account").unwrap());
    assert!(!account.unpublished, "{how}: KV was not told");
    let copies = place.snapshots.store.0.borrow();
    let copy: Option<Snapshot> =
        copies.get(&snapshot::key(place.id.as_str())).map(|(text, _)| serde_json::from_str(text).unwrap()).map(
            |copy: Snapshot| Snapshot { row: snapshot::Row { last_used_at: account.last_used_at, ..copy.row }, ..copy },
        );
    assert_eq!(copy, Some(Snapshot::of(&account)), "{how}: KV says something else");
    drop(copies);
    // One person.
    if begin != Begin::New && begin != Begin::Verifying {
        assert_eq!(account.external_id.as_deref(), Some("jo"), "{how}: the account is somebody else's");
    }
    let opened = |field: &str, sealed: &str| place.keys.open(&format!("{}/{field}", account.id), sealed).unwrap();
    let vendor = || place.http.vendor.borrow();
    if account.status == Status::Active {
        let access = account.tokens.as_ref().map(|tokens| opened("access", &tokens.access)).unwrap();
        let whose = vendor().whose(access.reveal());
        let withdrawn = acts.contains(&Withdraw) && whose.is_none();
        assert!(withdrawn || whose == account.external_id, "{how}: the token is {whose:?}'s");
    }
    // No token is lost that the provider honours.
    if account.status == Status::Active && !acts.contains(&Withdraw) && !place.weather.refuses_once {
        let refresh = account.tokens.as_ref().and_then(|tokens| tokens.refresh.as_ref()).unwrap();
        let refresh = opened("refresh", refresh);
        assert!(vendor().honours(refresh.reveal()), "{how}: the refresh token is dead");
    }
    // Nothing stays alive that nobody holds, unless it waits to be ended, and nothing at all after a disconnect.
    let pending = place.storage.get("pending").is_some() || place.storage.get("leftovers").is_some();
    let holder = (account.status == Status::Active).then(|| account.external_id.clone().unwrap());
    let left: Vec<String> = vendor().people().into_iter().filter(|person| Some(person) != holder.as_ref()).collect();
    // What is refused though it is good stays with the account, until that is disconnected or connected anew.
    let misjudged = place.weather.refuses_once && account.status == Status::Expired;
    assert!(pending || misjudged || left.is_empty(), "{how}: {left:?} stays granted");
    drop(account);
    assert!(pollster::block_on(place.object.handle(Command::Disconnect)).is_ok(), "{how}: no disconnect");
    alarms(place);
    assert_eq!(vendor().people(), [""; 0], "{how}: stays granted after a disconnect");
}

/// The alarms of the next minute.
fn alarms(place: &Place) {
    for _ in 0..6 {
        let soon: Millis = place.clock.0.get() + 60_000;
        let Some(at) = place.object.next_wake().filter(|at| *at <= soon) else { return };
        place.clock.0.set(at.max(place.clock.0.get()));
        pollster::block_on(place.object.wake());
    }
}

pub(super) fn begin_epoch(begin: Begin) -> u32 {
    match begin {
        Begin::New | Begin::Verifying => 0,
        Begin::Connected | Begin::Reverifying => 1,
        Begin::Disconnected => 2,
    }
}
