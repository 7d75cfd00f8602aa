//! The documents say what the code does: codes, reasons, settings, stored records, routes, tool counts, links.

use regex_lite::Regex;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use valetkey::catalog::CONNECTORS;
use valetkey::code::Code;

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files below a folder that end so.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn documents() -> Vec<PathBuf> {
    let here = fs::read_dir(".").unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = here.filter(|path| path.extension().is_some_and(|ending| ending == "md")).collect();
    for folder in ["docs", "connectors", "tests"] {
        found.extend(files(folder, ".md"));
    }
    found
}

/// What a pattern's group finds.
fn all(text: &str, pattern: &str) -> BTreeSet<String> {
    Regex::new(pattern).unwrap().captures_iter(text).map(|found| found[1].to_owned()).collect()
}

/// The first cells of a document's table rows, as they stand between backticks.
fn rows(text: &str) -> BTreeSet<String> {
    all(text, r"(?m)^\| `([^`]+)` \|")
}

#[track_caller]
fn names(document: &str, wanted: impl IntoIterator<Item = impl AsRef<str>>) {
    let text = read(document);
    let missing: Vec<_> =
        wanted.into_iter().map(|name| format!("`{}`", name.as_ref())).filter(|name| !text.contains(name)).collect();
    assert!(missing.is_empty(), "{document} does not name {}", missing.join(", "));
}

#[test]
fn every_code_is_explained_with_its_status() {
    let text = read("docs/errors.md");
    for (_, name, status) in Code::ALL {
        assert!(
            text.contains(&format!("\n| `{name}` | {status} |")),
            "docs/errors.md lacks a row for {name}, {status}"
        );
    }
    let known: BTreeSet<_> = Code::ALL.iter().map(|(_, name, _)| (*name).to_owned()).collect();
    let shouted: BTreeSet<_> = rows(&text).into_iter().filter(|row| *row == row.to_uppercase()).collect();
    assert_eq!(shouted, known, "docs/errors.md explains other codes than there are");
}

#[test]
fn every_reason_is_explained() {
    let account = read("src/account/mod.rs");
    let body = account.split("pub enum Reason {").nth(1).unwrap().split('}').next().unwrap();
    let snake = Regex::new("([a-z])([A-Z])").unwrap();
    let mut reasons: BTreeSet<_> = all(body, r"(?m)^    ([A-Z]\w+),$")
        .iter()
        .map(|variant| snake.replace_all(variant, "${1}_${2}").to_lowercase())
        .collect();
    assert!(reasons.len() >= 18, "{reasons:?}");
    for file in files("src", ".rs") {
        reasons.extend(all(&read(file), r#"flow_error\(\s*"([a-z_]+)""#));
    }
    let pages = read("src/http/pages/failure.rs");
    reasons.extend(all(&pages, r#"(?m)^ +"([a-z_]+)" =>"#));
    reasons.extend(all(&pages, r#"=> "([a-z_]+)","#));
    for flow in ["link_expired", "state_of_another_connection", "other_browser", "connection_gone", "failed"] {
        assert!(reasons.contains(flow), "the reasons of the pages are not found any more: {flow}");
    }
    reasons.insert("internal".into());
    let text = read("docs/errors.md");
    assert!(text.contains("\n## Status reasons\n"), "links lead to errors.md#status-reasons");
    let explained: BTreeSet<_> = text.split("## Status reasons").skip(1).flat_map(rows).collect();
    assert_eq!(explained, reasons, "docs/errors.md explains other reasons than there are");
}

#[test]
fn every_setting_and_binding_is_explained() {
    let mut code = String::new();
    for file in files("src/cloudflare", ".rs") {
        code.push_str(&read(file));
    }
    names("docs/operations.md", all(&code, r#""([A-Z]+(?:_[A-Z]+)*)""#));
    let mut settings = all(&read("src/cloudflare/settings.rs"), r#"(?m)^(?:pub )?const \w+: &str = "([A-Z_]+)";"#);
    settings.extend(all(&code, r#"env\.var\("([A-Z_]+)"\)"#));
    assert!(settings.len() >= 5, "{settings:?}");
    let example = all(&read(".dev.vars.example"), r"(?m)^#? ?([A-Z][A-Z0-9_]*)=");
    assert_eq!(example, settings, ".dev.vars.example has other settings than there are");
}

#[test]
fn every_stored_record_is_explained() {
    let text = read("docs/storage.md");
    let mut keys = BTreeSet::new();
    for file in files("src", ".rs") {
        keys.extend(all(&read(file), r#"format!\("([a-z]+:)\{"#));
    }
    for file in ["src/account/object.rs", "src/limit/counter.rs", "src/reseal.rs"] {
        keys.extend(all(&read(file), r#"const \w+: &str = "([a-z]+)";"#));
    }
    let known = [
        "account",
        "account:",
        "answer:",
        "audit",
        "block",
        "block:",
        "caller:",
        "choice:",
        "connection:",
        "counter:",
        "flow:",
        "idempotency:",
        "leftovers",
        "link:",
        "pending",
        "reseal",
        "routine",
    ];
    assert_eq!(keys, known.map(str::to_owned).into(), "keys are stored that this test does not know, or the reverse");
    for key in keys {
        let row = if key.ends_with(':') { format!("`{key}<") } else { format!("\n| `{key}` |") };
        assert!(text.contains(&row), "docs/storage.md does not name the key {key}");
    }
    for (file, records) in [
        ("src/account/mod.rs", &["Account", "Tokens", "Renewal", "Event"][..]),
        ("src/account/snapshot.rs", &["Snapshot", "Row"]),
        ("src/account/link.rs", &["Link"]),
        ("src/account/connect.rs", &["Flow"]),
        ("src/account/completion.rs", &["Consented", "Choice", "Pending"]),
        ("src/account/identity.rs", &["Candidate"]),
        ("src/account/leftovers.rs", &["Leftover"]),
        ("src/account/idempotency.rs", &["Claim"]),
        ("src/reseal.rs", &["Work", "Tally"]),
        ("src/connection.rs", &["Connection"]),
        ("src/caller.rs", &["Caller"]),
        ("src/limit/counter.rs", &["Counter", "Block"]),
    ] {
        let code = read(file);
        for record in records {
            let body = code.split(&format!("struct {record} {{")).nth(1).unwrap().split("\n}").next().unwrap();
            let fields = all(body, r"(?m)^    (?:pub(?:\(super\))? )?([a-z_]+): ");
            // `v` is explained once for all; `row` is flattened, and its fields are checked by themselves.
            names("docs/storage.md", fields.iter().filter(|field| !matches!(field.as_str(), "v" | "row" | "opened")));
        }
    }
    let mut events = BTreeSet::new();
    for file in files("src/account", ".rs") {
        events.extend(all(&read(file), r#"note\("([a-z_]+)""#));
    }
    let listed = text.split("\nEvents: ").nth(1).unwrap().split("\n\n").next().unwrap();
    assert_eq!(all(listed, "`([a-z_]+)`"), events, "docs/storage.md lists other events than there are");
}

#[test]
fn every_route_is_in_the_api_document() {
    let text = read("docs/api.md");
    let holes = Regex::new(r"\{[a-z_]+\}").unwrap();
    let text = holes.replace_all(&text, "{}");
    let routes = read("src/http/route.rs");
    let mut found = 0;
    for route in Regex::new(r#"(?m)^ +\("([A-Z]+)", \[([^\]]+)\]\) => Route::"#).unwrap().captures_iter(&routes) {
        let segments: Vec<_> = route[2]
            .split(", ")
            .map(|segment| segment.strip_prefix('"').map_or("{}", |s| s.trim_end_matches('"')))
            .collect();
        let path = format!("{} /{}", &route[1], segments.join("/"));
        if path.contains("/__fault/") {
            continue;
        }
        assert!(text.contains(&format!("`{path}`")), "docs/api.md lacks `{path}`");
        found += 1;
    }
    assert!(found >= 23, "the routes are not found any more: {found}");
}

#[test]
fn the_readme_lists_every_connector_with_its_tools() {
    let text = read("README.md");
    for connector in CONNECTORS {
        let (name, id, tools) = (connector.name, connector.id, connector.tools.len());
        let row = format!("\n| [{name}](connectors/{id}/README.md) | {tools} |");
        assert!(text.contains(&row), "README.md needs the row:{row}");
    }
    let rows = all(&text, r"(?m)^\| \[[^\]]+\]\(connectors/([a-z0-9]+)/README\.md\) \| \d+ \|");
    assert_eq!(rows.len(), CONNECTORS.len(), "README.md lists a connector that is not there");
    let total: usize = CONNECTORS.iter().map(|connector| connector.tools.len()).sum();
    let sentence = format!("{} connectors with {total} tools", CONNECTORS.len());
    assert!(text.contains(&sentence), "README.md needs the words: {sentence}");
}

/// The part of a URL that leads to a heading, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
}

#[test]
fn links_lead_somewhere() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let mut wrong = Vec::new();
    for document in documents() {
        let text = read(&document);
        for target in link.captures_iter(&text).map(|found| found[1].to_owned()) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (path, heading) = target.split_once('#').unwrap_or((&target, ""));
            let file = if path.is_empty() { document.clone() } else { document.with_file_name(path) };
            let fine = file.exists()
                && (heading.is_empty()
                    || all(&read(&file), r"(?m)^#+ (.+)$").iter().any(|known| anchor(known) == heading));
            if !fine {
                wrong.push(format!("{}: {target}", document.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "links that lead nowhere:\n{}", wrong.join("\n"));
    let decisions = read("docs/decisions/README.md");
    for file in files("docs/decisions", ".md") {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        assert!(name == "README.md" || decisions.contains(&name), "docs/decisions/README.md does not list {name}");
    }
}

#[test]
fn what_the_code_and_the_documents_refer_to_is_there() {
    for folder in ["src", "tests", "scripts"] {
        for file in files(folder, "").iter().filter(|file| !file.ends_with("docs.rs")) {
            let Ok(text) = fs::read_to_string(file) else { continue };
            for named in all(&text, r"(docs/[a-z0-9/-]+\.md)") {
                assert!(Path::new(&named).exists(), "{} refers to {named}", file.display());
            }
        }
    }
    let commands = all(&read("Makefile"), r"(?m)^([a-z-]+):.*##");
    for document in documents() {
        let text = read(&document);
        for command in all(&text, r"(?m)(?:`|^)make ([a-z-]+)") {
            assert!(commands.contains(&command), "{}: there is no `make {command}`", document.display());
        }
    }
    let architecture = read("docs/architecture.md");
    for path in fs::read_dir("src").unwrap().map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let name = if path.is_dir() { format!("`src/{name}/`") } else { format!("{name}`") };
        assert!(architecture.contains(&name), "docs/architecture.md does not explain {name}");
    }
}

#[test]
fn every_bound_names_a_constant_and_a_test() {
    let text = read("docs/bounds.md");
    let table: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| what "))
        .map(|line| line.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`')).collect())
        .collect();
    assert!(!table.is_empty(), "docs/bounds.md has no rows");
    let found = |path: &str| {
        let places = [path.to_owned(), format!("src/{path}"), format!("tests/{path}")];
        places.iter().find_map(|path| fs::read_to_string(path).ok())
    };
    let mut problems = Vec::new();
    for row in table {
        let [what, bound, said, constant, test] = row[..] else {
            problems.push(format!("a row has {} cells and needs 5: {row:?}", row.len()));
            continue;
        };
        if bound.is_empty() || said.is_empty() {
            problems.push(format!("{what}: what the bound is, and what is said at it, must not be empty"));
        }
        let (path, name) = constant.rsplit_once("::").unwrap_or_default();
        let declared = format!(r"(const|static) {}\b", regex_lite::escape(name));
        if name.is_empty() || !found(path).is_some_and(|code| Regex::new(&declared).unwrap().is_match(&code)) {
            problems.push(format!("{what}: `{constant}` is no constant (write `tool/response.rs::NAME`)"));
        }
        let (path, name) = test.split_once(": ").unwrap_or_default();
        let name = name.trim_matches('`');
        let has = |code: String| code.contains(name) || code.contains(&name.replace(' ', "_"));
        if name.is_empty() || !found(path.trim_matches('`')).is_some_and(has) {
            problems.push(format!("{what}: `{test}` is no test (write `tests/host/x.rs: part of its name`)"));
        }
    }
    assert!(problems.is_empty(), "docs/bounds.md:\n{}", problems.join("\n"));
}
