//! The layer rule: which part of `src` may use which, read from every `crate::` path.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Parts that use nothing of ours but each other: words and arithmetic.
const BASE: &[&str] =
    &["address", "code", "digest", "error", "json", "ports", "scrub", "secret", "template", "timestamp"];

/// Part and the parts it may use beside the base. A part that is missing here fails the test.
const MAY_USE: &[(&str, &[&str])] = &[
    ("catalog", &[]),
    ("keys", &[]),
    ("caller", &["keys"]),
    ("paste", &["catalog"]),
    ("connection", &["catalog", "keys", "paste"]),
    ("target", &["catalog", "connection"]),
    ("ticket", &["account", "keys"]),
    ("oauth", &["catalog"]),
    // An account's look-ups speak to the API as tools do: same credential, same failures.
    ("account", &["catalog", "connection", "keys", "oauth", "paste", "target", "ticket", "tool"]),
    ("limit", &["catalog", "connection"]),
    ("app", &["account", "caller", "connection", "keys", "limit"]),
    ("access", &["account", "app", "catalog", "connection", "limit"]),
    ("tool", &["access", "app", "catalog", "limit", "target"]),
    ("reseal", &["account", "app", "connection"]),
    ("proxy", &["access", "app", "limit", "target", "tool"]),
    (
        "http",
        &[
            "access",
            "account",
            "app",
            "caller",
            "catalog",
            "connection",
            "keys",
            "paste",
            "proxy",
            "reseal",
            "ticket",
            "tool",
        ],
    ),
    ("cloudflare", &["account", "app", "http", "keys", "limit"]),
];

fn files(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

/// The parts a file names after `crate::`.
fn used(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let rest = code.split("crate::").skip(1);
    rest.map(|rest| rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect()).collect()
}

#[test]
fn every_part_uses_what_it_may_and_only_cloudflare_names_the_platform() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut paths, mut problems) = (Vec::new(), Vec::new());
    files(&src, &mut paths);
    for path in paths {
        let relative = path.strip_prefix(&src).unwrap();
        let part = relative.iter().next().unwrap().to_string_lossy().trim_end_matches(".rs").to_owned();
        let text = fs::read_to_string(&path).unwrap();
        if part == "lib" {
            continue;
        }
        if part != "cloudflare"
            && ["worker::", "web_sys", "js_sys", "wasm_bindgen"].iter().any(|name| text.contains(name))
        {
            problems.push(format!("{}: names the platform", relative.display()));
        }
        let allowed = MAY_USE.iter().find(|(known, _)| *known == part).map(|(_, allowed)| *allowed);
        if allowed.is_none() && !BASE.contains(&part.as_str()) {
            problems.push(format!("{}: `{part}` is not in the table", relative.display()));
        }
        for name in used(&text) {
            let fine = name == part
                || BASE.contains(&name.as_str())
                || allowed.is_some_and(|allowed| allowed.contains(&name.as_str()));
            if !name.is_empty() && !fine {
                problems.push(format!("{}: may not use `{name}`", relative.display()));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
