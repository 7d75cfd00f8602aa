//! Accounts that come over the API: made to wait for their user, or connected at once with a credential or with tokens that
//! were granted elsewhere.

use super::command::{Birth, Import, Reply};
use super::completion::{Asker, Consented};
use super::object::Object;
use super::snapshot::Snapshot;
use super::typed::{self, Secrets};
use super::{Account, Status};
use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::target::Variables;

impl Object {
    /// Makes the account, or makes it anew. Nothing is stored before a credential or tokens have worked.
    pub(super) async fn create(
        &self,
        birth: Birth,
        import: Option<Import>,
        fields: &Secrets,
        other_person: bool,
    ) -> Result<Reply> {
        if import.is_none() && fields.is_empty() {
            let mut account = self.start_over(birth, false, other_person)?;
            self.forget_the_past(&account);
            account.begin_epoch(self.now());
            self.save(&mut account);
            self.publish().await;
            return Ok(Reply::Snapshot(Box::new(Snapshot::of(&account))));
        }
        // The connection is read first: between the look at what exists and the record nobody is waited for.
        let connection = self.connection(&self.born(birth.clone())).await?;
        let consenting = self.consenting_alone().await;
        let account = self.start_over(birth, import.is_none(), other_person)?;
        let epoch = account.epoch;
        let asked = match import {
            Some(import) => self.imported(&account, &connection, import, fields),
            None => self.by_fields(&account, &connection, fields).await,
        };
        let consented = Consented { epoch, other_person, ..asked? };
        let outcome = self.complete(consented, &connection, Asker::Api(Box::new(account))).await;
        drop(consenting);
        match outcome {
            Ok(Reply::Finished { snapshot, .. }) => Ok(Reply::Snapshot(snapshot)),
            Err(error) if error.details.status_reason.as_deref() == Some("link_ended") => Err(Error::conflict(
                "the account was connected or changed by somebody else meanwhile; nothing was stored",
            )),
            other => other,
        }
    }

    /// The record an account begins with: a new one; one that was disconnected, made anew for the same person; or one that
    /// waits for its user and may be given a credential instead.
    fn start_over(&self, birth: Birth, by_credential: bool, other_person: bool) -> Result<Account> {
        let Some(before) = self.find() else { return Ok(self.born(birth)) };
        match before.status {
            Status::Disconnected => {
                let Account { user_verify_url, created_at, links_from, epoch, .. } = before;
                let external_id = before.external_id.filter(|_| !other_person);
                Ok(Account { external_id, user_verify_url, created_at, links_from, epoch, ..self.born(birth) })
            }
            Status::PendingAuth if by_credential => Ok(before),
            _ => {
                let Birth { identifier, connection_name, connector, .. } = birth;
                let message = format!(
                    "the account of `{identifier}` on `{connection_name}` exists already; a magic link lets its user connect again, and POST /api/v1/connected_accounts:delete disconnects it first"
                );
                Err(Error::conflict(message).of(&connector))
            }
        }
    }

    async fn by_fields(&self, account: &Account, connection: &Connection, fields: &Secrets) -> Result<Consented> {
        typed::check_names(connection, fields, false)?;
        let (variables, secrets) = typed::sort(connection, &Variables::new(), fields)?;
        self.typed(account, connection, variables, &secrets).await
    }

    fn imported(
        &self,
        account: &Account,
        connection: &Connection,
        import: Import,
        fields: &Secrets,
    ) -> Result<Consented> {
        typed::check_names(connection, fields, true)?;
        let variables = typed::sort_for_import(connection, fields)?;
        let Import { access_token, refresh_token, scopes, expires_at } = import;
        let tokens = self.sealed(account, &access_token, refresh_token.as_ref(), expires_at);
        Ok(Consented { imported: Some(variables.clone()), ..Consented::of(tokens, scopes, variables) })
    }
}
