//! The nodes of the Atlassian Document Format, and what stands in for those that are not allowed in a place.

use serde_json::{Value, json};

/// How a person is named in a text: `[~accountid:…]`, as Jira writes it.
const MENTION: &str = "[~accountid:";
/// The longest account id Atlassian documents.
const LONGEST_ID: usize = 128;

/// How many marks of each kind a text stands in.
#[derive(Debug, Default, Clone, Copy)]
pub struct Marks {
    /// Emphasis.
    pub em: u32,
    /// Strong emphasis.
    pub strong: u32,
    /// Struck through.
    pub strike: u32,
    /// Code.
    pub code: u32,
}

impl Marks {
    fn written(self) -> Vec<Value> {
        let kinds = [("code", self.code), ("strong", self.strong), ("em", self.em), ("strike", self.strike)];
        let kinds = kinds.into_iter().filter(|(_, depth)| *depth > 0).map(|(kind, _)| json!({ "type": kind }));
        kinds.take(if self.code > 0 { 1 } else { 3 }).collect()
    }
}

/// The text of a block: words with marks, mentions, breaks.
#[derive(Default)]
pub struct Inline {
    nodes: Vec<Value>,
    /// What is said and not a node yet, because more of the same may follow.
    text: String,
    marks: Vec<Value>,
    raw: String,
}

impl Inline {
    /// Adds words. `code` stands alone or with a link, by ADF's rules; other marks go together.
    pub fn say(&mut self, text: &str, marks: Marks, link: Option<&Value>) {
        let mut wanted = marks.written();
        wanted.extend(link.cloned());
        if wanted != self.marks {
            self.flush();
            self.marks = wanted;
        }
        self.text.push_str(text);
    }

    /// Adds text of a code block.
    pub fn raw(&mut self, text: &str) {
        self.raw.push_str(text);
    }

    /// Adds a line break.
    pub fn line_break(&mut self) {
        self.flush();
        self.nodes.push(json!({ "type": "hardBreak" }));
    }

    /// Whether anything was said.
    pub fn is_begun(&self) -> bool {
        !self.nodes.is_empty() || !self.text.is_empty()
    }

    /// The nodes.
    pub fn take(&mut self) -> Vec<Value> {
        self.flush();
        self.marks.clear();
        std::mem::take(&mut self.nodes)
    }

    /// The text of a code block.
    pub fn take_raw(&mut self) -> String {
        std::mem::take(&mut self.raw)
    }

    fn flush(&mut self) {
        let text = std::mem::take(&mut self.text).replace('\0', "\u{fffd}");
        let is_code = self.marks.first().is_some_and(|mark| mark["type"] == "code");
        let (mut from, mut at) = (0, 0);
        while let Some(start) = text[at..].find(MENTION).filter(|_| !is_code).map(|found| at + found) {
            let id = &text[start + MENTION.len()..];
            let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b":_-".contains(byte);
            let length = id.bytes().take(LONGEST_ID).take_while(allowed).count();
            at = start + MENTION.len();
            if length > 0 && id[length..].starts_with(']') {
                self.node(&text[from..start]);
                self.nodes.push(json!({ "type": "mention", "attrs": { "id": id[..length] } }));
                at += length + 1;
                from = at;
            }
        }
        self.node(&text[from..]);
    }

    fn node(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let mut node = json!({ "type": "text", "text": text });
        if !self.marks.is_empty() {
            node["marks"] = Value::Array(self.marks.clone());
        }
        self.nodes.push(node);
    }
}

/// A link.
pub fn link(href: &str, title: &str) -> Value {
    let mut link = json!({ "type": "link", "attrs": { "href": href } });
    if !title.is_empty() {
        link["attrs"]["title"] = json!(title);
    }
    link
}

/// A block of code.
pub fn code_block(language: Option<String>, text: &str) -> Value {
    let mut block = json!({ "type": "codeBlock", "attrs": {} });
    if let Some(language) = language {
        block["attrs"]["language"] = json!(language);
    }
    if !text.is_empty() {
        block["content"] = json!([{ "type": "text", "text": text }]);
    }
    block
}

/// A paragraph of nothing.
pub fn empty_paragraph() -> Value {
    paragraph(&[])
}

fn paragraph(content: &[Value]) -> Value {
    json!({ "type": "paragraph", "content": content })
}

fn text(text: &str) -> Value {
    json!({ "type": "text", "text": text })
}

fn kind(node: &Value) -> &str {
    node["type"].as_str().unwrap_or_default()
}

fn children(node: &mut Value) -> Vec<Value> {
    match node["content"].take() {
        Value::Array(content) => content,
        _ => Vec::new(),
    }
}

/// An item of a list that is not written yet: whether it is a task is known, what the list becomes is not.
pub fn item(task: Option<bool>, content: &[Value]) -> Value {
    json!({ "task": task, "content": content })
}

/// A list. If every item is a task of one line, with at most tasks below it, they are tasks to tick off; if not, ADF has no
/// place for the tick, and it stays as text.
pub fn list(first: Option<u64>, items: Vec<Value>, stamp: &str, tasks: &mut u32) -> Value {
    let is_task = |item: &Value| {
        let content = item["content"].as_array().map(Vec::as_slice).unwrap_or_default();
        let below = content.get(1..).unwrap_or_default();
        !item["task"].is_null()
            && content.first().is_none_or(|first| kind(first) == "paragraph")
            && below.iter().all(|node| kind(node) == "taskList")
    };
    if first.is_none() && !items.is_empty() && items.iter().all(is_task) {
        return task_list(items, stamp, tasks);
    }
    let items: Vec<_> = items.into_iter().map(list_item).collect();
    let items = if items.is_empty() { vec![list_item(item(None, &[]))] } else { items };
    match first {
        None => json!({ "type": "bulletList", "content": items }),
        Some(1) => json!({ "type": "orderedList", "content": items }),
        Some(number) => json!({ "type": "orderedList", "attrs": { "order": number }, "content": items }),
    }
}

fn task_list(items: Vec<Value>, stamp: &str, tasks: &mut u32) -> Value {
    let mut id = || {
        *tasks += 1;
        format!("{stamp}-{tasks}")
    };
    let list = id();
    let mut content = Vec::new();
    for mut item in items {
        let state = if item["task"] == true { "DONE" } else { "TODO" };
        let mut blocks = children(&mut item).into_iter();
        let words = blocks.next().map(|mut first| children(&mut first)).unwrap_or_default();
        content.push(json!({ "type": "taskItem", "attrs": { "localId": id(), "state": state }, "content": words }));
        content.extend(blocks);
    }
    json!({ "type": "taskList", "attrs": { "localId": list }, "content": content })
}

fn list_item(mut item: Value) -> Value {
    let tick = item["task"].as_bool().map(|done| text(if done { "[x] " } else { "[ ] " }));
    let mut content: Vec<Value> = children(&mut item).into_iter().map(bullets).collect();
    // An item begins with text.
    if content.first().is_none_or(|first| !matches!(kind(first), "paragraph" | "codeBlock")) || tick.is_some() {
        let mut words = if let Some(first) = content.first_mut().filter(|first| kind(first) == "paragraph") {
            children(first)
        } else {
            content.insert(0, empty_paragraph());
            Vec::new()
        };
        if let Some(tick) = tick {
            words.insert(0, tick);
        }
        content[0] = paragraph(&words);
    }
    json!({ "type": "listItem", "content": content })
}

/// Tasks where no tasks can be: a list with the ticks as text.
fn bullets(mut node: Value) -> Value {
    if kind(&node) != "taskList" {
        return node;
    }
    let mut items: Vec<Value> = Vec::new();
    for mut child in children(&mut node) {
        if kind(&child) == "taskItem" {
            let done = child["attrs"]["state"] == "DONE";
            items.push(list_item(item(Some(done), &[paragraph(&children(&mut child))])));
        } else if let Some(Value::Array(above)) = items.last_mut().map(|above| &mut above["content"]) {
            above.push(bullets(child));
        }
    }
    json!({ "type": "bulletList", "content": items })
}

/// What a block is inside a quote: no headings, quotes, rules, tables or tasks.
pub fn in_quote(node: Value) -> Vec<Value> {
    match kind(&node) {
        "taskList" => vec![bullets(node)],
        _ => in_item(node),
    }
}

/// What a block is inside an item of a list. Tasks stay until it is known what the list is.
pub fn in_item(mut node: Value) -> Vec<Value> {
    match kind(&node) {
        "heading" => vec![paragraph(&children(&mut node).into_iter().map(strong).collect::<Vec<_>>())],
        "blockquote" => children(&mut node),
        "rule" => vec![paragraph(&[text("---")])],
        "table" => children(&mut node).into_iter().map(row).collect(),
        _ => vec![node],
    }
}

fn strong(mut node: Value) -> Value {
    let marks = node["marks"].as_array().cloned().unwrap_or_default();
    let is = |name: &str| marks.iter().any(|mark| mark["type"] == name);
    if kind(&node) == "text" && !is("code") && !is("strong") {
        node["marks"] = std::iter::once(json!({ "type": "strong" })).chain(marks).collect();
    }
    node
}

/// A row of a table as a line of text.
fn row(mut row: Value) -> Value {
    let mut words = Vec::new();
    for (number, mut cell) in children(&mut row).into_iter().enumerate() {
        if number > 0 {
            words.push(text(" | "));
        }
        words.extend(children(&mut cell).iter_mut().flat_map(children));
    }
    paragraph(&words)
}
