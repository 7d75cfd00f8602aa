//! From a tool and its checked input to the request, exactly as it goes out.

use super::multipart::{self, Bytes};
use super::{encode, input, mime};
use crate::catalog::Tool;
use crate::catalog::model::{BodyEncoding, Call, Content, Encode, Place};
use crate::code::Code;
use crate::digest;
use crate::error::{Error, Origin, Problem, Result};
use crate::json;
use crate::ports::{Body, Request};
use crate::secret::Secret;
use crate::target::{self, Target};
use crate::template;
use serde_json::{Map, Value, json};
use url::Url;

/// Everything a template may name: input, what steps before learnt, account variables.
pub struct Values<'a> {
    /// The input, checked.
    pub input: &'a Map<String, Value>,
    /// What steps before saved.
    pub saved: &'a Map<String, Value>,
    /// What `{uuid}` is.
    pub fresh: &'a str,
    /// Where the request goes.
    pub target: Target<'a>,
}

impl Values<'_> {
    /// A template of text, filled; none when it is empty or one of its holes has no value.
    fn text(&self, tool: &Tool, template: &str) -> Option<String> {
        let value = |name: &str| self.get(tool, name).as_ref().and_then(json::to_text);
        (!template.is_empty()).then(|| template::fill(template, value)).flatten()
    }

    /// The value of a name, encoded as its parameter says.
    fn get(&self, tool: &Tool, name: &str) -> Option<Value> {
        if let Some(value) = self.saved.get(name) {
            return Some(value.clone());
        }
        if name == "uuid" {
            return Some(Value::String(self.fresh.to_owned()));
        }
        if name.starts_with("account.") {
            return self.target.variable(name).map(Value::String);
        }
        if name == "content.size" {
            return super::computed::content_size(tool, self.input).map(|size| json!(size));
        }
        let value = self.input.get(name)?.clone();
        match tool.params.iter().find(|param| param.name == name) {
            // Its null has a place of its own, and none where its value would be.
            Some(param) if value.is_null() && !param.null_at.is_empty() => None,
            // An input that cannot be encoded was refused when it was checked for the request itself.
            Some(param) => encode::encode(param, value).ok(),
            None => Some(value),
        }
    }
}

/// Builds a tool's own request.
pub fn build(tool: &Tool, values: &Values<'_>) -> Result<Request> {
    let mut parts = Parts::default();
    for param in tool.params.iter() {
        let Some(value) = values.input.get(param.name) else { continue };
        let null_at = if value.is_null() { param.null_at } else { "" };
        let value = encode::encode(param, value.clone())?;
        if !null_at.is_empty() {
            let root = if tool.call.graphql.is_empty() { &mut parts.body } else { &mut parts.variables };
            json::place(root, null_at, value);
            continue;
        }
        match param.place {
            Place::InQuery => parts.query(param.at, &value),
            Place::InBody => json::place(&mut parts.body, param.at, value),
            Place::InVariables => json::place(&mut parts.variables, param.at, value),
            Place::InHeader => parts.headers.extend(json::to_text(&value).map(|text| (param.at.to_owned(), text))),
            Place::InPath | Place::InTemplate => {}
        }
    }
    super::page::place(tool, values.input, &mut parts);
    finish(&tool.call, tool, values, parts, tool.timeout_ms)
}

/// Builds the request of a step before.
pub fn build_step(call: &Call, tool: &Tool, values: &Values<'_>) -> Result<Request> {
    finish(call, tool, values, Parts::default(), None)
}

/// A request being put together.
#[derive(Default)]
pub struct Parts {
    pub(super) query: Vec<(String, String)>,
    pub(super) body: Value,
    pub(super) variables: Value,
    headers: Vec<(String, String)>,
    /// The next page's whole URL, which replaces path and query.
    pub(super) whole_url: Option<String>,
    /// The path that is asked instead, with nothing but the cursor.
    continues_at: Option<&'static str>,
}

impl Parts {
    /// Asks for a further page elsewhere, without what the first one was asked with.
    pub(super) fn continues_at(&mut self, path: &'static str) {
        *self = Self { continues_at: Some(path), ..Self::default() };
    }

    /// Adds to the query; a list repeats the name.
    pub(super) fn query(&mut self, name: &str, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.query(name, item)),
            other => {
                let text = json::to_text(other).unwrap_or_else(|| other.to_string());
                self.query.push((name.to_owned(), text));
            }
        }
    }
}

fn finish(call: &Call, tool: &Tool, values: &Values<'_>, mut parts: Parts, timeout_ms: Option<u32>) -> Result<Request> {
    let value = |name: &str| values.get(tool, name);
    let connector = values.target.connector;
    let first = parts.continues_at.is_none();
    if let Some(Value::Object(fields)) = filled(call.query, &value)?.filter(|_| first) {
        fields.iter().for_each(|(name, value)| parts.query(name, value));
    }
    let url = match &parts.whole_url {
        Some(next) => values.target.url(next)?,
        None if !first => with_query(values.target.url(parts.continues_at.unwrap_or_default())?, &parts.query),
        None => with_query(url(call, tool, values)?, &parts.query),
    };
    let mut request = Request {
        method: call.method.to_owned(),
        url: url.into(),
        timeout_ms: timeout_ms.unwrap_or(connector.http.timeout_ms),
        ..Request::default()
    };
    for (name, template) in connector.http.headers.iter().chain(call.headers.iter()) {
        if let Some(text) = template::fill(template, |name| value(name).as_ref().and_then(json::to_text)) {
            request.set_header(name, &text)?;
        }
    }
    for (name, text) in &parts.headers {
        request.set_header(name, text)?;
    }
    let template = filled(call.body, &value)?.filter(|_| first);
    if call.graphql.is_empty() {
        if let Some(mut fixed) = template {
            if !parts.body.is_null() {
                json::merge(&mut fixed, std::mem::take(&mut parts.body));
            }
            parts.body = fixed;
        }
        if let Some(message) = &call.message {
            let pieces = filled(message.parts, &value)?.unwrap_or_default();
            let text = mime::write(&pieces)?;
            json::place(&mut parts.body, message.at, Value::String(digest::base64url(text.as_bytes())));
        }
        write_body(call, tool, values, parts.body, &mut request)?;
    } else {
        let mut variables = template.unwrap_or(json!({}));
        json::merge(&mut variables, if parts.variables.is_null() { json!({}) } else { parts.variables });
        set(&mut request, "application/json", json!({ "query": call.graphql, "variables": variables }).to_string())?;
    }
    Ok(request)
}

fn filled(template: &str, value: &dyn Fn(&str) -> Option<Value>) -> Result<Option<Value>> {
    if template.is_empty() {
        return Ok(None);
    }
    let template: Value =
        serde_json::from_str(template).map_err(|_| Error::internal("a connector's template is not JSON"))?;
    Ok(json::fill(&template, value))
}

/// The URL with its holes filled: every value stays one path segment, or one value of a query written in the URL.
fn url(call: &Call, tool: &Tool, values: &Values<'_>) -> Result<Url> {
    let mut text = String::new();
    // A step may learn a whole URL (an upload address), and some are given by the caller: those go without the credential.
    let mut whole_url = false;
    for piece in template::pieces(call.url) {
        match piece {
            template::Piece::Text(plain) => text.push_str(plain),
            template::Piece::Hole(names) => {
                let value = names.split('|').find_map(|name| values.get(tool, name)).as_ref().and_then(json::to_text);
                let value = value.ok_or_else(|| missing(tool, names, values))?;
                let given = values.saved.contains_key(names) || !call.credential;
                let is_url = value.starts_with("https://") || value.starts_with("http://");
                if text.is_empty() && given && is_url {
                    whole_url = true;
                    text.push_str(&value);
                } else if whole_url || names.starts_with("account.") {
                    text.push_str(&value);
                } else if is_path(tool, names) {
                    let steps: Result<Vec<_>> = value.trim_matches('/').split('/').map(target::segment).collect();
                    text.push_str(&steps.map_err(|error| about(tool, names, error.message))?.join("/"));
                } else {
                    text.push_str(&target::segment(&value).map_err(|error| about(tool, names, error.message))?);
                }
            }
        }
    }
    if call.credential { values.target.url(&text) } else { values.target.file_url(&text) }
}

fn is_path(tool: &Tool, name: &str) -> bool {
    tool.params.iter().any(|param| param.name == name && param.encode == Encode::PathSegments)
}

fn missing(tool: &Tool, names: &str, values: &Values<'_>) -> Error {
    if parameter(tool, names).is_some() {
        return about(tool, names, "is needed here".into());
    }
    if names.starts_with("account.") {
        return values.target.lacks(names);
    }
    let message = format!(
        "the provider's answer to a look-up before {} has no `{names}`; check the ids that were given, or use /proxy",
        tool.name
    );
    Error::new(Code::ProviderError, message).with(|details| {
        details.origin = Origin::Provider;
        details.retryable = Some(false);
    })
}

/// The parameter among the names of a hole.
fn parameter<'a>(tool: &Tool, names: &'a str) -> Option<&'a str> {
    names.split('|').find(|name| tool.params.iter().any(|param| param.name == *name))
}

/// The failure for what was given for a hole.
fn about(tool: &Tool, names: &str, message: String) -> Error {
    let path = parameter(tool, names).map(|name| format!("/{name}")).unwrap_or_default();
    input::refused(tool, vec![Problem { path, message }])
}

/// Adds to the query. A space is `%20` and not `+`, which only servers that read forms take for one.
fn with_query(mut url: Url, query: &[(String, String)]) -> Url {
    if !query.is_empty() {
        let more = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish().replace('+', "%20");
        let known = url.query().filter(|known| !known.is_empty()).map(|known| format!("{known}&")).unwrap_or_default();
        url.set_query(Some(&format!("{known}{more}")));
    }
    url
}

fn write_body(call: &Call, tool: &Tool, values: &Values<'_>, mut body: Value, request: &mut Request) -> Result<()> {
    let bytes = content(call, tool, values)?;
    if !call.body_header.is_empty() {
        request.set_header(call.body_header, &ascii(&std::mem::take(&mut body)))?;
    }
    match (call.encoding, bytes) {
        (BodyEncoding::JsonBody, _) if body.is_null() => {
            // A verb that has a body gets one only when there is something to say.
            if matches!(call.method, "POST" | "PUT" | "PATCH") {
                request.header("content-length", "0");
            }
        }
        (BodyEncoding::JsonBody, _) => set(request, "application/json", body.to_string())?,
        (BodyEncoding::FormBody, _) => {
            let text = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields(&body)).finish();
            set(request, "application/x-www-form-urlencoded", text)?;
        }
        (BodyEncoding::BytesBody, bytes) => {
            let bytes = bytes.ok_or_else(|| nothing_to_send(tool))?;
            set(request, &bytes.media_type, bytes.bytes)?;
        }
        (BodyEncoding::RelatedBody, bytes) => {
            let body = if body.is_null() { json!({}) } else { body };
            let bytes = bytes.ok_or_else(|| nothing_to_send(tool))?;
            let (kind, text) = multipart::related(&body, &bytes);
            set(request, &kind, text)?;
        }
        (BodyEncoding::FormDataBody, None) if call.content.is_some() => return Err(nothing_to_send(tool)),
        (BodyEncoding::FormDataBody, bytes) => {
            let (kind, text) = multipart::form_data(&fields(&body), bytes.as_ref());
            set(request, &kind, text)?;
        }
    }
    Ok(())
}

fn nothing_to_send(tool: &Tool) -> Error {
    input::refused(tool, vec![Problem { path: String::new(), message: "there is no content to send".into() }])
}

fn set(request: &mut Request, content_type: &str, body: impl Into<Vec<u8>>) -> Result<()> {
    // What a connector declares itself stays: some want `text/plain` around JSON.
    if !request.headers.contains_key("content-type") {
        request.set_header("content-type", content_type)?;
    }
    request.body = Body::Bytes(body.into());
    Ok(())
}

/// JSON fit for a header: what is not ASCII is escaped (RFC 8259 section 7).
fn ascii(body: &Value) -> String {
    let mut out = String::new();
    let mut units = [0; 2];
    for c in body.to_string().chars() {
        if c.is_ascii() && c != '\x7f' {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut units) {
                let _ = std::fmt::Write::write_fmt(&mut out, format_args!("\\u{unit:04x}"));
            }
        }
    }
    out
}

fn fields(body: &Value) -> Vec<(String, String)> {
    let fields = body.as_object().into_iter().flatten();
    fields.map(|(name, value)| (name.clone(), json::to_text(value).unwrap_or_else(|| value.to_string()))).collect()
}

fn content(call: &Call, tool: &Tool, values: &Values<'_>) -> Result<Option<Bytes>> {
    let Some(content) = &call.content else { return Ok(None) };
    let text = |template: &str| values.text(tool, template);
    let Some(bytes) = bytes_of(content, tool, values)? else { return Ok(None) };
    Ok(Some(Bytes {
        media_type: text(content.media_type).unwrap_or_else(|| "application/octet-stream".into()),
        bytes,
        field: content.field.to_owned(),
        file_name: text(content.file_name).unwrap_or_else(|| "file".into()),
    }))
}

/// The bytes themselves; none when neither template has a value.
fn bytes_of(content: &Content, tool: &Tool, values: &Values<'_>) -> Result<Option<Vec<u8>>> {
    let text = |template: &str| values.text(tool, template);
    let wrong = || Error::new(Code::InvalidToolInput, "the content to send is not base64");
    match text(content.base64) {
        Some(base64) => digest::from_base64(&base64).ok_or_else(wrong).map(Some),
        None => Ok(text(content.text).map(String::into_bytes)),
    }
}

/// Adds the account's credential, and the headers of the connector and of the way the account is connected. A request
/// never goes out without what should stand there.
pub fn authorize(request: &mut Request, target: &Target<'_>, token: &Secret) -> Result<()> {
    let credential = target.credential();
    let value = |name: &str| match name {
        "access_token" => Some(token.reveal().to_owned()),
        _ => target.secret(name),
    };
    let unusable = |_| {
        let message = "what is kept as this account's credential cannot stand in a header; connect it again";
        Error::new(Code::ReauthorizationRequired, message).of(target.connector.id)
    };
    let (name, template) = credential.header;
    let text = template::fill(template, value).filter(|text| !text.trim().is_empty());
    let text = text.ok_or_else(|| missing_credential(target))?;
    request.set_header(name, &text).map_err(unusable)?;
    for (name, template) in credential.headers.iter() {
        if let Some(text) = template::fill(template, value) {
            request.set_header(name, &text).map_err(unusable)?;
        }
    }
    for (name, template) in target.connector.http.headers.iter() {
        if !request.headers.contains_key(*name)
            && let Some(text) = template::fill(template, value)
        {
            request.set_header(name, &text).map_err(|_| {
                let message = format!(
                    "a field of connection `{}` cannot stand in the header `{name}`; PATCH its `fields`",
                    target.connection.name
                );
                Error::new(Code::ConnectionMisconfigured, message).of(target.connector.id)
            })?;
        }
    }
    Ok(())
}

fn missing_credential(target: &Target<'_>) -> Error {
    let message = format!(
        "connection `{}` lacks what {}'s credential is made of; PATCH its `fields`",
        target.connection.name, target.connector.name
    );
    Error::new(Code::ConnectionMisconfigured, message).of(target.connector.id)
}
