//! An account with everything around it, as far as it has come before things happen at once.

use super::gates::{GatedStore, GatedVendor, Gates, Remembering};
use super::{Act, BROWSER, Begin, ConnectJo, ConnectJoAgain, ConnectMallory, Weather};
use crate::support::{Counted, KEYS, MapStorage, MapStore, NOW, RsaCrate, SetClock};
use crate::vendor::Vendor;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use valetkey::account::AccountId;
use valetkey::account::command::{Answer, Birth, Command, Import, Reply, Verify};
use valetkey::account::object::{Object, World};
use valetkey::connection;
use valetkey::keys::Keys;
use valetkey::ports::Millis;
use valetkey::secret::Secret;

/// An account with everything around it.
pub(super) struct Place {
    pub(super) clock: Rc<SetClock>,
    pub(super) gates: Rc<Gates>,
    pub(super) http: Rc<GatedVendor>,
    pub(super) snapshots: Rc<GatedStore>,
    pub(super) storage: Rc<Remembering>,
    pub(super) object: Object,
    pub(super) keys: Rc<Keys>,
    pub(super) id: AccountId,
    /// What answers said that is not so.
    pub(super) untrue: Rc<RefCell<Vec<String>>>,
    pub(super) weather: Weather,
}

/// What is prepared before anything happens at once, so that a run can begin there.
#[derive(Clone)]
pub(super) struct Prepared {
    pub(super) records: (BTreeMap<String, String>, BTreeMap<String, Millis>),
    pub(super) config: BTreeMap<String, (String, Option<String>)>,
    pub(super) snapshots: BTreeMap<String, (String, Option<String>)>,
    pub(super) vendor: Vendor,
    pub(super) keys: Rc<Keys>,
    pub(super) id: AccountId,
    pub(super) states: Vec<(Act, String)>,
    pub(super) ticket: String,
}

pub(super) fn place(from: &Prepared, weather: Weather) -> Place {
    let clock = Rc::new(SetClock(Cell::new(NOW + 1000)));
    let gates = Rc::new(Gates::default());
    gates.open.set(true);
    let vendor = Rc::new(RefCell::new(from.vendor.clone()));
    {
        let mut vendor = vendor.borrow_mut();
        vendor.many_grants = weather.many_grants;
        vendor.one_refresh_token = weather.one_refresh_token;
        vendor.same_application = weather.same_application;
    }
    let (records, dues) = from.records.clone();
    let storage = MapStorage(RefCell::new(records), RefCell::new(dues), Cell::default());
    let storage = Rc::new(Remembering { storage, states: RefCell::default() });
    let http = Rc::new(GatedVendor {
        gates: gates.clone(),
        vendor,
        early: Cell::new(weather.early),
        refuses: Cell::new(weather.refuses_once),
        storage: storage.clone(),
        asked_in: RefCell::default(),
    });
    let store = |records: &BTreeMap<_, _>, fails| {
        let store = MapStore(RefCell::new(records.clone()), Cell::default(), Cell::default(), Cell::default());
        Rc::new(GatedStore { gates: gates.clone(), store, fails: Cell::new(fails), late: RefCell::default() })
    };
    let (config, snapshots) = (store(&from.config, false), store(&from.snapshots, weather.late_write));
    let world = World {
        clock: clock.clone(),
        random: Rc::new(Counted::default()),
        signer: Rc::new(RsaCrate),
        http: http.clone(),
        config,
        snapshots: snapshots.clone(),
        keys: from.keys.clone(),
    };
    let object = Object::new(world, storage.clone());
    Place {
        clock,
        gates,
        http,
        snapshots,
        storage,
        object,
        keys: from.keys.clone(),
        id: from.id.clone(),
        untrue: Rc::default(),
        weather,
    }
}

pub(super) fn birth(id: &AccountId) -> Birth {
    Birth {
        id: id.clone(),
        connection_name: "linear".into(),
        connector: "linear".into(),
        authorization_type: "OAUTH".into(),
        identifier: "user".into(),
    }
}

pub(super) fn finish(state: &str, code: &str) -> Command {
    let answer = Answer { code: Some(Secret::new(code)), ..Answer::default() };
    Command::Finish { state: state.into(), browser: BROWSER.into(), connection_name: "linear".into(), answer }
}

pub(super) fn import(token: &str) -> Import {
    Import {
        access_token: Secret::new(format!("access-{token}")),
        refresh_token: Some(Secret::new(format!("refresh-{token}"))),
        scopes: vec!["read".into()],
        expires_at: Some(NOW + 3_600_000),
    }
}

/// An account as it begins, with three browsers that have come as far as the provider's answer.
pub(super) async fn prepare(begin: Begin, weather: Weather) -> Prepared {
    let keys = Rc::new(Keys::parse(KEYS).unwrap_or_else(|problem| panic!("{problem}")));
    let (clock, random) = (SetClock(Cell::new(NOW)), Counted::default());
    let mut connection = connection::fresh("linear", "linear", &keys, &clock, &random);
    connection.client_id = "client".into();
    connection.set_client_secret(&Secret::new("client-secret"), &keys, &random);
    let key = connection::key("linear");
    let config = BTreeMap::from([(key, (serde_json::to_string(&connection).unwrap(), None))]);
    let id = AccountId::derive(&connection.id, &connection.open_salt(&keys).unwrap(), "user");
    let mut prepared = Prepared {
        records: Default::default(),
        config,
        snapshots: BTreeMap::new(),
        vendor: Vendor::default(),
        keys,
        id: id.clone(),
        states: Vec::new(),
        ticket: String::new(),
    };
    let place = place(&prepared, Weather { late_write: false, early: false, ..weather });
    let ask = |command| place.object.handle(command);
    let link = async |verify: Option<Verify>| {
        let command = Command::Link { birth: birth(&id), verify, fields: BTreeMap::new(), other_person: false };
        let Ok(Reply::Link { ticket, .. }) = ask(command).await else { panic!("no link") };
        ticket
    };
    let start = async |ticket: &str| {
        let redirect_uri = "https://vk.example.com/callback/linear".into();
        let (ticket, browser) = (ticket.to_owned(), BROWSER.to_owned());
        let reply = ask(Command::Start { ticket, browser, redirect_uri, fields: BTreeMap::new() }).await;
        let Ok(Reply::Go { url }) = reply else { panic!("not sent away: {:?}", reply.err()) };
        let url = url::Url::parse(&url).unwrap();
        url.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned()
    };
    if begin != Begin::New {
        let verify = Some(Verify { url: "https://op.example.com/v".into(), state: None });
        let consents: &[_] = match begin {
            Begin::Verifying => &[("jo-0", true)],
            Begin::Reverifying => &[("jo-0", false), ("jo-9", true)],
            _ => &[("jo-0", false)],
        };
        for (code, verified) in consents {
            let ticket = link(verify.clone().filter(|_| *verified)).await;
            let reply = ask(finish(&start(&ticket).await, code)).await;
            let Ok(Reply::Finished { verify_at, .. }) = reply else { panic!("not connected: {:?}", reply.err()) };
            if let Some(url) = verify_at {
                let url = url::Url::parse(&url).unwrap();
                prepared.ticket = url.query_pairs().find(|(name, _)| name == "auth_request_id").unwrap().1.into_owned();
            }
        }
    }
    if begin == Begin::Disconnected {
        place.clock.0.set(NOW + 500);
        ask(Command::Disconnect).await.ok().unwrap();
        place.clock.0.set(NOW + 1000);
    }
    let ticket = link(None).await;
    for act in [ConnectJo, ConnectJoAgain, ConnectMallory] {
        prepared.states.push((act, start(&ticket).await));
    }
    let MapStorage(records, dues, _) = &place.storage.storage;
    prepared.records = (records.borrow().clone(), dues.borrow().clone());
    prepared.snapshots = place.snapshots.store.0.borrow().clone();
    prepared.vendor = place.http.vendor.borrow().clone();
    // Jo has granted these elsewhere.
    prepared.vendor.grant_elsewhere("jo", "elsewhere");
    prepared
}
