//! `GET /api/v1/connected_accounts`: from filters to rows. An account that is named by its identifier is read and not
//! looked for; everything else is read in the order of KV, a page of keys at a time.

use crate::account::AccountId;
use crate::account::command::{Command, Reply};
use crate::account::snapshot::{self, Row, Snapshot};
use crate::account::{Status, check_identifier};
use crate::app::Known;
use crate::caller::Scope;
use crate::code::Code;
use crate::connection;
use crate::error::{Error, Result, short};
use crate::http::{Call, Who, json_response};
use crate::ports::Response;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::rc::Rc;

/// The most connections that can be named in one request.
pub const MOST_NAMES: usize = 20;
/// The most connections in which an identifier without a connection is looked up at once.
pub const MOST_CONNECTIONS: u32 = 100;
/// Keys that KV lists at a time, and how often one request asks it.
const KEYS: u32 = 1_000;
/// Pages of keys that one request reads at most; then the caller is asked to go on.
pub const MOST_PAGES: usize = 4;

/// What rows have to be like.
struct Filter<'a> {
    connector: Option<&'a str>,
    identifier: Option<&'a str>,
    status: Option<Status>,
}

impl Filter<'_> {
    fn fits(&self, row: &Row) -> bool {
        self.connector.is_none_or(|wanted| row.connector == wanted || row.connection_name == wanted)
            && self.identifier.is_none_or(|wanted| row.identifier == wanted)
            && self.status.is_none_or(|wanted| row.status == wanted)
    }
}

/// Where rows come from, one after the other.
enum Source {
    /// These connections' accounts of one identifier.
    Named(Vec<Rc<Known>>),
    /// All accounts of a connection.
    Of(String),
    /// All accounts, but not of connections that were looked through before.
    Others(Vec<String>),
}

/// Where a list goes on: in which source, after which page of keys, and after how many of its rows.
#[derive(Default, Serialize, Deserialize)]
struct Place {
    source: usize,
    cursor: Option<String>,
    skip: usize,
}

/// Lists accounts.
pub async fn list(call: &Call<'_>) -> Result<Response> {
    let who = call.caller(&[Scope::Accounts]).await?;
    let query = &call.query;
    query.only_with(
        &["connector", "provider", "identifier", "status", "page_size", "page_token", "organization_id", "user_id"],
        &["connection_name", "connection_names"],
    )?;
    query.not(&["organization_id", "user_id"])?;
    let status = query.get("status").map(|text| {
        serde_json::from_value::<Status>(json!(text)).map_err(|_| {
            let known = "PENDING_AUTH, PENDING_VERIFICATION, ACTIVE, EXPIRED, DISCONNECTED";
            Error::invalid(format!("no status `{}`; there are {known}", short(text)))
        })
    });
    let filter = Filter {
        connector: query.any(&["provider", "connector"])?,
        identifier: query.get("identifier"),
        status: status.transpose()?,
    };
    let size = query.page_size(50, 100)? as usize;
    let sources = sources(call, &who, filter.identifier).await?;
    let start = call.page_token(&who)?;
    let is_first = start.is_none();
    let start = start.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let (rows, next) = read(call, &sources, &filter, size, start).await?;
    let total = (is_first && next.is_none()).then_some(rows.len());
    let next = next.map(|place| json!(place).to_string());
    let rows: Vec<_> = rows.iter().map(Row::to_json).collect();
    let body =
        json!({ "connected_accounts": rows, "next_page_token": call.next_page_token(&who, next), "total_size": total });
    Ok(json_response(200, &body))
}

async fn sources(call: &Call<'_>, who: &Who, identifier: Option<&str>) -> Result<Vec<Source>> {
    if let Some(identifier) = identifier {
        check_identifier(identifier)?;
    }
    let named = call.query.all(&["connection_name", "connection_names"])?;
    if named.len() > MOST_NAMES {
        return Err(Error::invalid(format!("connection_names takes at most {MOST_NAMES} names")));
    }
    let mut known = Vec::new();
    for name in &named {
        who.may_use(name)?;
        known.push(call.app.connection(name).await?);
    }
    // A caller that is limited to some connections lists these, as if it had named them.
    let own = who.connections.as_ref().filter(|_| named.is_empty());
    let all = match own {
        Some(own) => Some(own.clone()),
        None if named.is_empty() && identifier.is_some() => Some(first_connections(call).await?),
        None => None,
    };
    for name in all.into_iter().flatten() {
        match call.app.connection(&name).await {
            Ok(found) => known.push(found),
            Err(error) if error.code == Code::ConnectionNotFound => {}
            Err(error) => return Err(error),
        }
    }
    let prefix = |known: &Rc<Known>| format!("ca_{}", known.connection.id.trim_start_matches("conn_"));
    let is_whole = named.is_empty() && own.is_none();
    Ok(match (identifier, is_whole) {
        (Some(_), false) => vec![Source::Named(known)],
        // Accounts outlive their connection; without it they can only be looked for.
        (Some(_), true) => {
            let looked_through = known.iter().map(|known| known.connection.id.clone()).collect();
            vec![Source::Named(known), Source::Others(looked_through)]
        }
        (None, false) => known.iter().map(|known| Source::Of(prefix(known))).collect(),
        (None, true) => vec![Source::Others(Vec::new())],
    })
}

async fn first_connections(call: &Call<'_>) -> Result<Vec<String>> {
    let page = call.app.config.list(&connection::key(""), MOST_CONNECTIONS, None).await?;
    Ok(page.keys.iter().map(|(key, _)| key.trim_start_matches(&connection::key("")).to_owned()).collect())
}

/// Rows from a place on, and the place where the next ones are.
async fn read(
    call: &Call<'_>,
    sources: &[Source],
    filter: &Filter<'_>,
    size: usize,
    mut place: Place,
) -> Result<(Vec<Row>, Option<Place>)> {
    let mut rows = Vec::new();
    let mut pages = 0;
    while let Some(source) = sources.get(place.source) {
        if rows.len() == size || pages == MOST_PAGES {
            return Ok((rows, Some(place)));
        }
        let (found, cursor) = match source {
            Source::Named(known) => (look_up(call, known, filter.identifier.unwrap_or_default()).await?, None),
            Source::Of(prefix) => keys(call, prefix, place.cursor.as_deref(), &[], &mut pages).await?,
            Source::Others(but) => keys(call, "ca_", place.cursor.as_deref(), but, &mut pages).await?,
        };
        let all = found.len();
        for (at, row) in found.into_iter().enumerate().skip(place.skip) {
            if rows.len() == size {
                place.skip = at;
                break;
            }
            place.skip = at + 1;
            if filter.fits(&row) {
                rows.push(row);
            }
        }
        if place.skip >= all {
            let source = if cursor.is_some() { place.source } else { place.source + 1 };
            place = Place { source, cursor, skip: 0 };
        }
    }
    Ok((rows, None))
}

/// One read for each connection, however many accounts it has: the id is derived. What KV does not have the account
/// itself knows, if there is one: it may just have been made.
async fn look_up(call: &Call<'_>, known: &[Rc<Known>], identifier: &str) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for known in known {
        let id = known.account_id(identifier, &call.app.keys)?;
        rows.extend(match from_kv(call, &snapshot::key(id.as_str())).await? {
            Some(row) => Some(row),
            None if known_alone(call) => from_account(call, &id).await?,
            None => None,
        });
    }
    Ok(rows)
}

/// Whether connections were named: only then are accounts asked that KV knows nothing of, since each one asked is woken.
fn known_alone(call: &Call<'_>) -> bool {
    call.query.get("connection_name").or(call.query.get("connection_names")).is_some()
}

async fn from_kv(call: &Call<'_>, key: &str) -> Result<Option<Row>> {
    let text = call.app.snapshots.get(key).await?;
    Ok(text.and_then(|text| serde_json::from_str::<Snapshot>(&text).ok()).map(|snapshot| snapshot.row))
}

async fn from_account(call: &Call<'_>, id: &AccountId) -> Result<Option<Row>> {
    match call.app.accounts.ask(id, Command::View).await {
        Ok(Reply::View { snapshot, .. }) => Ok(Some(snapshot.row)),
        Ok(_) => Err(crate::access::unexpected()),
        Err(error) if error.code == Code::ConnectedAccountNotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A page of keys below a prefix, without the accounts of some connections.
async fn keys(
    call: &Call<'_>,
    prefix: &str,
    cursor: Option<&str>,
    but: &[String],
    pages: &mut usize,
) -> Result<(Vec<Row>, Option<String>)> {
    *pages += 1;
    let page = call.app.snapshots.list(&snapshot::key(prefix), KEYS, cursor).await?;
    let mut rows = Vec::new();
    for (key, metadata) in &page.keys {
        let read = metadata.as_deref().and_then(|text| serde_json::from_str::<Row>(text).ok());
        // A row that cannot be read is still an account; its value says the same at more length.
        let row = if read.is_some() { read } else { from_kv(call, key).await? };
        rows.extend(row.filter(|row| !but.contains(&row.id.connection_id())));
    }
    Ok((rows, page.cursor))
}
