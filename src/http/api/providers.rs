//! `/api/v1/providers` and `/api/v1/tools`: what there is.

use crate::access::{self, Named};
use crate::account::command::{Command, Reply};
use crate::caller::Scope;
use crate::catalog::model::{Effect, Field, Method, Pair};
use crate::catalog::{CONNECTORS, Connector, Tool};
use crate::code::Code;
use crate::connection::{self, authorization_type, method_name, methods};
use crate::error::{Error, Result, short};
use crate::http::nearest::nearest;
use crate::http::{Call, Who, json_response};
use crate::ports::Response;
use crate::tool::dialect::Dialect;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// The failure for a provider that does not exist, with names that look alike.
pub fn no_provider(id: &str) -> Error {
    let names = CONNECTORS.iter().map(|connector| connector.id);
    Error::new(Code::ProviderNotFound, format!("no provider `{}`; GET /api/v1/providers lists them", short(id)))
        .with(|details| details.suggestions = nearest(id, names))
}

/// The failure for a tool that does not exist, with names that look alike.
pub fn no_tool(name: &str) -> Error {
    let names = CONNECTORS.iter().flat_map(|connector| connector.tools.iter()).map(|tool| tool.name);
    Error::new(Code::ToolNotFound, format!("no tool `{}`; GET /api/v1/tools lists them", short(name)))
        .with(|details| details.suggestions = nearest(name, names))
}

/// Lists providers.
pub async fn list(call: &Call<'_>) -> Result<Response> {
    call.caller(&[Scope::Tools]).await?;
    call.query.only(&[])?;
    let providers: Vec<_> = CONNECTORS
        .iter()
        .map(|connector| {
            let patterns: Vec<_> = methods(&connector.auth).map(|method| pattern(connector, method)).collect();
            json!({
                "id": connector.id, "identifier": connector.id, "display_name": connector.name,
                "description": connector.summary, "categories": connector.categories.0, "docs": connector.docs,
                "tools_count": connector.tools.len(), "auth_patterns": patterns, "proxy_enabled": true, "is_custom": false,
                "limits": connector.limits.iter().map(|limit| json!({
                    "name": limit.name, "units": limit.units, "per_seconds": limit.per_seconds })).collect::<Vec<_>>(),
            })
        })
        .collect();
    Ok(json_response(200, &json!({ "providers": providers })))
}

/// One way to connect, with what it asks for.
fn pattern(connector: &Connector, method: Method) -> Value {
    let auth = &connector.auth;
    let is_for = |field: &&Field| field.methods.is_empty() || field.methods.contains(&method);
    let fields: Vec<_> = auth
        .fields
        .iter()
        .filter(is_for)
        .map(|field| {
            json!({ "name": field.name, "title": field.title, "description": field.help, "required": field.required,
                "secret": field.secret, "by": if field.by_operator { "operator" } else { "user" } })
        })
        .collect();
    let mut pattern = json!({ "type": authorization_type(method), "method": method_name(method), "fields": fields });
    let mut scopes = |scopes: &[&str], optional: &[&str], words: &[Pair]| {
        let words: serde_json::Map<_, _> =
            words.iter().map(|(scope, words)| ((*scope).to_owned(), json!(words))).collect();
        pattern["scopes"] = json!(scopes);
        pattern["optional_scopes"] = json!(optional);
        pattern["scope_words"] = json!(words);
    };
    match (method, &auth.oauth2, &auth.oauth1, &auth.jwt) {
        (Method::ByOAuth2, Some(oauth2), ..) => scopes(&oauth2.scopes, &oauth2.optional_scopes, &oauth2.scope_words),
        (Method::ByOAuth1, _, Some(oauth1), _) => scopes(&oauth1.scopes, &oauth1.optional_scopes, &oauth1.scope_words),
        (Method::ByJwt, .., Some(jwt)) => scopes(&jwt.scopes, &[], &[]),
        _ => {}
    }
    pattern
}

#[derive(Serialize)]
struct Shown {
    id: &'static str,
    provider: &'static str,
    definition: Definition,
}

#[derive(Serialize)]
struct Definition {
    name: &'static str,
    title: &'static str,
    description: &'static str,
    input_schema: &'static RawValue,
    annotations: serde_json::Value,
    scopes: &'static [&'static str],
    docs: &'static str,
}

fn shown(connector: &'static Connector, tool: &'static Tool) -> Option<Shown> {
    Some(Shown {
        id: tool.name,
        provider: connector.id,
        definition: Definition {
            name: tool.name,
            title: tool.title,
            description: tool.description,
            // Taken as it is: the schema is text in the binary and is not parsed to be listed.
            input_schema: serde_json::from_str(tool.input_schema).ok()?,
            annotations: json!({
                "readOnlyHint": tool.effect == Effect::Read, "destructiveHint": tool.effect == Effect::Destructive,
                "openWorldHint": true, "paginated": tool.page.is_some() }),
            scopes: tool.scopes.0,
            docs: tool.docs,
        },
    })
}

#[derive(Serialize)]
struct List<'a> {
    tools: &'a [Shown],
    tool_names: Vec<&'a str>,
    next_page_token: Option<String>,
    total_size: usize,
}

/// Words that are looked for are compared with all texts of all tools, so they are few.
pub const MOST_WORDS: usize = 16;

/// Lists tools.
pub async fn tools(call: &Call<'_>) -> Result<Response> {
    let who = call.caller(&[Scope::Tools]).await?;
    let query = &call.query;
    let providers = ["filter.provider", "provider"];
    let connectors = ["filter.connector", "connector"];
    let (search, account) = (["filter.query", "query"], ["filter.connected_account_id", "filter.identifier"]);
    let names = ["filter.tool_name", "filter.tool_names", "tool_name", "tool_names"];
    let nothing = ["filter.organization_id", "filter.user_id"];
    let single = ["filter.summary", "format", "page_size", "page_token"];
    query.only_with(&[&providers[..], &connectors, &search, &account, &single, &nothing].concat(), &names)?;
    query.not(&nothing)?;
    let provider = match (query.any(&providers)?, provider_of(call, &who, &connectors).await?) {
        (Some(id), _) if crate::catalog::find_connector(id).is_none() => return Err(no_provider(id)),
        (Some(id), Some(other)) if id != other => {
            return Err(Error::invalid(format!("filter.provider is {id}, and filter.connector leads to {other}")));
        }
        (Some(id), _) => Some(id),
        (None, other) => other,
    };
    let wanted = query.all(&names)?;
    let words = query.any(&search)?.unwrap_or_default().to_lowercase();
    let words: Vec<_> = words.split_whitespace().collect();
    if words.len() > MOST_WORDS {
        return Err(Error::invalid(format!("filter.query takes at most {MOST_WORDS} words")));
    }
    let fits = |tool: &Tool| {
        if !(wanted.is_empty() || wanted.contains(&tool.name)) {
            return false;
        }
        if words.is_empty() {
            return true;
        }
        // Lower case once for all words.
        let texts = [tool.name.to_owned(), tool.title.to_lowercase(), tool.description.to_lowercase()];
        words.iter().all(|word| texts.iter().any(|text| text.contains(word)))
    };
    let found: Vec<_> = CONNECTORS
        .iter()
        .filter(|connector| provider.is_none_or(|id| connector.id == id))
        .flat_map(|connector| connector.tools.iter().map(move |tool| (connector, tool)))
        .filter(|(_, tool)| fits(tool))
        .collect();
    let summary = query.flag("filter.summary")?;
    let size = query.page_size(50, 200)? as usize;
    let from = call.page_offset(&who)?;
    let next = (from + size < found.len()).then(|| (from + size).to_string());
    let next = call.next_page_token(&who, next);
    if let Some(name) = query.get("format") {
        let names: Vec<_> = Dialect::ALL.iter().map(|(name, _)| *name).collect();
        let unknown = || Error::invalid(format!("format must be one of {}", names.join(", ")));
        let dialect = Dialect::parse(name).ok_or_else(unknown)?;
        let tools: Vec<_> = found.iter().skip(from).take(size).map(|(_, tool)| dialect.define(tool)).collect();
        return Ok(json_response(200, &json!({ "tools": tools, "next_page_token": next, "total_size": found.len() })));
    }
    let page: Vec<_> =
        found.iter().skip(from).take(size).filter_map(|(connector, tool)| shown(connector, tool)).collect();
    let names: Vec<_> = page.iter().map(|tool| tool.id).collect();
    // Names alone, if no more is wanted.
    let shown = if summary { &[] } else { page.as_slice() };
    let list = List { tool_names: names, tools: shown, next_page_token: next, total_size: found.len() };
    let text = serde_json::to_string(&list).map_err(|_| Error::internal("the tools cannot be listed"))?;
    Ok(Response::new(200, "application/json", text))
}

/// The provider of a connection, or of the account that is named.
async fn provider_of<'a>(call: &'a Call<'_>, who: &Who, connectors: &[&str]) -> Result<Option<&'a str>> {
    let query = &call.query;
    let connector = query.any(connectors)?;
    let (id, identifier) = (query.get("filter.connected_account_id"), query.get("filter.identifier"));
    if id.is_some() || identifier.is_some() {
        if id.is_none() && connector.is_none() {
            let message = "filter.identifier names an account together with filter.connector, the name of a connection";
            return Err(Error::invalid(message));
        }
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let named =
            Named { id: owned(id), connection: owned(connector), connector: None, identifier: owned(identifier) };
        let used = who.find(call.app, &named, None).await?;
        return match call.app.accounts.ask(&used.id, Command::View).await? {
            Reply::View { .. } => Ok(Some(used.connector.id)),
            _ => Err(access::unexpected()),
        };
    }
    let Some(name) = connector else { return Ok(None) };
    // A connection's name, or a connector's: most connections are named like theirs.
    if who.may(name) {
        match call.app.connection(name).await {
            Ok(known) => return Ok(Some(known.connection.connector()?.id)),
            Err(error) if error.code == Code::ConnectionNotFound => {}
            Err(error) => return Err(error),
        }
    }
    match crate::catalog::find_connector(name) {
        Some(connector) => Ok(Some(connector.id)),
        None => Err(connection::not_found(name)),
    }
}
