//! Connected accounts: one user's authorization on one connection.
//!
//! The truth of an account lives in its Durable Object ([`object::Object`]); KV holds a copy ([`snapshot`]) for the hot
//! path and for lists. Everything here is plain Rust over ports, so a host test can drive it.

pub mod command;
mod completion;
mod connect;
pub use connect::{flow_error, state_refused};
mod create;
mod disconnect;
mod expiry;
mod flight;
pub mod idempotency;
mod identity;
mod lease;
mod leftovers;
mod link;
pub mod object;
mod order;
mod publish;
mod renew;
pub mod snapshot;
mod typed;

use crate::code::Code;
use crate::digest;
use crate::error::{Error, Result};
use crate::ports::Millis;
use crate::target::Variables;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Id of a connected account: `ca_`, 12 characters of its connection's id, 24 of a keyed hash of the identifier.
///
/// It is derived, so that connection and identifier lead to the same Durable Object as the id does, without an index;
/// and it starts with the connection, so that a KV prefix lists one connection's accounts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AccountId(String);

impl AccountId {
    /// Reads an id.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("ca_")?;
        let fine = rest.len() == 36 && rest.bytes().all(|b| b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b));
        fine.then(|| Self(text.to_owned()))
    }

    /// The id of the account with this identifier on a connection, whose salt keys the hash.
    pub fn derive(connection_id: &str, salt: &[u8], identifier: &str) -> Self {
        let mac = digest::hmac(salt, identifier.as_bytes());
        let connection = connection_id.trim_start_matches("conn_");
        Self(format!("ca_{connection}{}", digest::base32(&mac[..15])))
    }

    /// The id of the connection it belongs to.
    pub fn connection_id(&self) -> String {
        format!("conn_{}", &self.0[3..15])
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checks an identifier: the operator's own id of their user, opaque to us.
pub fn check_identifier(identifier: &str) -> Result<()> {
    if identifier.is_empty() || identifier.len() > 256 || identifier.chars().any(char::is_control) {
        return Err(Error::invalid("identifier must have 1 to 256 bytes and no control characters"));
    }
    Ok(())
}

/// Where an account stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// The user has yet to consent.
    PendingAuth,
    /// The user consented; the operator's backend has yet to confirm who it was.
    PendingVerification,
    /// Usable.
    Active,
    /// The provider no longer honours the authorization; the user must connect again.
    Expired,
    /// Disconnected on request; tokens are forgotten.
    Disconnected,
}

/// Why an account has its status. Part of the API: add, never rename.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Nobody has opened the link yet.
    NeverConnected,
    /// The person, or the provider on their behalf, said no.
    ConsentDenied,
    /// The provider reported another failure instead of a code.
    AuthorizationFailed,
    /// The `iss` of the answer is not this provider (RFC 9207).
    IssuerMismatch,
    /// The provider did not accept the code.
    CodeRefused,
    /// The provider did not accept client id or secret.
    ClientRejected,
    /// The provider does not know the redirect URI.
    RedirectUriMismatch,
    /// The provider was down or did not answer.
    ProviderUnreachable,
    /// An administrator of the user's organisation has to approve the application first.
    AdminConsentRequired,
    /// The provider did not accept the credential that was typed in.
    CredentialRefused,
    /// Tokens came, but the account behind them could not be looked up.
    IdentityLookupFailed,
    /// Waiting for `POST …/user/verify`.
    AwaitingVerification,
    /// Verification did not come in time.
    VerificationExpired,
    /// The operator's backend named another user.
    VerificationMismatch,
    /// Connected by the user.
    Connected,
    /// Tokens were imported over the API.
    Imported,
    /// The provider no longer accepts the refresh token.
    RefreshTokenRevoked,
    /// The access token ended and there is no refresh token.
    NoRefreshToken,
    /// The provider refused an access token that cannot be renewed.
    AccessTokenRejected,
    /// Disconnected on request.
    DisconnectedByOperator,
}

impl Reason {
    /// Its name on the wire.
    pub fn name(self) -> String {
        let value = serde_json::to_value(self).unwrap_or_default();
        value.as_str().unwrap_or_default().to_owned()
    }
}

/// The truth of an account, as its Durable Object stores it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// Version of this record.
    pub v: u8,
    /// `ca_…`
    pub id: AccountId,
    /// `conn_…`
    pub connection_id: String,
    /// Name of the connection.
    pub connection_name: String,
    /// Connector id.
    pub connector: String,
    /// The operator's id of the user.
    pub identifier: String,
    /// What the API calls the way it is connected.
    #[serde(default = "by_oauth", skip_serializing_if = "is_by_oauth")]
    pub authorization_type: String,
    /// Where it stands.
    pub status: Status,
    /// Why.
    pub status_reason: Reason,
    /// What it is called at the provider, for people.
    pub label: Option<String>,
    /// The provider's id of it.
    pub external_id: Option<String>,
    /// What URLs need to know of it.
    pub variables: Variables,
    /// Granted scopes.
    pub scopes: Vec<String>,
    /// Its tokens, sealed.
    pub tokens: Option<Tokens>,
    /// How renewing went lately.
    #[serde(default)]
    pub renewal: Renewal,
    /// Where the operator verifies this user; used again when a link to reconnect is made.
    pub user_verify_url: Option<String>,
    /// When it was made.
    pub created_at: Millis,
    /// When it was changed.
    pub updated_at: Millis,
    /// When the user last consented.
    pub connected_at: Option<Millis>,
    /// When a token was last handed out by the object.
    pub last_used_at: Option<Millis>,
    /// Links issued up to this time have ended: the account was connected or disconnected then.
    #[serde(default)]
    pub links_from: Millis,
    /// How often its past was ended: by a consent that was kept, an import, a disconnect, being made anew.
    #[serde(default, skip_serializing_if = "is_first")]
    pub epoch: u32,
    /// Whether KV still has to learn of the last change.
    #[serde(default)]
    pub unpublished: bool,
}

/// What it is while nobody has said otherwise.
pub(crate) fn by_oauth() -> String {
    "OAUTH".into()
}

pub(crate) fn is_by_oauth(authorization_type: &str) -> bool {
    authorization_type == "OAUTH"
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_first(epoch: &u32) -> bool {
    *epoch == 0
}

/// The tokens of an account. All sealed, each for `<account id>/<field>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tokens {
    /// Access token.
    pub access: String,
    /// Refresh token.
    pub refresh: Option<String>,
    /// The refresh token before this one, until this one has worked once.
    pub previous_refresh: Option<String>,
    /// When the access token came.
    pub obtained_at: Millis,
    /// When it ends; none means never.
    pub expires_at: Option<Millis>,
}

/// Tokens that live for less than this are not renewed in the background.
const SHORTEST_PLANNED: Millis = 60_000;

impl Tokens {
    fn lifetime(&self) -> Option<Millis> {
        self.expires_at.map(|at| at.saturating_sub(self.obtained_at))
    }

    /// From when on the access token is not used any more: a tenth of its life, at most 30 s, before its end, because a
    /// request takes time and clocks differ.
    pub fn stale_at(&self) -> Option<Millis> {
        Some(self.expires_at? - (self.lifetime()? / 10).min(30_000))
    }

    /// From when on it is renewed in the background: a fifth of its life, at most five minutes, before its end. A token that
    /// lives for less than a minute is renewed when it is needed and not before: nothing else would be done.
    pub fn renew_at(&self) -> Option<Millis> {
        let lifetime = self.lifetime().filter(|lifetime| *lifetime >= SHORTEST_PLANNED)?;
        Some(self.expires_at? - (lifetime / 5).min(300_000))
    }
}

/// How renewing went lately.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Renewal {
    /// Failures since the last success.
    pub failures: u32,
    /// No attempt before this time.
    pub next_attempt_at: Millis,
    /// The last failure.
    pub last_error: Option<Error>,
    /// When a renewal last worked.
    pub renewed_at: Option<Millis>,
    /// Renewals in a row that a refusal of the token made necessary.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub forced: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// One line of an account's audit trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: Millis,
    /// What: `connected`, `token_read`, `refreshed`, `refused`, `disconnected`, …
    pub event: String,
    /// More, for people; never a secret.
    pub detail: Option<String>,
    /// The caller who asked for it, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// How often it happened, where the same happens again and again.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub count: u32,
    /// The last time, if there was more than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_at: Option<Millis>,
}

fn once() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_once(count: &u32) -> bool {
    *count == 1
}

/// The failure for an account that cannot be used until its user connects again.
pub fn reauthorization_required(account: &Account) -> Error {
    let message = match account.status {
        Status::PendingAuth
            if matches!(account.status_reason, Reason::ClientRejected | Reason::RedirectUriMismatch) =>
        {
            "connecting failed for the settings of the connection; the operator corrects them with PATCH /api/v1/connections/{name}, then the user connects"
        }
        Status::PendingAuth => {
            "the user has not connected this account yet; send them `reauthorizeUrl`, or a link of POST /api/v1/connected_accounts/magic_link (scope accounts)"
        }
        Status::Expired if account.status_reason == Reason::NoRefreshToken => {
            "the access token has ended and the provider gave no refresh token; the user has to connect again"
        }
        Status::Expired if account.status_reason == Reason::AdminConsentRequired => {
            "an administrator of the user's organisation has to approve the application first; then the user connects again"
        }
        Status::PendingVerification => {
            "the user connected, and POST /api/v1/connected_accounts/user/verify has to confirm who it was"
        }
        Status::Disconnected => "this account was disconnected; the user has to connect it again",
        Status::Expired | Status::Active => {
            "the provider no longer accepts this account's authorization; the user has to connect it again"
        }
    };
    Error::new(Code::ReauthorizationRequired, message).of(&account.connector).with(|details| {
        details.status_reason = Some(account.status_reason.name());
        details.retryable = Some(false);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_strictly() {
        let id = AccountId::parse("ca_abcdefghijkl234567abcdefghijklmnopqr").unwrap();
        assert_eq!(id.connection_id(), "conn_abcdefghijkl");
        for wrong in
            ["", "ca_", "ca_ABCDEFGHIJKL234567abcdefghijklmnopqr", "ca_abcdefghijkl234567abcdefghijklmnopqr1", "xx_"]
        {
            assert_eq!(AccountId::parse(wrong), None);
        }
    }

    #[test]
    fn a_token_is_renewed_before_it_is_stale() {
        let tokens = |seconds: u64| Tokens {
            access: String::new(),
            refresh: None,
            previous_refresh: None,
            obtained_at: 0,
            expires_at: Some(seconds * 1000),
        };
        assert_eq!((tokens(3600).renew_at(), tokens(3600).stale_at()), (Some(3_300_000), Some(3_570_000)));
        assert_eq!((tokens(60).renew_at(), tokens(60).stale_at()), (Some(48_000), Some(54_000)));
        assert_eq!((tokens(5).renew_at(), tokens(5).stale_at()), (None, Some(4500)));
    }

    #[test]
    fn reasons_have_the_names_of_the_documentation() {
        assert_eq!(Reason::RefreshTokenRevoked.name(), "refresh_token_revoked");
    }
}
