//! Calling a tool: input → request → answer → result or error. Everything but [`execute`] is pure.

pub mod adf;
mod adf_nodes;
pub mod coerce;
mod computed;
pub mod dialect;
pub mod encode;
pub mod execute;
mod findings;
pub mod input;
pub mod mime;
pub mod multipart;
pub mod page;
mod pick;
pub mod reading;
pub mod request;
pub mod response;
pub mod together;
