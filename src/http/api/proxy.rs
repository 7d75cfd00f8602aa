//! `ANY /proxy/{path}`.

use crate::access::Named;
use crate::caller::Scope;
use crate::error::Result;
use crate::http::Call;
use crate::ports::{Body, Response, text};
use crate::proxy::{self, ACCOUNT_ID, CONNECTION_NAME, IDENTIFIER};

/// Forwards a request with the account's credential.
pub async fn forward(call: &Call<'_>) -> Result<Response> {
    let who = call.caller(&[Scope::Tools]).await?;
    let headers = &call.request.headers;
    let named = Named {
        id: text(headers, ACCOUNT_ID)?,
        connection: text(headers, CONNECTION_NAME)?,
        connector: None,
        identifier: text(headers, IDENTIFIER)?,
    };
    let used = who.find(call.app, &named, None).await?;
    let url = &call.request.url;
    let at = call.place.at + "/proxy".len();
    let body = match &call.request.body {
        // Only answers are made in pieces.
        Body::Empty | Body::Pieces(_) => Body::Empty,
        Body::Bytes(bytes) => Body::Bytes(bytes.clone()),
        Body::Stream(stream) => Body::Stream(stream.clone()),
    };
    let forwarded = proxy::forward(call.app, &used, &url[at..], call.request, body).await;
    forwarded.map_err(|error| error.of(used.connector.id))
}
