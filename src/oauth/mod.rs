//! OAuth 2.0 as a client (RFC 6749, 7636, 7009, 9207): requests are built and answers are read here; nothing is sent.
//!
//! The `oauth2` crate gives PKCE and the authorization URL. Its token exchange is not used, because it refuses what real
//! providers answer (docs/decisions/0004-oauth2-crate.md).

pub mod authorize;
pub mod jwt;
pub mod oauth1;
pub mod revoke;
pub mod token;

use crate::secret::Secret;

/// The client as the provider knows it.
pub struct Client {
    /// `client_id`
    pub id: String,
    /// `client_secret`; empty for a public client.
    pub secret: Secret,
}
