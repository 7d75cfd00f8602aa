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
use crate::app::{App, Isolate, Noted, Settings};
use crate::digest;
use crate::error::{Error, Result as Outcome};
use crate::http::{self, respond_with_error};
use crate::keys::Keys;
use crate::ports::{self, Body, MAX_ANSWER, Request, Response, random};
use background::WaitUntil;
use fetch::Fetcher;
use futures_util::FutureExt;
use kv::Kv;
use objects::{AccountObjects, LimiterObjects};
use platform::{SystemClock, SystemRandom, WebCrypto};
use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use worker::{Context, Env, event};

thread_local! {
    /// What this isolate remembers between requests: copies of finished values, never anything to wait for.
    static ISOLATE: Rc<Isolate> = Rc::default();
    /// The bindings and settings, looked up once.
    static BOUND: std::cell::RefCell<Option<Rc<Bound>>> = const { std::cell::RefCell::new(None) };
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
    let id = format!("req_{}", digest::base32(&random::<15>(&SystemRandom)));
    let bound = bound(&env);
    let base = bound.as_ref().ok().and_then(|bound| bound.public_url.clone()).unwrap_or_else(|| settings::origin(&url));
    // A panic is this request's alone: the build unwinds, and what was stored is stored.
    let work = answer(request, url.clone(), &base, bound.clone(), &env, context);
    let outcome = AssertUnwindSafe(work).catch_unwind().await;
    let outcome = outcome.unwrap_or_else(|_| Err(panicked()));
    let response = outcome.unwrap_or_else(|error| respond_with_error(&error, &base)).with_header("x-request-id", &id);
    if response.status >= 500 || bound.is_ok_and(|bound| bound.verbose) {
        log::request(&method, http::pattern(&method, &url), &id, response.status);
    }
    fetch::to_worker(response)
}

fn panicked() -> Error {
    log::line("error", "panic", &[]);
    Error::internal("something broke inside valetkey; the log of the Worker says where")
}

#[cfg_attr(
    not(feature = "fault-injection"),
    expect(unused_variables, reason = "faults are injected through the bindings")
)]
async fn answer(
    request: worker::Request,
    url: String,
    base: &str,
    bound: Outcome<Rc<Bound>>,
    env: &Env,
    context: Context,
) -> Outcome<Response> {
    let app = bound?.app(context, base.to_owned());
    #[cfg(feature = "fault-injection")]
    if let Some(error) = objects::injected_fault(env, &url).await {
        return Err(error);
    }
    let request = read(&app, request, url).await?;
    Ok(http::handle(&app, request).await)
}

/// What the bindings and settings come to. They are the same for an isolate's whole life, and looking them up anew for
/// each request costs more than checking the caller's token.
struct Bound {
    world: World,
    accounts: Rc<AccountObjects>,
    limiters: Rc<LimiterObjects>,
    settings: Settings,
    public_url: Option<String>,
    verbose: bool,
}

/// The bindings and settings, or what is wrong with them: then they are looked up again next time.
fn bound(env: &Env) -> Outcome<Rc<Bound>> {
    if let Some(bound) = BOUND.with_borrow(Clone::clone) {
        return Ok(bound);
    }
    let bound = Rc::new(Bound {
        world: world(env, MAX_ANSWER)?,
        accounts: Rc::new(AccountObjects::new(env)?),
        limiters: Rc::new(LimiterObjects::new(env)?),
        settings: settings::settings(env)?,
        public_url: settings::public_url(env)?,
        verbose: log::is_verbose(env),
    });
    BOUND.set(Some(bound.clone()));
    Ok(bound)
}

impl Bound {
    /// What one request's handler may use.
    fn app(&self, context: Context, base_url: String) -> App {
        let (world, isolate) = (self.world.clone(), ISOLATE.with(Rc::clone));
        let (accounts, clock) = (self.accounts.clone(), world.clock.clone());
        App {
            accounts: Rc::new(Noted { accounts, isolate: isolate.clone(), clock }),
            clock: world.clock,
            random: world.random,
            http: world.http,
            config: world.config,
            snapshots: world.snapshots,
            limiters: self.limiters.clone(),
            background: Rc::new(WaitUntil::new(context)),
            keys: world.keys,
            settings: Settings { base_url, ..self.settings.clone() },
            isolate,
        }
    }
}

/// The request in the domain's terms. Bodies are read here, up to what their route takes, or handed on as a stream.
async fn read(app: &App, request: worker::Request, url: String) -> Outcome<Request> {
    let inner = request.inner();
    let headers = fetch::from_headers(request.headers());
    let body = match inner.body() {
        None => Body::Empty,
        // The platform makes an empty stream of it.
        Some(_) if ports::get(&headers, "content-length") == Some("0") => Body::Empty,
        Some(stream) if http::streams(&url) => Body::Stream(Rc::new(stream)),
        Some(stream) => fetch::read_stream(stream, http::largest_body(app, &inner.method(), &url, &headers)).await?,
    };
    // The SDK maps verbs it does not know to GET; the request itself knows better.
    let received: Rc<dyn Any> = Rc::new(request.headers().0.clone());
    Ok(Request { method: inner.method(), url, headers, body, timeout_ms: 0, received: Some(received) })
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

/// What an account's object needs; the Worker has the same, and reads longer answers.
fn world(env: &Env, longest_answer: usize) -> Outcome<World> {
    Ok(World {
        clock: Rc::new(SystemClock),
        random: Rc::new(SystemRandom),
        signer: Rc::new(WebCrypto),
        http: Rc::new(Fetcher::new(env, longest_answer)),
        config: Rc::new(Kv::new(env, "CONFIG")?),
        snapshots: Rc::new(Kv::new(env, "ACCOUNTS")?),
        keys: keys(env)?,
    })
}
