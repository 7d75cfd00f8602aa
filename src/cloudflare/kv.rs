//! KV namespaces.

use crate::error::{Error, Result};
use crate::ports::{Page, Store};
use async_trait::async_trait;
use worker::Env;
use worker::kv::{KvError, KvStore};

/// One namespace.
pub struct Kv {
    store: KvStore,
    binding: &'static str,
}

impl Kv {
    /// The namespace of a binding.
    pub fn new(env: &Env, binding: &'static str) -> Result<Self> {
        let missing = |_| Error::internal(format!("the KV namespace {binding} is not bound; see wrangler.toml"));
        Ok(Self { store: env.kv(binding).map_err(missing)?, binding })
    }

    fn failed(&self, error: &KvError) -> Error {
        super::log::line(
            "error",
            "kv_failed",
            &[("kv.namespace", self.binding.into()), ("error", error.to_string().into())],
        );
        Error::internal("KV failed; try again").with(|details| details.retryable = Some(true))
    }
}

#[async_trait(?Send)]
impl Store for Kv {
    async fn get(&self, key: &str) -> Result<Option<String>> {
        self.store.get(key).text().await.map_err(|error| self.failed(&error))
    }

    async fn put(&self, key: &str, value: &str, metadata: Option<&str>) -> Result<()> {
        let mut put = self.store.put(key, value).map_err(|error| self.failed(&error))?;
        if let Some(metadata) = metadata {
            // As JSON, not as text with JSON inside: that would escape every quote twice, and 1024 bytes are few.
            let metadata: serde_json::Value = serde_json::from_str(metadata).unwrap_or_default();
            put = put.metadata(metadata).map_err(|error| self.failed(&error))?;
        }
        put.execute().await.map_err(|error| self.failed(&error))
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.store.delete(key).await.map_err(|error| self.failed(&error))
    }

    async fn list(&self, prefix: &str, limit: u32, cursor: Option<&str>) -> Result<Page> {
        let mut list = self.store.list().prefix(prefix.to_owned()).limit(u64::from(limit));
        if let Some(cursor) = cursor {
            list = list.cursor(cursor.to_owned());
        }
        let listed = list.execute().await.map_err(|error| self.failed(&error))?;
        let keys = listed.keys.into_iter().map(|key| {
            let metadata = key.metadata.map(|value| value.to_string());
            (key.name, metadata)
        });
        Ok(Page {
            keys: keys.collect(),
            cursor: listed.cursor.filter(|cursor| !listed.list_complete && !cursor.is_empty()),
        })
    }
}
