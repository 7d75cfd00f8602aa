//! Input as agents write it, over every tool: null, types, what goes together, updates that change nothing.
//!
//! Each tool has a case, so each has arguments that are known to be right; the tests change those.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::sync::LazyLock;
use valetkey::catalog::model::{BodyEncoding, GroupRule, Place};
use valetkey::catalog::{self, Tool};
use valetkey::code::Code;
use valetkey::error::Problem;
use valetkey::tool::dialect::Dialect;
use valetkey::tool::input::{check, kinds};

fn tools() -> impl Iterator<Item = &'static Tool> {
    catalog::CONNECTORS.iter().flat_map(|connector| connector.tools.iter())
}

fn tool(name: &str) -> &'static Tool {
    catalog::find_tool(name).unwrap_or_else(|| panic!("no tool {name}")).1
}

fn schema(tool: &Tool) -> Value {
    serde_json::from_str(tool.input_schema).unwrap()
}

fn is_required(schema: &Value, name: &str) -> bool {
    schema["required"].as_array().is_some_and(|names| names.contains(&json!(name)))
}

/// What a tool says of an input: none when it takes it.
fn problems(tool: &Tool, input: &Value) -> Vec<Problem> {
    check(tool, input.clone())
        .err()
        .map(|error| {
            assert_eq!(error.code, Code::InvalidToolInput);
            error.details.problems
        })
        .unwrap_or_default()
}

fn said(tool: &Tool, input: &Value) -> Vec<String> {
    problems(tool, input).into_iter().map(|problem| format!("{} {}", problem.path, problem.message)).collect()
}

/// Arguments that each tool takes, out of its cases, as the agent gave them.
fn known() -> &'static BTreeMap<&'static str, Map<String, Value>> {
    static KNOWN: LazyLock<BTreeMap<&'static str, Map<String, Value>>> = LazyLock::new(read_known);
    &KNOWN
}

fn read_known() -> BTreeMap<&'static str, Map<String, Value>> {
    let mut known = BTreeMap::new();
    for connector in catalog::CONNECTORS {
        let cases: Value =
            toml::from_str(&fs::read_to_string(format!("connectors/{}/cases.toml", connector.id)).unwrap()).unwrap();
        for case in cases["case"].as_array().unwrap() {
            let tool = tool(case["tool"].as_str().unwrap());
            let arguments = case.get("arguments").cloned().unwrap_or(json!({}));
            if check(tool, arguments.clone()).is_ok()
                && let Value::Object(mut fields) = arguments
            {
                for param in tool.params.iter() {
                    let given: Vec<_> = param.aliases.iter().filter_map(|alias| fields.shift_remove(*alias)).collect();
                    for value in given {
                        fields.insert(param.name.into(), value);
                    }
                }
                known.entry(tool.name).or_insert(fields);
            }
        }
    }
    known
}

/// The least a tool takes: of known arguments those that are required, and of its groups what they want.
fn least(tool: &Tool, arguments: &Map<String, Value>) -> Map<String, Value> {
    let schema = schema(tool);
    let mut fields = arguments.clone();
    let names: Vec<_> = fields.keys().cloned().collect();
    for name in names.into_iter().filter(|name| !is_required(&schema, name)) {
        let mut fewer = fields.clone();
        fewer.shift_remove(&name);
        if check(tool, Value::Object(fewer.clone())).is_ok() {
            fields = fewer;
        }
    }
    fields
}

#[test]
fn every_tool_has_arguments_it_takes() {
    let known = known();
    let without: Vec<_> = tools().map(|tool| tool.name).filter(|name| !known.contains_key(name)).collect();
    assert!(without.is_empty(), "{without:?}");
}

#[test]
fn null_goes_out_where_it_may_and_is_refused_everywhere_else() {
    let known = known();
    let (mut nullable, mut wrong) = (0, Vec::new());
    for tool in tools() {
        let (schema, input) = (schema(tool), &known[tool.name]);
        let properties = schema["properties"].as_object().unwrap();
        let all: Map<_, _> = properties.keys().map(|name| (name.clone(), Value::Null)).collect();
        let refused: Vec<_> = problems(tool, &Value::Object(all)).into_iter().map(|problem| problem.path).collect();
        for (name, about) in properties {
            let is_refused = refused.contains(&format!("/{name}"));
            if !kinds(about).contains(&"null") {
                if !is_refused {
                    wrong.push(format!("{}.{name}: null is taken without a word", tool.name));
                }
                continue;
            }
            nullable += 1;
            let mut fields = input.clone();
            fields.insert(name.clone(), Value::Null);
            if is_refused {
                wrong.push(format!("{}.{name} may be null and is refused", tool.name));
            } else if let Ok(fields) = check(tool, Value::Object(fields))
                && fields.get(name) != Some(&Value::Null)
            {
                wrong.push(format!("{}.{name}: the null is lost", tool.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(nullable > 150, "{nullable}");
}

#[test]
fn a_strict_function_says_null_for_nothing_and_names_what_is_emptied() {
    let known = known();
    let mut wrong = Vec::new();
    for tool in tools() {
        let schema = schema(tool);
        let strict = &Dialect::OpenAi.define(tool)["parameters"];
        let names: Vec<_> = strict["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        let optional = names.iter().any(|name| *name != "clear_fields" && !is_required(&schema, name));
        if optional && !names.contains(&"clear_fields") {
            wrong.push(format!("{}: nothing marks its nulls", tool.name));
        }
        // Everything is there, as strict mode wants it, and null is what the model leaves out.
        let input = least(tool, &known[tool.name]);
        let mut all = input.clone();
        for name in names.iter().filter(|name| **name != "clear_fields") {
            all.entry(*name).or_insert(Value::Null);
        }
        let mark = &strict["properties"]["clear_fields"];
        let emptiable = mark["items"]["enum"].as_array().cloned().unwrap_or_default();
        if !mark.is_null() {
            all.insert("clear_fields".into(), if emptiable.is_empty() { json!("none") } else { json!([]) });
        }
        let (plain, marked) = (check(tool, Value::Object(input.clone())), check(tool, Value::Object(all.clone())));
        if plain != marked {
            wrong.push(format!("{}: {plain:?}\n    is in a strict function {marked:?}", tool.name));
        }
        for name in emptiable.iter().filter_map(Value::as_str).filter(|name| !name.contains('/')) {
            let (mut plain, mut strict) = (input.clone(), all.clone());
            plain.insert(name.into(), Value::Null);
            strict.insert(name.into(), Value::Null);
            strict.insert("clear_fields".into(), json!([name]));
            let (plain, strict) = (check(tool, Value::Object(plain)), check(tool, Value::Object(strict)));
            let same = plain.as_ref().ok() == strict.as_ref().ok();
            if !same || plain.is_ok_and(|fields| fields.get(name) != Some(&Value::Null)) {
                wrong.push(format!("{}: clear_fields [{name}] gives {strict:?}", tool.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let update = tool("github_issue_update");
    let strict = json!({ "owner": "o", "repo": "r", "issue_number": 1, "title": null, "milestone": null, "clear_fields": ["milestone"] });
    assert_eq!(check(update, strict).unwrap().get("milestone"), Some(&Value::Null));
    let wrong = json!({ "owner": "o", "repo": "r", "issue_number": 1, "title": "t", "milestone": 3, "clear_fields": ["milestone", "title"] });
    assert_eq!(
        said(update, &wrong),
        [
            "/clear_fields/0 milestone is given a value too; either empty it or set it",
            "/clear_fields/1 cannot be emptied; what can: body, milestone, type",
        ]
    );
}

/// PATCH and PUT that are complete with ids alone: what they do is their name.
const ACTIONS: &[&str] = &[
    "clickup_task_move",
    "confluence_page_move",
    "freshdesk_contact_restore",
    "freshdesk_ticket_restore",
    "github_pull_request_branch_update",
    "github_pull_request_merge",
    "googledrive_move_file",
    "hubspot_association_create",
    "hubspot_association_set",
    "hubspot_list_memberships_add",
    "hubspot_list_memberships_remove",
    "jira_issue_assign",
    "notion_database_trash",
    "notion_page_trash",
    "zendesk_suspended_ticket_recover",
    "zendesk_ticket_comment_make_private",
    "zendesk_ticket_restore",
];

#[test]
fn an_update_that_changes_nothing_is_refused_with_what_it_can_change() {
    let known = known();
    let (mut wrong, mut actions, mut updates) = (Vec::new(), Vec::new(), 0);
    for tool in tools() {
        let schema = schema(tool);
        let mut ids = known[tool.name].clone();
        ids.retain(|name, _| is_required(&schema, name));
        if !tool.changes.is_empty() {
            updates += 1;
            let said = said(tool, &Value::Object(ids.clone()));
            let names_them = |said: &String| tool.changes.iter().all(|name| said.contains(name));
            let by_group = tool.groups.iter().any(|group| {
                matches!(group.rule, GroupRule::ExactlyOne | GroupRule::AtLeastOne)
                    && !group.names.iter().any(|name| ids.contains_key(*name))
            });
            if !said.iter().any(|said| by_group || said.contains("changes nothing") && names_them(said)) {
                wrong.push(format!("{}: {said:?}", tool.name));
            }
        } else if matches!(tool.call.method, "PATCH" | "PUT") && tool.effect != valetkey::catalog::model::Effect::Read {
            let Ok(fields) = check(tool, Value::Object(ids)) else { continue };
            let says = |name: &str| {
                let param = tool.params.iter().find(|param| param.name == name).unwrap();
                let id = name.ends_with("id") || name.ends_with("ids") || name.ends_with("Id");
                !id && is_required(&schema, name)
                    && !matches!(param.place, Place::InPath | Place::InQuery | Place::InHeader)
            };
            let fixed = tool.call.encoding == BodyEncoding::BytesBody
                || serde_json::from_str::<Value>(tool.call.body).is_ok_and(|body| is_fixed(&body));
            if !fixed && !fields.keys().any(|name| says(name)) {
                actions.push(tool.name);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(actions, ACTIONS);
    assert!(updates >= 110, "{updates}");
    assert_eq!(
        said(tool("asana_tag_update"), &json!({ "tag_gid": "1" })),
        [" changes nothing; give at least one of name, color"]
    );
}

fn is_fixed(body: &Value) -> bool {
    match body {
        Value::String(text) => !text.contains('{') && !text.starts_with("#microsoft.graph."),
        Value::Array(items) => items.iter().any(is_fixed),
        Value::Object(fields) => fields.values().any(is_fixed),
        _ => true,
    }
}

#[test]
fn what_goes_together_is_checked_on_every_tool_that_says_so() {
    let known = known();
    let (mut wrong, mut tried) = (Vec::new(), 0);
    for tool in tools() {
        for group in tool.groups.iter().filter(|group| group.rule != GroupRule::Needs) {
            tried += 1;
            let mut fields = known[tool.name].clone();
            let plain: Vec<_> = group.names.iter().map(|name| name.split('=').next().unwrap()).collect();
            for name in &plain {
                fields.shift_remove(*name);
            }
            let none = said(tool, &Value::Object(fields.clone()));
            let by_default = tool.params.iter().any(|param| plain.contains(&param.name) && !param.default.is_empty());
            let wanted = matches!(group.rule, GroupRule::ExactlyOne | GroupRule::AtLeastOne) && !by_default;
            if wanted && !none.iter().any(|said| said.contains("give ") && plain.iter().all(|name| said.contains(name)))
            {
                wrong.push(format!("{}: none of {plain:?} gives {none:?}", tool.name));
            }
            for (name, value) in group.names.iter().filter_map(|name| name.split_once('=')) {
                fields.insert(name.into(), serde_json::from_str(value).unwrap_or(json!(value)));
            }
            for name in group.names.iter().filter(|name| !name.contains('=')) {
                fields.insert((*name).into(), json!("x"));
            }
            let both = said(tool, &Value::Object(fields));
            let excludes = matches!(group.rule, GroupRule::ExactlyOne | GroupRule::AtMostOne);
            if excludes != both.iter().any(|said| said.contains("exclude each other")) {
                wrong.push(format!("{}: all of {plain:?} gives {both:?}", tool.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(tried > 120, "{tried}");
    let ask = tool("googledrive_search_files");
    assert_eq!(said(ask, &json!({ "corpora": "drive" })), [" corpora = drive needs drive_id too"]);
    assert_eq!(said(ask, &json!({ "drive_id": "d" })), [" drive_id needs corpora = drive too"]);
    assert!(said(ask, &json!({ "corpora": "drive", "drive_id": "d" })).is_empty());
    // A default counts as its value: without filter_on it filters by values.
    let filter = tool("microsoftexcel_filter_table");
    let by_default = json!({ "item_id": "i", "table_id": "t", "column_id": "c" });
    assert_eq!(said(filter, &by_default), [" filter_on = Values needs values too"]);
    let told = Dialect::Anthropic.define(filter)["description"].as_str().unwrap().to_owned();
    assert!(told.contains("filter_on = Custom, filter_on = TopItems, filter_on = TopPercent"), "{told}");
    assert!(told.contains("BottomPercent, criterion2 need criterion1."), "{told}");
}

#[test]
fn every_upload_wants_its_content_once() {
    let uploads: Vec<_> = tools()
        .filter(|tool| tool.call.content.is_some() || tool.before.iter().any(|step| step.call.content.is_some()))
        .collect();
    assert!(uploads.len() > 30);
    let known = known();
    for tool in uploads {
        let (schema, mut fields) = (schema(tool), known[tool.name].clone());
        let contents: Vec<_> = ["content", "content_base64", "file_content_base64", "rtf"]
            .into_iter()
            .filter(|name| schema["properties"].get(*name).is_some() && !is_required(&schema, name))
            .collect();
        for name in &contents {
            fields.shift_remove(*name);
        }
        if contents.len() < 2 {
            continue;
        }
        assert!(!problems(tool, &Value::Object(fields.clone())).is_empty(), "{} takes no content at all", tool.name);
        for name in &contents {
            fields.insert((*name).into(), json!("aGk="));
        }
        assert!(!problems(tool, &Value::Object(fields)).is_empty(), "{} takes two contents", tool.name);
    }
}

#[test]
fn cells_hold_what_cells_hold() {
    fn texts_alone(schema: &Value, at: &str, found: &mut Vec<String>) {
        let items = &schema["items"];
        if items["type"] == "array" && items["items"]["type"] == "string" {
            found.push(at.to_owned());
        }
        if items.is_object() {
            texts_alone(items, at, found);
        }
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            texts_alone(inner, &format!("{at}.{name}"), found);
        }
    }
    let mut found = Vec::new();
    tools().for_each(|tool| texts_alone(&schema(tool), tool.name, &mut found));
    assert!(found.is_empty(), "rows of cells that take text alone: {found:?}");
    let rows = json!([["Tea", 4.5, true, null]]);
    let input = json!({ "spreadsheet_id": "s", "range": "A1", "values": rows });
    assert_eq!(check(tool("googlesheets_update_values"), input).unwrap()["values"], rows);
    let wrong = json!({ "item_id": "i", "table_id": "t", "index": 0, "row_index": 0, "values": [[{}]] });
    assert!(
        said(tool("microsoftexcel_update_table_row"), &wrong).iter().any(|said| said.contains("/values/0/0 must be"))
    );
}

#[test]
fn types_that_leave_no_doubt_are_read() {
    for (name, input, at, wanted) in [
        ("github_issue_get", json!({ "owner": "o", "repo": "r", "issue_number": "42" }), "issue_number", json!(42)),
        (
            "slack_send_message",
            json!({ "channel": "C1", "text": "x", "unfurl_links": "false" }),
            "unfurl_links",
            json!(false),
        ),
        (
            "slack_send_message",
            json!({ "channel": "C1", "text": "x", "blocks": [{ "type": "divider" }] }),
            "blocks",
            json!("[{\"type\":\"divider\"}]"),
        ),
        ("zoom_meeting_get", json!({ "meeting_id": 85_746_065_432_u64 }), "meeting_id", json!("85746065432")),
        ("hubspot_contact_get", json!({ "contact_id": 151 }), "contact_id", json!("151")),
        (
            "googlesheets_update_values",
            json!({ "spreadsheet_id": "s", "range": "A1", "values_json": [[1]] }),
            "values_json",
            json!("[[1]]"),
        ),
        (
            "clickup_task_update",
            json!({ "task_id": "t", "due_date": 1_700_000_000_123_u64 }),
            "due_date",
            json!("2023-11-14T22:13:20.123Z"),
        ),
        ("outlook_list_messages", json!({ "$top": 5 }), "top", json!(5)),
        (
            "notion_page_update",
            json!({ "page_id": "a".repeat(32), "properties": "\"{\\\"Done\\\":true}\"" }),
            "properties",
            json!({ "Done": true }),
        ),
    ] {
        let fields = check(tool(name), input).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(fields.get(at), Some(&wanted), "{name}.{at}");
    }
    let whole = check(tool("github_issue_get"), json!("{\"owner\":\"o\",\"repo\":\"r\",\"issue_number\":1}"));
    assert_eq!(whole.unwrap()["issue_number"], 1);
    let twice = json!({ "$top": 5, "top": 6 });
    assert_eq!(
        said(tool("outlook_list_messages"), &twice),
        ["/$top is another name of top, which is given too with another value"]
    );
}

/// Nothing that is as large as it may be takes longer, or says more, than its size is worth.
#[test]
#[expect(clippy::disallowed_methods, reason = "how long it takes is what is asked, and no WebAssembly runs this")]
fn the_largest_input_is_checked_in_bounded_work() {
    let list = |one: Value, n: usize| Value::from(vec![one; n]);
    let unknown: Map<_, _> = (0..90_000).map(|n| (format!("nobody_knows_{n}"), json!(0))).collect();
    let long_key = Map::from_iter([("k".repeat(4_000_000), list(json!(0), 90_000))]);
    let deep = Map::from_iter([("k".repeat(100_000), json!({ "l".repeat(100_000): list(json!({ "m": 1 }), 40_000) }))]);
    let texts = list(json!("[".repeat(1_000)), 5_000);
    for (name, input, least) in [
        ("linear_graphql_query", json!({ "query": "q", "variables": long_key }), 0),
        ("linear_graphql_query", json!({ "query": "q", "variables": deep }), 0),
        ("linear_graphql_query", json!({ "query": "q", "variables": [list(json!({ "a": 1e30 }), 30_000)] }), 1),
        ("github_issues_list", Value::Object(unknown), 50),
        ("hubspot_list_memberships_add", json!({ "list_id": "1", "record_ids": list(json!("x"), 90_000) }), 1),
        ("hubspot_list_memberships_add", json!({ "list_id": "1", "record_ids": texts }), 1),
        (
            "github_issue_create",
            json!({ "owner": "o", "repo": "r", "title": "t", "labels": "a,".repeat(4_000_000) }),
            1,
        ),
        ("github_issue_create", json!({ "clear_fields": list(json!(1), 90_000) }), 50),
        ("github_issue_create", json!({ "k".repeat(8_000_000): 1 }), 1),
    ] {
        let tool = tool(name);
        let (started, problems) = (std::time::Instant::now(), problems(tool, &input));
        let said: usize = problems.iter().map(|problem| problem.path.len() + problem.message.len()).sum();
        assert!((least..=50).contains(&problems.len()), "{name}: {} problems", problems.len());
        assert!(said < 100_000, "{name}: {said} bytes are said");
        // Linear work takes less than a second here; what was quadratic took minutes.
        assert!(started.elapsed().as_secs() < 20, "{name}: {:?}", started.elapsed());
    }
}
