//! From a consent, or a credential typed in, to an account that works: look-ups, a choice among several, verification.

use super::command::{Reply, Verify};
use super::connect::flow_error;
use super::identity::Candidate;
use super::leftovers::Obtained;
use super::object::{Object, PENDING};
use super::order;
use super::snapshot::Snapshot;
use super::{Account, Reason, Renewal, Status, Tokens};
use crate::code::Code;
use crate::connection::Connection;
use crate::digest;
use crate::error::{Error, Problem, Result};
use crate::ports::Millis;
use crate::target::Variables;
use crate::ticket::{self, Purpose, Refused};
use serde::{Deserialize, Serialize};
use url::Url;

/// Why a consent was not kept: it was somebody else's than the one before.
const OTHER_ACCOUNT: &str = "other_account";
/// More than this are not told to choose from.
const MANY_TOLD: usize = 20;

/// What was consented to, and how far the look-ups have come.
#[derive(Serialize, Deserialize)]
pub(super) struct Consented {
    pub(super) tokens: Tokens,
    pub(super) scopes: Vec<String>,
    pub(super) variables: Variables,
    pub(super) verify: Option<Verify>,
    pub(super) step: usize,
    /// The account's epoch when it began.
    #[serde(default)]
    pub(super) epoch: u32,
    /// Whether it may be somebody else than was connected before.
    #[serde(default)]
    pub(super) other_person: bool,
    /// What was given with tokens that were granted elsewhere; none when they were granted here.
    #[serde(default)]
    pub(super) imported: Option<Variables>,
}

impl Consented {
    /// Tokens with what is known of them already.
    pub(super) fn of(tokens: Tokens, scopes: Vec<String>, variables: Variables) -> Self {
        Self { tokens, scopes, variables, verify: None, step: 0, epoch: 0, other_person: false, imported: None }
    }

    /// What has to be ended when it is not kept. What was granted elsewhere is not ours to end.
    fn not_kept(self) -> Vec<Obtained> {
        let Self { tokens, variables, imported, .. } = self;
        if imported.is_some() { Vec::new() } else { vec![Obtained { tokens, variables }] }
    }
}

/// A consent that is for one of several things, and waits for the person to say which.
#[derive(Serialize, Deserialize)]
pub(super) struct Choice {
    browser: String,
    consented: Consented,
    options: Vec<Candidate>,
    expires_at: Millis,
}

impl Choice {
    pub(super) fn obtained(self) -> Obtained {
        Obtained { tokens: self.consented.tokens, variables: self.consented.variables }
    }
}

/// What was consented to and waits for the operator's word.
#[derive(Serialize, Deserialize)]
pub(super) struct Pending {
    ticket: String,
    tokens: Tokens,
    scopes: Vec<String>,
    variables: Variables,
    expires_at: Millis,
    #[serde(default)]
    epoch: u32,
}

impl Pending {
    pub(super) fn obtained(self) -> Obtained {
        Obtained { tokens: self.tokens, variables: self.variables }
    }

    pub(super) fn person(&self) -> Option<&String> {
        order::person(&self.variables)
    }
}

/// Who waits for a consent to be completed.
pub(super) enum Asker {
    /// A browser, by the hash of its secret.
    Browser(String),
    /// The operator's backend, with the record the account begins with.
    Api(Box<Account>),
}

fn choice_key(ticket: &str) -> String {
    format!("choice:{}", digest::hash(ticket))
}

impl Object {
    /// Looks up what is missing, asks the person if there are several, verifies, stores, publishes.
    pub(super) async fn complete(
        &self,
        mut consented: Consented,
        connection: &Connection,
        asker: Asker,
    ) -> Result<Reply> {
        let epoch = consented.epoch;
        // What is dead already asks nobody anything, unless its owner has to be told from one whose tokens are in use.
        if let Err(ended) = self.still(epoch)
            && !self.find().is_some_and(|account| account.status == Status::Active)
        {
            self.lay_aside(consented.not_kept());
            return Err(ended);
        }
        let shell = match &asker {
            Asker::Browser(_) => self.load()?,
            Asker::Api(draft) => (**draft).clone(),
        };
        let found = match self.look_up(&shell, connection, &mut consented).await {
            Ok(found) => found,
            Err(error) => {
                let reason = match error.details.status_reason.as_deref() {
                    Some("fields_invalid") => None,
                    Some("credential_refused") => Some(Reason::CredentialRefused),
                    _ => Some(Reason::IdentityLookupFailed),
                };
                self.lay_aside(consented.not_kept());
                return Err(self.failed(epoch, reason, error).await);
            }
        };
        // Look-ups take time.
        let now = match self.still(epoch) {
            Ok(now) => now,
            Err(ended) => {
                self.lay_aside(consented.not_kept());
                return Err(ended);
            }
        };
        let account = match (now, &asker) {
            (Some(now), Asker::Api(_)) if now.status != Status::Disconnected => now,
            // Links for it may have been made meanwhile, with another place where the user is verified.
            (Some(Account { user_verify_url, .. }), Asker::Api(draft)) => {
                Account { user_verify_url, ..(**draft).clone() }
            }
            (None, Asker::Api(draft)) => (**draft).clone(),
            (now, Asker::Browser(_)) => now.ok_or_else(order::ended)?,
        };
        match (found, asker) {
            (None, _) => self.keep_consent(account, consented).await,
            (Some((step, options)), Asker::Browser(browser)) => {
                consented.step = step;
                Ok(self.ask_which(&account, consented, options, browser))
            }
            (Some((_, options)), Asker::Api(_)) => {
                let error = several(connection, &options);
                self.lay_aside(consented.not_kept());
                Err(error)
            }
        }
    }

    /// Everything is known, and nobody is waited for any more.
    async fn keep_consent(&self, mut account: Account, mut consented: Consented) -> Result<Reply> {
        let person = order::person(&consented.variables);
        if let Some(before) = account.external_id.as_ref().filter(|_| !consented.other_person)
            && person != Some(before)
        {
            return Err(self.other_person(&account, consented));
        }
        if let Some(verify) = consented.verify.take() {
            return self.wait_for_verification(account, consented, &verify).await;
        }
        let Consented { tokens, scopes, variables, imported, .. } = consented;
        let reason = if imported.is_some() { Reason::Imported } else { Reason::Connected };
        self.activate(&mut account, reason, tokens, scopes, variables);
        if imported.is_some() {
            self.note("imported", account.label.clone());
        } else {
            self.note("connected", account.label.clone());
        }
        self.publish().await;
        Ok(Reply::Finished { snapshot: Box::new(Snapshot::of(&account)), verify_at: None })
    }

    /// Somebody else than was connected before: what was granted is ended, and the account stays as it is.
    fn other_person(&self, account: &Account, consented: Consented) -> Error {
        let who = consented.variables.get("label").cloned();
        self.note("other_account", who.clone());
        let given_elsewhere = consented.imported.is_some();
        let connector = account.connector.clone();
        self.lay_aside(consented.not_kept());
        let name = crate::catalog::find_connector(&connector).map_or("the provider", |connector| connector.name);
        let who = who.map(|who| format!(" ({who})")).unwrap_or_default();
        let wanted = if given_elsewhere { "these tokens are" } else { "this is" };
        let message = format!(
            "{wanted} of another account{who} at {name} than the one that was connected before. Nothing was changed by it."
        );
        Error::conflict(message).of(&connector).with(|details| details.status_reason = Some(OTHER_ACCOUNT.to_owned()))
    }

    fn ask_which(&self, account: &Account, consented: Consented, options: Vec<Candidate>, browser: String) -> Reply {
        let ticket = ticket::issue(Purpose::Choice, &account.id, &self.world.keys, self.now(), &*self.world.random);
        let expires_at = self.now() + Purpose::Choice.lifetime();
        let choice = Choice { browser, consented, options, expires_at };
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
        self.still_there(choice.consented.epoch)?;
        if !digest::same(choice.browser.as_bytes(), digest::hash(browser).as_bytes()) {
            return Err(flow_error("other_browser", "This consent was given in another browser. Finish it there."));
        }
        Ok(choice)
    }

    /// What there is to choose from.
    pub(super) fn choices(&self, ticket: &str, browser: &str) -> Result<Reply> {
        let choice = self.find_choice(ticket, browser)?;
        let options = choice.options.into_iter().map(|option| (option.label, option.detail)).collect();
        let Account { connection_name, connector, .. } = self.load()?;
        Ok(Reply::Choices { connection_name, connector, options })
    }

    /// The person has chosen.
    pub(super) async fn choose(&self, ticket: &str, browser: &str, option: usize) -> Result<Reply> {
        if option >= self.find_choice(ticket, browser)?.options.len() {
            return Err(flow_error("choice_missing", "Choose one of the list."));
        }
        // The connection is read first, and the choice again: it is made once.
        let connection = self.connection(&self.load()?).await?;
        let mut choice = self.find_choice(ticket, browser)?;
        self.storage.delete(&choice_key(ticket));
        choice.consented.variables.extend(choice.options.swap_remove(option).variables);
        choice.consented.step += 1;
        let consenting = self.consenting(choice.consented.epoch);
        let outcome = self.complete(choice.consented, &connection, Asker::Browser(choice.browser)).await;
        drop(consenting);
        outcome
    }

    /// Takes over what was consented to, and ends the account's past.
    fn activate(
        &self,
        account: &mut Account,
        reason: Reason,
        mut tokens: Tokens,
        scopes: Vec<String>,
        mut variables: Variables,
    ) {
        // Some providers give a refresh token with the first consent alone: the one of the same person is kept, as it is now.
        let same_person = account.external_id.is_some() && account.external_id.as_ref() == order::person(&variables);
        if let Some(before) = account.tokens.as_ref().filter(|_| same_person && account.status == Status::Active)
            && tokens.refresh.is_none()
        {
            tokens.refresh.clone_from(&before.refresh);
            tokens.previous_refresh.clone_from(&before.previous_refresh);
        }
        self.forget_the_past(account);
        account.label = variables.remove("label");
        account.external_id = variables.remove("external_id");
        account.tokens = Some(tokens);
        account.scopes = scopes;
        account.variables = variables;
        account.status = Status::Active;
        account.status_reason = reason;
        account.renewal = Renewal::default();
        account.connected_at = Some(self.now());
        account.last_used_at = (reason != Reason::Imported).then(|| self.now());
        account.begin_epoch(self.now());
        self.save(account);
    }

    async fn wait_for_verification(
        &self,
        mut account: Account,
        consented: Consented,
        verify: &Verify,
    ) -> Result<Reply> {
        let mut url = Url::parse(&verify.url).map_err(|_| Error::internal("user_verify_url is not a URL"))?;
        let ticket =
            ticket::issue(Purpose::Verification, &account.id, &self.world.keys, self.now(), &*self.world.random);
        let expires_at = self.now() + Purpose::Verification.lifetime();
        let Consented { tokens, scopes, variables, epoch, .. } = consented;
        self.lay_aside(self.get::<Pending>(PENDING).map(Pending::obtained).into_iter().collect());
        let pending = Pending { ticket: digest::hash(&ticket), tokens, scopes, variables, expires_at, epoch };
        self.put_until(PENDING, &pending, expires_at);
        // An account that works goes on working with what it has until the new consent is confirmed.
        if account.status != Status::Active {
            account.status = Status::PendingVerification;
            account.status_reason = Reason::AwaitingVerification;
            self.save(&mut account);
        }
        self.note("verification_requested", None);
        self.publish().await;
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
        let pending = pending.filter(|pending| pending.epoch == account.epoch);
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
            self.lay_aside(vec![pending.obtained()]);
            self.publish().await;
            let message = "identifier is not the one this account was made for; the consent was dropped";
            let reason = Some(Reason::VerificationMismatch.name());
            let error = Error::new(Code::PermissionDenied, message).of(&account.connector);
            return Err(error.with(|details| details.status_reason = reason));
        }
        let Pending { tokens, scopes, variables, .. } = pending;
        self.activate(&mut account, Reason::Connected, tokens, scopes, variables);
        self.note("connected", account.label.clone());
        self.publish().await;
        Ok(Reply::Verified { snapshot: Box::new(Snapshot::of(&account)) })
    }

    /// Keeps why connecting failed, on an account that does not work anyway; one that works is left as it is, and so is one
    /// whose epoch has passed: then it is the link that ended.
    pub(super) async fn failed(&self, epoch: u32, reason: Option<Reason>, error: Error) -> Error {
        let Some(reason) = reason else { return error };
        let account = match self.still(epoch) {
            Ok(account) => account,
            Err(ended) => return ended,
        };
        if let Some(mut account) = account {
            self.note("connect_failed", Some(reason.name()));
            if !matches!(account.status, Status::Active | Status::PendingVerification) {
                account.status_reason = reason;
                self.save(&mut account);
                self.publish().await;
            }
        }
        error.with(|details| details.status_reason = Some(reason.name()))
    }
}

/// The failure for tokens that are good for several things, where nobody can be asked: what they are, and what to say.
fn several(connection: &Connection, options: &[Candidate]) -> Error {
    let patterns = connection.connector().map(|connector| connector.auth.patterns.0).unwrap_or_default();
    let problems = options.iter().take(MANY_TOLD).flat_map(|option| {
        let name = format!("{} {}", option.label, option.detail);
        let fields = option.variables.iter().filter(|(name, _)| patterns.iter().any(|(known, _)| known == name));
        fields.map(move |(field, value)| Problem {
            path: format!("/fields/{field}"),
            message: format!("`{value}` is {}", name.trim()),
        })
    });
    let problems: Vec<_> = problems.collect();
    let words = problems.iter().map(|problem| format!("{}: {}", &problem.path[1..], problem.message));
    let words = words.collect::<Vec<_>>().join("; ");
    let message = if words.is_empty() {
        "this is good for several things, and only a person can choose: send them a magic link".to_owned()
    } else {
        format!("this is good for several things; say which in `fields`: {words}")
    };
    Error::invalid(message).of(&connection.connector).with(|details| {
        details.status_reason = Some("fields_invalid".into());
        details.problems = problems;
    })
}
