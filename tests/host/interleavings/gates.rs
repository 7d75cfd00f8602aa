//! Ports that wait: the provider and KV let nobody on before their turn, and storage remembers what an account was.

use super::check::read;
use crate::support::{MapStorage, MapStore};
use crate::vendor::Vendor;
use async_trait::async_trait;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Poll;
use valetkey::error::{Error, Result};
use valetkey::ports::{Http, Millis, Page, Request, Response, Storage, Store, Unanswered, Usage};

/// The points where somebody waits.
#[derive(Default)]
pub(super) struct Gates {
    /// Whose turn it is while futures are polled.
    pub(super) turn: Cell<usize>,
    /// Number of the next gate.
    pub(super) next: Cell<usize>,
    /// Closed gates: number, and whose.
    pub(super) closed: RefCell<Vec<(usize, usize)>>,
    /// While the world is made, and after, nobody waits.
    pub(super) open: Cell<bool>,
}

impl Gates {
    pub(super) async fn pass(&self) {
        if self.open.get() {
            return;
        }
        let gate = self.next.replace(self.next.get() + 1);
        self.closed.borrow_mut().push((gate, self.turn.get()));
        let is_closed = || self.closed.borrow().iter().any(|(known, _)| *known == gate);
        std::future::poll_fn(|_| if is_closed() && !self.open.get() { Poll::Pending } else { Poll::Ready(()) }).await;
    }
}

pub(super) struct GatedVendor {
    pub(super) gates: Rc<Gates>,
    pub(super) vendor: Rc<RefCell<Vendor>>,
    pub(super) early: Cell<bool>,
    pub(super) refuses: Cell<bool>,
    pub(super) storage: Rc<Remembering>,
    /// The epochs the account was in when a refresh token was sent.
    pub(super) asked_in: RefCell<Vec<u32>>,
}
impl GatedVendor {
    pub(super) fn is_refresh(request: &Request) -> bool {
        request.body.bytes().windows(24).any(|part| part == b"grant_type=refresh_token")
    }

    pub(super) fn answer(&self, request: &Request) -> Response {
        if Self::is_refresh(request) && self.refuses.replace(false) {
            return Response::new(400, "application/json", r#"{"error":"invalid_grant"}"#.to_owned());
        }
        self.vendor.borrow_mut().answer(request)
    }
}
#[async_trait(?Send)]
impl Http for GatedVendor {
    async fn send(&self, request: Request) -> std::result::Result<Response, Unanswered> {
        let epoch = self.storage.get("account").map(|text| read(&text).epoch);
        self.asked_in.borrow_mut().extend(epoch.filter(|_| Self::is_refresh(&request)));
        if self.early.get() {
            let answer = self.answer(&request);
            self.gates.pass().await;
            return Ok(answer);
        }
        self.gates.pass().await;
        Ok(self.answer(&request))
    }
    async fn stream(&self, request: Request) -> std::result::Result<Response, Unanswered> {
        self.send(request).await
    }
    async fn peek(&self, _: &mut Response, _: usize) -> Option<Vec<u8>> {
        None
    }
}

/// A write to KV that has yet to arrive.
pub(super) type Late = (String, String, Option<String>);

pub(super) struct GatedStore {
    pub(super) gates: Rc<Gates>,
    pub(super) store: MapStore,
    pub(super) fails: Cell<bool>,
    pub(super) late: RefCell<Option<Late>>,
}
#[async_trait(?Send)]
impl Store for GatedStore {
    async fn get(&self, key: &str) -> Result<Option<String>> {
        self.gates.pass().await;
        self.store.get(key).await
    }
    async fn put(&self, key: &str, value: &str, metadata: Option<&str>) -> Result<()> {
        self.gates.pass().await;
        if self.fails.replace(false) {
            *self.late.borrow_mut() = Some((key.to_owned(), value.to_owned(), metadata.map(str::to_owned)));
            return Err(Error::internal("KV failed"));
        }
        self.store.put(key, value, metadata).await
    }
    async fn delete(&self, key: &str) -> Result<()> {
        self.gates.pass().await;
        self.store.delete(key).await
    }
    async fn list(&self, prefix: &str, limit: u32, cursor: Option<&str>) -> Result<Page> {
        self.store.list(prefix, limit, cursor).await
    }
}

/// An object's storage that remembers each state the account had.
pub(super) struct Remembering {
    pub(super) storage: MapStorage,
    pub(super) states: RefCell<Vec<String>>,
}
impl Storage for Remembering {
    fn get(&self, key: &str) -> Option<String> {
        self.storage.get(key)
    }
    fn put(&self, key: &str, value: &str) {
        if key == "account" {
            self.states.borrow_mut().push(value.to_owned());
        }
        self.storage.put(key, value);
    }
    fn delete(&self, key: &str) {
        self.storage.delete(key);
    }
    fn put_until(&self, key: &str, value: &str, due_at: Millis) {
        self.storage.put_until(key, value, due_at);
    }
    fn delete_below(&self, prefix: &str) {
        self.storage.delete_below(prefix);
    }
    fn keys(&self, prefix: &str) -> Vec<String> {
        self.storage.keys(prefix)
    }
    fn usage(&self, prefix: &str) -> Usage {
        self.storage.usage(prefix)
    }
    fn sizes(&self, prefix: &str) -> Vec<(String, u64)> {
        self.storage.sizes(prefix)
    }
    fn due(&self, by: Millis, most: u32) -> Vec<String> {
        self.storage.due(by, most)
    }
    fn next_due(&self) -> Option<Millis> {
        self.storage.next_due()
    }
    fn last_due(&self) -> Option<Millis> {
        self.storage.last_due()
    }
}
