//! Text with holes: `"/repos/{owner}/{repo}"`.
//!
//! A hole is `{name}` or `{first|second}`, where the first name that has a value counts. Names are letters, digits,
//! `_` and `.`; any other brace is plain text, so JSON and query languages need no escaping.

/// A piece of a template.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Plain text.
    Text(&'a str),
    /// The inside of a hole: one name, or several with `|` between.
    Hole(&'a str),
}

/// Splits a template into its pieces.
pub fn pieces(template: &str) -> Vec<Piece<'_>> {
    let mut out = Vec::new();
    let mut text_from = 0;
    let mut at = 0;
    while let Some(open) = template[at..].find('{').map(|i| i + at) {
        let inside = open + 1;
        match template[inside..].find(|c: char| !(c.is_ascii_alphanumeric() || "_.|".contains(c))) {
            Some(length) if length > 0 && template[inside + length..].starts_with('}') => {
                if open > text_from {
                    out.push(Piece::Text(&template[text_from..open]));
                }
                out.push(Piece::Hole(&template[inside..inside + length]));
                at = inside + length + 1;
                text_from = at;
            }
            _ => at = inside,
        }
    }
    if text_from < template.len() {
        out.push(Piece::Text(&template[text_from..]));
    }
    out
}

/// The names in all holes of a template.
pub fn names(template: &str) -> Vec<&str> {
    pieces(template)
        .into_iter()
        .filter_map(|piece| match piece {
            Piece::Hole(names) => Some(names.split('|')),
            Piece::Text(_) => None,
        })
        .flatten()
        .collect()
}

/// Fills a template. `None` when a hole has no value, so that a half-filled text is never sent.
pub fn fill(template: &str, value: impl Fn(&str) -> Option<String>) -> Option<String> {
    let mut out = String::with_capacity(template.len());
    for piece in pieces(template) {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Hole(names) => out.push_str(&names.split('|').find_map(&value)?),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_and_text_alternate() {
        use Piece::{Hole, Text};
        assert_eq!(pieces("/a/{b}/c"), [Text("/a/"), Hole("b"), Text("/c")]);
        assert_eq!(pieces("{a}{b.c}"), [Hole("a"), Hole("b.c")]);
        assert_eq!(pieces(r#"{"a": {b}}"#), [Text(r#"{"a": "#), Hole("b"), Text("}")]);
        assert_eq!(pieces("{}{ x }"), [Text("{}{ x }")]);
    }

    #[test]
    fn the_first_name_with_a_value_counts_and_a_missing_one_is_no_text() {
        let value = |name: &str| (name == "b").then(|| "2".to_owned());
        assert_eq!(fill("x{a|b}", value).as_deref(), Some("x2"));
        assert_eq!(fill("x{a}", value), None);
    }
}
