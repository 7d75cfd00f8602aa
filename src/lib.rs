//! valetkey.
#[cfg(target_arch = "wasm32")]
mod cloudflare;
