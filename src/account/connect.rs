//! Connecting: magic link, consent, code exchange, look-ups, verification.

use super::command::{Answer, Reply, Verify};
use super::link::asked_scopes;
use super::object::{Object, PENDING};
use super::renew;
use super::snapshot::Snapshot;
use super::{Account, Reason, Renewal, Status, Tokens};
use crate::code::Code;
use crate::connection::Connection;
use crate::digest;
use crate::error::{Error, Result};
use crate::oauth::authorize::{self, Authorize};
use crate::oauth::token::{self, Refusal};
use crate::oauth::{Client, token::Tokens as NewTokens};
use crate::ports::Millis;
use crate::target::Variables;
use crate::ticket::{self, Purpose, Refused};
use serde::{Deserialize, Serialize};
use url::Url;

/// A consent under way.
#[derive(Serialize, Deserialize)]
struct Flow {
    browser: String,
    verifier: Option<String>,
    redirect_uri: String,
    scopes: Vec<String>,
    verify: Option<Verify>,
    pub(super) expires_at: Millis,
}

/// What was consented to and waits for the operator's word.
#[derive(Serialize, Deserialize)]
pub(super) struct Pending {
    ticket: String,
    tokens: Tokens,
    scopes: Vec<String>,
    variables: Variables,
    pub(super) expires_at: Millis,
}

fn flow_key(state: &str) -> String {
    format!("flow:{}", digest::hash(state))
}

impl Object {
    pub(super) async fn start(&self, ticket: &str, browser: &str, redirect_uri: &str) -> Result<Reply> {
        let (account, link) = self.find_link(ticket)?;
        let connection = self.connection(&account).await?;
        let target = Self::target(&connection, &account.variables)?;
        let Some(oauth2) = &target.connector.auth.oauth2 else {
            return Err(Error::internal(format!("{} is not connected by OAuth", target.connector.name)));
        };
        let state = ticket::issue(Purpose::State, &account.id, &self.world.keys, self.now(), &*self.world.random);
        let verifier = oauth2.pkce.then(|| authorize::verifier(&*self.world.random));
        let scopes = asked_scopes(&account, &connection, &link.more_scopes);
        let url = authorize::url(&Authorize {
            oauth2,
            url: target.authorize_url()?,
            client_id: &connection.client_id,
            redirect_uri,
            state: &state,
            scopes: &scopes,
            verifier: verifier.as_ref(),
        })?;
        let flow = Flow {
            browser: digest::hash(browser),
            verifier: verifier.map(|verifier| self.seal(&account, "verifier", &verifier)),
            redirect_uri: redirect_uri.to_owned(),
            scopes,
            verify: link.verify,
            expires_at: self.now() + Purpose::State.lifetime(),
        };
        self.put(&flow_key(&state), &flow);
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
        // From here on the state is spent, whatever happens (RFC 6749 section 10.12).
        self.storage.delete(&flow_key(state));
        let outcome = self.exchange(&account, &flow, answer).await;
        match outcome {
            Ok((new, connection)) => self.connected(new, &flow, &connection).await,
            Err((reason, error)) => Err(self.failed(reason, error).await),
        }
    }

    async fn exchange(
        &self,
        account: &Account,
        flow: &Flow,
        answer: Answer,
    ) -> std::result::Result<(NewTokens, Connection), (Option<Reason>, Error)> {
        let ours = |error: Error| (None, error);
        let connection = self.connection(account).await.map_err(ours)?;
        let target = Self::target(&connection, &account.variables).map_err(ours)?;
        let authorize_url = target.authorize_url().map_err(ours)?;
        check_issuer(&authorize_url, answer.iss.as_deref()).map_err(|error| (Some(Reason::IssuerMismatch), error))?;
        if let Some(code) = &answer.error {
            return Err(denied(target.connector.name, code, answer.error_description.as_deref()));
        }
        let code = answer.code.filter(|code| !code.reveal().is_empty());
        let code = code.ok_or_else(|| denied(target.connector.name, "no code", None))?;
        let Some(oauth2) = &target.connector.auth.oauth2 else {
            return Err(ours(Error::internal("this connector has no OAuth")));
        };
        let secret = connection.open_client_secret(&self.world.keys).map_err(ours)?;
        let client = Client { id: connection.client_id.clone(), secret };
        let verifier = match &flow.verifier {
            Some(sealed) => Some(self.open_sealed(account, "verifier", sealed).map_err(ours)?),
            None => None,
        };
        let url = target.token_url().map_err(ours)?;
        let request = token::exchange(oauth2, url, &client, &code, &flow.redirect_uri, verifier.as_ref());
        let tokens = match self.world.http.send(request).await {
            Ok(response) => token::read(oauth2, &response),
            Err(unanswered) => Err(unanswered.into()),
        };
        match tokens {
            Ok(tokens) => Ok((tokens, connection.clone())),
            Err(refused) => {
                let reason = match refused.refusal {
                    Refusal::Grant => Reason::CodeRefused,
                    Refusal::Client => Reason::ClientRejected,
                    Refusal::Redirect => Reason::RedirectUriMismatch,
                    Refusal::Request => Reason::AuthorizationFailed,
                    Refusal::RateLimited | Refusal::Broken | Refusal::TimedOut | Refusal::Unreachable => {
                        Reason::ProviderUnreachable
                    }
                };
                let mut error = renew::error(target.connector.id, &refused);
                if refused.refusal == Refusal::Grant {
                    error =
                        Error::new(Code::ProviderInvalidRequest, "the provider did not accept the authorization code")
                            .of(target.connector.id);
                }
                Err((Some(reason), error))
            }
        }
    }

    /// Tokens are here. Looks up what is missing, stores, publishes.
    async fn connected(&self, new: NewTokens, flow: &Flow, connection: &Connection) -> Result<Reply> {
        let mut variables: Variables =
            new.variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        if let Err(error) = self.look_up(&new.access, connection, &mut variables).await {
            return Err(self.failed(Some(Reason::IdentityLookupFailed), error).await);
        }
        let mut account = self.load()?;
        let expires_at = self.expires_at(&account, new.expires_in);
        let mut tokens = self.sealed(&account, &new.access, new.refresh.as_ref(), expires_at);
        // Some providers give a refresh token with the first consent alone: the one of the same person is kept.
        let same_person = account.external_id.is_some() && account.external_id.as_ref() == variables.get("external_id");
        if tokens.refresh.is_none() && same_person {
            tokens.refresh = account.tokens.as_ref().and_then(|before| before.refresh.clone());
        }
        let scopes = new.scopes.filter(|scopes| !scopes.is_empty()).unwrap_or_else(|| flow.scopes.clone());
        if let Some(verify) = &flow.verify {
            return self.wait_for_verification(account, tokens, scopes, variables, verify).await;
        }
        self.activate(&mut account, tokens, scopes, variables);
        self.note("connected", account.label.clone());
        self.publish().await;
        Ok(Reply::Finished { snapshot: Box::new(Snapshot::of(&account)), verify_at: None })
    }

    fn activate(&self, account: &mut Account, tokens: Tokens, scopes: Vec<String>, mut variables: Variables) {
        account.label = variables.remove("label");
        account.external_id = variables.remove("external_id");
        account.tokens = Some(tokens);
        account.scopes = scopes;
        account.variables = variables;
        account.status = Status::Active;
        account.status_reason = Reason::Connected;
        account.renewal = Renewal::default();
        account.connected_at = Some(self.now());
        account.last_used_at = Some(self.now());
        account.links_from = self.now();
        for (key, _) in self.storage.list("link:") {
            self.storage.delete(&key);
        }
        self.save(account);
    }

    async fn wait_for_verification(
        &self,
        mut account: Account,
        tokens: Tokens,
        scopes: Vec<String>,
        variables: Variables,
        verify: &Verify,
    ) -> Result<Reply> {
        let ticket =
            ticket::issue(Purpose::Verification, &account.id, &self.world.keys, self.now(), &*self.world.random);
        let expires_at = self.now() + Purpose::Verification.lifetime();
        let pending = Pending { ticket: digest::hash(&ticket), tokens, scopes, variables, expires_at };
        self.put(PENDING, &pending);
        // An account that works goes on working with what it has until the new consent is confirmed.
        if account.status != Status::Active {
            account.status = Status::PendingVerification;
            account.status_reason = Reason::AwaitingVerification;
            self.save(&mut account);
        }
        self.note("verification_requested", None);
        self.publish().await;
        let mut url = Url::parse(&verify.url).map_err(|_| Error::internal("user_verify_url is not a URL"))?;
        url.query_pairs_mut().append_pair("auth_request_id", &ticket);
        if let Some(state) = &verify.state {
            url.query_pairs_mut().append_pair("state", state);
        }
        Ok(Reply::Finished { snapshot: Box::new(Snapshot::of(&account)), verify_at: Some(url.into()) })
    }

    pub(super) async fn verify(&self, ticket: &str, identifier: &str) -> Result<Reply> {
        let refused = |message: &str| Error::invalid(message);
        let opened = ticket::open(Purpose::Verification, ticket, &self.world.keys, self.now());
        opened.map_err(|_| {
            refused("auth_request_id is unknown or older than ten minutes; the user has to connect again")
        })?;
        let mut account = self.load()?;
        let pending: Option<Pending> = self.get(PENDING);
        let pending =
            pending.filter(|pending| digest::same(pending.ticket.as_bytes(), digest::hash(ticket).as_bytes()));
        let pending =
            pending.ok_or_else(|| refused("auth_request_id was used already, or a newer consent replaced it"))?;
        self.storage.delete(PENDING);
        if account.identifier != identifier {
            if account.status == Status::PendingVerification {
                account.status = Status::PendingAuth;
                account.status_reason = Reason::VerificationMismatch;
                self.save(&mut account);
            }
            self.note("verification_mismatch", None);
            self.publish().await;
            let message = "identifier is not the one this account was made for; the consent was dropped";
            return Err(Error::new(Code::PermissionDenied, message).of(&account.connector));
        }
        self.activate(&mut account, pending.tokens, pending.scopes, pending.variables);
        self.note("connected", account.label.clone());
        self.publish().await;
        Ok(Reply::Verified { snapshot: Box::new(Snapshot::of(&account)) })
    }

    /// Keeps why connecting failed, on an account that does not work anyway; one that works is left as it is.
    async fn failed(&self, reason: Option<Reason>, error: Error) -> Error {
        let Some(reason) = reason else { return error };
        self.note("connect_failed", Some(reason.name()));
        if let Some(mut account) =
            self.find().filter(|account| !matches!(account.status, Status::Active | Status::PendingVerification))
        {
            account.status_reason = reason;
            self.save(&mut account);
            self.publish().await;
        }
        error.with(|details| details.status_reason = Some(reason.name()))
    }
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

fn denied(provider: &str, code: &str, description: Option<&str>) -> (Option<Reason>, Error) {
    let reason = match code {
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

/// RFC 9207: an answer that names its issuer must name this provider: the same site as the authorization endpoint.
fn check_issuer(authorize_url: &str, iss: Option<&str>) -> Result<()> {
    let Some(iss) = iss else { return Ok(()) };
    let host = |url: &str| Url::parse(url).ok().map(|url| url.origin());
    if host(iss).is_some() && host(iss) == host(authorize_url) {
        return Ok(());
    }
    Err(flow_error(
        "issuer_mismatch",
        "The answer came from another authorization server than the one you were sent to. Nothing was changed.",
    ))
}
