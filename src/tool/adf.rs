//! Markdown to the Atlassian Document Format, as far as agents write it: paragraphs, headings, lists, code, quotes, rules,
//! and inside a line strong, emphasis, code and links.
//!
//! Source: <https://developer.atlassian.com/cloud/jira/platform/apis/document/structure/>. What is no Markdown stays text.

use serde_json::{Value, json};

/// The document.
pub fn document(markdown: &str) -> Value {
    let lines: Vec<&str> = markdown.lines().collect();
    json!({ "version": 1, "type": "doc", "content": blocks(&lines) })
}

fn blocks(lines: &[&str]) -> Vec<Value> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at].trim_end();
        let kind = Kind::of(line);
        let length = 1 + match kind {
            Kind::Fence => lines[at + 1..].iter().take_while(|line| !line.trim_start().starts_with("```")).count(),
            Kind::Heading(_) | Kind::Rule | Kind::Blank => 0,
            _ => lines[at + 1..].iter().take_while(|line| Kind::of(line) == kind).count(),
        };
        let block = &lines[at..(at + length).min(lines.len())];
        out.extend(match kind {
            Kind::Blank => None,
            Kind::Rule => Some(json!({ "type": "rule" })),
            Kind::Heading(level) => {
                let text = line.trim_start_matches('#').trim();
                Some(json!({ "type": "heading", "attrs": { "level": level }, "content": inline(text) }))
            }
            Kind::Fence => Some(code_block(line, &block[1..])),
            Kind::Quote => {
                let inner: Vec<&str> =
                    block.iter().map(|line| line.trim_start().trim_start_matches('>').trim_start()).collect();
                Some(json!({ "type": "blockquote", "content": blocks(&inner) }))
            }
            Kind::Bullet => Some(json!({ "type": "bulletList", "content": items(block, 2) })),
            Kind::Number => Some(json!({ "type": "orderedList", "content": items(block, 0) })),
            Kind::Text => Some(paragraph(block)),
        });
        // A closing fence belongs to its block.
        at += length + usize::from(kind == Kind::Fence);
    }
    out
}

#[derive(PartialEq, Clone, Copy)]
enum Kind {
    Blank,
    Rule,
    Heading(usize),
    Fence,
    Quote,
    Bullet,
    Number,
    Text,
}

impl Kind {
    fn of(line: &str) -> Self {
        let line = line.trim();
        let hashes = line.len() - line.trim_start_matches('#').len();
        match line {
            "" => Self::Blank,
            "---" | "***" | "___" => Self::Rule,
            _ if line.starts_with("```") => Self::Fence,
            _ if line.starts_with('>') => Self::Quote,
            _ if line.starts_with("- ") || line.starts_with("* ") || line.starts_with("+ ") => Self::Bullet,
            _ if number(line).is_some() => Self::Number,
            _ if (1..=6).contains(&hashes) && line[hashes..].starts_with(' ') => Self::Heading(hashes),
            _ => Self::Text,
        }
    }
}

/// What follows `1. `.
fn number(line: &str) -> Option<&str> {
    let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
    (rest.len() < line.len()).then(|| rest.strip_prefix(". "))?
}

fn items(lines: &[&str], marker: usize) -> Vec<Value> {
    let text = |line: &str| {
        let line = line.trim();
        if marker > 0 { line[marker..].to_owned() } else { number(line).unwrap_or(line).to_owned() }
    };
    lines.iter().map(|line| json!({ "type": "listItem", "content": [paragraph(&[&text(line)])] })).collect()
}

fn code_block(fence: &str, lines: &[&str]) -> Value {
    let mut block = json!({ "type": "codeBlock", "attrs": {} });
    let language = fence.trim_start().trim_start_matches('`').trim();
    if !language.is_empty() {
        block["attrs"]["language"] = json!(language);
    }
    if !lines.is_empty() {
        block["content"] = json!([{ "type": "text", "text": lines.join("\n") }]);
    }
    block
}

fn paragraph(lines: &[&str]) -> Value {
    let mut content = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        if number > 0 {
            content.push(json!({ "type": "hardBreak" }));
        }
        content.extend(inline(line.trim()));
    }
    json!({ "type": "paragraph", "content": content })
}

/// One line with its marks. A mark that is not closed is text.
fn inline(text: &str) -> Vec<Value> {
    let mut out: Vec<Value> = Vec::new();
    let (mut plain, mut rest) = (String::new(), text);
    while let Some(c) = rest.chars().next() {
        if let Some((inner, mark, length)) = marked(rest) {
            push(&mut out, &std::mem::take(&mut plain), None);
            push(&mut out, inner, Some(mark));
            rest = &rest[length..];
        } else {
            plain.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    push(&mut out, &plain, None);
    out
}

fn push(out: &mut Vec<Value>, text: &str, mark: Option<Value>) {
    if text.is_empty() {
        return;
    }
    let mut node = json!({ "type": "text", "text": text });
    if let Some(mark) = mark {
        node["marks"] = json!([mark]);
    }
    out.push(node);
}

/// The marked text at the beginning: what is inside, its mark, and the length of all of it.
fn marked(text: &str) -> Option<(&str, Value, usize)> {
    for (fence, mark) in [("**", "strong"), ("__", "strong"), ("`", "code"), ("*", "em")] {
        if let Some(rest) = text.strip_prefix(fence) {
            let end = rest.find(fence).filter(|end| *end > 0)?;
            let inner = &rest[..end];
            let tight = !inner.starts_with(' ') && !inner.ends_with(' ');
            return tight.then(|| (inner, json!({ "type": mark }), end + 2 * fence.len()));
        }
    }
    let rest = text.strip_prefix('[')?;
    let (label, after) = rest.split_once("](")?;
    let (url, _) = after.split_once(')')?;
    let fine = !label.is_empty() && !label.contains('[') && (url.starts_with("https://") || url.starts_with("http://"));
    fine.then(|| (label, json!({ "type": "link", "attrs": { "href": url } }), label.len() + url.len() + 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(markdown: &str) -> Value {
        document(markdown)["content"].clone()
    }

    #[test]
    fn plain_text_is_paragraphs_with_breaks() {
        assert_eq!(
            content("one\ntwo\n\nthree *"),
            json!([
                { "type": "paragraph", "content": [{ "type": "text", "text": "one" }, { "type": "hardBreak" }, { "type": "text", "text": "two" }] },
                { "type": "paragraph", "content": [{ "type": "text", "text": "three *" }] }
            ])
        );
        assert_eq!(content(""), json!([]));
    }

    #[test]
    fn blocks_are_told_apart() {
        let found = content("# Title\n- a\n- b\n1. c\n> q\n---\n```rust\nfn x() {}\n```\nend");
        let kinds: Vec<_> = found.as_array().unwrap().iter().map(|block| block["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["heading", "bulletList", "orderedList", "blockquote", "rule", "codeBlock", "paragraph"]);
        assert_eq!(found[1]["content"][1]["content"][0]["content"][0]["text"], "b");
        assert_eq!(found[5]["attrs"]["language"], "rust");
        assert_eq!(found[5]["content"][0]["text"], "fn x() {}");
    }

    #[test]
    fn marks_inside_a_line() {
        assert_eq!(
            content("a **b** `c` [d](https://e.example) 2 * 3 * 4")[0]["content"],
            json!([
                { "type": "text", "text": "a " },
                { "type": "text", "text": "b", "marks": [{ "type": "strong" }] },
                { "type": "text", "text": " " },
                { "type": "text", "text": "c", "marks": [{ "type": "code" }] },
                { "type": "text", "text": " " },
                { "type": "text", "text": "d", "marks": [{ "type": "link", "attrs": { "href": "https://e.example" } }] },
                { "type": "text", "text": " 2 * 3 * 4" }
            ])
        );
    }
}
