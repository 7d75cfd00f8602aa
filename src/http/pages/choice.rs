//! Which of several sites or workspaces the account is for.

use super::{About, PLAIN, page};
use crate::ports::Response;
use maud::{Markup, PreEscaped, html};

/// Which of several.
pub fn choice(about: &About, options: &[(String, String)], action: &str) -> Response {
    let provider = about.provider();
    page(
        200,
        &format!("Which {provider}?"),
        &PLAIN,
        about,
        &html! {
            p { "You may use several. This connection is for one of them; another can be connected later, with another link." }
            form method="post" action=(action) {
                fieldset {
                    legend { "Connect" }
                    @for (number, (label, detail)) in options.iter().enumerate() {
                        label class="row" {
                            input type="radio" name="option" value=(number) required checked[number == 0];
                            span {
                                span class="name" { (label) }
                                @if !detail.is_empty() { span class="soft small" { (address(detail)) } }
                            }
                        }
                    }
                }
                button type="submit" { "Connect" }
            }
            p class="small soft" {
                @match &about.again {
                    Some(again) => { a href=(again) { "Go back and start over" } ", for example with another account. " }
                    None => { "None of these? Close this page and open the link again with another account. " }
                }
                "Nothing is connected yet."
            }
        },
    )
}

/// An address as people read it, which may be broken after its dots and slashes and nowhere else.
fn address(text: &str) -> Markup {
    let text = text.strip_prefix("https://").unwrap_or(text);
    let parts = text.split_inclusive(['.', '/', '@']);
    html! { @for (number, part) in parts.enumerate() { @if number > 0 { (PreEscaped("<wbr>")) } (part) } }
}
