//! What is drawn: our key, and the marks that tell success, a hint and failure apart without colour.

use maud::{Markup, html};

/// What a page came to.
#[derive(Clone, Copy)]
pub enum Mark {
    /// It worked.
    Done,
    /// Something is left to do.
    Hint,
    /// It did not work.
    Failed,
}

impl Mark {
    /// The mark, this many pixels wide, in the colour of the text.
    pub fn drawn(self, size: u8) -> Markup {
        let path = match self {
            Self::Done => "M5 12.5l4.5 4.5L19 7.5",
            Self::Hint => "M12 5.5v8M12 18v.01",
            Self::Failed => "M7 7l10 10M17 7L7 17",
        };
        html! {
            svg width=(size) height=(size) viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="3"
                stroke-linecap="round" stroke-linejoin="round" aria-hidden="true" { path d=(path) {} }
        }
    }
}

/// Our own mark, in the colour of the text.
pub fn key(size: u8) -> Markup {
    html! {
        svg width=(size) height=(size) viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2.5"
            stroke-linecap="round" stroke-linejoin="round" aria-hidden="true" {
            circle cx="7.5" cy="12" r="4.5" {}
            path d="M12 12h10M17 12v4M21.5 12v3" {}
        }
    }
}

/// The first letters of a name's first two words.
pub fn initials(name: &str) -> String {
    let words = name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    // A domain is one word: monday.com is M.
    let name = if name.contains(' ') { words.take(2).collect() } else { words.take(1).collect::<Vec<_>>() };
    name.iter().filter_map(|word| word.chars().next()).flat_map(char::to_uppercase).collect()
}
