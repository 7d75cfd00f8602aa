//! A Durable Object's own storage: one table of keys and JSON texts in its SQLite. Synchronous, so what stands between
//! two awaits happens as a whole.

use crate::ports::{Millis, Storage};
use serde::Deserialize;
use std::cell::Cell;
use worker::{SqlStorage, State};

/// The table of one object.
pub struct Table {
    sql: SqlStorage,
    made: Cell<bool>,
}

#[derive(Deserialize)]
struct Row {
    key: String,
    value: String,
}

impl Table {
    /// The table of an object. It is made with the first write: an object that is only asked leaves nothing behind.
    pub fn new(state: &State) -> Self {
        Self { sql: state.storage().sql(), made: Cell::new(false) }
    }

    fn rows(&self, query: &str, values: Vec<worker::SqlStorageValue>) -> Vec<Row> {
        if !self.exists() {
            return Vec::new();
        }
        let rows = self.sql.exec(query, values).and_then(|cursor| cursor.to_array::<Row>());
        rows.expect("the table is ours and the queries are fixed")
    }

    fn run(&self, query: &str, values: Vec<worker::SqlStorageValue>) {
        let done = self.sql.exec(query, values).and_then(|cursor| cursor.to_array::<serde_json::Value>());
        done.expect("a write to SQLite fails only with the object itself");
    }

    fn exists(&self) -> bool {
        if !self.made.get() {
            let query = "SELECT name AS key, type AS value FROM sqlite_master WHERE name = 'records'";
            let found = self.sql.exec(query, None).and_then(|cursor| cursor.to_array::<Row>());
            self.made.set(found.is_ok_and(|rows| !rows.is_empty()));
        }
        self.made.get()
    }
}

impl Storage for Table {
    fn get(&self, key: &str) -> Option<String> {
        let rows = self.rows("SELECT key, value FROM records WHERE key = ?", vec![key.into()]);
        rows.into_iter().next().map(|row| row.value)
    }

    fn put(&self, key: &str, value: &str) {
        if !self.exists() {
            self.run(
                "CREATE TABLE IF NOT EXISTS records (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
                Vec::new(),
            );
            self.made.set(true);
        }
        self.run(
            "INSERT INTO records VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            vec![key.into(), value.into()],
        );
    }

    fn delete(&self, key: &str) {
        if self.exists() {
            self.run("DELETE FROM records WHERE key = ?", vec![key.into()]);
        }
    }

    fn list(&self, prefix: &str) -> Vec<(String, String)> {
        // `substr` and not LIKE: a prefix is not a pattern.
        let length = i32::try_from(prefix.len()).unwrap_or(0);
        let rows =
            self.rows("SELECT key, value FROM records WHERE substr(key, 1, ?) = ?", vec![length.into(), prefix.into()]);
        rows.into_iter().map(|row| (row.key, row.value)).collect()
    }
}

/// Sets the alarm to a time, or leaves it when it is there already. `set` remembers what it is set to.
pub async fn wake_at(state: &State, set: &Cell<Option<Millis>>, at: Option<Millis>, now: Millis) {
    let Some(at) = at else { return };
    // An alarm that comes a little early finds nothing due and sets itself again; one that comes late would be a bug.
    if set.get().is_some_and(|known| known <= at && known > now) {
        return;
    }
    let offset = i64::try_from(at.saturating_sub(now).max(1)).unwrap_or(i64::MAX);
    if state.storage().set_alarm(offset).await.is_ok() {
        set.set(Some(at));
    }
}
