//! The authorization request: the URL a user's browser is sent to (RFC 6749 section 4.1.1).

use crate::catalog::model::OAuth2;
use crate::digest;
use crate::error::{Error, Result};
use crate::ports::{Random, random};
use crate::secret::Secret;
use oauth2::basic::BasicClient;
use oauth2::{AuthUrl, ClientId, CsrfToken, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl};

/// What goes into an authorization request.
pub struct Authorize<'a> {
    /// The connector's OAuth part.
    pub oauth2: &'a OAuth2,
    /// Authorization endpoint.
    pub url: String,
    /// `client_id`
    pub client_id: &'a str,
    /// `redirect_uri`, exactly as registered.
    pub redirect_uri: &'a str,
    /// `state`
    pub state: &'a str,
    /// Scopes to ask for.
    pub scopes: &'a [String],
    /// Whether a refresh token has to come of it.
    pub needs_refresh_token: bool,
    /// The PKCE verifier, when the connector takes one.
    pub verifier: Option<&'a Secret>,
}

/// A fresh PKCE code verifier: 256 random bits (RFC 7636 section 4.1).
pub fn verifier(source: &dyn Random) -> Secret {
    Secret::new(digest::base64url(&random::<32>(source)))
}

/// The URL.
pub fn url(request: &Authorize<'_>) -> Result<String> {
    let wrong = |what: &str| Error::internal(format!("the {what} of this connection is not a URL"));
    let client = BasicClient::new(ClientId::new(request.client_id.to_owned()))
        .set_auth_uri(AuthUrl::new(request.url.clone()).map_err(|_| wrong("authorize_url"))?)
        .set_redirect_uri(RedirectUrl::new(request.redirect_uri.to_owned()).map_err(|_| wrong("redirect URI"))?);
    let mut builder = client.authorize_url(|| CsrfToken::new(request.state.to_owned()));
    if let Some(verifier) = request.verifier {
        let verifier = PkceCodeVerifier::new(verifier.reveal().to_owned());
        builder = builder.set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier));
    }
    // The crate joins scopes with spaces; some providers want commas, or another parameter.
    for (param, scopes) in grouped(request.oauth2, request.scopes) {
        builder = builder.add_extra_param(param, scopes.join(request.oauth2.scope_separator));
    }
    let more = request.oauth2.refresh_params.iter().filter(|_| request.needs_refresh_token);
    for (name, value) in request.oauth2.authorize_params.iter().chain(more) {
        builder = builder.add_extra_param(*name, *value);
    }
    Ok(builder.url().0.into())
}

/// The scopes by the parameter they go into: those that begin like a group of the connector go, without that, into its own.
fn grouped<'a>(oauth2: &OAuth2, scopes: &'a [String]) -> Vec<(&'static str, Vec<&'a str>)> {
    let mut groups: Vec<(&'static str, Vec<&str>)> = Vec::new();
    for scope in scopes {
        let group = oauth2.scope_groups.iter().find_map(|(start, param)| Some((*param, scope.strip_prefix(start)?)));
        let (param, scope) = group.unwrap_or((oauth2.scope_param, scope));
        match groups.iter_mut().find(|(known, _)| *known == param) {
            Some((_, scopes)) => scopes.push(scope),
            None => groups.push((param, vec![scope])),
        }
    }
    groups
}
