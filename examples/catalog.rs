//! `make catalog`: every tool's request as one JSON list, to be compared with what the vendors publish.

use serde_json::{Map, Value, json};
use valetkey::catalog::CONNECTORS;
use valetkey::catalog::model::{BodyEncoding, Call, Connector, Place, Tool};

fn main() {
    let tools: Vec<Value> = CONNECTORS
        .iter()
        .flat_map(|connector| connector.tools.iter().flat_map(move |tool| requests(connector, tool)))
        .collect();
    println!("{}", serde_json::to_string_pretty(&tools).unwrap_or_default());
}

/// A tool's own request, and those of its steps.
fn requests(connector: &Connector, tool: &Tool) -> Vec<Value> {
    // A URL that was learnt, or that the caller gives, is no operation of the vendor's.
    let is_given = |call: &Call| call.url.starts_with('{') && !call.url.starts_with("{account.");
    let mut requests = Vec::new();
    if !is_given(&tool.call) {
        requests.push(described(connector, tool, tool.name, &tool.call, true));
    }
    for (number, step) in tool.before.iter().enumerate() {
        if !is_given(&step.call) {
            requests.push(described(connector, tool, &format!("{}#step{}", tool.name, number + 1), &step.call, false));
        }
    }
    requests.extend(tool.page.as_ref().filter(|page| !page.continue_at.is_empty()).map(|page| {
        let mut body = json!({});
        valetkey::json::place(&mut body, page.send, Value::Null);
        let url = format!("{}{}", base_url(connector), page.continue_at);
        json!({ "provider": connector.id, "tool": format!("{}#more", tool.name), "method": tool.call.method, "url": url,
            "query": [], "body": names(&body), "headers": [], "scopes": tool.scopes.0 })
    }));
    requests
}

/// The base URL, with what fields of the connector are when nobody says otherwise.
fn base_url(connector: &Connector) -> String {
    let usual = connector.auth.fields.iter().filter(|field| !field.default.is_empty());
    usual.fold(connector.http.base_url.to_owned(), |url, field| {
        url.replace(&format!("{{account.{}}}", field.name), field.default)
    })
}

fn described(connector: &Connector, tool: &Tool, name: &str, call: &Call, own: bool) -> Value {
    let url =
        if call.url.starts_with('/') { format!("{}{}", base_url(connector), call.url) } else { call.url.to_owned() };
    let mut query = keys(call.query);
    let mut body = template(call.body);
    let mut headers: Vec<Value> =
        connector.http.headers.iter().chain(call.headers.iter()).map(|(name, _)| json!(name)).collect();
    if own {
        for param in tool.params.iter() {
            match param.place {
                Place::InQuery => query.push(json!(param.at)),
                Place::InBody => valetkey::json::place(&mut body, param.at, Value::Null),
                Place::InHeader => headers.push(json!(param.at)),
                Place::InVariables | Place::InPath | Place::InTemplate => {}
            }
        }
        if let Some(page) = tool.page.as_ref().filter(|page| !page.send.is_empty() && page.continue_at.is_empty()) {
            if page.body && call.graphql.is_empty() {
                valetkey::json::place(&mut body, page.send, Value::Null);
            } else if !page.body {
                query.extend(page.send.split(',').map(|name| json!(name)));
            }
        }
        if let Some(content) = call.content.as_ref().filter(|content| !content.field.is_empty()) {
            valetkey::json::place(&mut body, &format!("/{}", content.field), Value::Null);
        }
        if let Some(message) = &call.message {
            valetkey::json::place(&mut body, message.at, Value::Null);
        }
    }
    let mut described = Map::from_iter([
        ("provider".to_owned(), json!(connector.id)),
        ("tool".to_owned(), json!(name)),
        ("method".to_owned(), json!(call.method)),
        ("url".to_owned(), json!(url)),
        ("query".to_owned(), json!(query)),
        (
            "body".to_owned(),
            json!(if call.graphql.is_empty() {
                names(&body)
            } else {
                vec!["query".to_owned(), "variables".to_owned()]
            }),
        ),
        ("headers".to_owned(), json!(headers)),
        ("scopes".to_owned(), json!(tool.scopes.0)),
    ]);
    if !call.graphql.is_empty() {
        described.insert("graphql".to_owned(), json!(call.graphql));
    }
    if call.encoding == BodyEncoding::BytesBody {
        described.insert("raw_body".to_owned(), json!(true));
    }
    Value::Object(described)
}

fn template(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(json!({}))
}

fn keys(text: &str) -> Vec<Value> {
    template(text).as_object().into_iter().flatten().map(|(name, _)| json!(name)).collect()
}

/// Member names, one nested level with dots.
fn names(body: &Value) -> Vec<String> {
    let mut names = Vec::new();
    for (name, value) in body.as_object().into_iter().flatten() {
        names.push(name.clone());
        names.extend(value.as_object().into_iter().flatten().map(|(inner, _)| format!("{name}.{inner}")));
    }
    names
}
