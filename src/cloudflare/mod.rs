//! The only folder that knows Cloudflare: the Worker's entry, the Durable Object classes, and each port over its binding.

mod account;
mod background;
mod fetch;
mod kv;
mod log;
mod objects;
mod platform;
mod rate_limiter;
mod settings;
mod sqlite;

use crate::account::object::World;
use crate::app::{App, Isolate};
use crate::digest;
use crate::error::{Error, Result as Outcome};
use crate::http::{self, respond_with_error};
use crate::keys::Keys;
use crate::ports::{Body, Request, Response, random};
use background::WaitUntil;
use fetch::Fetcher;
use futures_util::FutureExt;
use kv::Kv;
use objects::{AccountObjects, LimiterObjects};
use platform::{SystemClock, SystemRandom};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use worker::{Context, Env, event};

thread_local! {
    /// What this isolate remembers between requests: copies of finished values, never anything to wait for.
    static ISOLATE: Rc<Isolate> = Rc::default();
    /// The keys, parsed once for the text they were parsed from.
    static KEYS: std::cell::RefCell<Option<(String, Rc<Keys>)>> = const { std::cell::RefCell::new(None) };
}

#[event(start)]
fn start() {
    console_error_panic_hook::set_once();
}

#[event(fetch)]
async fn fetch(request: worker::Request, env: Env, context: Context) -> worker::Result<worker::Response> {
    let (method, url) = (request.inner().method(), request.inner().url());
    let base = settings::base_url(&env, &url);
    let id = format!("req_{}", digest::base32(&random::<15>(&SystemRandom)));
    // A panic is this request's alone: the build unwinds, and what was stored is stored.
    let outcome = AssertUnwindSafe(answer(request, url.clone(), &base, &env, context)).catch_unwind().await;
    let outcome = outcome.unwrap_or_else(|_| Err(panicked()));
    let response = outcome.unwrap_or_else(|error| respond_with_error(&error, &base)).with_header("x-request-id", &id);
    if response.status >= 500 || log::is_verbose(&env) {
        log::request(&method, log::path(&url), &id, response.status);
    }
    fetch::to_worker(response)
}

fn panicked() -> Error {
    log::line("error", "panic", &[]);
    Error::internal("something broke inside valetkey; the log of the Worker says where")
}

async fn answer(request: worker::Request, url: String, base: &str, env: &Env, context: Context) -> Outcome<Response> {
    let app = app(env, context, base.to_owned())?;
    #[cfg(feature = "fault-injection")]
    if let Some(error) = objects::injected_fault(env, &url).await {
        return Err(error);
    }
    Ok(http::handle(&app, read(request, url).await?).await)
}

/// The request in the domain's terms. Bodies are read here, up to what their route takes, or handed on as a stream.
async fn read(request: worker::Request, url: String) -> Outcome<Request> {
    let inner = request.inner();
    let headers = fetch::from_headers(request.headers());
    let path = log::path(&url);
    let body = match inner.body() {
        None => Body::Empty,
        Some(stream) if http::streams(path) => Body::Stream(Rc::new(stream)),
        Some(stream) => fetch::read_stream(stream, http::largest_body(path)).await?,
    };
    // The SDK maps verbs it does not know to GET; the request itself knows better.
    Ok(Request { method: inner.method(), url, headers, body, timeout_ms: 0 })
}

fn keys(env: &Env) -> Outcome<Rc<Keys>> {
    let text = settings::text(env, settings::KEYS).unwrap_or_default();
    KEYS.with(|known| {
        let mut known = known.borrow_mut();
        if let Some((_, keys)) = known.as_ref().filter(|(parsed, _)| *parsed == text) {
            return Ok(keys.clone());
        }
        let keys = Rc::new(Keys::parse(&text).map_err(Error::internal)?);
        *known = Some((text, keys.clone()));
        Ok(keys)
    })
}

fn app(env: &Env, context: Context, base_url: String) -> Outcome<App> {
    let world = world(env)?;
    Ok(App {
        clock: world.clock,
        random: world.random,
        http: world.http,
        config: world.config,
        snapshots: world.snapshots,
        accounts: Rc::new(AccountObjects::new(env)?),
        limiters: Rc::new(LimiterObjects::new(env)?),
        background: Rc::new(WaitUntil::new(context)),
        keys: world.keys,
        settings: settings::settings(env, base_url)?,
        isolate: ISOLATE.with(Rc::clone),
    })
}

/// What an account's object needs; the Worker has the same.
fn world(env: &Env) -> Outcome<World> {
    Ok(World {
        clock: Rc::new(SystemClock),
        random: Rc::new(SystemRandom),
        http: Rc::new(Fetcher::new(env)),
        config: Rc::new(Kv::new(env, "CONFIG")?),
        snapshots: Rc::new(Kv::new(env, "ACCOUNTS")?),
        keys: keys(env)?,
    })
}
