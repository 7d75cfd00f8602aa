//! From what a caller names to an account that can be used: connection, account id, fresh token.

use crate::account::command::{Command, Mark, Reply};
use crate::account::snapshot::{self, Snapshot};
use crate::account::{AccountId, check_identifier};
use crate::app::{App, Known, Leased, remember};
use crate::catalog::{Connector, Tool};
use crate::code::Code;
use crate::connection::{self, Connection};
use crate::error::{Error, Result, short};
use crate::limit::gate::{self, Behind, Looks};
use crate::ports::Millis;
use futures_util::FutureExt;
use serde_json::{Map, Value};
use std::rc::Rc;

/// How long an isolate uses an account's token without asking KV again. Disconnecting waits this long, so that no lease
/// outlives it.
pub const LEASE: Millis = 1_000;

/// How a caller names an account.
#[derive(Debug, Default, Clone)]
pub struct Named {
    /// `ca_…`
    pub id: Option<String>,
    /// Name of the connection.
    pub connection: Option<String>,
    /// The same under its other name. Beside `connection`, the connector's will do.
    pub connector: Option<String>,
    /// The operator's id of the user.
    pub identifier: Option<String>,
}

impl Named {
    /// The connection's name.
    fn connection(&self) -> Option<&str> {
        self.connection.as_deref().or(self.connector.as_deref())
    }

    /// Whether all that is said is of one account. Taking one of two for meant would act for another person.
    pub fn agrees(
        &self,
        id: &AccountId,
        connection: &str,
        connector: &str,
        is_identifier: impl FnOnce(&str) -> Result<bool>,
    ) -> Result<()> {
        let differs = |what: &str, said: &str| {
            let message = format!("{what} `{}` is not that of {id}; name the account by one of them", short(said));
            Err(Error::invalid(message).of(connector))
        };
        for (what, said) in [("connection_name", &self.connection), ("connector", &self.connector)] {
            if let Some(said) = said.as_deref().filter(|said| *said != connection && *said != connector) {
                return differs(what, said);
            }
        }
        match self.identifier.as_deref() {
            Some(said) if !is_identifier(said)? => differs("identifier", said),
            _ => Ok(()),
        }
    }
}

/// An account about to be used.
pub struct Used {
    /// `ca_…`
    pub id: AccountId,
    /// Its connection.
    pub known: Rc<Known>,
    /// Its connector.
    pub connector: &'static Connector,
}

impl Used {
    /// The call as the limits see it: one request, of an account of which nothing is known yet.
    pub fn gate<'a>(&'a self, tool: Option<&'static Tool>, input: Option<&'a Map<String, Value>>) -> gate::Call<'a> {
        let (connection, account) = (&self.known.connection, self.id.as_str());
        gate::Call { connector: self.connector, tool, connection, account, input, variables: None, requests: gate::OWN }
    }
}

/// Finds the account a caller names. `provider` stands in for a connection that is not named. What is of a connection
/// that the caller `may` not use is answered as what does not exist, and its name is not said.
pub async fn find(app: &App, named: &Named, provider: Option<&str>, may: &dyn Fn(&str) -> bool) -> Result<Used> {
    if let Some(name) = named.connection().filter(|name| !may(name)) {
        return Err(connection::not_found(name));
    }
    let (id, known) = match (&named.id, &named.identifier) {
        (Some(text), _) => {
            let id = AccountId::parse(text).ok_or_else(|| not_found(text))?;
            let name = connection_name(app, &id).await.map_err(|error| match error.code {
                Code::ConnectedAccountNotFound => not_found(text),
                _ => error,
            })?;
            if !may(&name) {
                return Err(not_found(text));
            }
            (id, app.connection(&name).await?)
        }
        (None, Some(identifier)) => {
            check_identifier(identifier)?;
            let name = named.connection().or(provider);
            let name = name.ok_or_else(|| Error::invalid("connection_name is missing"))?;
            let known = if may(name) { app.connection(name).await } else { Err(connection::not_found(name)) };
            let known = known.map_err(|error| match error.code {
                Code::ConnectionNotFound if named.connection().is_none() => Error::invalid(format!(
                    "connection_name is missing, and no connection is named `{name}`; say which of GET /api/v1/connections is meant"
                )),
                _ => error,
            })?;
            (known.account_id(identifier, &app.keys)?, known)
        }
        (None, None) => {
            return Err(Error::invalid("name the account: connected_account_id, or connection_name and identifier"));
        }
    };
    if known.connection.id != id.connection_id() {
        return Err(not_found(id.as_str()));
    }
    let Connection { name, connector, .. } = &known.connection;
    named.agrees(&id, name, connector, |said| Ok(named.id.is_none() || known.account_id(said, &app.keys)? == id))?;
    Ok(Used { connector: known.connection.connector()?, id, known })
}

/// The failure for an account that does not exist.
pub fn not_found(id: &str) -> Error {
    let message = format!("no connected account `{}`; GET /api/v1/connected_accounts lists them", short(id));
    Error::new(Code::ConnectedAccountNotFound, message)
}

/// The name of an account's connection: from what is leased, from KV, or from the account itself.
async fn connection_name(app: &App, id: &AccountId) -> Result<String> {
    if let Some(leased) = leased(app, id) {
        return Ok(leased.snapshot.row.connection_name.clone());
    }
    if let Some(snapshot) = from_kv(app, id).await? {
        let name = snapshot.row.connection_name.clone();
        keep(app, id, snapshot, app.now());
        return Ok(name);
    }
    match app.accounts.ask(id, Command::View).await? {
        Reply::View { snapshot, .. } => Ok(snapshot.row.connection_name),
        _ => Err(unexpected()),
    }
}

fn leased(app: &App, id: &AccountId) -> Option<Rc<Leased>> {
    let now = app.now();
    let leased = app.isolate.leased.borrow();
    let (at, leased) = leased.get(id)?;
    (now < at + LEASE && leased.snapshot.is_fresh(now)).then(|| leased.clone())
}

async fn from_kv(app: &App, id: &AccountId) -> Result<Option<Snapshot>> {
    let text = app.snapshots.get(&snapshot::key(id.as_str())).await?;
    // A copy that cannot be read is as good as none: the account itself is asked.
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Keeps a snapshot for a moment, if its token can be used.
fn keep(app: &App, id: &AccountId, snapshot: Snapshot, at: Millis) -> Option<Rc<Leased>> {
    if !snapshot.is_fresh(app.now()) || app.isolate.knows_newer(id, snapshot.row.updated_at, app.now()) {
        return None;
    }
    let token = snapshot.open(&app.keys).ok()?;
    if snapshot.is_ageing(app.now()) {
        renew_later(app, id);
    }
    let leased = Rc::new(Leased { snapshot, token });
    remember(&app.isolate.leased, id.clone(), at, leased.clone());
    Some(leased)
}

/// Renews behind the answer, so that no call waits for it.
fn renew_later(app: &App, id: &AccountId) {
    let (accounts, id) = (app.accounts.clone(), id.clone());
    // What comes of it is in the account; a failure shows when the token has ended.
    let work = async move { accounts.ask(&id, Command::Nudge).await.map_or((), |_| ()) };
    app.background.spawn(work.boxed_local());
}

/// An account with a token that can be used now. What is leased or in KV is used while it is fresh; the account itself
/// decides everything else. `rejected` is the mark of a token the provider refused.
pub async fn lease(app: &App, used: &Used, rejected: Option<Mark>) -> Result<Rc<Leased>> {
    let id = &used.id;
    if rejected.is_none() {
        if let Some(leased) = leased(app, id) {
            return Ok(leased);
        }
        let now = app.now();
        if let Some(leased) = from_kv(app, id).await?.and_then(|snapshot| keep(app, id, snapshot, now)) {
            return Ok(leased);
        }
    }
    lease_from_object(app, id, rejected).await.map_err(|error| match error.code {
        Code::ConnectedAccountNotFound => {
            let connection = &used.known.connection;
            let message = format!(
                "no account {id} on connection `{}`: nobody of this identifier was sent a link; POST /api/v1/connected_accounts/magic_link makes one (scope accounts)",
                connection.name
            );
            Error::new(Code::ConnectedAccountNotFound, message).of(&connection.connector)
        }
        _ => error,
    })
}

async fn lease_from_object(app: &App, id: &AccountId, rejected: Option<Mark>) -> Result<Rc<Leased>> {
    app.isolate.leased.borrow_mut().remove(id);
    let now = app.now();
    match app.accounts.ask(id, Command::Lease { rejected, for_at_least: 0 }).await? {
        Reply::Snapshot(snapshot) => {
            let snapshot = *snapshot;
            let token = snapshot.open(&app.keys)?;
            let leased = Rc::new(Leased { snapshot, token });
            remember(&app.isolate.leased, id.clone(), now, leased.clone());
            Ok(leased)
        }
        _ => Err(unexpected()),
    }
}

/// The account's own token, if it is another one than was leased: KV may not know yet what the user has consented to.
pub async fn newer(app: &App, used: &Used, leased: &Leased) -> Option<Rc<Leased>> {
    let now = lease_from_object(app, &used.id, None).await.ok()?;
    (now.token != leased.token).then_some(now)
}

/// How long a token is believed in although an answer could mean that it has ended.
const DOUBT_AFTER: Millis = 5 * 60_000;

/// Another token for an account whose token may have ended, though the provider did not say so. None when the token is new,
/// or there is no other: then the answer means what it says.
pub async fn doubt(app: &App, used: &Used, leased: &Leased) -> Option<Rc<Leased>> {
    // A renewal changes the account, so one that has not changed for long has an older token.
    if app.now() < leased.snapshot.row.updated_at + DOUBT_AFTER {
        return None;
    }
    let command = Command::Doubt { token: leased.mark(), older_than: DOUBT_AFTER };
    match app.accounts.ask(&used.id, command).await {
        Ok(Reply::Snapshot(snapshot)) => {
            keep(app, &used.id, *snapshot, app.now()).filter(|new| new.token != leased.token)
        }
        _ => None,
    }
}

/// Grants a call, or fails with the exact time to wait. What comes back goes to [`went_through`] if the provider lets the
/// call through.
pub async fn enter(app: &App, call: &gate::Call<'_>) -> Result<Looks> {
    let granted = app.isolate.leases.enter(call, &*app.limiters, &*app.clock).await;
    for work in app.isolate.leases.behind() {
        app.background.spawn(behind(app.clone(), work).boxed_local());
    }
    granted
}

/// The provider let a call through: a wait that it looked at is over. Said behind the answer.
pub fn went_through(app: &App, looks: Looks) {
    if !looks.is_empty() {
        let app = app.clone();
        let lift = async move { app.isolate.leases.lift(looks, &*app.limiters).await };
        let background = app.background.clone();
        background.spawn(lift.boxed_local());
    }
}

/// What the limits have to do behind an answer, and what comes of it.
async fn behind(app: App, work: Behind) {
    let leases = &app.isolate.leases;
    let mut work = vec![work];
    while let Some(next) = work.pop() {
        match next {
            Behind::Refill(ask) => leases.settle(ask, &*app.limiters, app.now()).await,
            Behind::GiveBack(ask, at) => {
                app.background.sleep(at.saturating_sub(app.now())).await;
                if let Some(ask) = leases.unused(ask, app.now()) {
                    leases.settle(ask, &*app.limiters, app.now()).await;
                }
            }
        }
        work.extend(leases.behind());
    }
}

/// The path of a fresh link for the user of an account, asking for one more scope if given.
pub async fn link_for(app: &App, used: &Used, more_scope: Option<String>) -> Option<String> {
    let more_scopes = more_scope.into_iter().collect();
    match app.accounts.ask(&used.id, Command::Relink { more_scopes }).await {
        Ok(Reply::Link { ticket, .. }) => Some(format!("/connect/{ticket}")),
        _ => None,
    }
}

/// An account answered something else than it was asked.
pub fn unexpected() -> Error {
    // Both are of different versions while one is being deployed.
    Error::internal("an account's object gave an answer to another question; try again in a moment")
        .with(|details| details.retryable = Some(true))
}
