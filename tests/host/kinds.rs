//! Kinds of mistakes that more than one connector had, each looked for in all of them.

use regex_lite::Regex;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use valetkey::catalog::model::{Call, Connector, Effect, Encode, RevokeAuth, Tool};
use valetkey::catalog::{CONNECTORS, find_connector};
use valetkey::oauth::{Client, revoke};
use valetkey::secret::Secret;

fn tools() -> impl Iterator<Item = (&'static Connector, &'static Tool)> {
    CONNECTORS.iter().flat_map(|connector| connector.tools.iter().map(move |tool| (connector, tool)))
}

/// Everything of a tool's requests that the connector writes itself.
fn written(tool: &Tool) -> String {
    let of = |call: &Call| format!("{} {} {} {}", call.url, call.query, call.body, call.graphql);
    let mut text = of(&tool.call);
    tool.before.iter().for_each(|step| text.push_str(&of(&step.call)));
    text
}

fn properties(tool: &Tool) -> Value {
    serde_json::from_str::<Value>(tool.input_schema).unwrap()["properties"].clone()
}

#[test]
fn what_a_query_cuts_off_has_no_next_page_and_says_so() {
    let cuts = Regex::new(r"\bLIMIT (\{(\w+)\}|[0-9]+)").unwrap();
    let mut wrong = Vec::new();
    let mut found = 0;
    for (_, tool) in tools() {
        let text = written(tool);
        let Some(cut) = cuts.captures(&text) else { continue };
        found += 1;
        if tool.page.is_some() {
            wrong.push(format!("{}: pages, though its query has {}", tool.name, &cut[0]));
        }
        if let Some(name) = cut.get(2) {
            let description = properties(tool)[name.as_str()]["description"].to_string();
            if !description.contains("there are no further pages") {
                wrong.push(format!("{}: `{}` must say that there are no further pages", tool.name, name.as_str()));
            }
        }
    }
    assert!(found >= 23, "queries with a LIMIT are not found any more: {found}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Rows of a table of connectors/README.md that begin with names and an effect.
fn rows(section: &str, head: &str) -> BTreeMap<String, String> {
    let table = section.split(&format!("| {head} | effect |")).nth(1).unwrap().split("\n\n").next().unwrap();
    let row = Regex::new(r"(?m)^\| (`[^|]+`) \| (\w+) \|").unwrap();
    row.captures_iter(table)
        .flat_map(|row| {
            let effect = row[2].to_owned();
            let names: Vec<_> = row[1].split(", ").map(|name| name.trim_matches('`').to_owned()).collect();
            names.into_iter().map(move |name| (name, effect.clone()))
        })
        .collect()
}

#[test]
fn the_same_act_has_the_same_effect_everywhere() {
    let text = fs::read_to_string("connectors/README.md").unwrap();
    let section = text.split("### Effects").nth(1).unwrap();
    let (verbs, exceptions) = (rows(section, "verb"), rows(section, "tool"));
    assert!(verbs.len() >= 20 && exceptions.len() >= 30, "{verbs:?} {exceptions:?}");
    let mut wrong = Vec::new();
    let mut needed = BTreeSet::new();
    for (_, tool) in tools().filter(|(_, tool)| tool.effect != Effect::Read) {
        let effect = format!("{:?}", tool.effect).to_lowercase();
        let known: BTreeSet<&String> = tool.name.split('_').skip(1).filter_map(|word| verbs.get(word)).collect();
        // A name with two verbs is as bad as the worse of them.
        let Some(usual) = known.iter().next() else { continue };
        if let Some(exception) = exceptions.get(tool.name) {
            needed.insert(tool.name.to_owned());
            if *exception != effect {
                wrong.push(format!("{} is {effect}; connectors/README.md says {exception}", tool.name));
            }
            if exception == *usual {
                wrong.push(format!("{} needs no exception", tool.name));
            }
        } else if **usual != effect {
            wrong.push(format!("{} is {effect}; its verb is {usual}", tool.name));
        }
    }
    let unknown: Vec<_> = exceptions.keys().filter(|name| !needed.contains(*name)).collect();
    assert!(unknown.is_empty(), "exceptions for tools that have none of the verbs: {unknown:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The table of tools whose scope is not asked for unless an operator adds it.
fn more_scopes(connector: &Connector) -> Option<String> {
    let auth = &connector.auth;
    let oauth2 = auth.oauth2.iter().flat_map(|oauth2| oauth2.scopes.iter());
    let asked: BTreeSet<&str> =
        oauth2.chain(auth.oauth1.iter().flat_map(|oauth1| oauth1.scopes.iter())).copied().collect();
    let mut rows: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for tool in connector.tools.iter().filter(|tool| !tool.scopes.is_empty()) {
        if !tool.scopes.iter().any(|scope| asked.contains(scope)) {
            let scopes: Vec<_> = tool.scopes.iter().map(|scope| format!("`{scope}`")).collect();
            rows.entry(scopes.join(" or ")).or_default().push(tool.name);
        }
    }
    let count: usize = rows.values().map(Vec::len).sum();
    let rows: Vec<_> = rows.iter().map(|(scopes, tools)| format!("| {scopes} | `{}` |", tools.join("`, `"))).collect();
    (count > 0).then(|| {
        format!(
            "{MORE_SCOPES}\n\n{count} of {} tools need a scope that is not asked for unless the connection's `scopes` name it. Without it\n\
             they answer `INSUFFICIENT_SCOPE`.\n\n| scope | tools |\n|---|---|\n{}\n",
            connector.tools.len(),
            rows.join("\n")
        )
    })
}

const MORE_SCOPES: &str = "## Tools that need more scopes";

#[test]
fn what_needs_a_scope_that_is_not_asked_for_stands_in_the_connectors_document() {
    let mut wrong = Vec::new();
    for connector in CONNECTORS {
        let path = format!("connectors/{}/README.md", connector.id);
        let text = fs::read_to_string(&path).unwrap();
        let (before, rest) = text.split_once(MORE_SCOPES).unwrap_or((&text, ""));
        let after = rest.split_once("\n## ").map(|(_, after)| format!("\n## {after}")).unwrap_or_default();
        let section = more_scopes(connector).map(|section| format!("\n{section}")).unwrap_or_default();
        let wanted = format!("{}\n{section}{after}", before.trim_end());
        if wanted == text {
            continue;
        }
        if std::env::var("UPDATE").is_ok() {
            fs::write(&path, wanted).unwrap();
        } else {
            wrong.push(path);
        }
    }
    assert!(wrong.is_empty(), "`UPDATE=1 cargo test kinds` writes these anew: {wrong:?}");
}

/// <https://developers.notion.com/reference/request-limits#limits-for-property-values>
#[test]
fn a_text_that_notion_would_refuse_for_its_length_is_not_sent() {
    let notion = find_connector("notion").unwrap();
    let texts = notion.tools.iter().flat_map(|tool| tool.params.iter().map(move |param| (tool, param)));
    let texts: Vec<_> = texts.filter(|(_, param)| param.at.ends_with("/text/content")).collect();
    assert!(texts.len() >= 18, "plain texts are not found any more");
    for (tool, param) in texts {
        assert_eq!(properties(tool)[param.name]["maxLength"], 2000, "{}: {}", tool.name, param.name);
    }
}

#[test]
fn what_an_update_loses_by_its_format_is_said() {
    let mut found = 0;
    for (_, tool) in tools().filter(|(_, tool)| tool.name.split('_').any(|word| word == "update")) {
        for param in tool.params.iter().filter(|param| param.encode == Encode::Adf) {
            let description = properties(tool)[param.name]["description"].to_string();
            assert!(description.contains("lost"), "{}: `{}` must say what is lost", tool.name, param.name);
            found += 1;
        }
    }
    assert!(found >= 4, "texts in Markdown are not found any more: {found}");
}

#[test]
fn a_client_proves_itself_where_the_rest_of_a_revocation_stands() {
    let oauth2 = find_connector("monday").unwrap().auth.oauth2.as_ref().unwrap();
    let how = oauth2.revoke.as_ref().unwrap();
    assert_eq!(how.auth, RevokeAuth::RevokeAsBody);
    let client = Client { id: "client".into(), secret: Secret::new("client-secret") };
    let (refresh, access) = (Secret::new("refresh-token"), Secret::new("access-token"));
    let request =
        revoke::request(how, oauth2.client_auth, how.request.1, &client, &refresh, &access, |_| None).unwrap();
    assert_eq!(request.headers["content-type"], "application/json");
    let body: Value = serde_json::from_slice(request.body.bytes()).unwrap();
    assert_eq!(
        body,
        serde_json::json!({ "token": "refresh-token", "token_type_hint": "refresh_token",
            "client_id": "client", "client_secret": "client-secret" })
    );
}
