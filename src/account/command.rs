//! What the Worker asks of an account's Durable Object, and what that answers. Both travel as JSON.

use super::snapshot::Snapshot;
use super::{AccountId, Event};
use crate::error::Result;
use crate::ports::Millis;
use crate::secret::Secret;
use crate::target::Variables;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The accounts, each behind its Durable Object.
#[async_trait(?Send)]
pub trait Accounts {
    /// Asks one account.
    async fn ask(&self, id: &AccountId, command: Command) -> Result<Reply>;
}

/// Who an account is: enough to make its record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Birth {
    /// `ca_…`
    pub id: AccountId,
    /// Name of its connection.
    pub connection_name: String,
    /// Connector id.
    pub connector: String,
    /// What the API calls the way it is connected.
    pub authorization_type: String,
    /// The operator's id of the user.
    pub identifier: String,
}

/// Tokens that come over the API instead of by consent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Import {
    /// Access token.
    pub access_token: Secret,
    /// Refresh token.
    pub refresh_token: Option<Secret>,
    /// Granted scopes.
    pub scopes: Vec<String>,
    /// When the access token ends.
    pub expires_at: Option<Millis>,
}

/// Where the operator's backend confirms who connected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verify {
    /// URL the browser is sent to.
    pub url: String,
    /// Opaque text handed back there.
    pub state: Option<String>,
}

/// What the browser brought back from the provider (RFC 6749 section 4.1.2, RFC 9207).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Answer {
    /// `code`
    pub code: Option<Secret>,
    /// `error`
    pub error: Option<String>,
    /// `error_description`
    pub error_description: Option<String>,
    /// `iss`
    pub iss: Option<String>,
    /// `oauth_token` of OAuth 1.0a
    pub token: Option<Secret>,
    /// `oauth_verifier` of OAuth 1.0a
    pub verifier: Option<Secret>,
}

/// A question to an account.
#[expect(missing_docs, reason = "the fields are named by what they are; each variant says what it does")]
#[derive(Serialize, Deserialize)]
pub enum Command {
    /// The same, asked for by a caller: the audit trail says by whom.
    As { by: String, command: Box<Command> },
    /// Make it; fails with `CONFLICT` if it exists. With a credential in `fields` it is connected at once. `other_person`:
    /// whoever was connected before, it may be somebody else.
    Create { birth: Birth, import: Option<Import>, fields: BTreeMap<String, Secret>, other_person: bool },
    /// Everything but tokens.
    View,
    /// A magic link; makes the account when it is new. `other_person` as with `Create`.
    Link { birth: Birth, verify: Option<Verify>, fields: Variables, other_person: bool },
    /// A link that asks for more scopes, for an account that exists.
    Relink { more_scopes: Vec<String> },
    /// What the page behind a magic link shows.
    Open { ticket: String },
    /// The person pressed the button, with what they typed in: where to send the browser, or connected already.
    Start { ticket: String, browser: String, redirect_uri: String, fields: BTreeMap<String, Secret> },
    /// What there is to choose from.
    Choices { ticket: String, browser: String },
    /// The person chose.
    Choose { ticket: String, browser: String, option: usize },
    /// The browser came back.
    Finish { state: String, browser: String, connection_name: String, answer: Answer },
    /// The operator's backend says who it was.
    Verify { ticket: String, identifier: String },
    /// A snapshot with a fresh token. `rejected` is the mark of a token the provider refused; `for_at_least` is how long it should live.
    Lease { rejected: Option<Mark>, for_at_least: Millis },
    /// A snapshot, after renewing if the doubted token (its mark) is still the account's and was had longer ago than that.
    Doubt { token: Mark, older_than: Millis },
    /// As `Lease`, with the refresh token if asked, noted in the audit trail.
    Read { by: String, with_refresh_token: bool },
    /// Renew now, whatever the expiry.
    Renew,
    /// Do what is due: renew if it is time to.
    Nudge,
    /// Seal again what an older key sealed.
    Reseal,
    /// Revoke and forget.
    Disconnect,
    /// Claim an idempotency key for an execution.
    Claim {
        key: String,
        request: String,
        #[serde(default)]
        by: String,
    },
    /// Keep what an idempotency key led to; none gives the key free again. Only the execution that has the claim can.
    Settle {
        key: String,
        #[serde(default)]
        by: String,
        answer: Option<Value>,
    },
}

impl Command {
    /// Whether something may be owed while it is carried out: a copy in KV, an end at the provider. Then the object has to
    /// wake by itself if it is reset meanwhile.
    pub fn may_owe(&self) -> bool {
        match self {
            Self::As { command, .. } => command.may_owe(),
            Self::View
            | Self::Open { .. }
            | Self::Choices { .. }
            | Self::Relink { .. }
            | Self::Claim { .. }
            | Self::Settle { .. } => false,
            _ => true,
        }
    }

    /// Whether it may be asked once more when the first answer was lost on its way. Not, unless it is known that twice is
    /// as good as once: a consent that was answered, a flow that was started, a choice that was made are not.
    pub fn may_repeat(&self) -> bool {
        match self {
            Self::As { command, .. } => command.may_repeat(),
            Self::View
            | Self::Open { .. }
            | Self::Choices { .. }
            | Self::Lease { .. }
            | Self::Doubt { .. }
            | Self::Read { .. }
            | Self::Nudge
            | Self::Reseal
            | Self::Link { .. }
            | Self::Relink { .. }
            // They say which execution they are of.
            | Self::Claim { .. }
            | Self::Settle { .. } => true,
            Self::Create { .. }
            | Self::Start { .. }
            | Self::Choose { .. }
            | Self::Finish { .. }
            | Self::Verify { .. }
            | Self::Renew
            | Self::Disconnect => false,
        }
    }
}

/// A token of an account that is doubted or was refused.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Mark {
    /// Its fingerprint.
    pub token: String,
    /// The epoch it was leased in; none where the copy in KV is of a version that did not say so.
    pub epoch: Option<u32>,
}

/// An account's answer.
#[expect(missing_docs, reason = "the fields are named by what they are; each variant says what it is")]
#[derive(Serialize, Deserialize)]
pub enum Reply {
    /// Nothing more to say.
    Done,
    /// The account.
    Snapshot(Box<Snapshot>),
    /// The account with what else there is to know.
    View { snapshot: Box<Snapshot>, external_id: Option<String>, refresh: Value, audit: Vec<Event> },
    /// A magic link's ticket.
    Link { ticket: String, expires_at: Millis },
    /// What the consent page shows.
    Consent { connection_name: String, scopes: Vec<String>, given: Variables, before: Variables },
    /// The person has to choose: a ticket for that.
    Choose { ticket: String },
    /// What there is to choose from: names, and what tells two of them apart.
    Choices { connection_name: String, connector: String, options: Vec<(String, String)> },
    /// Where to send the browser.
    Go { url: String },
    /// Connected, or waiting for verification.
    Finished { snapshot: Box<Snapshot>, verify_at: Option<String> },
    /// Verified.
    Verified { snapshot: Box<Snapshot> },
    /// Tokens, opened, for callers that may see them.
    Tokens { snapshot: Box<Snapshot>, refresh_token: Option<Secret>, variables: Variables },
    /// Nothing of an older key is left: whether there was any, and whether KV has it.
    Resealed { changed: bool, published: bool },
    /// Disconnected.
    Disconnected { snapshot: Box<Snapshot>, attempted: bool, succeeded: bool, detail: String, published: bool },
    /// The key is new: go ahead.
    Claimed,
    /// The key was used: this was the answer.
    Settled { answer: Value },
}

impl Reply {
    /// The account as it is now, where an answer tells.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        match self {
            Self::Snapshot(snapshot)
            | Self::View { snapshot, .. }
            | Self::Finished { snapshot, .. }
            | Self::Verified { snapshot }
            | Self::Tokens { snapshot, .. }
            | Self::Disconnected { snapshot, .. } => Some(snapshot),
            _ => None,
        }
    }
}
