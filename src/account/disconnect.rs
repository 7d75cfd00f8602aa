//! Disconnecting: revoke at the provider where it can be done, and forget the tokens either way.

use super::command::Reply;
use super::leftovers::{Ended, NotRevoked};
use super::object::Object;
use super::snapshot::Snapshot;
use super::{Account, Reason, Renewal, Status};
use crate::catalog::model::{ClientAuth, Method, RevokeAuth};
use crate::code::Code;
use crate::error::Result;
use crate::oauth::revoke;
use crate::scrub::Scrub;
use crate::tool::reading::Reading;

impl Object {
    pub(super) async fn disconnect(&self) -> Result<Reply> {
        let before = self.load()?;
        let mut account = before.clone();
        account.status = Status::Disconnected;
        account.status_reason = Reason::DisconnectedByOperator;
        account.tokens = None;
        account.begin_epoch(self.now());
        account.renewal = Renewal::default();
        let past = self.forget_the_past(&before);
        // What it held before may be being ended still, if it is disconnected once more.
        let watch = past.last.or_else(|| self.last_leftover()).map(|id| self.watch(id));
        // Forgotten first: nobody gets the token any more while the provider is asked to revoke it.
        self.save(&mut account);
        self.note("disconnected", None);
        let published = self.publish().await;
        let ended = match watch {
            Some(watch) => self.end_and_tell(watch).await,
            None if past.is_empty => Ended::Nothing,
            None => Ended::NoWay,
        };
        let (attempted, succeeded, detail) = match ended {
            Ended::Nothing => (false, false, "there was nothing to revoke: the account held no tokens".to_owned()),
            Ended::NoWay => (false, false, "the provider has no revocation endpoint for this account; the user can end the access in the provider's settings".to_owned()),
            Ended::InUse => (false, false, "the same person has connected it again meanwhile, which revoking would end".to_owned()),
            Ended::Done => (true, true, "revoked at the provider".to_owned()),
            Ended::Failed(detail) => (true, false, detail),
        };
        if !published {
            self.note("not_published", Some("KV could not be told of the disconnect yet".into()));
        }
        Ok(Reply::Disconnected { snapshot: Box::new(Snapshot::of(&account)), attempted, succeeded, detail, published })
    }

    pub(super) async fn revoke(&self, account: &Account) -> Option<std::result::Result<(), NotRevoked>> {
        let tokens = account.tokens.as_ref()?;
        let connection = match self.connection(account).await {
            Ok(connection) => connection,
            // Without its client nobody can ask; with it, once it can be read again.
            Err(error) if error.code == Code::ConnectionNotFound => return None,
            Err(_) => {
                return Some(Err(NotRevoked { why: "the connection could not be read".into(), for_now: true }));
            }
        };
        let target = Self::target(&connection, &account.variables).ok()?;
        let auth = &target.connector.auth;
        let how = match connection.method(target.connector) {
            Method::ByOAuth2 => auth.oauth2.as_ref()?.revoke.as_ref()?,
            Method::ByOAuth1 => auth.oauth1.as_ref()?.revoke.as_ref()?,
            // What a person typed in is theirs, and used elsewhere, too.
            Method::ByKey | Method::ByJwt => return None,
        };
        let url = target.revoke_url(how.request.1)?;
        let access = self.open_sealed(account, "access", &tokens.access).ok()?;
        let refresh = tokens.refresh.as_ref().and_then(|sealed| self.open_sealed(account, "refresh", sealed).ok());
        let token = refresh.filter(|_| how.refresh_token).unwrap_or_else(|| access.clone());
        let client = self.client(&target).ok()?;
        let client_auth = auth.oauth2.as_ref().map_or(ClientAuth::ClientNone, |oauth2| oauth2.client_auth);
        let mut request =
            revoke::request(how, client_auth, &url, &client, &token, &access, |name| target.variable(name))?;
        if how.auth == RevokeAuth::RevokeAsAccount {
            crate::tool::request::authorize(&mut request, &target, &access).ok()?;
        }
        Some(match self.world.http.send(request).await {
            Ok(response) if self.is_fine(target.connector, &response) => Ok(()),
            Ok(response) => Err(NotRevoked {
                why: format!("the provider answered {} to the revocation", response.status),
                for_now: response.status >= 500 || response.status == 429,
            }),
            Err(_) => Err(NotRevoked { why: "the provider did not answer the revocation".into(), for_now: true }),
        })
    }

    /// Some vendors refuse with 200 and say so in the body.
    fn is_fine(&self, connector: &crate::catalog::Connector, response: &crate::ports::Response) -> bool {
        let body = Reading::of_failure(response.body.bytes());
        crate::tool::response::failure(connector, response, &body, &Scrub::default, self.now()).is_none()
    }
}
