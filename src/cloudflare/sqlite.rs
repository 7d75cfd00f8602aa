//! A Durable Object's own storage: one table of keys, JSON texts and when they are due, in its SQLite. Synchronous, so what
//! stands between two awaits happens as a whole.

use crate::ports::{Millis, Storage, Usage};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::cell::Cell;
use worker::{SqlStorage, SqlStorageValue, State};

const MAKE: &str =
    "CREATE TABLE IF NOT EXISTS records (key TEXT PRIMARY KEY, value TEXT NOT NULL, due_at INTEGER) WITHOUT ROWID";
const INDEX: &str = "CREATE INDEX IF NOT EXISTS records_due ON records (due_at) WHERE due_at IS NOT NULL";
/// From the form before, in which only the value said when it ends. SQLite reads the values one by one: they never come
/// into the Worker's memory, which is what an object full of them does not have.
const ADD: [&str; 2] = [
    "ALTER TABLE records ADD COLUMN due_at INTEGER",
    "UPDATE records SET due_at = coalesce(value ->> '$.expires_at', value ->> '$.empty_at', value ->> '$.until') \
     WHERE json_valid(value)",
];
/// Whether a key has a prefix, as a range that the primary key answers: no key has U+10FFFF in it.
const BELOW: &str = "key >= ? AND key < ? || char(1114111)";

/// The table of one object.
pub struct Table {
    sql: SqlStorage,
    made: Cell<bool>,
}

#[derive(Deserialize)]
struct Key {
    key: String,
}

#[derive(Deserialize)]
struct Value {
    value: String,
}

#[derive(Deserialize)]
struct Sized {
    key: String,
    bytes: u64,
}

#[derive(Deserialize)]
struct Total {
    records: u64,
    bytes: Option<u64>,
}

#[derive(Deserialize)]
struct Due {
    due_at: Option<Millis>,
}

impl Table {
    /// The table of an object. It is made with the first write: an object that is only asked leaves nothing behind.
    pub fn new(state: &State) -> Self {
        Self { sql: state.storage().sql(), made: Cell::new(false) }
    }

    fn rows<T: DeserializeOwned>(&self, query: &str, values: Vec<SqlStorageValue>) -> Vec<T> {
        if self.exists() { self.ask(query, values) } else { Vec::new() }
    }

    fn ask<T: DeserializeOwned>(&self, query: &str, values: Vec<SqlStorageValue>) -> Vec<T> {
        let rows = self.sql.exec(query, values).and_then(|cursor| cursor.to_array::<T>());
        rows.expect("the table is ours and the queries are fixed")
    }

    fn run(&self, query: &str, values: Vec<SqlStorageValue>) {
        let done = self.sql.exec(query, values).and_then(|cursor| cursor.to_array::<serde_json::Value>());
        done.expect("a write to SQLite fails only with the object itself");
    }

    /// Whether the table is there. One of a former version is brought to the form of this one first; nothing is awaited
    /// between the steps, so that a crash leaves the one or the other.
    fn exists(&self) -> bool {
        if !self.made.get() {
            let query = "SELECT sql AS value FROM sqlite_master WHERE type = 'table' AND name = 'records'";
            let found: Vec<Value> = self.ask(query, Vec::new());
            if let Some(table) = found.first() {
                if !table.value.contains("due_at") {
                    for step in ADD {
                        self.run(step, Vec::new());
                    }
                    self.run(INDEX, Vec::new());
                }
                self.made.set(true);
            }
        }
        self.made.get()
    }

    fn write(&self, key: &str, value: &str, due_at: Option<Millis>) {
        if !self.exists() {
            self.run(MAKE, Vec::new());
            self.run(INDEX, Vec::new());
            self.made.set(true);
        }
        self.run(
            "INSERT INTO records (key, value, due_at) VALUES (?, ?, ?) \
             ON CONFLICT (key) DO UPDATE SET value = excluded.value, due_at = excluded.due_at",
            vec![key.into(), value.into(), due_at.map(number).into()],
        );
    }

    fn one_time(&self, query: &str) -> Option<Millis> {
        self.rows::<Due>(query, Vec::new()).into_iter().next()?.due_at
    }

    /// Every key and when it is due.
    #[cfg(feature = "fault-injection")]
    pub fn dues(&self) -> serde_json::Value {
        let due = |key: String| {
            let found: Vec<Due> = self.ask("SELECT due_at FROM records WHERE key = ?", vec![key.as_str().into()]);
            (key, found.first().and_then(|row| row.due_at).into())
        };
        serde_json::Value::Object(self.keys("").into_iter().map(due).collect())
    }

    /// As the former version left it. The object has to be evicted to look again.
    #[cfg(feature = "fault-injection")]
    pub fn make_former(&self) {
        for step in [
            "CREATE TABLE former (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
            "INSERT INTO former SELECT key, value FROM records",
            "DROP TABLE records",
            "ALTER TABLE former RENAME TO records",
        ] {
            self.run(step, Vec::new());
        }
    }
}

/// A number for SQLite, which JavaScript holds exactly up to 2^53.
fn number(number: u64) -> i64 {
    i64::try_from(number.min(1 << 53)).unwrap_or(i64::MAX)
}

impl Storage for Table {
    fn get(&self, key: &str) -> Option<String> {
        let rows: Vec<Value> = self.rows("SELECT value FROM records WHERE key = ?", vec![key.into()]);
        rows.into_iter().next().map(|row| row.value)
    }

    fn put(&self, key: &str, value: &str) {
        self.write(key, value, None);
    }

    fn put_until(&self, key: &str, value: &str, due_at: Millis) {
        self.write(key, value, Some(due_at));
    }

    fn delete(&self, key: &str) {
        if self.exists() {
            self.run("DELETE FROM records WHERE key = ?", vec![key.into()]);
        }
    }

    fn delete_below(&self, prefix: &str) {
        if self.exists() {
            self.run(&format!("DELETE FROM records WHERE {BELOW}"), vec![prefix.into(), prefix.into()]);
        }
    }

    fn keys(&self, prefix: &str) -> Vec<String> {
        let query = format!("SELECT key FROM records WHERE {BELOW} ORDER BY due_at, key");
        self.rows::<Key>(&query, vec![prefix.into(), prefix.into()]).into_iter().map(|row| row.key).collect()
    }

    fn usage(&self, prefix: &str) -> Usage {
        let query = format!("SELECT count(*) AS records, sum(octet_length(value)) AS bytes FROM records WHERE {BELOW}");
        let rows: Vec<Total> = self.rows(&query, vec![prefix.into(), prefix.into()]);
        let total = rows.into_iter().next();
        total.map_or_else(Usage::default, |row| Usage { records: row.records, bytes: row.bytes.unwrap_or(0) })
    }

    fn sizes(&self, prefix: &str) -> Vec<(String, u64)> {
        let query = format!("SELECT key, octet_length(value) AS bytes FROM records WHERE {BELOW} ORDER BY due_at, key");
        let rows: Vec<Sized> = self.rows(&query, vec![prefix.into(), prefix.into()]);
        rows.into_iter().map(|row| (row.key, row.bytes)).collect()
    }

    fn due(&self, by: Millis, most: u32) -> Vec<String> {
        let query = "SELECT key FROM records WHERE due_at <= ? ORDER BY due_at LIMIT ?";
        let rows: Vec<Key> = self.rows(query, vec![number(by).into(), i64::from(most).into()]);
        rows.into_iter().map(|row| row.key).collect()
    }

    fn next_due(&self) -> Option<Millis> {
        self.one_time("SELECT min(due_at) AS due_at FROM records WHERE due_at IS NOT NULL")
    }

    fn last_due(&self) -> Option<Millis> {
        self.one_time("SELECT max(due_at) AS due_at FROM records WHERE due_at IS NOT NULL")
    }
}

/// Sets the alarm to a time, or leaves it when it is there already. `set` remembers what it is set to.
pub async fn wake_at(state: &State, set: &Cell<Option<Millis>>, at: Option<Millis>, now: Millis) {
    let Some(at) = at else { return };
    // An alarm that comes a little early finds nothing due and sets itself again; one that comes late would be a bug. One that
    // is due and has not come yet is left: whoever it wakes forgets that it was set.
    let at = at.max(now + 1);
    if set.get().is_some_and(|known| known <= at) {
        return;
    }
    let offset = i64::try_from(at.saturating_sub(now).max(1)).unwrap_or(i64::MAX);
    if state.storage().set_alarm(offset).await.is_ok() {
        set.set(Some(at));
    }
}
