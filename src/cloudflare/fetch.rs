//! The network: fetch with a time limit, never following a redirect, and answers in both directions.

use crate::code::Code;
use crate::error::{Error, Result as Outcome};
use crate::ports::{Body, Http, Request, Response, Unanswered};
use ::http::{HeaderMap, HeaderName, HeaderValue};
use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use futures_util::{pin_mut, stream};
use js_sys::{Array, Reflect, Uint8Array};
use std::rc::Rc;
use std::time::Duration;
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortController, ReadableStream, ReadableStreamDefaultReader};
use worker::{Delay, Env, Fetch, Headers, ResponseBody, ResponseBuilder};

/// Outbound requests: straight out, or through the optional service binding `EGRESS` (an egress proxy, a test).
pub struct Fetcher {
    egress: Option<worker::Fetcher>,
    most: usize,
}

impl Fetcher {
    /// Over the bindings; of an answer at most so many bytes are read.
    pub fn new(env: &Env, most: usize) -> Self {
        Self { egress: env.service("EGRESS").ok(), most }
    }

    async fn fetch(&self, request: Request) -> Result<worker::Response, Unanswered> {
        let timeout = Duration::from_millis(u64::from(request.timeout_ms.max(1)));
        let controller = AbortController::new().map_err(|_| Unanswered::Unreachable)?;
        let signal = controller.signal();
        let sent = outgoing(&request, &signal).map_err(|_| Unanswered::Unreachable)?;
        let answer = async {
            match &self.egress {
                Some(egress) => egress.fetch_request(sent).await,
                None => Fetch::Request(sent).send().await,
            }
        };
        let delay = Delay::from(timeout);
        pin_mut!(answer);
        match select(answer, delay).await {
            Either::Left((Ok(response), _)) => Ok(response),
            Either::Left((Err(_), _)) => Err(Unanswered::Unreachable),
            Either::Right(_) => {
                // Dropping the future would leave the request running.
                controller.abort();
                Err(Unanswered::TimedOut)
            }
        }
    }
}

#[async_trait(?Send)]
impl Http for Fetcher {
    async fn send(&self, request: Request) -> Result<Response, Unanswered> {
        let timeout = Duration::from_millis(u64::from(request.timeout_ms.max(1)));
        let response = self.fetch(request).await?;
        let (status, headers) = (response.status_code(), from_headers(response.headers()));
        let reading = read_body(response, self.most);
        let delay = Delay::from(timeout);
        pin_mut!(reading);
        let bytes = match select(reading, delay).await {
            Either::Left((bytes, _)) => bytes?,
            Either::Right(_) => return Err(Unanswered::TimedOut),
        };
        Ok(Response { status, headers, body: Body::Bytes(bytes) })
    }

    async fn stream(&self, request: Request) -> Result<Response, Unanswered> {
        let response = self.fetch(request).await?;
        let (status, headers) = (response.status_code(), from_headers(response.headers()));
        Ok(Response { status, headers, body: Body::Stream(Rc::new(response)) })
    }

    async fn peek(&self, answer: &mut Response, most: usize) -> Option<Vec<u8>> {
        let stream = match std::mem::take(&mut answer.body) {
            Body::Stream(stream) => stream,
            body => {
                answer.body = body;
                let bytes = answer.body.bytes();
                return (bytes.len() <= most).then(|| bytes.to_vec());
            }
        };
        let mut upstream = Rc::try_unwrap(stream.downcast::<worker::Response>().ok()?).ok()?;
        // Two streams of one: what is read of the copy is kept for the other, so no more is read than is needed.
        let copy = upstream.cloned();
        answer.body = Body::Stream(Rc::new(upstream));
        let reading = read_body(copy.ok()?, most);
        let delay = Delay::from(PEEK);
        pin_mut!(reading);
        match select(reading, delay).await {
            Either::Left((bytes, _)) => bytes.ok(),
            Either::Right(_) => None,
        }
    }
}

/// How long the beginning of an answer is waited for before it is handed on unseen.
const PEEK: Duration = Duration::from_secs(5);

/// A body being read. What was not read when it is dropped is not sent for any longer.
struct Reading(Option<ReadableStreamDefaultReader>);

impl Reading {
    /// The next chunk; none at the end.
    async fn next(&mut self) -> Result<Option<Uint8Array>, JsValue> {
        let Some(reader) = &self.0 else { return Ok(None) };
        let read = JsFuture::from(reader.read()).await;
        if read.as_ref().map_or(Ok(true), |read| Reflect::get(read, &"done".into()).map(|done| done.is_truthy()))? {
            self.0 = None;
        }
        match &self.0 {
            Some(_) => Ok(Some(Reflect::get(&read?, &"value".into())?.dyn_into()?)),
            None => read.map(|_| None),
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if let Some(reader) = self.0.take() {
            drop(reader.cancel());
        }
    }
}

/// The whole body, up to a limit. Its chunks stay on the platform's side until their number is known, so that here it is
/// held once and never moved: memory of WebAssembly that was needed for a moment is not given back.
async fn read_body(response: worker::Response, most: usize) -> Result<Vec<u8>, Unanswered> {
    let broken = |_| Unanswered::Unreachable;
    if matches!(response.status_code(), 101 | 204 | 205 | 304) {
        return Ok(Vec::new());
    }
    let stream = match response.into_parts().1 {
        ResponseBody::Stream(stream) => stream,
        ResponseBody::Body(bytes) => return Ok(bytes),
        ResponseBody::Empty => return Ok(Vec::new()),
    };
    let mut reading = Reading(Some(ReadableStreamDefaultReader::new(&stream).map_err(broken)?));
    let (mut chunks, mut length) = (Vec::new(), 0);
    while let Some(chunk) = reading.next().await.map_err(broken)? {
        length += chunk.length() as usize;
        if length > most {
            return Err(Unanswered::TooLarge);
        }
        chunks.push(chunk);
    }
    let mut bytes = vec![0; length];
    let mut rest = bytes.as_mut_slice();
    for chunk in chunks {
        let (here, behind) = rest.split_at_mut(chunk.length() as usize);
        chunk.copy_to(here);
        rest = behind;
    }
    Ok(bytes)
}

/// Raw `RequestInit`: any verb, any body, and none of the SDK's `cf` defaults.
fn outgoing(request: &Request, signal: &web_sys::AbortSignal) -> worker::Result<worker::Request> {
    let init = web_sys::RequestInit::new();
    init.set_method(&request.method);
    let received = request.received.as_ref().and_then(|received| received.downcast_ref::<web_sys::Headers>());
    init.set_headers(shaped(received, &request.headers)?.0.as_ref());
    init.set_redirect(web_sys::RequestRedirect::Manual);
    init.set_signal(Some(signal));
    match &request.body {
        // Only answers are made in pieces.
        Body::Empty | Body::Pieces(_) => {}
        Body::Bytes(bytes) => init.set_body(&Uint8Array::from(bytes.as_slice())),
        Body::Stream(stream) => {
            if let Some(stream) = stream.downcast_ref::<ReadableStream>() {
                init.set_body(stream.as_ref());
            }
        }
    }
    Ok(web_sys::Request::new_with_str_and_init(&request.url, &init)?.into())
}

/// Reads the body of a request to us, up to a limit.
pub async fn read_stream(stream: ReadableStream, most: usize) -> Outcome<Body> {
    let cut = || Error::invalid("the body did not arrive whole");
    let response = web_sys::Response::new_with_opt_readable_stream(Some(&stream)).map_err(|_| cut())?;
    let mut response = worker::Response::from(response);
    let Ok(mut chunks) = response.stream() else { return Ok(Body::Empty) };
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await {
        bytes.extend(chunk.map_err(|_| cut())?);
        if bytes.len() > most {
            return Err(Error::new(
                Code::InvalidRequest,
                format!("the body is larger than the {most} bytes this route takes"),
            ));
        }
    }
    Ok(Body::Bytes(bytes))
}

/// Headers in the domain's form. The platform reads values as UTF-8, with U+FFFD for what is none; they are kept as UTF-8.
///
/// All of them cross into WebAssembly as one text, a line for each: a call for each name and value costs more than
/// everything else a proxied call does here. A name has no comma, and a value no line break.
pub fn from_headers(headers: &Headers) -> HeaderMap {
    read_lines(&lines(headers))
}

fn lines(headers: &Headers) -> String {
    String::from(Array::from(headers.0.as_ref()).join("\n"))
}

/// The names and values of the lines.
fn pairs(lines: &str) -> impl Iterator<Item = (&str, &str)> {
    lines.split('\n').filter_map(|line| line.split_once(','))
}

fn read_lines(lines: &str) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs(lines) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value.as_bytes())) {
            map.append(name, value);
        }
    }
    map
}

/// Headers in the platform's form: UTF-8 goes out as it is.
fn to_headers(map: &HeaderMap) -> worker::Result<Headers> {
    let headers = Headers::new();
    for (name, value) in map {
        append(&headers, name, value)?;
    }
    Ok(headers)
}

fn append(headers: &Headers, name: &HeaderName, value: &HeaderValue) -> worker::Result<()> {
    headers.append(name.as_str(), &String::from_utf8_lossy(value.as_bytes()))
}

/// As `to_headers`, made of the headers that came: what was not changed is copied inside the platform, where also bytes
/// that are no UTF-8 stay as they are, and need not cross into JavaScript one by one.
///
/// The platform has headers that `HeaderMap` cannot hold (a control character in a value). Nobody decided that these go
/// through, so they go by the platform's names and not by what could be read.
fn shaped(came: Option<&web_sys::Headers>, map: &HeaderMap) -> worker::Result<Headers> {
    let Some(came) = came else { return to_headers(map) };
    let headers = Headers(web_sys::Headers::new_with_headers(came)?);
    let lines = lines(&headers);
    let there = read_lines(&lines);
    for (name, _) in pairs(&lines).filter(|(name, _)| !map.contains_key(*name)) {
        headers.delete(name)?;
    }
    for name in map.keys().filter(|name| !there.get_all(*name).iter().eq(map.get_all(*name).iter())) {
        headers.delete(name.as_str())?;
        for value in map.get_all(name) {
            append(&headers, name, value)?;
        }
    }
    Ok(headers)
}

/// Our answer in the platform's form.
pub fn to_worker(response: Response) -> worker::Result<worker::Response> {
    let came = match &response.body {
        Body::Stream(stream) => stream.downcast_ref::<worker::Response>().map(|upstream| &upstream.headers().0),
        _ => None,
    };
    let headers = shaped(came, &response.headers)?;
    let (builder, status) = (ResponseBuilder::new().with_headers(headers.clone()), response.status);
    // Statuses outside of what the platform takes (a provider's 999) become a 502 that says so.
    let (builder, status) = if (200..=599).contains(&status) {
        (builder.with_status(status), status)
    } else {
        headers.set("x-upstream-status", &status.to_string())?;
        (ResponseBuilder::new().with_headers(headers).with_status(502), 502)
    };
    if matches!(status, 204 | 205 | 304) {
        return Ok(builder.empty());
    }
    match response.body {
        Body::Empty => Ok(builder.empty()),
        Body::Bytes(bytes) => Ok(builder.fixed(bytes)),
        Body::Pieces(pieces) => builder.from_stream(stream::iter(pieces.map(Ok::<_, worker::Error>))),
        Body::Stream(stream) => {
            let Ok(upstream) = stream.downcast::<worker::Response>() else { return Ok(builder.empty()) };
            let body = Rc::try_unwrap(upstream).map_or(ResponseBody::Empty, |upstream| upstream.into_parts().1);
            Ok(builder.body(body))
        }
    }
}
