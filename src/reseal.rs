//! Sealing everything again with the newest key, a step at a time, so that an old key can be taken away.
//!
//! Where the work stands is in KV, so that whoever asks next goes on there, and a crash costs one step. A step that is done
//! twice, because KV told an older state, does no harm: what is sealed with the newest key is left as it is.

use crate::account::AccountId;
use crate::account::command::{Command, Reply};
use crate::account::snapshot;
use crate::app::App;
use crate::connection;
use crate::error::{Error, Result};
use crate::ports::Millis;
use crate::timestamp;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Where the work stands, in KV.
const KEY: &str = "reseal";
/// Keys counted with one list, and lists in one step.
const COUNTED: u32 = 1_000;
const LISTS: u32 = 10;
/// Connections, and accounts, in one step: with what else a step asks they stay below the 50 requests that a Worker on the
/// free plan may make.
const CONNECTIONS: u32 = 12;
const ACCOUNTS: u32 = 40;
/// A connection that was changed within this time is left for the next time: KV may still tell of it as it was before, and
/// writing that would undo the change.
const SETTLED: Millis = 120_000;
/// More than this are not named of what failed.
const NAMED: usize = 20;
/// What the old key sealed and nothing seals again ends within this time: kept answers of idempotency keys, tokens of
/// callers, links. The isolates that still had the old setting are over by then, too.
const AFTERWARDS: Millis = 24 * 3_600_000;

/// Where the work stands.
#[derive(Clone, Serialize, Deserialize)]
struct Work {
    v: u8,
    /// With what everything shall be sealed.
    seals_as: String,
    state: State,
    cursor: Option<String>,
    connections: Tally,
    accounts: Tally,
    /// Names and ids, the first of them.
    failed: Vec<String>,
    started_at: Millis,
    finished_at: Option<Millis>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Counting,
    Connections,
    Accounts,
    Finished,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Tally {
    total: u64,
    done: u64,
    resealed: u64,
    failed: u64,
}

/// Where the work stands now, without doing any.
pub async fn progress(app: &App) -> Result<Value> {
    Ok(load(app).await?.map_or(Value::Null, |work| work.to_json(app)))
}

/// Does the next step, and says where the work stands. What is finished is not begun again, unless something failed, or
/// another key has become the newest.
pub async fn step(app: &App) -> Result<Value> {
    let known = load(app).await?.filter(|work| work.seals_as == app.keys.seals_as());
    let mut work = match known {
        Some(work) if work.state != State::Finished || work.failures() == 0 => work,
        _ => Work::begin(app),
    };
    match work.state {
        State::Counting => work.count(app).await?,
        State::Connections => work.connections(app).await?,
        State::Accounts => work.accounts(app).await?,
        State::Finished => return Ok(work.to_json(app)),
    }
    let text = serde_json::to_string(&work).expect("the work is plain data");
    app.config.put(KEY, &text, None).await?;
    Ok(work.to_json(app))
}

async fn load(app: &App) -> Result<Option<Work>> {
    // What cannot be read is begun anew.
    Ok(app.config.get(KEY).await?.and_then(|text| serde_json::from_str(&text).ok()))
}

impl Work {
    fn begin(app: &App) -> Self {
        Self {
            v: 1,
            seals_as: app.keys.seals_as(),
            state: State::Counting,
            cursor: None,
            connections: Tally::default(),
            accounts: Tally::default(),
            failed: Vec::new(),
            started_at: app.now(),
            finished_at: None,
        }
    }

    fn failures(&self) -> u64 {
        self.connections.failed + self.accounts.failed
    }

    fn failed(&mut self, what: &str) {
        if self.failed.len() < NAMED {
            self.failed.push(what.to_owned());
        }
    }

    async fn count(&mut self, app: &App) -> Result<()> {
        for _ in 0..LISTS {
            let page = app.snapshots.list(&snapshot::key(""), COUNTED, self.cursor.as_deref()).await?;
            self.accounts.total += page.keys.len() as u64;
            self.cursor = page.cursor;
            if self.cursor.is_none() {
                self.state = State::Connections;
                break;
            }
        }
        Ok(())
    }

    async fn connections(&mut self, app: &App) -> Result<()> {
        let page = app.config.list(&connection::key(""), CONNECTIONS, self.cursor.as_deref()).await?;
        for (key, _) in &page.keys {
            let name = key.trim_start_matches(&connection::key(""));
            self.connections.done += 1;
            if let Ok(changed) = reseal_connection(app, name).await {
                self.connections.resealed += u64::from(changed);
            } else {
                self.connections.failed += 1;
                self.failed(name);
            }
        }
        self.connections.total = self.connections.done;
        self.cursor = page.cursor;
        if self.cursor.is_none() {
            self.state = State::Accounts;
        }
        Ok(())
    }

    async fn accounts(&mut self, app: &App) -> Result<()> {
        let page = app.snapshots.list(&snapshot::key(""), ACCOUNTS, self.cursor.as_deref()).await?;
        // Each is asked, whatever KV says of it: one that is disconnected may hold what waits to be revoked, and KV may tell
        // of an account as it was before it was connected.
        let id = |key: &str| AccountId::parse(key.trim_start_matches(&snapshot::key("")));
        let ids: Vec<_> = page.keys.iter().filter_map(|(key, _)| id(key)).collect();
        let outcomes = join_all(ids.iter().map(|id| app.accounts.ask(id, Command::Reseal))).await;
        for (id, outcome) in ids.iter().zip(outcomes) {
            if let Ok(Reply::Resealed { changed, published: true }) = outcome {
                self.accounts.resealed += u64::from(changed);
            } else {
                self.accounts.failed += 1;
                self.failed(id.as_str());
            }
        }
        self.accounts.done += page.keys.len() as u64;
        // Accounts were made meanwhile, or were counted a moment before KV knew them.
        self.accounts.total = self.accounts.total.max(self.accounts.done);
        self.cursor = page.cursor;
        if self.cursor.is_none() {
            self.accounts.total = self.accounts.done;
            self.state = State::Finished;
            self.finished_at = Some(app.now());
        }
        Ok(())
    }

    fn to_json(&self, app: &App) -> Value {
        let clean = self.finished_at.filter(|_| self.failures() == 0 && self.seals_as == app.keys.seals_as());
        let key = self.seals_as.split('.').nth(1);
        json!({
            "key": key, "state": self.state, "connections": self.connections, "accounts": self.accounts,
            "left": self.accounts.total - self.accounts.done, "failed": self.failed,
            "started_at": timestamp::format(self.started_at), "finished_at": self.finished_at.map(timestamp::format),
            "old_keys_may_go_at": clean.map(|at| timestamp::format(at + AFTERWARDS)),
        })
    }
}

/// KV has no way to write only what was read. So what is written over was not changed lately, and still is what was read a
/// moment before; a connection that was changed or deleted meanwhile stays as that left it.
async fn reseal_connection(app: &App, name: &str) -> Result<bool> {
    let Some(mut connection) = connection::find(&*app.config, &app.keys, name).await? else { return Ok(false) };
    let before = connection.clone();
    if !connection.reseal(&app.keys, &*app.random)? {
        return Ok(false);
    }
    let now = connection::find(&*app.config, &app.keys, name).await?;
    if app.now() < before.updated_at + SETTLED || now.as_ref() != Some(&before) {
        return Err(Error::conflict(format!("the connection `{name}` was changed a moment ago; ask again")));
    }
    connection::save(&*app.config, &connection).await?;
    app.forget_connection(name);
    Ok(true)
}
