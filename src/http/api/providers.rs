//! `/api/v1/providers` and `/api/v1/tools`: what there is.

use crate::caller::Scope;
use crate::catalog::model::{Effect, Field, Method, Pair};
use crate::catalog::{CONNECTORS, Connector, Tool};
use crate::code::Code;
use crate::connection::{authorization_type, method_name, methods};
use crate::error::{Error, Result};
use crate::http::{Call, json_response};
use crate::ports::Response;
use crate::tool::dialect::Dialect;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// The failure for a provider that does not exist, with names that look alike.
pub fn no_provider(id: &str) -> Error {
    let names = CONNECTORS.iter().map(|connector| connector.id);
    Error::new(Code::ProviderNotFound, format!("no provider `{id}`; GET /api/v1/providers lists them"))
        .with(|details| details.suggestions = nearest(id, names))
}

/// The failure for a tool that does not exist, with names that look alike.
pub fn no_tool(name: &str) -> Error {
    let names = CONNECTORS.iter().flat_map(|connector| connector.tools.iter()).map(|tool| tool.name);
    Error::new(Code::ToolNotFound, format!("no tool `{name}`; GET /api/v1/tools lists them"))
        .with(|details| details.suggestions = nearest(name, names))
}

/// The three names that share most pairs of letters with a word.
fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let pairs = |text: &str| text.as_bytes().windows(2).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let wanted = pairs(&word.to_ascii_lowercase());
    let mut scored: Vec<_> = names
        .map(|name| {
            let there = pairs(name);
            let shared = wanted.iter().filter(|pair| there.contains(pair)).count();
            (2 * shared * 100 / (wanted.len() + there.len()).max(1), name)
        })
        .filter(|(score, _)| *score >= 40)
        .collect();
    scored.sort_by(|a, b| b.cmp(a));
    scored.into_iter().take(3).map(|(_, name)| name.to_owned()).collect()
}

/// Lists providers.
pub async fn list(call: &Call<'_>) -> Result<Response> {
    call.caller(&[Scope::Tools]).await?;
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

/// Lists tools.
pub async fn tools(call: &Call<'_>) -> Result<Response> {
    call.caller(&[Scope::Tools]).await?;
    let query = &call.query;
    let provider = query.any(&["filter.provider", "provider", "filter.connector", "connector"]);
    if let Some(id) = provider
        && crate::catalog::find_connector(id).is_none()
    {
        return Err(no_provider(id));
    }
    let name = query.any(&["filter.tool_name", "tool_name"]);
    let words: Vec<String> = query
        .any(&["filter.query", "query", "filter.summary"])
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_lowercase)
        .collect();
    let fits = |tool: &Tool| {
        name.is_none_or(|name| tool.name == name)
            && words.iter().all(|word| {
                tool.name.contains(word)
                    || tool.title.to_lowercase().contains(word)
                    || tool.description.to_lowercase().contains(word)
            })
    };
    let found: Vec<_> = CONNECTORS
        .iter()
        .filter(|connector| provider.is_none_or(|id| connector.id == id))
        .flat_map(|connector| connector.tools.iter().map(move |tool| (connector, tool)))
        .filter(|(_, tool)| fits(tool))
        .collect();
    let size = query.page_size(50, 200)? as usize;
    let wrong = || Error::invalid("page_token is not one this route gave");
    let from: usize = query.get("page_token").map_or(Ok(0), |text| text.parse().map_err(|_| wrong()))?;
    let next = (from + size < found.len()).then(|| (from + size).to_string());
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
    let list = List { tool_names: names, tools: &page, next_page_token: next, total_size: found.len() };
    let text = serde_json::to_string(&list).map_err(|_| Error::internal("the tools cannot be listed"))?;
    Ok(Response::new(200, "application/json", text))
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_typo_finds_its_tool() {
        let names = ["gmail_send_message", "gmail_list_labels", "slack_send_message"];
        assert_eq!(nearest("gmail_send_mesage", names.into_iter())[0], "gmail_send_message");
        assert!(nearest("xyz", names.into_iter()).is_empty());
    }
}
