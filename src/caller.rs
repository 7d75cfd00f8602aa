//! Callers: agents and backends that authenticate to us with client credentials (RFC 6749 section 4.4).

pub mod throttle;

use crate::code::Code;
use crate::digest;
use crate::error::{Error, Result};
use crate::keys::Keys;
use crate::ports::{Millis, Random, Store, random};
use crate::secret::Secret;
use serde::{Deserialize, Serialize};

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Connected accounts and magic links.
    Accounts,
    /// List and execute tools, proxy.
    Tools,
    /// Read access tokens.
    Tokens,
    /// Read refresh tokens.
    Export,
    /// Connections and callers.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 5] = [Self::Accounts, Self::Tools, Self::Tokens, Self::Export, Self::Admin];

    /// Its name in requests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accounts => "accounts",
            Self::Tools => "tools",
            Self::Tokens => "tokens",
            Self::Export => "export",
            Self::Admin => "admin",
        }
    }

    /// The scope of a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

/// What is stored of a caller, in KV.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// Version of this record.
    pub v: u8,
    /// OAuth client id.
    pub client_id: String,
    /// SHA-256 of the secret, which has 256 random bits and so needs no slow hash.
    pub secret_hash: String,
    /// The operator's name for it.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// The connections it may use; none means all.
    pub connections: Option<Vec<String>>,
    /// When it was made.
    pub created_at: Millis,
}

/// Whether a text can be a client id of ours. What cannot be one is not looked up.
pub fn is_id(text: &str) -> bool {
    let letters = text.strip_prefix("vkc_").unwrap_or_default();
    letters.len() == 24 && letters.bytes().all(|b| b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b))
}

/// KV key of a caller.
pub fn key(client_id: &str) -> String {
    format!("caller:{client_id}")
}

/// Reads a caller.
pub async fn find(store: &dyn Store, client_id: &str) -> Result<Option<Caller>> {
    let Some(text) = store.get(&key(client_id)).await? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|error| Error::internal(format!("a caller cannot be read: {error}")))
}

impl Caller {
    /// A new caller and its secret, which is shown this once.
    pub fn create(
        name: &str,
        scopes: Vec<Scope>,
        connections: Option<Vec<String>>,
        now: Millis,
        source: &dyn Random,
    ) -> (Self, Secret) {
        let secret = Secret::new(format!("vks_{}", digest::base64url(&random::<32>(source))));
        let caller = Self {
            v: 1,
            client_id: format!("vkc_{}", digest::base32(&random::<15>(source))),
            secret_hash: digest::hash(secret.reveal()),
            name: name.to_owned(),
            scopes,
            connections,
            created_at: now,
        };
        (caller, secret)
    }

    /// Whether this is its secret.
    pub fn knows(&self, secret: &Secret) -> bool {
        digest::same(digest::hash(secret.reveal()).as_bytes(), self.secret_hash.as_bytes())
    }
}

/// Seconds a caller's token lives.
pub const TOKEN_LIFETIME: u64 = 3600;
const PURPOSE: &str = "caller";

/// Who calls: what a bearer token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Client id.
    pub sub: String,
    /// What the token allows.
    pub scope: Vec<Scope>,
    /// Seconds since 1970 at which it ends.
    pub exp: u64,
}

impl Grant {
    /// The bearer token: the grant as base64url JSON, and a signature. No look-up is needed to check it.
    pub fn to_token(&self, keys: &Keys) -> Secret {
        let text = digest::base64url(&serde_json::to_vec(self).expect("a grant is plain data"));
        let signature = keys.sign(PURPOSE, &text);
        Secret::new(format!("vkt_{text}.{signature}"))
    }

    /// Reads and checks a bearer token.
    pub fn from_token(token: &str, keys: &Keys, now: Millis) -> Result<Self> {
        let refused = |message: &str| Error::new(Code::Unauthenticated, message);
        let read = || {
            let (text, signature) = token.strip_prefix("vkt_")?.rsplit_once('.')?;
            keys.is_signed(PURPOSE, text, signature).then_some(())?;
            crate::json::parse::<Self>(&digest::from_base64(text)?).ok()
        };
        let grant = read()
            .ok_or_else(|| refused("the bearer token is not one of this deployment; get one from POST /oauth/token"))?;
        if now / 1000 >= grant.exp {
            return Err(refused("the bearer token has expired; get a new one from POST /oauth/token"));
        }
        Ok(grant)
    }

    /// Fails when the token has none of these scopes.
    pub fn require(&self, scopes: &[Scope]) -> Result<()> {
        if scopes.iter().any(|scope| self.scope.contains(scope)) {
            return Ok(());
        }
        let names = |scopes: &[Scope]| scopes.iter().map(|scope| scope.name()).collect::<Vec<_>>().join(", ");
        let any = if scopes.len() > 1 { "one of the scopes" } else { "the scope" };
        let message = format!("this needs a token with {any} {}; yours has {}", names(scopes), names(&self.scope));
        Err(Error::new(Code::PermissionDenied, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::tests::Counting;

    #[test]
    fn a_token_says_who_calls_until_it_ends() {
        let keys = Keys::parse("k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").ok().unwrap();
        let grant = Grant { sub: "vkc_a".into(), scope: vec![Scope::Tools], exp: 100 };
        let token = grant.to_token(&keys);
        assert_eq!(Grant::from_token(token.reveal(), &keys, 99_999), Ok(grant.clone()));
        assert!(Grant::from_token(token.reveal(), &keys, 100_000).is_err());
        assert!(Grant::from_token(&format!("{}x", token.reveal()), &keys, 0).is_err());
        assert!(Grant::from_token("vkt_.", &keys, 0).is_err());
        assert!(grant.require(&[Scope::Tools]).is_ok() && grant.require(&[Scope::Admin]).is_err());
    }

    #[test]
    fn a_caller_knows_its_secret_alone() {
        let (caller, secret) = Caller::create("agent", vec![], None, 0, &Counting(0.into()));
        assert!(is_id(&caller.client_id) && !is_id("vkc_") && !is_id(secret.reveal()));
        assert!(caller.knows(&secret) && !caller.knows(&Secret::new("vks_")));
    }
}
