//! `/api/v1/keys:reseal`: sealing everything again with the newest key.

use crate::caller::Scope;
use crate::error::Result;
use crate::http::{Call, json_response};
use crate::ports::Response;
use crate::reseal;
use serde_json::json;

/// Does the next step.
pub async fn step(call: &Call<'_>) -> Result<Response> {
    call.caller(&[Scope::Admin]).await?.unlimited()?;
    Ok(json_response(200, &json!({ "reseal": reseal::step(call.app).await? })))
}

/// How far it is.
pub async fn progress(call: &Call<'_>) -> Result<Response> {
    call.caller(&[Scope::Admin]).await?.unlimited()?;
    Ok(json_response(200, &json!({ "reseal": reseal::progress(call.app).await? })))
}
