//! The only folder that knows Cloudflare.
use worker::{Context, Env, Request, Response, Result, durable_object, event, DurableObject, State};

#[event(fetch)]
async fn fetch(_req: Request, _env: Env, _ctx: Context) -> Result<Response> {
    Response::ok("valetkey")
}

/// One connected account.
#[durable_object(alarm)]
pub struct Account {
    state: State,
    env: Env,
}
impl std::panic::UnwindSafe for Account {}
impl std::panic::RefUnwindSafe for Account {}

impl DurableObject for Account {
    fn new(state: State, env: Env) -> Self {
        Self { state, env }
    }
    async fn fetch(&self, _req: Request) -> Result<Response> {
        let _ = (&self.state, &self.env);
        Response::ok("account")
    }
    async fn alarm(&self) -> Result<Response> {
        Response::ok("")
    }
}

/// The counters of one limit scope.
#[durable_object(alarm)]
pub struct RateLimiter {
    state: State,
    env: Env,
}
impl std::panic::UnwindSafe for RateLimiter {}
impl std::panic::RefUnwindSafe for RateLimiter {}

impl DurableObject for RateLimiter {
    fn new(state: State, env: Env) -> Self {
        Self { state, env }
    }
    async fn fetch(&self, _req: Request) -> Result<Response> {
        let _ = (&self.state, &self.env);
        Response::ok("limiter")
    }
    async fn alarm(&self) -> Result<Response> {
        Response::ok("")
    }
}
