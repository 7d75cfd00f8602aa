//! The API's handlers, one resource a file. docs/api.md is their contract.

pub mod account_list;
pub mod accounts;
pub mod callers;
pub mod connections;
pub mod execute;
pub mod keys;
pub mod oauth;
pub mod providers;
pub mod proxy;
