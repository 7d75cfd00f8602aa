//! Connecting: magic link, consent, code exchange, look-ups, verification.

use super::command::{Answer, Birth, Reply, Verify};
use super::object::{Object, PENDING};
use super::renew;
use super::snapshot::Snapshot;
use super::{Account, Reason, Renewal, Status, Tokens};
use crate::code::Code;
use crate::connection::Connection;
use crate::digest;
use crate::error::{Error, Result};
use crate::json;
use crate::oauth::authorize::{self, Authorize};
use crate::oauth::token::{self, Refusal};
use crate::oauth::{Client, token::Tokens as NewTokens};
use crate::ports::{Body, Millis, Request};
use crate::secret::Secret;
use crate::target::Variables;
use crate::ticket::{self, Purpose, Refused};
use crate::timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use url::Url;

/// Milliseconds one look-up may take.
const LOOKUP_TIMEOUT_MS: u32 = 10_000;

/// What a magic link carries beside its ticket.
#[derive(Serialize, Deserialize)]
struct Link {
    verify: Option<Verify>,
    more_scopes: Vec<String>,
    expires_at: Millis,
}

/// A consent under way.
#[derive(Serialize, Deserialize)]
struct Flow {
    browser: String,
    verifier: Option<String>,
    redirect_uri: String,
    scopes: Vec<String>,
    verify: Option<Verify>,
    expires_at: Millis,
}

/// What was consented to and waits for the operator's word.
#[derive(Serialize, Deserialize)]
struct Pending {
    ticket: String,
    tokens: Tokens,
    scopes: Vec<String>,
    variables: Variables,
    expires_at: Millis,
}

fn link_key(ticket: &str) -> String {
    format!("link:{}", digest::hash(ticket))
}

fn flow_key(state: &str) -> String {
    format!("flow:{}", digest::hash(state))
}

impl Object {
    pub(super) async fn link(&self, birth: Birth, verify: Option<Verify>, more_scopes: Vec<String>) -> Result<Reply> {
        let known = self.find();
        let is_new = known.is_none();
        let mut account = known.unwrap_or_else(|| self.born(birth));
        if let Some(verify) = &verify {
            account.user_verify_url = Some(verify.url.clone());
        }
        let changed = self.find().as_ref() != Some(&account);
        if changed {
            self.save(&mut account);
        }
        let (ticket, expires_at) = self.new_link(&account, verify, more_scopes);
        self.note("link_created", None);
        if is_new {
            self.publish().await;
        }
        Ok(Reply::Link { ticket, expires_at })
    }

    pub(super) fn relink(&self, more_scopes: &[String]) -> Result<Reply> {
        let account = self.load()?;
        let verify = account.user_verify_url.clone().map(|url| Verify { url, state: None });
        let (ticket, expires_at) = self.new_link(&account, verify, more_scopes.to_vec());
        Ok(Reply::Link { ticket, expires_at })
    }

    fn new_link(&self, account: &Account, verify: Option<Verify>, more_scopes: Vec<String>) -> (String, Millis) {
        let ticket = ticket::issue(Purpose::Link, &account.id, &self.world.keys, self.now(), &*self.world.random);
        let expires_at = self.now() + Purpose::Link.lifetime();
        self.put(&link_key(&ticket), &Link { verify, more_scopes, expires_at });
        (ticket, expires_at)
    }

    /// Adds a fresh link to an error, so that the caller can send the user there at once. The Worker makes a URL of it.
    pub(super) fn with_link(&self, account: &Account, error: Error, more_scopes: &[String]) -> Error {
        if account.status == Status::PendingVerification {
            return error;
        }
        let verify = account.user_verify_url.clone().map(|url| Verify { url, state: None });
        let (ticket, _) = self.new_link(account, verify, more_scopes.to_vec());
        error.with(|details| details.reauthorize_url = Some(format!("/connect/{ticket}")))
    }

    fn find_link(&self, ticket: &str) -> Result<(Account, Link)> {
        let opened = ticket::open(Purpose::Link, ticket, &self.world.keys, self.now());
        opened.map_err(|refused| link_refused(refused == Refused::Expired))?;
        let account = self.find().ok_or_else(|| link_refused(false))?;
        let link: Link = self.get(&link_key(ticket)).ok_or_else(|| link_refused(true))?;
        Ok((account, link))
    }

    pub(super) async fn open(&self, ticket: &str) -> Result<Reply> {
        let (account, link) = self.find_link(ticket)?;
        let connection = self.connection(&account).await?;
        let scopes = asked_scopes(&account, &connection, &link.more_scopes);
        Ok(Reply::Consent { connection_name: account.connection_name, scopes })
    }

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
        let tokens = self.sealed(&account, &new.access, new.refresh.as_ref(), expires_at);
        let scopes = new.scopes.filter(|scopes| !scopes.is_empty()).unwrap_or_else(|| flow.scopes.clone());
        if let Some(verify) = &flow.verify {
            return self.wait_for_verification(account, tokens, scopes, variables, verify).await;
        }
        // A provider that gives a refresh token only with the first consent means: keep the one you have.
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
        if let Some(mut account) = self.find().filter(|account| account.status != Status::Active) {
            account.status_reason = reason;
            self.save(&mut account);
            self.publish().await;
        }
        error.with(|details| details.status_reason = Some(reason.name()))
    }

    /// The connector's look-ups, in order. What they save can be used by the next.
    async fn look_up(&self, access: &Secret, connection: &Connection, variables: &mut Variables) -> Result<()> {
        let connector = connection.connector()?;
        for lookup in connector.auth.identity.iter() {
            let outcome = self.look_up_one(lookup, access, connection, variables).await;
            match outcome {
                Ok(found) => variables.extend(found),
                Err(_) if lookup.optional => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn look_up_one(
        &self,
        lookup: &crate::catalog::model::Lookup,
        access: &Secret,
        connection: &Connection,
        variables: &Variables,
    ) -> Result<BTreeMap<String, String>> {
        let target = Self::target(connection, variables)?;
        let (method, url) = lookup.request;
        let url = target.lookup_url(url)?.into();
        let mut request = Request { method: method.into(), url, timeout_ms: LOOKUP_TIMEOUT_MS, ..Request::default() };
        request.header("accept", "application/json");
        crate::tool::request::authorize(&mut request, &target, access);
        if !lookup.json.is_empty() {
            request.header("content-type", "application/json");
            request.body = Body::Bytes(lookup.json.as_bytes().to_vec());
        }
        let failed = |message: String| Error::new(Code::ProviderUnavailable, message).of(target.connector.id);
        let name = target.connector.name;
        let response = self
            .world
            .http
            .send(request)
            .await
            .map_err(|_| failed(format!("{name} did not answer who this account is")))?;
        let body: Value = serde_json::from_slice(response.body.bytes()).unwrap_or_default();
        if let Some(error) = crate::tool::response::failure(target.connector, &response, &body, self.now()) {
            return Err(failed(format!("asked who this account is, {}", error.message)));
        }
        let found: BTreeMap<String, String> = lookup
            .save
            .iter()
            .filter_map(|(name, at)| Some(((*name).to_owned(), json::find_text(&body, &[*at])?)))
            .collect();
        let needed: Vec<_> = lookup
            .save
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| !matches!(*name, "label" | "external_id") && !found.contains_key(*name))
            .collect();
        if needed.is_empty() {
            Ok(found)
        } else {
            Err(failed(format!("{name} did not tell {} of this account", needed.join(", "))))
        }
    }

    /// Forgets links, flows and idempotency keys that are over, and a consent nobody verified.
    pub(super) fn forget_expired(&self) {
        let now = self.now();
        for prefix in ["link:", "flow:", "idempotency:"] {
            for (key, value) in self.storage.list(prefix) {
                if expiry(&value).is_none_or(|at| now >= at) {
                    self.storage.delete(&key);
                }
            }
        }
        if self.get::<Pending>(PENDING).is_some_and(|pending| now >= pending.expires_at) {
            self.storage.delete(PENDING);
            self.note("verification_expired", Some(timestamp::format(now)));
            if let Some(mut account) = self.find().filter(|account| account.status == Status::PendingVerification) {
                account.status = Status::PendingAuth;
                account.status_reason = Reason::VerificationExpired;
                self.save(&mut account);
            }
        }
    }

    pub(super) fn next_expiry(&self) -> Option<Millis> {
        let listed = ["link:", "flow:", "idempotency:"].into_iter().flat_map(|prefix| self.storage.list(prefix));
        let pending = self.storage.get(PENDING).into_iter();
        listed.map(|(_, value)| value).chain(pending).filter_map(|value| expiry(&value)).min()
    }
}

fn expiry(record: &str) -> Option<Millis> {
    serde_json::from_str::<Value>(record).ok()?.get("expires_at")?.as_u64()
}

/// The connection's scopes. A link that asks for one more also asks for all the account has, so that nothing is lost.
fn asked_scopes(account: &Account, connection: &Connection, more: &[String]) -> Vec<String> {
    let mut scopes = connection.asked_scopes();
    let kept: &[String] = if more.is_empty() { &[] } else { &account.scopes };
    for scope in kept.iter().chain(more) {
        if !scopes.contains(scope) {
            scopes.push(scope.clone());
        }
    }
    scopes
}

/// The failures of the browser's side. `status_reason` is what the page is chosen by.
pub fn flow_error(reason: &str, message: &str) -> Error {
    Error::invalid(message).with(|details| details.status_reason = Some(reason.to_owned()))
}

fn link_refused(expired: bool) -> Error {
    if expired {
        flow_error("link_expired", "This link has expired or was used already. Ask for a new one where you got it.")
    } else {
        flow_error("link_unknown", "This link is not complete or not one of ours. Check that you copied all of it.")
    }
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
