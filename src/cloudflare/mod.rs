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
use crate::error::{Error, Result as Outcome};
use crate::http::{self, respond_with_error};
use crate::keys::Keys;
use crate::ports::{Body, Request};
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
    // A panic is this request's alone: the build unwinds, and what was stored is stored.
    match AssertUnwindSafe(answer(request, &env, context)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => fetch::to_worker(respond_with_error(&panicked(), "")),
    }
}

fn panicked() -> Error {
    log::line("error", "panic", &[]);
    Error::internal("something broke inside valetkey; the log of the Worker says where")
}

async fn answer(request: worker::Request, env: &Env, context: Context) -> worker::Result<worker::Response> {
    let url = request.inner().url();
    let base = settings::base_url(env, &url);
    let app = match app(env, context, base.clone()) {
        Ok(app) => app,
        Err(error) => return fetch::to_worker(respond_with_error(&error, &base)),
    };
    #[cfg(feature = "fault-injection")]
    if let Some(response) = objects::injected_fault(env, &url).await {
        return response;
    }
    let request = match read(request, url).await {
        Ok(request) => request,
        Err(error) => return fetch::to_worker(respond_with_error(&error, &base)),
    };
    let (method, path) = (request.method.clone(), log::path(&request.url).to_owned());
    let response = http::handle(&app, request).await;
    if response.status >= 500 || log::is_verbose(env) {
        log::request(&method, &path, &response);
    }
    fetch::to_worker(response)
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
