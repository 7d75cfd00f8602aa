//! From a consent, or a credential typed in, to an account that works: look-ups, a choice among several, verification.

use super::command::{Reply, Verify};
use super::connect::flow_error;
use super::identity::Candidate;
use super::object::{Object, PENDING};
use super::snapshot::Snapshot;
use super::{Account, Reason, Renewal, Status, Tokens};
use crate::code::Code;
use crate::connection::Connection;
use crate::digest;
use crate::error::{Error, Result};
use crate::ports::Millis;
use crate::target::Variables;
use crate::ticket::{self, Purpose, Refused};
use serde::{Deserialize, Serialize};
use url::Url;

/// What was consented to, and how far the look-ups have come.
#[derive(Serialize, Deserialize)]
pub(super) struct Consented {
    pub(super) tokens: Tokens,
    pub(super) scopes: Vec<String>,
    pub(super) variables: Variables,
    pub(super) verify: Option<Verify>,
    pub(super) step: usize,
}

/// A consent that is for one of several things, and waits for the person to say which.
#[derive(Serialize, Deserialize)]
struct Choice {
    browser: String,
    consented: Consented,
    options: Vec<Candidate>,
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

fn choice_key(ticket: &str) -> String {
    format!("choice:{}", digest::hash(ticket))
}

impl Object {
    /// Looks up what is missing, asks the person if there are several, verifies, stores, publishes. `browser` is the hash of
    /// the browser's secret; none when no browser takes part.
    pub(super) async fn complete(
        &self,
        mut consented: Consented,
        connection: &Connection,
        browser: Option<&str>,
    ) -> Result<Reply> {
        let account = self.load()?;
        let access = self.open_sealed(&account, "access", &consented.tokens.access)?;
        match self.look_up(&access, connection, &mut consented.variables, consented.step).await {
            Ok(None) => {}
            Ok(Some((step, options))) => {
                consented.step = step;
                return match browser {
                    Some(browser) => Ok(self.ask_which(&account, consented, options, browser)),
                    None => {
                        Err(Error::invalid("the credential is for several things; connect it in a browser to choose"))
                    }
                };
            }
            Err(error) => {
                let reason = match error.details.status_reason.as_deref() {
                    Some("credential_refused") => Reason::CredentialRefused,
                    _ => Reason::IdentityLookupFailed,
                };
                return Err(self.failed(Some(reason), error).await);
            }
        }
        // Read again: look-ups take time.
        let mut account = self.load()?;
        let Consented { mut tokens, scopes, variables, verify, .. } = consented;
        // Some providers give a refresh token with the first consent alone: the one of the same person is kept.
        let same_person = account.external_id.is_some() && account.external_id.as_ref() == variables.get("external_id");
        if tokens.refresh.is_none() && same_person {
            tokens.refresh = account.tokens.as_ref().and_then(|before| before.refresh.clone());
        }
        if let Some(verify) = verify {
            return self.wait_for_verification(account, tokens, scopes, variables, &verify).await;
        }
        self.activate(&mut account, tokens, scopes, variables);
        self.note("connected", account.label.clone());
        self.publish().await;
        Ok(Reply::Finished { snapshot: Box::new(Snapshot::of(&account)), verify_at: None })
    }

    fn ask_which(&self, account: &Account, consented: Consented, options: Vec<Candidate>, browser: &str) -> Reply {
        let ticket = ticket::issue(Purpose::Choice, &account.id, &self.world.keys, self.now(), &*self.world.random);
        let expires_at = self.now() + Purpose::Choice.lifetime();
        let choice = Choice { browser: browser.to_owned(), consented, options, expires_at };
        self.put_under_way("choice:", &choice_key(&ticket), &choice, expires_at);
        Reply::Choose { ticket }
    }

    fn find_choice(&self, ticket: &str, browser: &str) -> Result<Choice> {
        ticket::open(Purpose::Choice, ticket, &self.world.keys, self.now()).map_err(super::state_refused)?;
        let choice: Choice = self.get(&choice_key(ticket)).ok_or_else(|| {
            flow_error("state_used", "This choice was made already. Open the link again to start over.")
        })?;
        if self.now() >= choice.expires_at {
            return Err(super::state_refused(Refused::Expired));
        }
        if !digest::same(choice.browser.as_bytes(), digest::hash(browser).as_bytes()) {
            return Err(flow_error("other_browser", "This consent was given in another browser. Finish it there."));
        }
        Ok(choice)
    }

    /// What there is to choose from.
    pub(super) fn choices(&self, ticket: &str, browser: &str) -> Result<Reply> {
        let choice = self.find_choice(ticket, browser)?;
        let options = choice.options.into_iter().map(|option| (option.label, option.detail)).collect();
        Ok(Reply::Choices { connector: self.load()?.connector, options })
    }

    /// The person has chosen.
    pub(super) async fn choose(&self, ticket: &str, browser: &str, option: usize) -> Result<Reply> {
        let mut choice = self.find_choice(ticket, browser)?;
        if option >= choice.options.len() {
            return Err(flow_error("choice_missing", "Choose one of the list."));
        }
        self.storage.delete(&choice_key(ticket));
        choice.consented.variables.extend(choice.options.swap_remove(option).variables);
        choice.consented.step += 1;
        let connection = self.connection(&self.load()?).await?;
        self.complete(choice.consented, &connection, Some(&choice.browser)).await
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
        self.storage.delete_below("link:");
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
        self.put_until(PENDING, &pending, expires_at);
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
    pub(super) async fn failed(&self, reason: Option<Reason>, error: Error) -> Error {
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
