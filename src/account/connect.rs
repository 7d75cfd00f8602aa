//! Connecting: from a magic link to a consent or a typed-in credential, and the browser's way back.

use super::command::{Answer, Reply, Verify};
use super::completion::{Asker, Consented};
use super::link::{Link, asked_scopes};
use super::object::Object;
use super::renew;
use super::typed::{self, Secrets};
use super::{Account, Reason, Status};
use crate::catalog::model::{Meaning, Method, OAuth1, OAuth2};
use crate::code::Code;
use crate::connection::Connection;
use crate::digest;
use crate::error::{Error, Result};
use crate::oauth::authorize::{self, Authorize};
use crate::oauth::oauth1::{self, Pair, Signed};
use crate::oauth::token::{self, Refusal};
use crate::oauth::{Client, token::Tokens as NewTokens};
use crate::ports::Millis;
use crate::scrub::Scrub;
use crate::secret::Secret;
use crate::target::{Target, Variables};
use crate::ticket::{self, Purpose, Refused};
use serde::{Deserialize, Serialize};
use url::Url;

/// A consent under way.
#[derive(Serialize, Deserialize)]
struct Flow {
    browser: String,
    /// The PKCE verifier; for OAuth 1.0a the temporary token's secret.
    verifier: Option<String>,
    redirect_uri: String,
    scopes: Vec<String>,
    verify: Option<Verify>,
    /// What the person or the operator said before.
    #[serde(default)]
    variables: Variables,
    pub(super) expires_at: Millis,
    /// The account's epoch when it began.
    #[serde(default)]
    epoch: u32,
    /// Whether it may be somebody else than was connected before.
    #[serde(default)]
    other_person: bool,
}

fn flow_key(state: &str) -> String {
    format!("flow:{}", digest::hash(state))
}

type Failed = (Option<Reason>, Error);

impl Object {
    pub(super) async fn start(
        &self,
        ticket: &str,
        browser: &str,
        redirect_uri: &str,
        fields: &Secrets,
    ) -> Result<Reply> {
        let (account, link) = self.find_link(ticket)?;
        let epoch = account.epoch;
        let connection = self.connection(&account).await?;
        let account = self.still_there(epoch)?;
        let (variables, secrets) = typed::sort(&connection, &link.fields, fields)?;
        let target = Self::target(&connection, &variables)?;
        let scopes = asked_scopes(&account, &connection, &link.more_scopes);
        let state = ticket::issue(Purpose::State, &account.id, &self.world.keys, self.now(), &*self.world.random);
        let auth = &target.connector.auth;
        let (url, verifier) = match (connection.method(target.connector), &auth.oauth2, &auth.oauth1) {
            (Method::ByOAuth2, Some(oauth2), _) => {
                let verifier = oauth2.pkce.then(|| authorize::verifier(&*self.world.random));
                let url = authorize::url(&Authorize {
                    oauth2,
                    url: target.authorize_url()?,
                    client_id: &connection.client_id,
                    redirect_uri,
                    state: &state,
                    scopes: &scopes,
                    needs_refresh_token: link.other_person || !has_refresh_token(&account),
                    verifier: verifier.as_ref(),
                })?;
                (url, verifier)
            }
            (Method::ByOAuth1, _, Some(oauth1)) => {
                let asked = self.ask_oauth1(oauth1, &target, redirect_uri, &state, &scopes).await;
                match asked {
                    Ok((url, secret)) => (url, Some(secret)),
                    Err((reason, error)) => return Err(self.failed(epoch, reason, error).await),
                }
            }
            _ => {
                let browser = digest::hash(browser);
                let typed = self.typed(&account, &connection, variables, &secrets).await;
                return match typed {
                    Ok(typed) => {
                        let Link { verify, other_person, .. } = link;
                        let consented = Consented { verify, epoch, other_person, ..typed };
                        self.complete(consented, &connection, Asker::Browser(browser)).await
                    }
                    Err(error) => {
                        let reason = match error.code {
                            Code::Internal => None,
                            code if code.retryable() => Some(Reason::ProviderUnreachable),
                            _ => Some(Reason::CredentialRefused),
                        };
                        Err(self.failed(epoch, reason, error).await)
                    }
                };
            }
        };
        self.still_there(epoch)?;
        let flow = Flow {
            browser: digest::hash(browser),
            verifier: verifier.map(|verifier| self.seal(&account, "verifier", &verifier)),
            redirect_uri: redirect_uri.to_owned(),
            scopes,
            verify: link.verify,
            variables,
            expires_at: self.now() + Purpose::State.lifetime(),
            epoch,
            other_person: link.other_person,
        };
        self.put_under_way("flow:", &flow_key(&state), &flow, flow.expires_at);
        Ok(Reply::Go { url })
    }

    /// The browser came back. Everything that proves it is the same flow is checked before anything is changed.
    pub(super) async fn finish(
        &self,
        state: &str,
        browser: &str,
        connection_name: &str,
        answer: Answer,
    ) -> Result<Reply> {
        ticket::open(Purpose::State, state, &self.world.keys, self.now()).map_err(state_refused)?;
        let consenting = self.consenting_alone().await;
        let account = self.find().ok_or_else(|| state_refused(Refused::Forged))?;
        let flow: Flow = self.get(&flow_key(state)).ok_or_else(|| {
            flow_error("state_used", "This consent was answered already. Open the link again to start over.")
        })?;
        if self.now() >= flow.expires_at {
            return Err(state_refused(Refused::Expired));
        }
        if account.connection_name != connection_name {
            return Err(flow_error(
                "state_of_another_connection",
                "This answer belongs to another connection. Nothing was changed.",
            ));
        }
        if !digest::same(flow.browser.as_bytes(), digest::hash(browser).as_bytes()) {
            return Err(flow_error(
                "other_browser",
                "This consent was started in another browser, or its cookie is gone. Open the link in the browser you want to use, and stay in it.",
            ));
        }
        self.still_there(flow.epoch)?;
        // From here on the state is spent, whatever happens (RFC 6749 section 10.12).
        self.storage.delete(&flow_key(state));
        let outcome = self.obtain(&account, flow, answer).await;
        drop(consenting);
        outcome
    }

    async fn obtain(&self, account: &Account, flow: Flow, answer: Answer) -> Result<Reply> {
        match self.exchange(account, &flow, answer).await {
            Ok((new, connection)) => {
                let mut variables = flow.variables;
                variables.extend(new.variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
                let expires_at = self.expires_at(account, new.expires_in);
                let tokens = self.sealed(account, &new.access, new.refresh.as_ref(), expires_at);
                let scopes = new.scopes.filter(|scopes| !scopes.is_empty()).unwrap_or(flow.scopes);
                let Flow { verify, epoch, other_person, browser, .. } = flow;
                let consented = Consented { verify, epoch, other_person, ..Consented::of(tokens, scopes, variables) };
                self.complete(consented, &connection, Asker::Browser(browser)).await
            }
            Err((reason, error)) => Err(self.failed(flow.epoch, reason, error).await),
        }
    }

    async fn exchange(
        &self,
        account: &Account,
        flow: &Flow,
        answer: Answer,
    ) -> std::result::Result<(NewTokens, Connection), Failed> {
        let ours = |error: Error| (None, error);
        let connection = self.connection(account).await.map_err(ours)?;
        let target = Self::target(&connection, &flow.variables).map_err(ours)?;
        let verifier = match &flow.verifier {
            Some(sealed) => Some(self.open_sealed(account, "verifier", sealed).map_err(ours)?),
            None => None,
        };
        let auth = &target.connector.auth;
        let tokens = match (connection.method(target.connector), &auth.oauth2, &auth.oauth1) {
            (Method::ByOAuth2, Some(oauth2), _) => {
                self.exchange_code(oauth2, &target, flow, verifier.as_ref(), answer).await?
            }
            (Method::ByOAuth1, _, Some(oauth1)) => {
                self.exchange_oauth1(oauth1, &target, verifier.unwrap_or_default(), answer).await?
            }
            _ => return Err(ours(Error::internal("this connector has no OAuth"))),
        };
        Ok((tokens, connection.clone()))
    }

    async fn exchange_code(
        &self,
        oauth2: &'static OAuth2,
        target: &Target<'_>,
        flow: &Flow,
        verifier: Option<&Secret>,
        answer: Answer,
    ) -> std::result::Result<NewTokens, Failed> {
        let ours = |error: Error| (None, error);
        let authorize_url = target.authorize_url().map_err(ours)?;
        // An endpoint that was moved has another issuer, and nobody says which.
        let issuer = target.connection.endpoints.authorize_url.is_none().then_some(oauth2.issuer);
        check_issuer(&authorize_url, issuer.unwrap_or_default(), answer.iss.as_deref())
            .map_err(|error| (Some(Reason::IssuerMismatch), error))?;
        let client = self.client(target).map_err(ours)?;
        let mut scrub = Scrub::of([&client.secret]);
        for secret in verifier.into_iter().chain(&answer.code) {
            scrub.know(secret);
        }
        if let Some(code) = &answer.error {
            let words = answer.error_description.as_deref();
            let meaning = token::meaning(oauth2, code, words);
            let words = words.map(|words| scrub.text(words));
            return Err(denied(target.connector.name, &scrub.text(code), words.as_deref(), meaning));
        }
        let code = answer.code.filter(|code| !code.reveal().is_empty());
        let code = code.ok_or_else(|| denied(target.connector.name, "no code", None, None))?;
        let url = target.token_url().map_err(ours)?;
        let request = token::exchange(oauth2, url, &client, &code, &flow.redirect_uri, verifier);
        let tokens = match self.world.http.send(request).await {
            Ok(response) => token::read(oauth2, &response, &scrub),
            Err(unanswered) => Err(unanswered.into()),
        };
        tokens.map_err(|refused| {
            let reason = match refused.refusal {
                Refusal::Grant => Reason::CodeRefused,
                Refusal::Client => Reason::ClientRejected,
                Refusal::Redirect => Reason::RedirectUriMismatch,
                Refusal::Request => Reason::AuthorizationFailed,
                Refusal::AdminConsent => Reason::AdminConsentRequired,
                Refusal::RateLimited | Refusal::Broken | Refusal::TimedOut | Refusal::Unreachable => {
                    Reason::ProviderUnreachable
                }
            };
            let mut error = renew::error(target.connector.id, &target.connection.name, &refused);
            if refused.refusal == Refusal::Grant {
                error = Error::new(Code::ProviderInvalidRequest, "the provider did not accept the authorization code")
                    .of(target.connector.id);
            }
            (Some(reason), error)
        })
    }

    /// A temporary token, and where to send the browser with it (RFC 5849 sections 2.1 and 2.2).
    async fn ask_oauth1(
        &self,
        oauth1: &OAuth1,
        target: &Target<'_>,
        redirect_uri: &str,
        state: &str,
        scopes: &[String],
    ) -> std::result::Result<(String, Secret), Failed> {
        let ours = |error: Error| (None, error);
        let callback = format!("{redirect_uri}?state={state}");
        let signed = Signed { token: None, more: ("oauth_callback", &callback), timestamp: self.now() / 1000 };
        let url = target.oauth1_url(oauth1.request_token_url).map_err(ours)?;
        let temporary = self.send_oauth1(target, url, &signed).await?;
        let authorize_url = match &target.connection.endpoints.authorize_url {
            Some(url) => url.clone(),
            None => target.fill(oauth1.authorize_url).map_err(ours)?,
        };
        let mut url = Url::parse(&authorize_url)
            .map_err(|_| ours(Error::internal("the authorize_url of this connection is not a URL")))?;
        url.query_pairs_mut()
            .append_pair("oauth_token", temporary.token.reveal())
            .extend_pairs(oauth1.authorize_params.iter());
        if !oauth1.scope_param.is_empty() && !scopes.is_empty() {
            url.query_pairs_mut().append_pair(oauth1.scope_param, &scopes.join(oauth1.scope_separator));
        }
        Ok((url.into(), temporary.secret))
    }

    /// The final token (RFC 5849 section 2.3).
    async fn exchange_oauth1(
        &self,
        oauth1: &OAuth1,
        target: &Target<'_>,
        secret: Secret,
        answer: Answer,
    ) -> std::result::Result<NewTokens, Failed> {
        let given = |secret: Option<Secret>| secret.filter(|secret| !secret.reveal().is_empty());
        let (Some(token), Some(verifier)) = (given(answer.token), given(answer.verifier)) else {
            return Err(denied(target.connector.name, "access_denied", None, None));
        };
        let temporary = Pair { token, secret };
        let signed = Signed {
            token: Some(&temporary),
            more: ("oauth_verifier", verifier.reveal()),
            timestamp: self.now() / 1000,
        };
        let url = target.oauth1_url(oauth1.access_token_url).map_err(|error| (None, error))?;
        let Pair { token, .. } = self.send_oauth1(target, url, &signed).await?;
        Ok(NewTokens { access: token, refresh: None, expires_in: None, scopes: None, variables: Vec::new() })
    }

    async fn send_oauth1(
        &self,
        target: &Target<'_>,
        url: String,
        signed: &Signed<'_>,
    ) -> std::result::Result<Pair, Failed> {
        let client = self.client(target).map_err(|error| (None, error))?;
        let name = target.connector.name;
        let request = oauth1::request(url, &client, signed, &*self.world.random);
        let failed = |reason, code, words: String| (Some(reason), Error::new(code, words).of(target.connector.id));
        let Ok(answer) = self.world.http.send(request).await else {
            let words = format!("{name} did not answer");
            return Err(failed(Reason::ProviderUnreachable, Code::ProviderUnavailable, words));
        };
        let mut scrub = Scrub::of([&client.secret]);
        if let Some(pair) = signed.token {
            scrub.know(&pair.token).know(&pair.secret).know(&Secret::new(signed.more.1));
        }
        oauth1::read(&answer, &scrub).map_err(|words| match (answer.status, signed.token) {
            (500.., _) => {
                failed(Reason::ProviderUnreachable, Code::ProviderUnavailable, format!("{name} answered {words}"))
            }
            (_, Some(_)) => {
                failed(Reason::CodeRefused, Code::ProviderInvalidRequest, format!("{name} answered {words}"))
            }
            (_, None) => {
                failed(Reason::ClientRejected, Code::ConnectionMisconfigured, format!("{name} answered {words}"))
            }
        })
    }

    /// The client as the provider knows it.
    pub(super) fn client(&self, target: &Target<'_>) -> Result<Client> {
        let secret = target.connection.open_client_secret(&self.world.keys)?;
        Ok(Client { id: target.connection.client_id.clone(), secret })
    }
}

/// Whether a consent to more may come without a refresh token: the account works, and keeps the one it has. It does so for
/// the same person alone, so it must be known who that is.
fn has_refresh_token(account: &Account) -> bool {
    account.status == Status::Active
        && account.external_id.is_some()
        && account.tokens.as_ref().is_some_and(|tokens| tokens.refresh.is_some())
}

/// The failures of the browser's side. `status_reason` is what the page is chosen by.
pub fn flow_error(reason: &str, message: &str) -> Error {
    Error::invalid(message).with(|details| details.status_reason = Some(reason.to_owned()))
}

/// The failure for a `state` that does not open.
pub fn state_refused(refused: Refused) -> Error {
    match refused {
        Refused::Forged => flow_error(
            "state_invalid",
            "The answer of the provider does not belong to a consent that was started here. Nothing was changed.",
        ),
        Refused::Expired => {
            flow_error("state_expired", "The consent took longer than ten minutes. Open the link again to start over.")
        }
    }
}

fn denied(provider: &str, code: &str, description: Option<&str>, meaning: Option<Meaning>) -> Failed {
    let reason = match code {
        _ if meaning == Some(Meaning::MeansAdminConsent) => Reason::AdminConsentRequired,
        _ if meaning == Some(Meaning::MeansTemporary) => Reason::ProviderUnreachable,
        _ if meaning == Some(Meaning::MeansRedirect) => Reason::RedirectUriMismatch,
        _ if meaning == Some(Meaning::MeansClient) => Reason::ClientRejected,
        "access_denied" | "user_cancelled_login" | "consent_denied" => Reason::ConsentDenied,
        "temporarily_unavailable" | "server_error" => Reason::ProviderUnreachable,
        "redirect_uri_mismatch" | "bad_redirect_uri" => Reason::RedirectUriMismatch,
        "unauthorized_client" | "invalid_client" => Reason::ClientRejected,
        _ => Reason::AuthorizationFailed,
    };
    let code: String = code.chars().filter(|c| !c.is_control()).take(100).collect();
    let words: String = description.unwrap_or_default().chars().filter(|c| !c.is_control()).take(300).collect();
    let message = format!("{provider} answered: {code} {words}");
    (Some(reason), Error::new(Code::ProviderPermissionDenied, message.trim_end()))
}

/// RFC 9207: an answer that names its issuer must name this provider: letter by letter the `issuer` that the connector
/// declares, or where it declares none, the same site as the authorization endpoint.
fn check_issuer(authorize_url: &str, issuer: &str, iss: Option<&str>) -> Result<()> {
    let Some(iss) = iss else { return Ok(()) };
    let host = |url: &str| Url::parse(url).ok().map(|url| url.origin());
    let fine = if issuer.is_empty() { host(iss).is_some() && host(iss) == host(authorize_url) } else { iss == issuer };
    if fine {
        return Ok(());
    }
    Err(flow_error(
        "issuer_mismatch",
        "The answer came from another authorization server than the one you were sent to. Nothing was changed.",
    ))
}

#[cfg(test)]
mod tests {
    use super::check_issuer;

    #[test]
    fn an_issuer_is_compared_letter_by_letter_where_it_is_known() {
        let authorize = "https://accounts.google.com/o/oauth2/v2/auth";
        let fine = |issuer, iss| check_issuer(authorize, issuer, iss).is_ok();
        assert!(fine("", None) && fine("https://accounts.google.com", None));
        assert!(fine("", Some("https://accounts.google.com/tenant")));
        assert!(fine("https://accounts.google.com", Some("https://accounts.google.com")));
        for other in ["https://accounts.google.com/", "https://accounts.google.com/tenant", "https://evil.example", ""]
        {
            assert!(!fine("https://accounts.google.com", Some(other)), "{other}");
        }
        assert!(!fine("", Some("https://evil.example")) && !fine("", Some("nonsense")));
    }
}
