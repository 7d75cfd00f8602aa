//! `ANY /proxy/{path}`.

use crate::access::{self, Named};
use crate::caller::Scope;
use crate::error::Result;
use crate::http::Call;
use crate::ports::{Body, Response, get};
use crate::proxy::{self, ACCOUNT_ID, CONNECTION_NAME, IDENTIFIER};

/// Forwards a request with the account's credential.
pub async fn forward(call: &Call<'_>) -> Result<Response> {
    let who = call.caller(&[Scope::Tools]).await?;
    let headers = &call.request.headers;
    let header = |name: &str| get(headers, name).map(str::to_owned);
    let named = Named { id: header(ACCOUNT_ID), connection: header(CONNECTION_NAME), identifier: header(IDENTIFIER) };
    if let Some(name) = &named.connection {
        who.may_use(name)?;
    }
    let used = access::find(call.app, &named, None).await?;
    who.may_use(&used.known.connection.name)?;
    let url = &call.request.url;
    let at = url.find(call.path).unwrap_or_default() + "/proxy".len();
    let body = match &call.request.body {
        Body::Empty => Body::Empty,
        Body::Bytes(bytes) => Body::Bytes(bytes.clone()),
        Body::Stream(stream) => Body::Stream(stream.clone()),
    };
    let forwarded = proxy::forward(call.app, &used, call.method, &url[at..], headers, body).await;
    forwarded.map_err(|error| error.of(used.connector.id))
}
