//! Magic links: what leads a user's browser to the consent page.

use super::command::{Birth, Reply, Verify};
use super::connect::flow_error;
use super::object::Object;
use super::{Account, Status};
use crate::connection::Connection;
use crate::digest;
use crate::error::{Error, Result};
use crate::ports::Millis;
use crate::target::Variables;
use crate::ticket::{self, Purpose, Refused};
use serde::{Deserialize, Serialize};

/// What a magic link carries beside its ticket.
#[derive(Serialize, Deserialize)]
pub(super) struct Link {
    pub(super) verify: Option<Verify>,
    pub(super) more_scopes: Vec<String>,
    /// What the operator knows already, so that the person is not asked.
    #[serde(default)]
    pub(super) fields: Variables,
    expires_at: Millis,
}

/// More links than this with something of their own are not kept at a time.
const MANY_LINKS: u64 = 50;

/// Where the operator verified this user the last time.
fn known_verify(account: &Account) -> Option<Verify> {
    account.user_verify_url.clone().map(|url| Verify { url, state: None })
}

fn link_key(ticket: &str) -> String {
    format!("link:{}", digest::hash(ticket))
}

impl Object {
    pub(super) async fn link(
        &self,
        birth: Birth,
        verify: Option<Verify>,
        more_scopes: Vec<String>,
        fields: Variables,
    ) -> Result<Reply> {
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
        let (ticket, expires_at) = self.new_link(&account, verify, more_scopes, fields);
        self.note("link_created", None);
        if is_new {
            self.publish().await;
        }
        Ok(Reply::Link { ticket, expires_at })
    }

    /// A link for the user of an account that exists, asking for more scopes if given.
    pub(super) fn relink(&self, more_scopes: &[String]) -> Result<Reply> {
        let account = self.load()?;
        let crowded = self.storage.usage("link:").records >= MANY_LINKS;
        if more_scopes.is_empty() || crowded {
            let (ticket, expires_at) = self.ticket(&account);
            return Ok(Reply::Link { ticket, expires_at });
        }
        let (ticket, expires_at) =
            self.new_link(&account, known_verify(&account), more_scopes.to_vec(), Variables::new());
        Ok(Reply::Link { ticket, expires_at })
    }

    fn ticket(&self, account: &Account) -> (String, Millis) {
        let ticket = ticket::issue(Purpose::Link, &account.id, &self.world.keys, self.now(), &*self.world.random);
        (ticket, self.now() + Purpose::Link.lifetime())
    }

    fn new_link(
        &self,
        account: &Account,
        verify: Option<Verify>,
        more_scopes: Vec<String>,
        fields: Variables,
    ) -> (String, Millis) {
        let (ticket, expires_at) = self.ticket(account);
        self.put_until(&link_key(&ticket), &Link { verify, more_scopes, fields, expires_at }, expires_at);
        (ticket, expires_at)
    }

    /// Adds a fresh link to an error, so that the caller can send the user there at once. The Worker makes a URL of it.
    /// Nothing is stored for it, however often a caller asks: its signature is enough.
    pub(super) fn with_link(&self, account: &Account, error: Error) -> Error {
        if account.status == Status::PendingVerification {
            return error;
        }
        let (ticket, _) = self.ticket(account);
        error.with(|details| details.reauthorize_url = Some(format!("/connect/{ticket}")))
    }

    pub(super) fn find_link(&self, ticket: &str) -> Result<(Account, Link)> {
        let opened = ticket::open(Purpose::Link, ticket, &self.world.keys, self.now());
        let opened = opened.map_err(|refused| link_refused(refused == Refused::Expired))?;
        let account = self.find().ok_or_else(|| link_refused(false))?;
        if opened.issued_at <= account.links_from {
            return Err(link_refused(true));
        }
        let link = self.get(&link_key(ticket)).unwrap_or_else(|| Link {
            verify: known_verify(&account),
            more_scopes: Vec::new(),
            fields: Variables::new(),
            expires_at: opened.issued_at + Purpose::Link.lifetime(),
        });
        Ok((account, link))
    }

    pub(super) async fn open(&self, ticket: &str) -> Result<Reply> {
        let (account, link) = self.find_link(ticket)?;
        let connection = self.connection(&account).await?;
        let scopes = asked_scopes(&account, &connection, &link.more_scopes);
        let Account { connection_name, variables: before, .. } = account;
        Ok(Reply::Consent { connection_name, scopes, given: link.fields, before })
    }
}

/// The connection's scopes. A link that asks for one more also asks for all the account has, so that nothing is lost.
pub(super) fn asked_scopes(account: &Account, connection: &Connection, more: &[String]) -> Vec<String> {
    let mut scopes = connection.asked_scopes();
    let kept: &[String] = if more.is_empty() { &[] } else { &account.scopes };
    for scope in kept.iter().chain(more) {
        if !scopes.contains(scope) {
            scopes.push(scope.clone());
        }
    }
    scopes
}

fn link_refused(expired: bool) -> Error {
    if expired {
        flow_error("link_expired", "This link has expired or was used already. Ask for a new one where you got it.")
    } else {
        flow_error("link_unknown", "This link is not complete or not one of ours. Check that you copied all of it.")
    }
}
