//! Look-ups after the tokens came: what the account is called, and what its URLs need.

use super::object::Object;
use crate::catalog::model::Lookup;
use crate::code::Code;
use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::json;
use crate::ports::{Body, Request};
use crate::secret::Secret;
use crate::target::Variables;
use serde_json::Value;
use std::collections::BTreeMap;

/// Milliseconds one look-up may take.
const LOOKUP_TIMEOUT_MS: u32 = 10_000;

impl Object {
    /// The connector's look-ups, in order. What they save can be used by the next.
    pub(super) async fn look_up(
        &self,
        access: &Secret,
        connection: &Connection,
        variables: &mut Variables,
    ) -> Result<()> {
        let connector = connection.connector()?;
        for lookup in connector.auth.identity.iter() {
            let outcome = self.look_up_one(lookup, access, connection, variables).await;
            match outcome {
                Ok(found) => variables.extend(found),
                Err(_) if lookup.optional => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn look_up_one(
        &self,
        lookup: &Lookup,
        access: &Secret,
        connection: &Connection,
        variables: &Variables,
    ) -> Result<BTreeMap<String, String>> {
        let target = Self::target(connection, variables)?;
        let (method, url) = lookup.request;
        let url = target.lookup_url(url)?.into();
        let mut request = Request { method: method.into(), url, timeout_ms: LOOKUP_TIMEOUT_MS, ..Request::default() };
        request.header("accept", "application/json");
        crate::tool::request::authorize(&mut request, &target, access);
        if !lookup.json.is_empty() {
            request.header("content-type", "application/json");
            request.body = Body::Bytes(lookup.json.as_bytes().to_vec());
        }
        let failed = |message: String| Error::new(Code::ProviderUnavailable, message).of(target.connector.id);
        let name = target.connector.name;
        let response = self
            .world
            .http
            .send(request)
            .await
            .map_err(|_| failed(format!("{name} did not answer who this account is")))?;
        let body: Value = serde_json::from_slice(response.body.bytes()).unwrap_or_default();
        if let Some(error) = crate::tool::response::failure(target.connector, &response, &body, self.now()) {
            return Err(failed(format!("asked who this account is, {}", error.message)));
        }
        let found: BTreeMap<String, String> = lookup
            .save
            .iter()
            .filter_map(|(name, at)| Some(((*name).to_owned(), json::find_text(&body, &[*at])?)))
            .collect();
        let needed: Vec<_> = lookup
            .save
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| !matches!(*name, "label" | "external_id") && !found.contains_key(*name))
            .collect();
        if needed.is_empty() {
            Ok(found)
        } else {
            Err(failed(format!("{name} did not tell {} of this account", needed.join(", "))))
        }
    }
}
