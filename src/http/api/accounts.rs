//! `/api/v1/connected_accounts`.

use crate::access::{LEASE, Named, Used, unexpected};
use crate::account::command::{Birth, Command, Import, Reply, Verify};
use crate::account::snapshot::{Row, Snapshot};
use crate::account::{AccountId, Event, check_identifier};
use crate::address;
use crate::caller::Scope;
use crate::catalog;
use crate::code::Code;
use crate::connection::{authorization_type, field_problem};
use crate::error::{Error, Result, short};
use crate::http::{Call, Who, json_response};
use crate::ports::Response;
use crate::secret::{LONGEST_TOKEN, Secret};
use crate::timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
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
    /// Whether an account that was connected before may become somebody else's at the provider.
    allow_other_account: bool,
}

/// The most bytes of an address that users are sent to for verification, and of the state that goes along.
pub const LONGEST_URL: usize = 2_048;
/// See [`LONGEST_URL`].
pub const LONGEST_STATE: usize = 1_024;

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
    /// Reads the body of a route that takes some of its fields. What another route takes is not dropped without a word.
    fn read(call: &Call<'_>, taken: &[&str]) -> Result<Self> {
        call.query.only(&[])?;
        let body: Self = call.json()?;
        let given = [
            ("user_verify_url", body.user_verify_url.is_some()),
            ("state", body.state.is_some()),
            ("connected_account", body.connected_account.is_some()),
            ("authorization_details", body.authorization_details.is_some()),
            ("fields", !body.fields.is_empty()),
            ("allow_other_account", body.allow_other_account),
        ];
        match given.into_iter().find(|(name, is_given)| *is_given && !taken.contains(name)) {
            Some((name @ ("user_verify_url" | "state"), _)) => Err(Error::invalid(format!(
                "`{name}` goes to POST /api/v1/connected_accounts/magic_link; here it would mean nothing"
            ))),
            Some((name, _)) => Err(Error::invalid(format!("`{name}` would mean nothing here; leave it out"))),
            None => Ok(body),
        }
    }

    fn named(&self) -> Named {
        Named {
            id: self.id.clone(),
            connection: self.connection_name.clone(),
            connector: self.connector.clone(),
            identifier: self.identifier.clone(),
        }
    }
}

async fn used(call: &Call<'_>, who: &Who, named: &Named) -> Result<Used> {
    who.find(call.app, named, None).await
}

async fn used_by_query(call: &Call<'_>, who: &Who) -> Result<Used> {
    let query = &call.query;
    let (id, connection) = (["id", "connected_account_id"], ["connection_name", "connector"]);
    query.only(&[&id[..], &connection, &["identifier", "organization_id", "user_id"]].concat())?;
    query.not(&["organization_id", "user_id"])?;
    let named = Named {
        id: query.any(&id)?.map(str::to_owned),
        connection: query.any(&connection)?.map(str::to_owned),
        connector: None,
        identifier: query.get("identifier").map(str::to_owned),
    };
    used(call, who, &named).await
}

/// The record an account would be born with. Only connection and identifier can make one.
fn birth(used: &Used, body: &Body) -> Result<Birth> {
    let identifier = body.identifier.clone().ok_or_else(|| Error::invalid("identifier is missing"))?;
    check_identifier(&identifier)?;
    let connection = &used.known.connection;
    Ok(Birth {
        id: used.id.clone(),
        connection_name: connection.name.clone(),
        connector: connection.connector.clone(),
        authorization_type: authorization_type(connection.method(used.connector)).to_owned(),
        identifier,
    })
}

/// Makes an account, with imported tokens if given.
pub async fn create(call: &Call<'_>) -> Result<Response> {
    let who = call.caller(&[Scope::Accounts]).await?;
    let body = Body::read(call, &["connected_account", "authorization_details", "fields", "allow_other_account"])?;
    let used = used(call, &who, &body.named()).await?;
    let birth = birth(&used, &body)?;
    let nested = body.connected_account.and_then(|given| given.authorization_details);
    if nested.is_some() && body.authorization_details.is_some() {
        return Err(Error::invalid("authorization_details stands in connected_account too; send it once"));
    }
    let import = match nested.or(body.authorization_details) {
        Some(Details { oauth_token: token }) => {
            who.grant.require(&[Scope::Tokens])?;
            let wrong = || Error::invalid("expires_at must be a date-time, e.g. 2027-01-15T08:00:00Z");
            let expires_at = token.expires_at.map(|text| timestamp::parse(&text).ok_or_else(wrong)).transpose()?;
            check_tokens(&token.access_token, token.refresh_token.as_ref())?;
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
        who.grant.require(&[Scope::Tokens])?;
    }
    let command = Command::Create { birth, import, fields: body.fields, other_person: body.allow_other_account };
    match call.app.accounts.ask(&used.id, by(&who, command)).await? {
        Reply::Snapshot(snapshot) => Ok(json_response(200, &json!({ "connected_account": snapshot.to_json() }))),
        _ => Err(unexpected()),
    }
}

/// What is no token is refused now, and not by the provider later. A refresh token may be missing, and not be empty.
fn check_tokens(access: &Secret, refresh: Option<&Secret>) -> Result<()> {
    for (name, token) in [("access_token", Some(access)), ("refresh_token", refresh)] {
        if token.is_some_and(|token| !token.is_sendable()) {
            return Err(Error::invalid(format!(
                "{name} must have 1 to {LONGEST_TOKEN} characters of visible ASCII, and no space around them"
            )));
        }
    }
    Ok(())
}

/// Everything but tokens.
pub async fn details(call: &Call<'_>) -> Result<Response> {
    let who = call.caller(&[Scope::Accounts]).await?;
    let used = used_by_query(call, &who).await?;
    match call.app.accounts.ask(&used.id, Command::View).await? {
        Reply::View { snapshot, external_id, refresh, audit } => {
            let audit: Vec<_> = audit.iter().map(shown).collect();
            let mut account = snapshot.to_json();
            account["external_id"] = json!(external_id);
            account["variables"] = json!(snapshot.variables);
            account["refresh"] = refresh;
            account["audit"] = json!(audit);
            Ok(json_response(200, &json!({ "connected_account": account })))
        }
        _ => Err(unexpected()),
    }
}

fn shown(event: &Event) -> Value {
    let mut line = json!({ "at": timestamp::format(event.at), "event": event.event, "detail": event.detail });
    if let Some(by) = &event.by {
        line["by"] = json!(by);
    }
    if let Some(last) = event.last_at {
        line["count"] = json!(event.count);
        line["last_at"] = json!(timestamp::format(last));
    }
    line
}

/// A command as this caller's own: the audit trail says who asked.
fn by(who: &Who, command: Command) -> Command {
    Command::As { by: who.grant.sub.clone(), command: Box::new(command) }
}

/// The access token.
pub async fn auth(call: &Call<'_>) -> Result<Response> {
    let who = call.caller(&[Scope::Tokens]).await?;
    let used = used_by_query(call, &who).await?;
    let with_refresh_token = who.grant.scope.contains(&Scope::Export);
    let command = Command::Read { by: who.grant.sub.clone(), with_refresh_token };
    let Reply::Tokens { snapshot, refresh_token, variables } =
        call.app.accounts.ask(&used.id, by(&who, command)).await?
    else {
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
    let body = Body::read(call, &["user_verify_url", "state", "fields", "allow_other_account"])?;
    if body.state.is_some() && body.user_verify_url.is_none() {
        return Err(Error::invalid("state goes along to user_verify_url, which is missing"));
    }
    let used = used(call, &who, &body.named()).await?;
    let verify = match &body.user_verify_url {
        Some(url) => {
            if url.len() > LONGEST_URL || body.state.as_ref().is_some_and(|state| state.len() > LONGEST_STATE) {
                let message = format!("user_verify_url takes {LONGEST_URL} bytes at most, and state {LONGEST_STATE}");
                return Err(Error::invalid(message));
            }
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
    let command = Command::Link { birth, verify, fields, other_person: body.allow_other_account };
    match call.app.accounts.ask(&used.id, by(&who, command)).await? {
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
                "fields/{}: a link for {} takes {known}; a secret is typed in by the person, or sent with POST /api/v1/connected_accounts",
                short(name),
                used.connector.name
            );
            return Err(Error::invalid(message));
        };
        let value = crate::paste::understood(used.connector, field, value.reveal());
        if let Some(words) = field_problem(field, &value) {
            return Err(Error::invalid(format!("fields/{name} {words}")));
        }
        fields.insert(name.clone(), value);
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
    call.query.only(&[])?;
    let body: VerifyBody = call.json()?;
    check_identifier(&body.identifier)?;
    let unknown = || Error::invalid("auth_request_id is not one of ours");
    let id = body.auth_request_id.split('.').next().and_then(AccountId::parse).ok_or_else(unknown)?;
    // The signature is checked before the object is woken.
    let ended =
        || Error::invalid("auth_request_id is unknown or older than ten minutes; the user has to connect again");
    crate::ticket::open(crate::ticket::Purpose::Verification, &body.auth_request_id, &call.app.keys, call.app.now())
        .map_err(|_| ended())?;
    if who.connections.is_some() {
        let named = Named { id: Some(id.to_string()), ..Named::default() };
        // One of somebody else's is as unknown as one that never was.
        who.find(call.app, &named, None).await.map_err(|_| ended())?;
    }
    let command = Command::Verify { ticket: body.auth_request_id, identifier: body.identifier };
    match call.app.accounts.ask(&id, by(&who, command)).await? {
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
    let body = Body::read(call, &[])?;
    let used = used(call, &who, &body.named()).await?;
    let Reply::Snapshot(snapshot) = call.app.accounts.ask(&used.id, by(&who, Command::Renew)).await? else {
        return Err(unexpected());
    };
    call.app.isolate.leased.borrow_mut().remove(&used.id);
    Ok(json_response(200, &json!({ "connected_account": snapshot.to_json() })))
}

/// Whether the connection of an account is gone, or another one has its name now.
fn is_without_connection(error: &Error) -> bool {
    matches!(error.code, Code::ConnectionNotFound | Code::ConnectedAccountNotFound)
}

/// Revokes and forgets.
pub async fn disconnect(call: &Call<'_>) -> Result<Response> {
    let who = call.caller(&[Scope::Accounts]).await?;
    let body = Body::read(call, &[])?;
    let id = match used(call, &who, &body.named()).await {
        Ok(used) => used.id,
        // An account outlives its connection, and can still be made to forget its tokens by id.
        Err(error) if is_without_connection(&error) && who.connections.is_none() => {
            let id = body.id.as_deref().and_then(AccountId::parse).ok_or(error)?;
            let Reply::View { snapshot, .. } = call.app.accounts.ask(&id, Command::View).await? else {
                return Err(unexpected());
            };
            let Row { connection_name, connector, identifier, .. } = &snapshot.row;
            body.named().agrees(&id, connection_name, connector, |said| Ok(said == identifier))?;
            id
        }
        Err(error) => return Err(error),
    };
    let reply = call.app.accounts.ask(&id, by(&who, Command::Disconnect)).await?;
    let Reply::Disconnected { snapshot, attempted, succeeded, detail, published } = reply else {
        return Err(unexpected());
    };
    call.app.isolate.leased.borrow_mut().remove(&id);
    // Another isolate may have leased the token a moment ago; when this answers, nobody uses it any more.
    call.app.background.sleep(LEASE).await;
    Ok(json_response(
        200,
        &json!({
            "connected_account": Snapshot::to_json(&snapshot),
            "revocation": { "attempted": attempted, "succeeded": succeeded, "detail": detail },
            "published": published,
            "provider": catalog::find_connector(&snapshot.row.connector).map(|connector| connector.name),
        }),
    ))
}
