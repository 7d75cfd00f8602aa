//! One way of paging for agents, `cursor` in and `next_cursor` out, over the many ways providers have.

use super::request::Parts;
use crate::catalog::Tool;
use crate::catalog::model::{Page, PageStyle};
use crate::json;
use crate::ports::Response;
use serde_json::{Map, Value};
use url::Url;

/// Puts the cursor where the provider wants it.
pub fn place(tool: &Tool, input: &Map<String, Value>, parts: &mut Parts) {
    let Some(page) = &tool.page else { return };
    let Some(cursor) = input.get("cursor").and_then(json::to_text).filter(|text| !text.is_empty()) else { return };
    if page.style == PageStyle::ByWholeUrl {
        parts.whole_url = Some(cursor);
        return;
    }
    let numbered = matches!(page.style, PageStyle::ByNumber | PageStyle::ByOffset);
    let value = match cursor.parse::<u64>() {
        Ok(number) if numbered => Value::from(number),
        _ => Value::String(cursor.clone()),
    };
    if !page.continue_at.is_empty() {
        parts.continues_at(page.continue_at);
    }
    if page.send.contains(',') {
        let values = cursor.split(' ');
        page.send.split(',').zip(values).for_each(|(name, value)| parts.query(name, &Value::from(value)));
        return;
    }
    match (page.body, tool.call.graphql.is_empty()) {
        (true, true) => json::place(&mut parts.body, page.send, value),
        (true, false) => json::place(&mut parts.variables, page.send, value),
        (false, _) => parts.query(page.send, &value),
    }
}

/// The cursor of the next page, if there is one.
pub fn next(page: &Page, input: &Map<String, Value>, response: &Response, body: &Value) -> Option<String> {
    if !page.more.is_empty() && json::find(body, page.more) != Some(&Value::Bool(true)) {
        return None;
    }
    if !page.last.is_empty() && json::find(body, page.last) == Some(&Value::Bool(true)) {
        return None;
    }
    let there = || {
        let values: Option<Vec<_>> =
            page.next.split(',').map(|next| json::find(body, next).and_then(json::to_text)).collect();
        values.map(|values| values.join(" ")).filter(|text| !text.is_empty())
    };
    match page.style {
        PageStyle::ByCursor | PageStyle::ByWholeUrl => there(),
        PageStyle::ByNextUrl => parameter(&there()?, page.send),
        PageStyle::ByLinkHeader => parameter(&link(response.header("link")?)?, page.send),
        PageStyle::ByNumber | PageStyle::ByOffset => {
            let items = json::find(body, page.items)?.as_array()?.len() as u64;
            let now = input.get("cursor").and_then(json::to_text).and_then(|text| text.parse().ok());
            let now = now.unwrap_or(u64::from(page.first));
            let step = if page.style == PageStyle::ByNumber { 1 } else { items };
            let counts_items = page.style == PageStyle::ByOffset && !page.total.is_empty();
            let total = json::find(body, page.total).and_then(Value::as_u64).filter(|_| counts_items);
            let next = now.checked_add(step);
            (items > 0 && next.is_some_and(|next| total.is_none_or(|total| next < total)))
                .then_some(next)?
                .map(|next| next.to_string())
        }
    }
}

fn parameter(url: &str, name: &str) -> Option<String> {
    // A relative URL is as good: only its query counts.
    let base = Url::parse("https://relative.invalid/").ok()?;
    let url = base.join(url).ok()?;
    url.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
}

/// The target of `rel="next"` (RFC 8288). A comma may also stand in a target or in quotes.
fn link(header: &str) -> Option<String> {
    let mut rest = header;
    while let Some((_, after)) = rest.split_once('<') {
        let (target, after) = after.split_once('>')?;
        let mut quoted = false;
        let end = after.find(|c| {
            quoted ^= c == '"';
            c == ',' && !quoted
        });
        let parameters = &after[..end.unwrap_or(after.len())];
        let is_next = parameters.split(';').any(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or_default();
            name.trim().eq_ignore_ascii_case("rel")
                && value.trim().trim_matches('"').split(' ').any(|rel| rel == "next")
        });
        if is_next {
            return Some(target.trim().to_owned());
        }
        rest = &after[parameters.len()..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn page(style: PageStyle) -> Page {
        Page {
            style,
            send: "page",
            body: false,
            next: "/next",
            more: "",
            last: "",
            total: "",
            items: "/items",
            first: 1,
            continue_at: "",
        }
    }

    fn next_of(page: &Page, link: &str, body: &Value) -> Option<String> {
        let response = Response::new(200, "application/json", "").with_header("link", link);
        next(page, &Map::new(), &response, body)
    }

    #[test]
    fn the_next_page_is_found_every_way() {
        let link = "<https://x.example/a?page=1>; rel=\"prev\", <https://x.example/a?b=1&page=3>; rel=\"next\"";
        assert_eq!(next_of(&page(PageStyle::ByLinkHeader), link, &json!({})).as_deref(), Some("3"));
        let commas = "<https://x.example/a?q=1,2&page=1>; rel=prev; title=\"a, b\", <https://x.example/a?q=1,2&page=3>; rel=\"next last\"";
        assert_eq!(next_of(&page(PageStyle::ByLinkHeader), commas, &json!({})).as_deref(), Some("3"));
        assert_eq!(next_of(&page(PageStyle::ByCursor), "", &json!({ "next": "c" })).as_deref(), Some("c"));
        assert_eq!(next_of(&page(PageStyle::ByCursor), "", &json!({ "next": "" })), None);
        assert_eq!(next_of(&page(PageStyle::ByNextUrl), "", &json!({ "next": "/a?page=x" })).as_deref(), Some("x"));
        assert_eq!(next_of(&page(PageStyle::ByNumber), "", &json!({ "items": [1] })).as_deref(), Some("2"));
        assert_eq!(next_of(&page(PageStyle::ByNumber), "", &json!({ "items": [] })), None);
        let two = Page { next: "/items/-/date,/items/-/id", send: "start,start_id", ..page(PageStyle::ByCursor) };
        let comments = json!({ "items": [{ "date": 9, "id": "a" }, { "date": "7", "id": "b" }] });
        assert_eq!(next_of(&two, "", &comments).as_deref(), Some("7 b"));
        assert_eq!(next_of(&two, "", &json!({ "items": [] })), None);
        let last = Page { last: "/done", ..page(PageStyle::ByNumber) };
        assert_eq!(next_of(&last, "", &json!({ "items": [1], "done": true })), None);
        let total = Page { total: "/total", first: 0, ..page(PageStyle::ByOffset) };
        assert_eq!(next_of(&total, "", &json!({ "items": [1, 2], "total": 3 })).as_deref(), Some("2"));
        assert_eq!(next_of(&total, "", &json!({ "items": [1, 2], "total": 2 })), None);
        let more = Page { more: "/more", ..page(PageStyle::ByCursor) };
        assert_eq!(next_of(&more, "", &json!({ "next": "c", "more": false })), None);
    }
}
