//! The connectors compiled into the Worker.
//!
//! `build.rs` reads `connectors/`, checks it and writes it out as static tables: nothing is parsed when the Worker
//! starts, and finding a tool is a binary search.

pub mod model;

#[cfg(test)]
mod change;
#[cfg(test)]
mod check;
#[cfg(test)]
mod compile;
#[cfg(test)]
mod format;
#[cfg(test)]
mod kinds;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod together;

#[allow(
    clippy::wildcard_imports,
    clippy::enum_glob_use,
    clippy::unreadable_literal,
    unused_imports,
    reason = "the generated table names nearly every type of the model"
)]
mod table {
    use super::model::{
        Answer::*, BodyEncoding::*, ClientAuth::*, Effect::*, Encode::*, GroupRule::*, LimitScope::*, Meaning::*,
        Method::*, PageStyle::*, Place::*, RetryUnit::*, RevokeAuth::*, *,
    };
    include!(concat!(env!("OUT_DIR"), "/catalog.rs"));
}

pub use model::{Connector, Tool};
pub use table::CONNECTORS;

/// The connector with this id.
pub fn find_connector(id: &str) -> Option<&'static Connector> {
    CONNECTORS.binary_search_by_key(&id, |connector| connector.id).ok().map(|index| &CONNECTORS[index])
}

/// The tool with this name, and its connector, whose id is the name's part before the first `_`.
pub fn find_tool(name: &str) -> Option<(&'static Connector, &'static Tool)> {
    let connector = find_connector(name.split('_').next()?)?;
    let index = connector.tools.binary_search_by_key(&name, |tool| tool.name).ok()?;
    Some((connector, &connector.tools[index]))
}
