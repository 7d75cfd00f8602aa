//! Markdown (CommonMark, with tables, strike-through and task lists) to the Atlassian Document Format.
//!
//! `pulldown-cmark` says what the text is; this says how that is written in ADF, and mends what ADF does not allow where it
//! stands: nothing of the text is lost by it. Source of the rules: the vendor's JSON Schema, as of `@atlaskit/adf-schema` 57.7
//! (<https://unpkg.com/@atlaskit/adf-schema/dist/json-schema/v1/full.json>), and
//! <https://developer.atlassian.com/cloud/jira/platform/apis/document/structure/>.

use super::adf_nodes::{self as nodes, Inline, Marks};
use crate::code::Code;
use crate::digest;
use crate::error::{Error, Result};
use pulldown_cmark::{CodeBlockKind, Event, LinkType, Options, Parser, Tag, TagEnd};
use serde_json::{Value, json};
use std::rc::Rc;

/// The most bytes of Markdown, or of ADF as text, that are taken: their tree stays well below the memory of an isolate. Jira
/// itself takes 32,767 characters.
pub const LONGEST: usize = 200_000;
/// Lists and quotes that lie deeper than this are written at this depth.
pub const DEEPEST: usize = 12;

/// The document. What is ADF already, as text, stays as it is.
pub fn document(text: &str) -> Result<Value> {
    if text.len() > LONGEST {
        let message = format!("{} bytes of Markdown are more than the {LONGEST} that are taken", text.len());
        return Err(Error::new(Code::InvalidToolInput, message));
    }
    if let Some(written) = written(text) {
        return Ok(written);
    }
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut writer = Writer::new(text);
    for event in Parser::new_ext(text, options) {
        writer.event(event);
    }
    Ok(writer.finish())
}

/// A document that somebody wrote in ADF.
fn written(text: &str) -> Option<Value> {
    let text = text.trim();
    let mut value: Value = serde_json::from_str(text).ok().filter(|_| text.starts_with('{'))?;
    if !is_document(&value) {
        return None;
    }
    if value["version"].is_null() {
        value["version"] = json!(1);
    }
    Some(value)
}

/// Whether a value is a document in ADF.
pub fn is_document(value: &Value) -> bool {
    value["type"] == "doc" && value["content"].is_array()
}

/// What is being written, from the outside in.
struct Frame {
    kind: Kind,
    content: Vec<Value>,
}

enum Kind {
    Document,
    Quote,
    /// With the number it begins with.
    List(Option<u64>),
    /// With whether it is done, if it is a task.
    Item(Option<bool>),
    Paragraph,
    /// A paragraph that Markdown does not name: the text of a tight item, of a cell.
    Implied,
    Heading(u8),
    Code(Option<String>),
    Table,
    Row,
    Cell,
    /// Deeper than ADF should go: what is inside stands in the frame around it.
    Flat,
}

struct Link {
    href: String,
    /// What its words are marked with: its own address, or that of what it stands in if nobody could follow its own.
    mark: Option<Rc<Value>>,
    /// Whether nothing was said inside.
    empty: bool,
    image: bool,
}

struct Writer {
    frames: Vec<Frame>,
    text: Inline,
    marks: Marks,
    depth: usize,
    links: Vec<Link>,
    in_head: bool,
    tasks: u32,
    /// Tells the tasks of one document from those of another.
    stamp: String,
}

impl Writer {
    fn new(text: &str) -> Self {
        Self {
            frames: vec![Frame { kind: Kind::Document, content: Vec::new() }],
            text: Inline::default(),
            marks: Marks::default(),
            depth: 0,
            links: Vec::new(),
            in_head: false,
            tasks: 0,
            stamp: digest::short(text),
        }
    }

    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Code(text) => {
                self.marks.code += 1;
                self.say(&text);
                self.marks.code -= 1;
            }
            Event::InlineHtml(html) | Event::Html(html) if is_break(&html) => self.line_break(),
            Event::Html(text) => self.lines(&text),
            Event::SoftBreak | Event::HardBreak => self.line_break(),
            Event::Rule => {
                self.close_implied();
                self.place(json!({ "type": "rule" }));
            }
            Event::TaskListMarker(done) => {
                if let Some(Frame { kind: Kind::Item(task), .. }) =
                    self.frames.iter_mut().rev().find(|frame| matches!(frame.kind, Kind::Item(_)))
                {
                    *task = Some(done);
                }
            }
            // The last three are not asked for in the options.
            Event::Text(text)
            | Event::InlineHtml(text)
            | Event::FootnoteReference(text)
            | Event::InlineMath(text)
            | Event::DisplayMath(text) => self.say(&text),
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Emphasis => self.marks.em += 1,
            Tag::Strong => self.marks.strong += 1,
            Tag::Strikethrough => self.marks.strike += 1,
            Tag::Link { link_type: LinkType::Email, dest_url, title, .. } => {
                self.link(&["mailto:", &*dest_url].concat(), &title, false);
            }
            Tag::Link { dest_url, title, .. } => self.link(&dest_url, &title, false),
            Tag::Image { dest_url, title, .. } => self.link(&dest_url, &title, true),
            Tag::Paragraph | Tag::HtmlBlock => self.open(Kind::Paragraph),
            Tag::Heading { level, .. } => self.open(Kind::Heading(level as u8)),
            Tag::BlockQuote(_) => self.open_nested(Kind::Quote),
            Tag::List(first) => self.open_nested(Kind::List(first)),
            Tag::Item if self.is_in_list() => self.open(Kind::Item(None)),
            Tag::Item => self.open(Kind::Flat),
            Tag::CodeBlock(CodeBlockKind::Fenced(info)) => {
                let language = info.split([' ', '\t', ',']).next().filter(|word| !word.is_empty());
                self.open(Kind::Code(language.map(str::to_owned)));
            }
            Tag::CodeBlock(CodeBlockKind::Indented) => self.open(Kind::Code(None)),
            Tag::Table(_) => self.open(Kind::Table),
            Tag::TableHead => {
                self.in_head = true;
                self.open(Kind::Row);
            }
            Tag::TableRow => self.open(Kind::Row),
            Tag::TableCell => self.open(Kind::Cell),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Emphasis => self.marks.em -= 1,
            TagEnd::Strong => self.marks.strong -= 1,
            TagEnd::Strikethrough => self.marks.strike -= 1,
            TagEnd::Link | TagEnd::Image => self.end_link(),
            TagEnd::TableHead => {
                self.close();
                self.in_head = false;
            }
            TagEnd::Paragraph
            | TagEnd::Heading(_)
            | TagEnd::BlockQuote(_)
            | TagEnd::List(_)
            | TagEnd::Item
            | TagEnd::CodeBlock
            | TagEnd::Table
            | TagEnd::TableRow
            | TagEnd::TableCell
            | TagEnd::HtmlBlock => self.close(),
            _ => {}
        }
    }

    fn link(&mut self, href: &str, title: &str, image: bool) {
        let around = self.links.last().and_then(|link| link.mark.clone());
        let mark = if leads(href) { Some(Rc::new(nodes::link(href, title))) } else { around };
        self.links.push(Link { href: href.to_owned(), mark, empty: true, image });
    }

    /// A link without words is called by its address. What no link can lead to is said beside the words, and so is where a
    /// picture leads that is itself a link: its words lead to the picture.
    fn end_link(&mut self) {
        let Some(Link { href, empty, .. }) = self.links.last() else { return };
        let (href, empty) = (href.clone(), *empty);
        if empty {
            self.say(&href);
        }
        let Some(link) = self.links.pop() else { return };
        if !empty && !href.is_empty() && !leads(&href) {
            self.say(&format!(" ({href})"));
        }
        if let Some(outer) = self.links.last_mut() {
            outer.empty &= link.empty;
            if link.image && leads(&href) {
                let words = format!(" ({})", outer.href);
                self.say(&words);
            }
        }
    }

    fn say(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        if let Some(Frame { kind: Kind::Code(_), .. }) = self.frames.last() {
            self.text.raw(text);
            return;
        }
        self.imply();
        let link = self.links.last_mut().and_then(|link| {
            link.empty = false;
            link.mark.clone()
        });
        self.text.say(text, self.marks, link.as_deref());
    }

    fn line_break(&mut self) {
        self.imply();
        self.text.line_break();
    }

    fn lines(&mut self, text: &str) {
        for (number, line) in text.trim_end_matches('\n').split('\n').enumerate() {
            if number > 0 || self.text.is_begun() {
                self.line_break();
            }
            self.say(line);
        }
    }

    /// Text that stands in no paragraph gets one.
    fn imply(&mut self) {
        let is_text = matches!(
            self.frames.last().map(|frame| &frame.kind),
            Some(Kind::Paragraph | Kind::Implied | Kind::Heading(_) | Kind::Code(_))
        );
        if !is_text {
            self.frames.push(Frame { kind: Kind::Implied, content: Vec::new() });
        }
    }

    fn close_implied(&mut self) {
        if matches!(self.frames.last(), Some(Frame { kind: Kind::Implied, .. })) {
            self.close_one();
        }
    }

    fn open(&mut self, kind: Kind) {
        self.close_implied();
        self.frames.push(Frame { kind, content: Vec::new() });
    }

    fn open_nested(&mut self, kind: Kind) {
        let fits = self.depth < DEEPEST;
        self.open(if fits { kind } else { Kind::Flat });
        self.depth += usize::from(fits);
    }

    fn is_in_list(&mut self) -> bool {
        self.close_implied();
        matches!(self.frames.last(), Some(Frame { kind: Kind::List(_), .. }))
    }

    fn close(&mut self) {
        self.close_implied();
        self.close_one();
    }

    fn close_one(&mut self) {
        if self.frames.len() < 2 {
            return;
        }
        let Some(Frame { kind, content }) = self.frames.pop() else { return };
        self.depth -= usize::from(matches!(kind, Kind::Quote | Kind::List(_)));
        match kind {
            Kind::Paragraph | Kind::Implied => {
                let content = self.text.take();
                if !content.is_empty() {
                    self.place(json!({ "type": "paragraph", "content": content }));
                }
            }
            Kind::Heading(level) => {
                let content = self.text.take();
                self.place(json!({ "type": "heading", "attrs": { "level": level }, "content": content }));
            }
            Kind::Code(language) => {
                let text = self.text.take_raw();
                self.place(nodes::code_block(language, text.strip_suffix('\n').unwrap_or(&text)));
            }
            Kind::Quote if content.is_empty() => {}
            Kind::Quote => self.place(json!({ "type": "blockquote", "content": content })),
            Kind::Item(task) => {
                if let Some(list) = self.frames.last_mut() {
                    list.content.push(nodes::item(task, &content));
                }
            }
            Kind::List(first) => {
                let list = nodes::list(first, content, &self.stamp, &mut self.tasks);
                self.place(list);
            }
            Kind::Cell => {
                let content = if content.is_empty() { vec![nodes::empty_paragraph()] } else { content };
                let kind = if self.in_head { "tableHeader" } else { "tableCell" };
                self.push(json!({ "type": kind, "content": content }));
            }
            Kind::Row => self.push(json!({ "type": "tableRow", "content": content })),
            Kind::Table => self.place(json!({ "type": "table", "content": content })),
            Kind::Flat => content.into_iter().for_each(|node| self.place(node)),
            Kind::Document => {}
        }
    }

    fn push(&mut self, node: Value) {
        if let Some(frame) = self.frames.last_mut() {
            frame.content.push(node);
        }
    }

    /// Puts a block where it stands, or what is allowed there in its place.
    fn place(&mut self, node: Value) {
        let nodes = match self.frames.last().map(|frame| &frame.kind) {
            Some(Kind::Quote) => nodes::in_quote(node),
            Some(Kind::Item(_)) => nodes::in_item(node),
            _ => vec![node],
        };
        for node in nodes {
            self.push(node);
        }
    }

    fn finish(mut self) -> Value {
        while self.frames.len() > 1 {
            self.close_one();
        }
        let content = self.frames.pop().map(|document| document.content).unwrap_or_default();
        json!({ "version": 1, "type": "doc", "content": content })
    }
}

/// Whether a link may lead there: ADF keeps no addresses that a browser would run.
fn leads(href: &str) -> bool {
    let scheme = href.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
    scheme.is_some_and(|scheme| matches!(scheme.as_str(), "http" | "https" | "mailto" | "tel" | "ftp"))
}

fn is_break(html: &str) -> bool {
    let inner = html.trim().trim_start_matches('<').trim_end_matches('>').trim_end_matches('/').trim();
    html.trim().starts_with('<') && inner.eq_ignore_ascii_case("br")
}
