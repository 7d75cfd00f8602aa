//! Handing out fresh tokens.

use super::command::{Mark, Reply};
use super::object::{Object, PENDING};
use super::snapshot::Snapshot;
use super::{Account, Reason, Status, Tokens, reauthorization_required};
use crate::catalog::model::Method;
use crate::code::Code;
use crate::connection::authorization_type;
use crate::error::{Error, Origin, Result};
use crate::ports::Millis;
use serde::Deserialize as _;
use serde_json::{Value, json};

/// A token that was renewed less than this ago is not renewed again because the provider refuses it.
const RENEWED_JUST_NOW: Millis = 10_000;
/// So many fresh tokens refused one after the other are not a matter of waiting.
const REFUSED_IN_A_ROW: u32 = 3;
/// A forced renewal this long after another has nothing to do with it.
const IN_A_ROW: Millis = 10 * 60_000;

impl Object {
    /// A snapshot with a token that is fresh for `for_at_least` where the provider's lifetimes allow, after renewing if
    /// need be. `rejected` is the fingerprint of a token the provider refused though it looked fresh.
    pub(super) async fn lease(&self, rejected: Option<Mark>, for_at_least: Millis) -> Result<Reply> {
        let account = self.fresh(rejected, for_at_least).await?;
        Ok(Reply::Snapshot(Box::new(Snapshot::of(&account))))
    }

    /// A snapshot with another token, if the doubted one is still ours, was had longer ago than that, and can be renewed.
    /// A doubt ends no account: the provider did not say that the token is dead.
    pub(super) async fn doubt(&self, token: &Mark, older_than: Millis) -> Result<Reply> {
        let account = self.usable()?;
        let is_old = account
            .tokens
            .as_ref()
            .is_some_and(|tokens| tokens.refresh.is_some() && self.now() >= tokens.obtained_at + older_than);
        if is_old && self.is_current(&account, Some(token))? {
            // What it could not do is in the account.
            let _ = self.renew().await;
        }
        Ok(Reply::Snapshot(Box::new(Snapshot::of(&self.usable()?))))
    }

    pub(super) async fn fresh(&self, rejected: Option<Mark>, for_at_least: Millis) -> Result<Account> {
        let account = self.usable()?;
        let mark = rejected;
        let rejected = self.is_current(&account, mark.as_ref())?;
        if rejected && account.tokens.as_ref().is_some_and(|tokens| tokens.refresh.is_none()) {
            return Err(self.expire(account, Reason::AccessTokenRejected).await);
        }
        let since = account.renewal.renewed_at.map(|at| self.now().saturating_sub(at));
        if let Some(since) = since.filter(|since| rejected && *since < RENEWED_JUST_NOW) {
            if account.renewal.forced >= REFUSED_IN_A_ROW || is_made_here(&account) {
                let message = "the provider refuses one fresh token after the other; the user has to connect again";
                let error = Error { message: message.into(), ..reauthorization_required(&account) };
                let reason = Some(Reason::AccessTokenRejected.name());
                return Err(self.with_link(&account, error.with(|details| details.status_reason = reason)));
            }
            return Err(not_yet_known(&account, RENEWED_JUST_NOW - since));
        }
        let before = if since.is_some_and(|since| since < IN_A_ROW) { account.renewal.forced } else { 0 };
        let needed = needed_until(&account, self.now(), for_at_least);
        let (mut account, began) = (account.clone(), account.epoch);
        let mut is_needed = rejected || !Snapshot::of(&account).is_fresh(needed);
        while is_needed {
            let epoch = account.epoch;
            let outcome = self.renew().await;
            account = self.usable()?;
            // A token that still works is served while renewing fails, and so is one that came by a consent meanwhile, which
            // may have to be renewed in its turn.
            let still_rejected = rejected && self.is_current(&account, mark.as_ref())?;
            is_needed = still_rejected || !Snapshot::of(&account).is_fresh(self.now());
            if is_needed && account.epoch == epoch {
                outcome?;
                is_needed = false;
            }
        }
        if rejected && account.epoch == began {
            account.renewal.forced = before + 1;
        }
        account.last_used_at = Some(self.now());
        self.reseal(&mut account)?;
        let unpublished = account.unpublished;
        self.put(super::object::ACCOUNT, &account);
        if unpublished {
            self.publish().await;
            // It may have been disconnected while KV was written.
            return self.usable();
        }
        Ok(account)
    }

    /// Seals again what an older key sealed, so that keys can be rotated while accounts are in use.
    /// Whether there was any.
    pub(super) fn reseal(&self, account: &mut Account) -> Result<bool> {
        let Some(mut tokens) = account.tokens.clone() else { return Ok(false) };
        let changed = self.reseal_tokens(account, &mut tokens)?;
        if changed {
            account.tokens = Some(tokens);
            account.unpublished = true;
        }
        Ok(changed)
    }

    /// The same for any tokens of the account.
    pub(super) fn reseal_tokens(&self, account: &Account, tokens: &mut Tokens) -> Result<bool> {
        let fields = [
            ("access", Some(&mut tokens.access)),
            ("refresh", tokens.refresh.as_mut()),
            ("previous_refresh", tokens.previous_refresh.as_mut()),
        ];
        let mut changed = false;
        for (field, sealed) in fields.into_iter().filter_map(|(field, sealed)| Some((field, sealed?))) {
            if self.world.keys.is_outdated(sealed) {
                *sealed = self.seal(account, field, &self.open_sealed(account, field, sealed)?);
                changed = true;
            }
        }
        Ok(changed)
    }

    /// What waits for a person or the operator's word is over within minutes, and laid aside then if nobody gave it: there it
    /// waits for as long as its person's tokens are in use, under the key that sealed it here. Whether there was any.
    fn reseal_waiting(&self, account: &Account) -> Result<bool> {
        let choices = self.storage.keys("choice:").into_iter().map(|key| (key, "/consented/tokens"));
        let mut changed = false;
        for (key, at) in choices.chain([(PENDING.to_owned(), "/tokens")]) {
            let Some(mut record) = self.get::<Value>(&key) else { continue };
            let unreadable = || Error::internal("a consent that waits cannot be read");
            let due_at = record.get("expires_at").and_then(Value::as_u64).ok_or_else(unreadable)?;
            let place = record.pointer_mut(at).ok_or_else(unreadable)?;
            let mut tokens = Tokens::deserialize(&*place).map_err(|_| unreadable())?;
            if self.reseal_tokens(account, &mut tokens)? {
                *place = json!(tokens);
                self.put_until(&key, &record, due_at);
                changed = true;
            }
        }
        Ok(changed)
    }

    /// Seals the tokens again if an older key or form sealed them, those that wait to be ended or for somebody's word, too,
    /// and brings the copy in KV up to date. Nobody is asked.
    pub(super) async fn reseal_now(&self) -> Result<Reply> {
        // One that is being ended is told apart from the others by how it was sealed, if an older version stored it.
        while self.ending.wait().await {}
        let mut account = self.load()?;
        let own = self.reseal(&mut account)?;
        if own {
            self.put(super::object::ACCOUNT, &account);
        }
        let waiting = self.reseal_waiting(&account)?;
        let changed = self.reseal_leftovers(&account)? || own || waiting;
        if account.unpublished {
            self.publish().await;
        }
        Ok(Reply::Resealed { changed, published: !self.load()?.unpublished })
    }

    /// The account, if it is connected.
    pub(super) fn usable(&self) -> Result<Account> {
        let account = self.load()?;
        if account.status == Status::Active {
            Ok(account)
        } else {
            Err(self.with_link(&account, reauthorization_required(&account)))
        }
    }

    /// Whether the refused token is the one we still have. If not, somebody renewed it meanwhile, or the user connected anew:
    /// then nothing was said of it, though it may be the same text, as a key that was switched off and on again.
    fn is_current(&self, account: &Account, rejected: Option<&Mark>) -> Result<bool> {
        let (Some(rejected), Some(tokens)) = (rejected, &account.tokens) else { return Ok(false) };
        let of_now = rejected.epoch.is_none_or(|epoch| epoch == account.epoch);
        Ok(of_now && self.open_sealed(account, "access", &tokens.access)?.fingerprint() == rejected.token)
    }

    /// Marks the account as one that only its user can bring back.
    pub(super) async fn expire(&self, mut account: Account, reason: Reason) -> Error {
        account.status = Status::Expired;
        account.status_reason = reason;
        self.copy.misleads.set(true);
        self.save(&mut account);
        self.note("expired", Some(reason.name()));
        self.publish().await;
        self.with_link(&account, reauthorization_required(&account))
    }

    /// Tokens for a caller that may see them. Always answered by the truth, and noted.
    pub(super) async fn read(&self, by: &str, with_refresh_token: bool) -> Result<Reply> {
        let account = self.fresh(None, 60_000).await?;
        let tokens = account.tokens.as_ref().filter(|_| with_refresh_token);
        let refresh_token = match tokens.and_then(|tokens| tokens.refresh.as_ref()) {
            Some(sealed) => Some(self.open_sealed(&account, "refresh", sealed)?),
            None => None,
        };
        let also = if refresh_token.is_some() { ", with the refresh token" } else { "" };
        self.note("token_read", Some(format!("by {by}{also}")));
        let snapshot = Box::new(Snapshot::of(&account));
        Ok(Reply::Tokens { snapshot, refresh_token, variables: account.variables })
    }
}

/// Whether its token is a JWT that was signed here: its provider never gave it and has nothing to spread, so what it refuses is
/// the key.
fn is_made_here(account: &Account) -> bool {
    let jwt = crate::catalog::find_connector(&account.connector).and_then(|connector| connector.auth.jwt.as_ref());
    account.authorization_type == authorization_type(Method::ByJwt) && jwt.is_some_and(|jwt| jwt.exchange.is_empty())
}

/// The failure for a token that the provider gave a moment ago and refuses: it may not have told all its servers yet.
fn not_yet_known(account: &Account, wait: Millis) -> Error {
    let message =
        "the provider refuses a token that it gave a moment ago; it may take a moment until all of it knows the token";
    Error::new(Code::ProviderUnavailable, message).of(&account.connector).with(|details| {
        details.origin = Origin::Provider;
        details.retryable = Some(true);
        details.retry_after = Some(wait.div_ceil(1000));
    })
}

/// Until when the token must be fresh. A minute is not asked of tokens that live for less than two.
fn needed_until(account: &Account, now: Millis, for_at_least: Millis) -> Millis {
    let lifetime = account.tokens.as_ref().and_then(Tokens::lifetime);
    if lifetime.is_some_and(|lifetime| lifetime < 2 * for_at_least) { now } else { now + for_at_least }
}
