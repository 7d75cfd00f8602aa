//! The copy of an account in KV: public fields, variables and the sealed access token, and a row for lists.

use super::{Account, AccountId, Reason, Status};
use crate::error::Error;
use crate::keys::Keys;
use crate::ports::Millis;
use crate::secret::Secret;
use crate::target::Variables;
use crate::timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What KV holds of an account under `account:<id>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Version of this record.
    pub v: u8,
    /// What lists show, too.
    #[serde(flatten)]
    pub row: Row,
    /// Granted scopes.
    pub scopes: Vec<String>,
    /// What URLs need to know of it.
    pub variables: Variables,
    /// The access token, sealed; none unless the account is active.
    pub access: Option<String>,
    /// From when on the access token is not used any more.
    pub stale_at: Option<Millis>,
    /// From when on it should be renewed in the background.
    pub renew_at: Option<Millis>,
    /// The account's epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u32>,
}

/// The part of a snapshot that is the KV metadata as well, at most 1024 bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// `ca_…`
    pub id: AccountId,
    /// Name of the connection.
    pub connection_name: String,
    /// Connector id.
    pub connector: String,
    /// The operator's id of the user.
    pub identifier: String,
    /// What the API calls the way it is connected.
    #[serde(default = "super::by_oauth", skip_serializing_if = "super::is_by_oauth")]
    pub authorization_type: String,
    /// Where it stands.
    pub status: Status,
    /// Why.
    pub status_reason: Reason,
    /// What it is called at the provider.
    pub label: Option<String>,
    /// When the access token ends.
    pub expires_at: Option<Millis>,
    /// When the account was made.
    pub created_at: Millis,
    /// When it was changed.
    pub updated_at: Millis,
    /// When a token was last handed out by the object.
    pub last_used_at: Option<Millis>,
}

/// Bytes of metadata that KV takes.
const MOST_METADATA: usize = 1024;
/// Bytes of a label in JSON.
const LONGEST_LABEL: usize = 180;

/// Bytes of a text in JSON, without its quotes.
fn text_length(text: &str) -> usize {
    json!(text).to_string().len() - 2
}

/// KV key of an account, or with a connection's id the prefix of its accounts.
pub fn key(id: &str) -> String {
    format!("account:{id}")
}

impl Snapshot {
    /// The snapshot of an account.
    pub fn of(account: &Account) -> Self {
        let tokens = account.tokens.as_ref().filter(|_| account.status == Status::Active);
        Self {
            v: 1,
            row: Row {
                id: account.id.clone(),
                connection_name: account.connection_name.clone(),
                connector: account.connector.clone(),
                identifier: account.identifier.clone(),
                authorization_type: account.authorization_type.clone(),
                status: account.status,
                status_reason: account.status_reason,
                label: account.label.as_deref().map(|label| shortened(label, LONGEST_LABEL)),
                expires_at: tokens.and_then(|tokens| tokens.expires_at),
                created_at: account.created_at,
                updated_at: account.updated_at,
                last_used_at: account.last_used_at,
            },
            scopes: account.scopes.clone(),
            variables: account.variables.clone(),
            access: tokens.map(|tokens| tokens.access.clone()),
            stale_at: tokens.and_then(super::Tokens::stale_at),
            renew_at: tokens.and_then(super::Tokens::renew_at),
            epoch: Some(account.epoch),
        }
    }

    /// Whether its token can be used now.
    pub fn is_fresh(&self, now: Millis) -> bool {
        self.row.status == Status::Active && self.access.is_some() && self.stale_at.is_none_or(|at| now < at)
    }

    /// Whether its token should be renewed soon.
    pub fn is_ageing(&self, now: Millis) -> bool {
        self.renew_at.is_some_and(|at| now >= at)
    }

    /// The access token, opened.
    pub fn open(&self, keys: &Keys) -> Result<Secret, Error> {
        let sealed = self.access.as_deref().unwrap_or_default();
        keys.open(&format!("{}/access", self.row.id), sealed)
    }

    /// The account as the API shows it.
    pub fn to_json(&self) -> Value {
        let mut json = self.row.to_json();
        json["scopes"] = json!(self.scopes);
        json
    }
}

/// As much of a text as takes so many bytes in JSON, without control characters.
fn shortened(text: &str, bytes: usize) -> String {
    let mut left = bytes;
    let fits = |c: &char| {
        let taken = if matches!(c, '"' | '\\') { 2 } else { c.len_utf8() };
        let fits = left >= taken;
        left = left.saturating_sub(taken);
        fits
    };
    text.chars().filter(|c| !c.is_control()).take_while(fits).collect()
}

impl Row {
    /// As the metadata of a KV key. It always fits: what people are called is shortened as far as needed.
    pub fn metadata(&self) -> String {
        let text = |row: &Self| serde_json::to_string(row).expect("a row is plain data");
        let whole = text(self);
        let Some(surplus) = whole.len().checked_sub(MOST_METADATA).filter(|surplus| *surplus > 0) else { return whole };
        let mut row = self.clone();
        let cut = |part: &str| shortened(part, text_length(part).saturating_sub(surplus));
        row.label = row.label.as_deref().map(cut).filter(|label| !label.is_empty());
        let shorter = text(&row);
        let Some(surplus) = shorter.len().checked_sub(MOST_METADATA) else { return shorter };
        row.identifier = shortened(&row.identifier, text_length(&row.identifier).saturating_sub(surplus));
        text(&row)
    }

    /// The account as lists show it.
    pub fn to_json(&self) -> Value {
        json!({
            "id": self.id,
            "identifier": self.identifier,
            "connection_id": self.id.connection_id(),
            "connection_name": self.connection_name,
            "connector": self.connector,
            "provider": self.connector,
            "authorization_type": self.authorization_type,
            "status": self.status,
            "status_reason": self.status_reason,
            "label": self.label,
            "token_expires_at": self.expires_at.map(timestamp::format),
            "created_at": timestamp::format(self.created_at),
            "updated_at": timestamp::format(self.updated_at),
            "last_used_at": self.last_used_at.map(timestamp::format),
        })
    }
}
