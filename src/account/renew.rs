//! Renewing an access token (RFC 6749 section 6): once, however many ask; stored before anyone sees it; every outcome a type.

use super::command::Reply;
use super::object::Object;
use super::snapshot::Snapshot;
use super::typed::Secrets;
use super::{Account, Reason, Status, reauthorization_required};
use crate::catalog::model::Method;
use crate::code::Code;
use crate::connection::Connection;
use crate::error::{Error, Origin, Result};
use crate::oauth::token;
use crate::oauth::token::{Refusal, Refused, Tokens};
use crate::ports::{Millis, random};
use crate::scrub::Scrub;
use crate::secret::Secret;

/// Backoff after the first failure; doubles with each further one.
const FIRST_BACKOFF: Millis = 1_000;
/// The longest backoff.
const LONGEST_BACKOFF: Millis = 300_000;

impl Object {
    /// Joins the renewal under way, or starts one. What it did is in storage when this returns.
    ///
    /// A Durable Object is no lock: while this awaits the provider, the next request runs. So the renewal is one shared
    /// future, and whoever needs a token waits for that. One that was begun before the account was connected anew renews
    /// what is the past now: it is waited for, and another one begun.
    pub(super) async fn renew(&self) -> Result<()> {
        let epoch = self.epoch();
        loop {
            let object = self.clone();
            let work = async move {
                let epoch = object.epoch();
                let outcome = object.renew_once().await;
                if let Err(error) = &outcome {
                    object.wait_after(epoch, error);
                }
                (epoch, outcome)
            };
            let (begun, outcome) = self.renewing.join(Box::pin(work)).await;
            if begun >= epoch {
                return outcome;
            }
        }
    }

    /// Renews whatever the expiry says. Asked for over the API.
    pub(super) async fn renew_now(&self) -> Result<Reply> {
        loop {
            let before = self.usable()?;
            if before.tokens.as_ref().is_some_and(|tokens| tokens.refresh.is_none()) {
                let message = "this account has no refresh token: the provider's access token cannot be renewed";
                return Err(Error::invalid(message).of(&before.connector));
            }
            let outcome = self.renew().await;
            let account = self.usable()?;
            // What was connected meanwhile has not been renewed.
            if account.epoch == before.epoch {
                outcome?;
                return Ok(Reply::Snapshot(Box::new(Snapshot::of(&account))));
            }
        }
    }

    /// Whatever went wrong (KV, a connection that is gone), the next attempt waits: the alarm must not come at once.
    fn wait_after(&self, epoch: u32, error: &Error) {
        let account = self.still(epoch).ok().flatten().filter(|account| account.status == Status::Active);
        if let Some(mut account) = account.filter(|account| account.renewal.next_attempt_at <= self.now()) {
            let wait = self.backoff(&mut account.renewal);
            account.renewal.next_attempt_at = self.now() + wait;
            account.renewal.last_error = Some(error.clone());
            self.put(super::object::ACCOUNT, &account);
        }
    }

    /// Counts a failure and says how long to wait: twice as long each time, and up to half as long again, so that accounts
    /// which failed together do not come back together.
    fn backoff(&self, renewal: &mut super::Renewal) -> Millis {
        renewal.failures += 1;
        let backoff = (FIRST_BACKOFF << (renewal.failures - 1).min(12)).min(LONGEST_BACKOFF);
        let [dice] = random::<1>(&*self.world.random);
        backoff + backoff * Millis::from(dice) / 510
    }

    async fn renew_once(&self) -> Result<()> {
        let account = self.load()?;
        if account.status != Status::Active {
            return Err(self.with_link(&account, reauthorization_required(&account)));
        }
        let Some(tokens) = account.tokens.clone() else { return Err(reauthorization_required(&account)) };
        let Some(sealed) = tokens.refresh.clone() else {
            return Err(self.expire(account, Reason::NoRefreshToken).await);
        };
        if self.now() < account.renewal.next_attempt_at {
            return Err(waiting(&account, self.now()));
        }
        let connection = self.connection(&account).await?;
        let refresh = self.open_sealed(&account, "refresh", &sealed)?;
        match self.ask(&account, &connection, &refresh).await? {
            Ok(new) => self.keep(&account, new, &refresh).await,
            Err(refused) if matches!(refused.refusal, Refusal::Grant | Refusal::AdminConsent) => {
                self.refused(account.epoch, &connection, &refresh, refused).await
            }
            Err(refused) => self.try_later(account.epoch, &refresh, &refused),
        }
    }

    async fn ask(
        &self,
        account: &Account,
        connection: &Connection,
        refresh: &Secret,
    ) -> Result<std::result::Result<Tokens, Refused>> {
        let target = Self::target(connection, &account.variables)?;
        if connection.method(target.connector) == Method::ByJwt {
            let secrets: Secrets = serde_json::from_str(refresh.reveal()).unwrap_or_default();
            return self.assert(connection, &account.variables, &secrets).await;
        }
        let Some(oauth2) = &target.connector.auth.oauth2 else {
            return Err(Error::internal(format!("{} has no OAuth tokens to renew", target.connector.name)));
        };
        let (client, scopes) = (self.client(&target)?, granted(account, connection));
        let request = token::refresh(oauth2, target.token_url()?, &client, refresh, &scopes);
        let mut scrub = Scrub::of([refresh, &client.secret]);
        // Some repeat what they know of the grant.
        if let Some(tokens) = &account.tokens {
            scrub.know(&self.open_sealed(account, "access", &tokens.access)?);
        }
        Ok(match self.world.http.send(request).await {
            Ok(response) => token::read(oauth2, &response, &scrub),
            Err(unanswered) => Err(unanswered.into()),
        })
    }

    /// The account, if this refresh token still is its own: not ended or disconnected while the provider was answering, nor
    /// connected anew with another.
    fn still_with(&self, used: &Secret) -> Option<Account> {
        let account = self.find().filter(|account| account.status == Status::Active)?;
        let current = account.tokens.as_ref()?.refresh.as_ref()?;
        let same = self.open_sealed(&account, "refresh", current).is_ok_and(|current| current == *used);
        let by_previous = || self.previous_refresh(&account).is_some_and(|previous| previous == *used);
        (same || by_previous()).then_some(account)
    }

    /// The same, if it was not connected anew at all: what a provider refuses says nothing of a newer consent.
    fn still_current(&self, epoch: u32, used: &Secret) -> Option<Account> {
        self.still_with(used).filter(|account| account.epoch == epoch)
    }

    /// Stores new tokens, then publishes them. The refresh token before is kept until the new one has worked. `before` is
    /// the account as it was when the provider was asked.
    async fn keep(&self, before: &Account, new: Tokens, used: &Secret) -> Result<()> {
        let Some(mut account) = self.still_with(used) else {
            // What came belongs to the past. The user was promised an end: it is revoked.
            let expires_at = self.expires_at(before, new.expires_in);
            let tokens = self.sealed(before, &new.access, new.refresh.as_ref(), expires_at);
            self.lay_aside(Account { tokens: Some(tokens), ..before.clone() }.held().into_iter().collect());
            return Ok(());
        };
        let rotated = new.refresh.as_ref().filter(|token| *token != used);
        let previous_refresh = rotated.map(|_| self.seal(&account, "previous_refresh", used));
        if account.epoch != before.epoch {
            // The same person consented meanwhile, and that gave no refresh token of its own: the access token and what it
            // is good for are newer than this answer, and only the refresh token goes on.
            if let (Some(rotated), Some(tokens)) = (rotated, account.tokens.clone()) {
                let refresh = Some(self.seal(&account, "refresh", rotated));
                account.tokens = Some(super::Tokens { refresh, previous_refresh, ..tokens });
                self.save(&mut account);
                self.publish().await;
            }
            return Ok(());
        }
        let expires_at = self.expires_at(&account, new.expires_in);
        let tokens = self.sealed(&account, &new.access, Some(rotated.unwrap_or(used)), expires_at);
        account.tokens = Some(super::Tokens { previous_refresh, ..tokens });
        if let Some(scopes) = new.scopes.filter(|scopes| !scopes.is_empty()) {
            account.scopes = scopes;
        }
        learn(&mut account, new.variables);
        account.renewal = super::Renewal { renewed_at: Some(self.now()), ..Default::default() };
        self.save(&mut account);
        self.note("refreshed", None);
        self.publish().await;
        Ok(())
    }

    /// `invalid_grant`: look again, try the token before, and only then believe it.
    async fn refused(&self, epoch: u32, connection: &Connection, used: &Secret, refused: Refused) -> Result<()> {
        let Some(account) = self.still_current(epoch, used) else { return Ok(()) };
        if let Some(previous) = self.previous_refresh(&account).filter(|previous| previous != used) {
            match self.ask(&account, connection, &previous).await? {
                Ok(new) => return self.keep(&account, new, &previous).await,
                // Nothing was said of the token before: it may be good.
                Err(unsaid) if unsaid.refusal.passes() => return self.try_later(epoch, used, &unsaid),
                Err(_) => {}
            }
        }
        // Asking took time: what was refused may not be what the account has now.
        let Some(mut account) = self.still_current(epoch, used) else { return Ok(()) };
        self.note("refused", Some(words(&refused)));
        account.renewal.last_error = Some(error(&account.connector, &account.connection_name, &refused));
        let by_admin = refused.refusal == Refusal::AdminConsent;
        let reason = if by_admin { Reason::AdminConsentRequired } else { Reason::RefreshTokenRevoked };
        Err(self.expire(account, reason).await)
    }

    fn previous_refresh(&self, account: &Account) -> Option<Secret> {
        let sealed = account.tokens.as_ref()?.previous_refresh.as_ref()?;
        self.open_sealed(account, "previous_refresh", sealed).ok()
    }

    /// Anything else passes: the account lives on, and the next attempt waits.
    fn try_later(&self, epoch: u32, used: &Secret, refused: &Refused) -> Result<()> {
        let Some(mut account) = self.still_current(epoch, used) else { return Ok(()) };
        let backoff = self.backoff(&mut account.renewal);
        let wait = refused.retry_after.map_or(backoff, |seconds| seconds.clamp(1, 3600) * 1000);
        let mut error = error(&account.connector, &account.connection_name, refused);
        error.details.retry_after = Some(wait.div_ceil(1000));
        account.renewal.next_attempt_at = self.now() + wait;
        account.renewal.last_error = Some(error.clone());
        self.put(super::object::ACCOUNT, &account);
        self.note("refresh_failed", Some(words(refused)));
        Err(error)
    }

    /// When an access token ends: as the answer says, else as the connector assumes.
    pub(super) fn expires_at(&self, account: &Account, expires_in: Option<u64>) -> Option<Millis> {
        let connector = crate::catalog::find_connector(&account.connector);
        let assumed = connector.and_then(|connector| connector.auth.oauth2.as_ref()?.assumed_lifetime).map(u64::from);
        expires_in.or(assumed).map(|seconds| self.now() + seconds.min(token::LONGEST_LIFETIME) * 1000)
    }
}

/// The scopes to say again with a refresh: what was granted, and of what was asked for that which an answer does not name,
/// since it is about the sign-in and not about an API (OpenID Connect Core, sections 5.4 and 11).
fn granted(account: &Account, connection: &Connection) -> Vec<String> {
    let unnamed = |scope: &String| matches!(scope.as_str(), "offline_access" | "openid" | "profile" | "email");
    let mut scopes = account.scopes.clone();
    let asked = connection.asked_scopes().into_iter().filter(unnamed);
    scopes.extend(asked.filter(|scope| !account.scopes.contains(scope)));
    scopes
}

/// Takes over what a token answer says of the account now: where its API is, for instance. What is not said, or has not the
/// form it must have, stays as it was.
fn learn(account: &mut Account, said: Vec<(&'static str, String)>) {
    let Some(connector) = crate::catalog::find_connector(&account.connector) else { return };
    for (name, value) in said {
        match name {
            "label" => account.label = Some(value),
            // Who it is was settled when the account was connected.
            "external_id" => {}
            _ if connector.auth.fits(name, &value) => {
                account.variables.insert(name.to_owned(), value);
            }
            _ => {}
        }
    }
}

fn waiting(account: &Account, now: Millis) -> Error {
    let error = account.renewal.last_error.clone();
    let error =
        error.unwrap_or_else(|| Error::new(Code::ProviderUnavailable, "the token endpoint failed a moment ago"));
    let wait = account.renewal.next_attempt_at.saturating_sub(now).div_ceil(1000);
    error.with(|details| details.retry_after = Some(wait))
}

pub(super) fn words(refused: &Refused) -> String {
    let said = [refused.code.clone(), refused.description.clone()].into_iter().flatten().collect::<Vec<_>>().join(": ");
    match refused.status {
        Some(status) => format!("{status} {said}").trim_end().to_owned(),
        None if !said.is_empty() => said,
        None if refused.refusal == Refusal::TimedOut => "no answer in time".into(),
        None => "no answer".into(),
    }
}

/// What a refusal of the token endpoint is to a caller.
pub(super) fn error(connector: &str, connection: &str, refused: &Refused) -> Error {
    let (code, message) = match refused.refusal {
        Refusal::Grant => (Code::ReauthorizationRequired, "the provider no longer accepts this authorization"),
        Refusal::AdminConsent => {
            (Code::ReauthorizationRequired, "an administrator has to approve the application at the provider first")
        }
        Refusal::Client => (Code::ConnectionMisconfigured, "the provider refuses the connection's client id or secret"),
        Refusal::Redirect => {
            (Code::ConnectionMisconfigured, "the provider does not know the connection's redirect URI")
        }
        Refusal::Request => (Code::ConnectionMisconfigured, "the provider's token endpoint refuses the request"),
        Refusal::RateLimited => (Code::RateLimitExceeded, "the provider's token endpoint is rate limited"),
        Refusal::Broken => (Code::ProviderUnavailable, "the provider's token endpoint failed"),
        Refusal::TimedOut => (Code::ProviderTimeout, "the provider's token endpoint did not answer in time"),
        Refusal::Unreachable => (Code::ProviderUnavailable, "the provider's token endpoint cannot be reached"),
    };
    let message = match (&refused.code, &refused.description) {
        (Some(code), Some(words)) => format!("{message}: {code}: {words}"),
        (Some(code), None) => format!("{message}: {code}"),
        _ => message.to_owned(),
    };
    let message = match code {
        Code::ConnectionMisconfigured => format!("{message}; correct it with PATCH /api/v1/connections/{connection}"),
        _ => message,
    };
    Error::new(code, message).of(connector).with(|details| {
        details.origin = if refused.status.is_some() { Origin::Provider } else { Origin::Network };
        details.provider_status = refused.status;
        details.provider_code.clone_from(&refused.code);
        details.retry_after = refused.retry_after;
        if refused.refusal == Refusal::RateLimited {
            details.limit_type = Some("token_endpoint".into());
        }
    })
}
