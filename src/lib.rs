//! valetkey.
#[cfg(target_arch = "wasm32")]
mod cloudflare;
pub mod catalog;
pub mod code;
pub mod template;
