//! valetkey: connected accounts, fresh tokens and tool calls for agents, from one Cloudflare Worker.
//!
//! The domain knows neither HTTP nor Cloudflare: it works over the traits of [`ports`], so everything with a decision in
//! it runs in `cargo test` on the host. [`http`] translates requests; `cloudflare`, compiled for wasm32 alone, is the one
//! folder that knows the platform. docs/architecture.md walks through a connect, a tool call and a refresh.

pub mod access;
pub mod account;
pub mod address;
pub mod app;
pub mod caller;
pub mod catalog;
pub mod code;
pub mod connection;
pub mod digest;
pub mod error;
pub mod http;
pub mod json;
pub mod keys;
pub mod limit;
pub mod oauth;
pub mod paste;
pub mod ports;
pub mod proxy;
pub mod reseal;
pub mod scrub;
pub mod secret;
pub mod target;
pub mod template;
pub mod ticket;
pub mod timestamp;
pub mod tool;

#[cfg(target_arch = "wasm32")]
mod cloudflare;
