//! Markdown to the Atlassian Document Format: what agents write comes out as they meant it, and by ADF's rules.

use crate::adf_rules::problems;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use valetkey::tool::adf;

fn document(markdown: &str) -> Value {
    let document = adf::document(markdown).unwrap();
    let problems = problems(&document);
    assert!(problems.is_empty(), "{markdown:?}\n{document:#}\n{problems:#?}");
    document
}

fn content(markdown: &str) -> Value {
    document(markdown)["content"].clone()
}

/// Short notation: `p(a)` a paragraph, `ul(li(…))`, marks as `strong:a`.
fn outline(node: &Value) -> String {
    let inner = || {
        node["content"]
            .as_array()
            .map_or(String::new(), |nodes| nodes.iter().map(outline).collect::<Vec<_>>().join(" "))
    };
    let name = match node["type"].as_str().unwrap() {
        "text" => {
            let marks = node["marks"].as_array().map_or(Vec::new(), |marks| {
                marks
                    .iter()
                    .map(|mark| match mark["attrs"]["href"].as_str() {
                        Some(href) => format!(
                            "<{href}{}>",
                            mark["attrs"]["title"].as_str().map_or(String::new(), |t| format!(" {t}"))
                        ),
                        None => mark["type"].as_str().unwrap().to_owned(),
                    })
                    .collect()
            });
            let text = node["text"].as_str().unwrap();
            return if marks.is_empty() { text.to_owned() } else { format!("{}:{text}", marks.join("+")) };
        }
        "hardBreak" => return "/".into(),
        "rule" => return "hr".into(),
        "mention" => return format!("@{}", node["attrs"]["id"].as_str().unwrap()),
        "paragraph" => "p".into(),
        "heading" => format!("h{}", node["attrs"]["level"]),
        "bulletList" => "ul".into(),
        "orderedList" => node["attrs"]["order"].as_u64().map_or("ol".into(), |order| format!("ol{order}")),
        "listItem" => "li".into(),
        "taskList" => "tasks".into(),
        "taskItem" => node["attrs"]["state"].as_str().unwrap().to_lowercase(),
        "blockquote" => "quote".into(),
        "codeBlock" => node["attrs"]["language"].as_str().map_or("code".into(), |language| format!("code.{language}")),
        "tableRow" => "tr".into(),
        "tableHeader" => "th".into(),
        "tableCell" => "td".into(),
        other => other.to_owned(),
    };
    format!("{name}({})", inner())
}

fn written(markdown: &str) -> String {
    content(markdown).as_array().unwrap().iter().map(outline).collect::<Vec<_>>().join(" ")
}

#[test]
fn lists_keep_their_structure() {
    for (markdown, wanted) in [
        ("* Fruits\n  * Apples\n  * Bananas", "ul(li(p(Fruits) ul(li(p(Apples)) li(p(Bananas)))))"),
        ("1. One\n\n2. Two", "ol(li(p(One)) li(p(Two)))"),
        ("- Item one\ncontinuation text\n- Item two", "ul(li(p(Item one / continuation text)) li(p(Item two)))"),
        ("1. one\n   - x\n2. two", "ol(li(p(one) ul(li(p(x)))) li(p(two)))"),
        ("3. three\n4. four", "ol3(li(p(three)) li(p(four)))"),
        ("- a\n\n  b\n- c", "ul(li(p(a) p(b)) li(p(c)))"),
        ("- run\n\n  ```sh\n  ls\n  ```\n- done", "ul(li(p(run) code.sh(ls)) li(p(done)))"),
        ("- ```\n  ls\n  ```", "ul(li(code(ls)))"),
        ("-\n- b", "ul(li(p()) li(p(b)))"),
        ("- # Head\n- > said\n- ***", "ul(li(p(strong:Head)) li(p(said)) li(p(---)))"),
        ("- - a", "ul(li(p() ul(li(p(a)))))"),
        ("- a\n+ b", "ul(li(p(a))) ul(li(p(b)))"),
    ] {
        assert_eq!(written(markdown), wanted, "{markdown}");
    }
}

#[test]
fn marks_links_and_people() {
    for (markdown, wanted) in [
        ("[wiki](https://en.wikipedia.org/wiki/A_(b)) end", "p(<https://en.wikipedia.org/wiki/A_(b)>:wiki  end)"),
        ("[d](https://e.example/x \"title\")", "p(<https://e.example/x title>:d)"),
        ("my__init__x and snake_case_name", "p(my__init__x and snake_case_name)"),
        ("***both***", "p(strong+em:both)"),
        ("~~x~~ _em_ \\*", "p(strike:x   em:em  *)"),
        ("**a `b` c**", "p(strong:a  code:b strong: c)"),
        ("[`x`](https://e.example)", "p(code+<https://e.example>:x)"),
        ("a **b** 2 * 3 * 4", "p(a  strong:b  2 * 3 * 4)"),
        ("three *", "p(three *)"),
        (
            "Ask [~accountid:5b10a2844c20165700ede21g] or [~accountid:557058:f58131cb-b67d]!",
            "p(Ask  @5b10a2844c20165700ede21g  or  @557058:f58131cb-b67d !)",
        ),
        ("[~accountid:] `[~accountid:x]` [~accountid:a b]", "p([~accountid:]  code:[~accountid:x]  [~accountid:a b])"),
        (
            "![chart](https://e.example/c.png) ![](https://e.example/d.png)",
            "p(<https://e.example/c.png>:chart   <https://e.example/d.png>:https://e.example/d.png)",
        ),
        (
            "[![ci](https://e.example/b.svg)](https://e.example/ci)",
            "p(<https://e.example/b.svg>:ci <https://e.example/ci>: (https://e.example/ci))",
        ),
        ("[x](javascript:alert(1)) [y](#top) [z](/a/b)", "p(x (javascript:alert(1)) y (#top) z (/a/b))"),
        (
            "<https://e.example> <jo@example.com>",
            "p(<https://e.example>:https://e.example   <mailto:jo@example.com>:jo@example.com)",
        ),
        ("one\ntwo  \nthree\\\nfour<br>five", "p(one / two / three / four / five)"),
        ("a <b>bold</b> &amp; &copy;", "p(a <b>bold</b> & ©)"),
    ] {
        assert_eq!(written(markdown), wanted, "{markdown}");
    }
}

#[test]
fn blocks_and_what_cannot_stand_where_it_does() {
    for (markdown, wanted) in [
        ("", ""),
        ("one\ntwo\n\nthree", "p(one / two) p(three)"),
        (
            "# Title\n- a\n- b\n1. c\n> q\n---\n```rust\nfn x() {}\n```\nend",
            "h1(Title) ul(li(p(a)) li(p(b))) ol(li(p(c))) quote(p(q)) hr code.rust(fn x() {}) p(end)",
        ),
        ("> # T", "quote(p(strong:T))"),
        ("> a\n> > b\n> - c\n>\n> ---\n> ```\n> d\n> ```", "quote(p(a) p(b) ul(li(p(c))) p(---) code(d))"),
        ("> - [ ] a", "quote(ul(li(p([ ]  a))))"),
        (
            "| a | b |\n|---|:-:|\n| 1 | **2** |\n| x<br>y | `c\\|d` |",
            "table(tr(th(p(a)) th(p(b))) tr(td(p(1)) td(p(strong:2))) tr(td(p(x / y)) td(p(code:c|d))))",
        ),
        ("| a |  |\n|---|---|\n| | 2 |", "table(tr(th(p(a)) th(p())) tr(td(p()) td(p(2))))"),
        ("> | a | b |\n> |---|---|\n> | 1 | 2 |", "quote(p(a  |  b) p(1  |  2))"),
        ("- [ ] open\n- [x] done **now**", "tasks(todo(open) done(done  strong:now))"),
        ("- [ ] a\n  - [x] b\n- [ ] c", "tasks(todo(a) tasks(done(b)) todo(c))"),
        ("- [ ] a\n- plain", "ul(li(p([ ]  a)) li(p(plain)))"),
        ("- [ ] a\n  - b", "ul(li(p([ ]  a) ul(li(p(b)))))"),
        ("- x\n  - [ ] a\n    - [x] b", "ul(li(p(x) ul(li(p([ ]  a) ul(li(p([x]  b)))))))"),
        ("1. [ ] a", "ol(li(p([ ]  a)))"),
        ("<details>\n<summary>More</summary>\n</details>", "p(<details> / <summary>More</summary> / </details>)"),
        ("    indented\n    code", "code(indented\ncode)"),
        ("``` \n```", "code()"),
    ] {
        assert_eq!(written(markdown), wanted, "{markdown}");
    }
}

#[test]
fn a_document_in_adf_stays_as_it_is() {
    let own = json!({ "version": 1, "type": "doc", "content": [{ "type": "panel", "attrs": { "panelType": "info" }, "content": [{ "type": "paragraph" }] }] });
    assert_eq!(adf::document(&own.to_string()).unwrap(), own);
    let mut without = own.clone();
    without.as_object_mut().unwrap().remove("version");
    assert_eq!(adf::document(&without.to_string()).unwrap()["version"], 1);
    let tool = valetkey::catalog::find_tool("jira_issue_comment_add").unwrap().1;
    let given = json!({ "issueIdOrKey": "A-1", "body": own });
    let taken = valetkey::tool::input::check(tool, given).unwrap();
    assert_eq!(adf::document(taken["body"].as_str().unwrap()).unwrap(), own, "an object is as good as its text");
    assert_eq!(written("{\"type\": \"paragraph\"}"), "p({\"type\": \"paragraph\"})");
}

#[test]
fn what_is_too_long_is_refused_and_what_is_too_deep_is_less_deep() {
    let error = adf::document(&"a".repeat(adf::LONGEST + 1)).unwrap_err();
    assert!(error.message.contains("200000"), "{}", error.message);
    for deep in ["> ".repeat(5000) + "x", "- ".repeat(5000) + "x"] {
        let document = document(&deep);
        let text = document.to_string();
        assert!(text.contains("\"x\"") && text.matches("content").count() <= 4 * adf::DEEPEST, "{text}");
    }
}

/// How long it takes is about as long as the text, whatever it is.
#[test]
fn no_text_takes_longer_than_its_length() {
    let patterns = [
        "[",
        "[a](",
        "![",
        "*a ",
        "**a *b ",
        "_a __b ",
        "`",
        "``a`",
        "~~",
        "> ",
        "- ",
        "| a ",
        "<",
        "&",
        "[~accountid:x",
        "- [ ] ",
        "a\n",
        "\n> a",
        "![](",
        "[x]: y\n",
        "][",
    ];
    #[expect(clippy::disallowed_methods, reason = "how long it takes is what is asked, and no WebAssembly runs this")]
    let timed = |pattern: &str| {
        let text = pattern.repeat(100_000 / pattern.len());
        let start = Instant::now();
        assert!(adf::document(&text).is_ok());
        start.elapsed()
    };
    // A line of ten thousand words and a thousand marks; what takes a square of its length takes thousands of times as long.
    let most =
        timed("some words and **some marks** in a line of text that goes on. ") * 200 + Duration::from_millis(500);
    let slow: Vec<_> =
        patterns.into_iter().map(|pattern| (pattern, timed(pattern))).filter(|(_, time)| *time > most).collect();
    assert!(slow.is_empty(), "{slow:#?}");
}
