//! What `build.rs` needs of this folder: the same files the tests use, and none of them in the Worker.

pub mod change;
pub mod check;
pub mod compile;
pub mod format;
pub mod kinds;
pub mod model;
pub mod schema;
pub mod together;
