//! Host tests: the whole domain over in-memory ports, in milliseconds. tests/README.md says what is tested where.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod adf;
mod adf_rules;
mod answers;
mod architecture;
mod cases;
mod connect;
mod copies;
mod docs;
mod edge;
mod fuzz;
mod idempotency;
mod ids;
mod input;
mod interleavings;
mod keys;
mod kinds;
mod lifetimes;
mod limits;
mod pages;
mod person;
mod proxy;
mod records;
mod refresh;
mod storage;
mod support;
mod typed;
mod vendor;
