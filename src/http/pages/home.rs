//! What is seen at `/`, and the icon of the tab.

use super::mark::key;
use super::{About, PLAIN, page};
use crate::ports::Response;
use maud::html;

/// What this is, for somebody who opened the bare address.
pub fn home() -> Response {
    page(
        200,
        "This is valetkey",
        &PLAIN,
        &About::default(),
        &html! {
            p { "Here people connect their accounts, so that agents can act for them and never see a password or a key." }
            p {
                strong { "Were you sent a link? " }
                "Open that one: it is longer than this address and begins with it. There is nothing to do on this page."
            }
            p {
                strong { "Do you run this? " }
                "The API begins at " code { "/api/v1" } ", and " a href="/health" { "/health" }
                " says whether all is set up. The README of valetkey shows the first calls."
            }
        },
    )
}

/// The icon of the tab: our key on our colour.
pub fn icon() -> Response {
    let drawn = key(24).into_string().replacen("<svg", "<svg xmlns=\"http://www.w3.org/2000/svg\" x=\"4\" y=\"4\"", 1);
    let icon = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 32 32\" color=\"#ffffff\"><rect width=\"32\" height=\"32\" rx=\"7\" fill=\"#1b56c4\"/>{drawn}</svg>"
    );
    Response::new(200, "image/svg+xml", icon).with_header("content-security-policy", "default-src 'none'")
}
