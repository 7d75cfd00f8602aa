//! `/api/v1/connected_accounts`.

use crate::access::{self, LEASE, Named, Used, unexpected};
use crate::account::command::{Birth, Command, Import, Reply, Verify};
use crate::account::snapshot::{self, Row, Snapshot};
use crate::account::{AccountId, Status, check_identifier};
use crate::address;
use crate::caller::Scope;
use crate::catalog;
use crate::code::Code;
use crate::connection::{authorization_type, field_problem};
use crate::error::{Error, Result};
use crate::http::{Call, Who, json_response};
use crate::ports::Response;
use crate::secret::Secret;
use crate::timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;
use std::collections::BTreeMap;

/// How an account is named in a body. The reference API's further names are taken and mean nothing here.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Body {
    id: Option<String>,
    connection_name: Option<String>,
    connector: Option<String>,
    identifier: Option<String>,
    organization_id: IgnoredField,
    user_id: IgnoredField,
    user_verify_url: Option<String>,
    state: Option<String>,
    connected_account: Option<Given>,
    authorization_details: Option<Details>,
    /// Fields of the connector, with the credential itself for an account that is made with a key.
    fields: BTreeMap<String, Secret>,
}

type IgnoredField = Option<IgnoredAny>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    authorization_details: Option<Details>,
    #[serde(default, rename = "authorization_type")]
    _authorization_type: IgnoredField,
    #[serde(default, rename = "api_config")]
    _api_config: IgnoredField,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Details {
    oauth_token: OauthToken,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OauthToken {
    access_token: Secret,
    refresh_token: Option<Secret>,
    #[serde(default)]
    scopes: Vec<String>,
    expires_at: Option<String>,
}

impl Body {
    fn named(&self) -> Named {
        Named {
            id: self.id.clone(),
            connection: self.connection_name.clone().or_else(|| self.connector.clone()),
            identifier: self.identifier.clone(),
        }
    }
}

async fn used(call: &Call<'_>, who: &Who, named: &Named) -> Result<Used> {
    if let Some(name) = &named.connection {
        who.may_use(name)?;
    }
    let used = access::find(call.app, named, None).await?;
    who.may_use(&used.known.connection.name)?;
    Ok(used)
}

async fn used_by_query(call: &Call<'_>, who: &Who) -> Result<Used> {
    let query = &call.query;
    let named = Named {
        id: query.any(&["id", "connected_account_id"]).map(str::to_owned),
        connection: query.any(&["connection_name", "connector"]).map(str::to_owned),
        identifier: query.get("identifier").map(str::to_owned),
    };
    used(call, who, &named).await
}

/// The record an account would be born with. Only connection and identifier can make one.
fn birth(used: &Used, body: &Body) -> Result<Birth> {
    let identifier = body.identifier.clone().ok_or_else(|| Error::invalid("identifier is missing"))?;
    let connection = &used.known.connection;
    Ok(Birth {
        id: used.id.clone(),
        connection_name: connection.name.clone(),
        connector: connection.connector.clone(),
        authorization_type: authorization_type(connection.method(used.connector)).to_owned(),
        identifier,
    })
}

/// Lists accounts.
pub async fn list(call: &Call<'_>) -> Result<Response> {
    let who = call.caller(&[Scope::Accounts]).await?;
    let query = &call.query;
    query.only(&[
        "connection_name",
        "connection_names",
        "connector",
        "provider",
        "identifier",
        "status",
        "page_size",
        "page_token",
        "organization_id",
        "user_id",
    ])?;
    let connection = query.any(&["connection_name", "connection_names"]);
    let connector = query.any(&["provider", "connector"]);
    let status = query.get("status").map(|text| {
        serde_json::from_value::<Status>(json!(text)).map_err(|_| Error::invalid(format!("no status `{text}`")))
    });
    let status = status.transpose()?;
    let size = query.page_size(50, 100)? as usize;
    let prefix = match connection {
        Some(name) => {
            who.may_use(name)?;
            let id = call.app.connection(name).await?.connection.id.clone();
            format!("ca_{}", id.trim_start_matches("conn_"))
        }
        None => "ca_".to_owned(),
    };
    let fits = |row: &Row| {
        connector.is_none_or(|wanted| row.connector == wanted || row.connection_name == wanted)
            && query.get("identifier").is_none_or(|wanted| row.identifier == wanted)
            && status.is_none_or(|wanted| row.status == wanted)
            && who.may_use(&row.connection_name).is_ok()
    };
    let mut rows = Vec::new();
    let mut cursor = call.page_token()?;
    let first = cursor.is_none();
    // A page of KV may hold few rows that fit; ten pages are looked through before the caller is asked to go on.
    for _ in 0..10 {
        let limit = u32::try_from(size - rows.len()).unwrap_or(1);
        let page = call.app.snapshots.list(&snapshot::key(&prefix), limit, cursor.as_deref()).await?;
        let found = page.keys.iter().filter_map(|(_, metadata)| serde_json::from_str::<Row>(metadata.as_deref()?).ok());
        rows.extend(found.filter(|row| fits(row)));
        cursor = page.cursor;
        if cursor.is_none() || rows.len() >= size {
            break;
        }
    }
    let total = (first && cursor.is_none()).then_some(rows.len());
    let rows: Vec<_> = rows.iter().map(Row::to_json).collect();
    Ok(json_response(
        200,
        &json!({ "connected_accounts": rows, "next_page_token": call.next_page_token(cursor), "total_size": total }),
    ))
}

/// Makes an account, with imported tokens if given.
pub async fn create(call: &Call<'_>) -> Result<Response> {
    let who = call.caller(&[Scope::Accounts]).await?;
    let body: Body = call.json()?;
    let used = used(call, &who, &body.named()).await?;
    let birth = birth(&used, &body)?;
    let nested = body.connected_account.and_then(|given| given.authorization_details);
    let import = match nested.or(body.authorization_details) {
        Some(Details { oauth_token: token }) => {
            who.grant.require(Scope::Tokens)?;
            let wrong = || Error::invalid("expires_at must be a date-time, e.g. 2027-01-15T08:00:00Z");
            let expires_at = token.expires_at.map(|text| timestamp::parse(&text).ok_or_else(wrong)).transpose()?;
            Some(Import {
                access_token: token.access_token,
                refresh_token: token.refresh_token,
                scopes: token.scopes,
                expires_at,
            })
        }
        None => None,
    };
    if !body.fields.is_empty() {
        who.grant.require(Scope::Tokens)?;
    }
    match call.app.accounts.ask(&used.id, Command::Create { birth, import, fields: body.fields }).await? {
        Reply::Snapshot(snapshot) => Ok(json_response(200, &json!({ "connected_account": snapshot.to_json() }))),
        _ => Err(unexpected()),
    }
}

/// Everything but tokens.
pub async fn details(call: &Call<'_>) -> Result<Response> {
    let who = call.caller(&[Scope::Accounts]).await?;
    let used = used_by_query(call, &who).await?;
    match call.app.accounts.ask(&used.id, Command::View).await? {
        Reply::View { snapshot, refresh, audit } => {
            let audit: Vec<_> = audit
                .iter()
                .map(|event| json!({ "at": timestamp::format(event.at), "event": event.event, "detail": event.detail }))
                .collect();
            let mut account = snapshot.to_json();
            account["variables"] = json!(snapshot.variables);
            account["refresh"] = refresh;
            account["audit"] = json!(audit);
            Ok(json_response(200, &json!({ "connected_account": account })))
        }
        _ => Err(unexpected()),
    }
}

/// The access token.
pub async fn auth(call: &Call<'_>) -> Result<Response> {
    let who = call.caller(&[Scope::Tokens]).await?;
    let used = used_by_query(call, &who).await?;
    let with_refresh_token = who.grant.scope.contains(&Scope::Export);
    let command = Command::Read { by: who.grant.sub.clone(), with_refresh_token };
    let Reply::Tokens { snapshot, refresh_token, variables } = call.app.accounts.ask(&used.id, command).await? else {
        return Err(unexpected());
    };
    let token = snapshot.open(&call.app.keys)?;
    let mut oauth = json!({
        "access_token": token.reveal(), "scopes": snapshot.scopes, "token_type": "Bearer",
        "expires_at": snapshot.row.expires_at.map(timestamp::format),
    });
    if let Some(refresh) = refresh_token {
        oauth["refresh_token"] = json!(refresh.reveal());
    }
    let mut account = snapshot.to_json();
    account["variables"] = json!(variables);
    account["authorization_details"] = json!({ "oauth_token": oauth });
    Ok(json_response(200, &json!({ "connected_account": account })))
}

/// A link for the user.
pub async fn magic_link(call: &Call<'_>) -> Result<Response> {
    let who = call.caller(&[Scope::Accounts]).await?;
    let body: Body = call.json()?;
    let used = used(call, &who, &body.named()).await?;
    let verify = match &body.user_verify_url {
        Some(url) => {
            if let Some(problem) = address::problem(url) {
                return Err(Error::invalid(format!("user_verify_url {problem}")));
            }
            Some(Verify { url: url.clone(), state: body.state.clone() })
        }
        None => None,
    };
    let birth = match (&body.identifier, &body.id) {
        (None, Some(_)) => known_birth(call, &used).await?,
        _ => birth(&used, &body)?,
    };
    let fields = link_fields(&used, &body.fields)?;
    match call.app.accounts.ask(&used.id, Command::Link { birth, verify, more_scopes: Vec::new(), fields }).await? {
        Reply::Link { ticket, expires_at } => {
            let link = format!("{}/connect/{ticket}", call.app.settings.base_url);
            Ok(json_response(200, &json!({ "link": link, "expiry": timestamp::format(expires_at) })))
        }
        _ => Err(unexpected()),
    }
}

/// What the operator knows already, so that the person is not asked. A secret is not for a link.
fn link_fields(used: &Used, given: &BTreeMap<String, Secret>) -> Result<BTreeMap<String, String>> {
    let connection = &used.known.connection;
    let asked = connection.asked_fields(used.connector, &BTreeMap::new());
    let mut fields = BTreeMap::new();
    for (name, value) in given {
        let field = asked.iter().find(|field| field.name == name && !field.secret);
        let Some(field) = field else {
            let known: Vec<_> = asked.iter().filter(|field| !field.secret).map(|field| field.name).collect();
            let known = if known.is_empty() { "no fields".to_owned() } else { known.join(", ") };
            let message = format!(
                "fields/{name}: a link for {} takes {known}; a secret is typed in by the person, or sent with POST /api/v1/connected_accounts",
                used.connector.name
            );
            return Err(Error::invalid(message));
        };
        if let Some(words) = field_problem(field, value.reveal()) {
            return Err(Error::invalid(format!("fields/{name} {words}")));
        }
        fields.insert(name.clone(), value.reveal().to_owned());
    }
    Ok(fields)
}

/// An account named by its id has been born already.
async fn known_birth(call: &Call<'_>, used: &Used) -> Result<Birth> {
    match call.app.accounts.ask(&used.id, Command::View).await? {
        Reply::View { snapshot, .. } => {
            let Row { id, connection_name, connector, identifier, authorization_type, .. } = snapshot.row;
            Ok(Birth { id, connection_name, connector, authorization_type, identifier })
        }
        _ => Err(unexpected()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VerifyBody {
    auth_request_id: String,
    identifier: String,
}

/// The operator's backend says who connected.
pub async fn verify(call: &Call<'_>) -> Result<Response> {
    let who = call.caller(&[Scope::Accounts]).await?;
    let body: VerifyBody = call.json()?;
    check_identifier(&body.identifier)?;
    let unknown = || Error::invalid("auth_request_id is not one of ours");
    let id = body.auth_request_id.split('.').next().and_then(AccountId::parse).ok_or_else(unknown)?;
    // The signature is checked before the object is woken.
    crate::ticket::open(crate::ticket::Purpose::Verification, &body.auth_request_id, &call.app.keys, call.app.now())
        .map_err(|_| {
            Error::invalid("auth_request_id is unknown or older than ten minutes; the user has to connect again")
        })?;
    if who.connections.is_some() {
        used(call, &who, &Named { id: Some(id.to_string()), ..Named::default() }).await?;
    }
    let command = Command::Verify { ticket: body.auth_request_id, identifier: body.identifier };
    match call.app.accounts.ask(&id, command).await? {
        Reply::Verified { snapshot } => {
            call.app.isolate.leased.borrow_mut().remove(&id);
            let url = format!("{}/connected/{}", call.app.settings.base_url, snapshot.row.connector);
            Ok(json_response(
                200,
                &json!({ "post_user_verify_redirect_url": url, "connected_account": snapshot.to_json() }),
            ))
        }
        _ => Err(unexpected()),
    }
}

/// Renews now.
pub async fn refresh(call: &Call<'_>) -> Result<Response> {
    let who = call.caller(&[Scope::Accounts]).await?;
    let body: Body = call.json()?;
    let used = used(call, &who, &body.named()).await?;
    let Reply::Snapshot(snapshot) = call.app.accounts.ask(&used.id, Command::Renew).await? else {
        return Err(unexpected());
    };
    call.app.isolate.leased.borrow_mut().remove(&used.id);
    Ok(json_response(200, &json!({ "connected_account": snapshot.to_json() })))
}

/// Revokes and forgets.
pub async fn disconnect(call: &Call<'_>) -> Result<Response> {
    let who = call.caller(&[Scope::Accounts]).await?;
    let body: Body = call.json()?;
    let id = match used(call, &who, &body.named()).await {
        Ok(used) => used.id,
        // An account outlives its connection, and can still be made to forget its tokens by id.
        Err(error) if error.code == Code::ConnectionNotFound && who.connections.is_none() => {
            body.id.as_deref().and_then(AccountId::parse).ok_or(error)?
        }
        Err(error) => return Err(error),
    };
    let reply = call.app.accounts.ask(&id, Command::Disconnect).await?;
    let Reply::Disconnected { snapshot, attempted, succeeded, detail } = reply else { return Err(unexpected()) };
    call.app.isolate.leased.borrow_mut().remove(&id);
    // Another isolate may have leased the token a moment ago; when this answers, nobody uses it any more.
    call.app.background.sleep(LEASE).await;
    Ok(json_response(
        200,
        &json!({
            "connected_account": Snapshot::to_json(&snapshot),
            "revocation": { "attempted": attempted, "succeeded": succeeded, "detail": detail },
            "provider": catalog::find_connector(&snapshot.row.connector).map(|connector| connector.name),
        }),
    ))
}
