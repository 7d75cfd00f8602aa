//! The pages a person sees. No script, no outside resource, nothing a provider said unless escaped.

mod choice;
mod consent;
mod failure;
mod home;
mod mark;

pub use choice::choice;
pub use consent::{Ability, Consent, Input, TypedIn, Wrong, consent};
pub use failure::{failure, quoted};
pub use home::{home, icon};

use crate::digest;
use crate::ports::Response;
use mark::{Mark, initials, key};
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// `tests` computes the contrast of its colours in both schemes.
const STYLE: &str = include_str!("style.css");

/// Whose page it is, and where it can go on: as far as that is known.
#[derive(Default, Clone)]
pub struct About {
    /// Who asks; none means the operator gave no name.
    pub operator: Option<String>,
    /// For which provider.
    pub provider: Option<&'static str>,
    /// Where the person can try again, in this browser.
    pub again: Option<String>,
    /// What the time is, as people at the other end find it in their log.
    pub at: Option<String>,
}

impl About {
    /// Who asks, in a sentence.
    fn operator(&self) -> &str {
        self.operator.as_deref().unwrap_or("An application")
    }

    /// Where things are connected, in a sentence.
    fn provider(&self) -> &'static str {
        self.provider.unwrap_or("the provider")
    }
}

/// What a page is, at a glance.
struct Look {
    /// Colour of heading and mark.
    class: &'static str,
    mark: Option<Mark>,
}

const PLAIN: Look = Look { class: "", mark: None };

fn page(status: u16, title: &str, look: &Look, about: &About, content: &Markup) -> Response {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="robots" content="noindex";
                title { (title) " | " (about.operator.as_deref().unwrap_or("valetkey")) }
                link rel="icon" type="image/svg+xml" href="/favicon.svg";
                style { (PreEscaped(STYLE)) }
            }
            body {
                main class=(look.class) {
                    @match look.mark {
                        Some(mark) => { span class="mark" aria-hidden="true" { (mark.drawn(26)) } }
                        None => { (parties(about)) }
                    }
                    h1 { (title) }
                    (content)
                }
                footer class="small" {
                    (key(20))
                    span {
                        @match &about.operator {
                            Some(operator) => { "valetkey, run by " strong { (operator) } }
                            None => { "valetkey keeps credentials away from agents" }
                        }
                    }
                }
            }
        }
    };
    // The form's target is ourselves; where that redirects to is the provider, which browsers count as form-action too.
    let style = digest::base64(&digest::sha256(STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'"
    );
    Response::new(status, "text/html; charset=utf-8", markup.into_string())
        .with_header("content-security-policy", &policy)
        .with_header("x-frame-options", "DENY")
}

/// Who asks and whom: initials, since logos belong to others.
fn parties(about: &About) -> Markup {
    html! {
        @if let Some(provider) = about.provider {
            div class="parties" aria-hidden="true" {
                span class="tile ours" { @match &about.operator { Some(name) => (initials(name)), None => (key(26)) } }
                span class="between" {}
                span class="tile" { (initials(provider)) }
            }
        }
    }
}

/// It worked.
pub fn connected(about: &About, label: Option<&str>) -> Response {
    let provider = about.provider();
    page(
        200,
        &format!("{provider} is connected"),
        &Look { class: "ok", mark: Some(Mark::Done) },
        about,
        &html! {
            @if let Some(label) = label { p class="account" { (label) } }
            p {
                @match &about.operator {
                    Some(operator) => { strong { (operator) } " can now act for you in " (provider) "." }
                    None => { "You are done here." }
                }
                " You can close this window."
            }
        },
    )
}

/// To another address, as a GET.
pub fn redirect(url: &str) -> Response {
    Response::new(303, "text/plain; charset=utf-8", "").with_header("location", url)
}

#[cfg(test)]
mod tests;
