//! Magic links: what leads a user's browser to the consent page.

use super::command::{Birth, Reply, Verify};
use super::connect::flow_error;
use super::object::Object;
use super::order;
use super::{Account, Status};
use crate::connection::Connection;
use crate::digest;
use crate::error::{Error, Result};
use crate::ports::Millis;
use crate::target::Variables;
use crate::ticket::{self, LinkKind, Purpose, Refused, Standing};
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
    /// The account's epoch when it was made.
    #[serde(default)]
    pub(super) epoch: u32,
    /// Whether it may lead to somebody else than was connected before.
    #[serde(default)]
    pub(super) other_person: bool,
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
        fields: Variables,
        other_person: bool,
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
        let (ticket, expires_at) = self.ticket(&account, LinkKind::Operators);
        let link = Link { verify, fields, other_person, expires_at, epoch: account.epoch, more_scopes: Vec::new() };
        self.put_until(&link_key(&ticket), &link, expires_at);
        self.note("link_created", other_person.then(|| "for another person, too".into()));
        if is_new {
            self.publish().await;
        }
        Ok(Reply::Link { ticket, expires_at })
    }

    /// A link for the user of an account that exists, asking for more scopes if given. No operator is behind it: it leads
    /// to the person who was connected, and past the operator's own check of who that is, if there is one.
    pub(super) fn relink(&self, more_scopes: &[String]) -> Result<Reply> {
        let account = self.load()?;
        let (ticket, expires_at) = self.ticket(&account, kind_for(&account));
        let crowded = || self.storage.usage("link:").records >= MANY_LINKS;
        if !more_scopes.is_empty() && !crowded() {
            let link = own_link(&account, more_scopes.to_vec(), expires_at);
            self.put_until(&link_key(&ticket), &link, expires_at);
        }
        Ok(Reply::Link { ticket, expires_at })
    }

    fn ticket(&self, account: &Account, kind: LinkKind) -> (String, Millis) {
        let standing = Standing { epoch: account.epoch, kind };
        let ticket = ticket::issue_link(&account.id, standing, &self.world.keys, self.now(), &*self.world.random);
        (ticket, self.now() + Purpose::Link.lifetime())
    }

    /// Adds a fresh link to an error, so that the caller can send the user there at once. The Worker makes a URL of it.
    /// Nothing is stored for it, however often a caller asks: its signature is enough.
    pub(super) fn with_link(&self, account: &Account, error: Error) -> Error {
        if account.status == Status::PendingVerification {
            return error;
        }
        let (ticket, _) = self.ticket(account, kind_for(account));
        error.with(|details| details.reauthorize_url = Some(format!("/connect/{ticket}")))
    }

    pub(super) fn find_link(&self, ticket: &str) -> Result<(Account, Link)> {
        let opened = ticket::open(Purpose::Link, ticket, &self.world.keys, self.now());
        let opened = opened.map_err(|refused| link_refused(refused == Refused::Expired))?;
        let account = self.find().ok_or_else(|| link_refused(false))?;
        // A link of before tickets said the epoch is judged by its time.
        let is_of_now = match opened.standing {
            Some(standing) => standing.epoch == account.epoch,
            None => opened.issued_at > account.links_from,
        };
        if !is_of_now {
            return Err(order::ended());
        }
        let kind = opened.standing.map_or(LinkKind::SamePerson, |standing| standing.kind);
        let kept: Option<Link> = self.get(&link_key(ticket)).filter(|link: &Link| link.epoch == account.epoch);
        let link = match (kept, kind) {
            (Some(link), _) => link,
            // What the operator wanted of it is gone: nobody is let past that.
            (None, LinkKind::Operators) => return Err(link_refused(true)),
            (None, LinkKind::SamePerson) if account.external_id.is_none() => return Err(link_refused(true)),
            (None, _) => own_link(&account, Vec::new(), opened.issued_at + Purpose::Link.lifetime()),
        };
        Ok((account, link))
    }

    pub(super) async fn open(&self, ticket: &str) -> Result<Reply> {
        let (account, link) = self.find_link(ticket)?;
        let connection = self.connection(&account).await?;
        let account = self.still_there(account.epoch)?;
        let scopes = asked_scopes(&account, &connection, &link.more_scopes);
        let Account { connection_name, variables: before, .. } = account;
        Ok(Reply::Consent { connection_name, scopes, given: link.fields, before })
    }
}

/// What a link from an error is good for.
fn kind_for(account: &Account) -> LinkKind {
    if account.external_id.is_some() { LinkKind::SamePerson } else { LinkKind::Anyone }
}

/// A link that no operator is behind.
fn own_link(account: &Account, more_scopes: Vec<String>, expires_at: Millis) -> Link {
    Link {
        verify: known_verify(account),
        more_scopes,
        fields: Variables::new(),
        expires_at,
        epoch: account.epoch,
        other_person: false,
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
