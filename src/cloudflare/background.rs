//! Work that outlives the answer.

use crate::app::Background;
use crate::ports::Millis;
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use std::panic::AssertUnwindSafe;
use std::time::Duration;
use worker::{Context, Delay};

/// `waitUntil` of one request.
pub struct WaitUntil(Context);

impl WaitUntil {
    /// Over a request's context.
    pub fn new(context: Context) -> Self {
        Self(context)
    }
}

#[async_trait(?Send)]
impl Background for WaitUntil {
    fn spawn(&self, work: LocalBoxFuture<'static, ()>) {
        self.0.wait_until(AssertUnwindSafe(work).catch_unwind().map(|_| ()));
    }

    async fn sleep(&self, time: Millis) {
        Delay::from(Duration::from_millis(time)).await;
    }
}
