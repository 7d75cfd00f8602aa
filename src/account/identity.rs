//! Look-ups after the tokens came: what the account is called, what its URLs need, and which of several it is for.

use super::Account;
use super::completion::Consented;
use super::object::Object;
use super::typed::{needed_field, refused_credential};
use crate::catalog::model::{Choose, Lookup, Method};
use crate::code::Code;
use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::json;
use crate::ports::{Body, Request, Response};
use crate::scrub::Scrub;
use crate::secret::Secret;
use crate::target::{Target, Variables};
use crate::template;
use crate::tool::reading::Reading;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Milliseconds one look-up may take.
const LOOKUP_TIMEOUT_MS: u32 = 10_000;
/// More than this are not shown to choose from.
const MANY: usize = 200;

/// One of several things an account may be for.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Candidate {
    /// What people choose by.
    pub(super) label: String,
    /// What tells two of the same name apart.
    pub(super) detail: String,
    /// What the account knows when it is chosen.
    pub(super) variables: Variables,
}

impl Object {
    /// The connector's look-ups from `step` on, in order. What they save can be used by the next. Stops with the number of
    /// the one that found several, and these.
    ///
    /// What was given with imported tokens takes the place of the person's choice, and has to be what the provider says.
    pub(super) async fn look_up(
        &self,
        account: &Account,
        connection: &Connection,
        consented: &mut Consented,
    ) -> Result<Option<(usize, Vec<Candidate>)>> {
        let connector = connection.connector()?;
        let method = connection.method(connector);
        let access = self.open_sealed(account, "access", &consented.tokens.access)?;
        let given = consented.imported.clone();
        for (number, lookup) in connector.auth.identity.iter().enumerate().skip(consented.step) {
            if !lookup.methods.is_empty() && !lookup.methods.contains(&method) {
                continue;
            }
            let variables = &mut consented.variables;
            match self.look_up_one(lookup, &access, connection, variables, given.as_ref()).await {
                Ok(mut found) if found.len() == 1 => variables.extend(found.swap_remove(0).variables),
                Ok(found) => return Ok(Some((number, found))),
                Err(_) if lookup.optional => {}
                Err(error) => return Err(error),
            }
        }
        for (name, value) in given.iter().flatten() {
            if let Some(said) = consented.variables.get(name).filter(|said| *said != value) {
                let message = format!("`{value}` was given, and {} says `{said}`", connector.name);
                return Err(super::typed::problem(connector.id, &format!("/fields/{name}"), &message));
            }
        }
        Ok(None)
    }

    async fn look_up_one(
        &self,
        lookup: &Lookup,
        access: &Secret,
        connection: &Connection,
        variables: &Variables,
        given: Option<&Variables>,
    ) -> Result<Vec<Candidate>> {
        let target = Self::target(connection, variables)?;
        let name = target.connector.name;
        if given.is_some() {
            let missing = template::names(lookup.request.1).into_iter().find(|name| target.variable(name).is_none());
            if let Some(missing) = missing {
                return Err(needed_field(target.connector, missing));
            }
        }
        let failed = |message: String| Error::new(Code::ProviderUnavailable, message).of(target.connector.id);
        let request = self.look_up_request(lookup, &target, access)?;
        let sent = self.world.http.send(request).await;
        let response = sent.map_err(|unanswered| {
            let error = crate::tool::response::unanswered(target.connector, unanswered, LOOKUP_TIMEOUT_MS);
            Error { message: format!("asked who this account is, {}", error.message), ..error }
        })?;
        let body = Reading::of(response.body.bytes());
        let scrub = self.look_up_secrets(&target, access)?;
        self.check_look_up(&target, &response, &body, &scrub, given.is_some())?;
        if body.is_unreadable() {
            return Err(failed(format!("{name} answered who this account is with something that cannot be read")));
        }
        let mut body = body.into_value();
        scrub.value(&mut body);
        let Some(choose) = &lookup.choose else {
            return Ok(vec![candidate(lookup, None, &body, &target).map_err(failed)?]);
        };
        let items = json::find(&body, choose.items).and_then(Value::as_array);
        let mut found: Vec<Candidate> = Vec::new();
        for item in items.into_iter().flatten().filter(|item| fits(choose, item)).take(MANY) {
            let candidate = candidate(lookup, Some(choose), item, &target).map_err(failed)?;
            if !found.iter().any(|known| known.variables == candidate.variables) {
                found.push(candidate);
            }
        }
        if let Some(given) = given {
            let agrees = |candidate: &Candidate| {
                candidate.variables.iter().all(|(name, value)| given.get(name).is_none_or(|given| given == value))
            };
            if found.iter().any(agrees) {
                found.retain(agrees);
            }
        }
        if found.is_empty() {
            let message = format!("{name} gives this account nothing there that it may use; connect another account");
            return Err(Error::new(Code::ProviderPermissionDenied, message).of(target.connector.id));
        }
        Ok(found)
    }

    /// What a look-up's request is built from, and may come back in its answer.
    fn look_up_secrets(&self, target: &Target<'_>, access: &Secret) -> Result<Scrub> {
        let client = self.client(target)?;
        Ok(Scrub::of([access, &client.secret].into_iter().chain(target.connection.opened.values())))
    }

    fn look_up_request(&self, lookup: &Lookup, target: &Target<'_>, access: &Secret) -> Result<Request> {
        let (method, url) = lookup.request;
        let url = target.lookup_url(url)?.into();
        let mut request = Request { method: method.into(), url, timeout_ms: LOOKUP_TIMEOUT_MS, ..Request::default() };
        request.header("accept", "application/json");
        if lookup.credential {
            crate::tool::request::authorize(&mut request, target, access)?;
        }
        let client = self.client(target)?;
        let value = |name: &str| match name {
            "access_token" => Some(access.reveal().to_owned()),
            "client_id" => Some(client.id.clone()),
            "client_secret" => Some(client.secret.reveal().to_owned()),
            _ => target.variable(name),
        };
        if !lookup.json.is_empty() {
            request.header("content-type", "application/json");
            request.body = Body::Bytes(lookup.json.as_bytes().to_vec());
        } else if let Ok(Value::Object(fields)) = serde_json::from_str(lookup.form) {
            let fields = fields.iter().filter_map(|(name, text)| Some((name, template::fill(text.as_str()?, value)?)));
            let text = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
            request.header("content-type", "application/x-www-form-urlencoded");
            request.body = Body::Bytes(text.into_bytes());
        }
        Ok(request)
    }

    /// What a typed-in credential, or an imported token, is refused with is said in the vendor's words.
    fn check_look_up(
        &self,
        target: &Target<'_>,
        response: &Response,
        body: &Reading,
        scrub: &Scrub,
        given: bool,
    ) -> Result<()> {
        let scrub = || scrub.clone();
        let Some(error) = crate::tool::response::failure(target.connector, response, body, &scrub, self.now()) else {
            return Ok(());
        };
        let typed = given || matches!(target.connection.method(target.connector), Method::ByKey | Method::ByJwt);
        let refused = !error.code.retryable();
        if typed && refused {
            return Err(refused_credential(target.connector.id, error.message));
        }
        // The consent is a moment old: a refusal of its token is the provider's failure, and no reason to connect again.
        let code = match error.code {
            Code::ReauthorizationRequired | Code::InsufficientScope => Code::ProviderPermissionDenied,
            code => code,
        };
        Err(Error { code, message: format!("asked who this account is, {}", error.message), ..error })
    }
}

fn fits(choose: &Choose, item: &Value) -> bool {
    choose.contains.is_empty()
        || json::find(item, choose.at).is_some_and(|value| value.to_string().contains(choose.contains))
}

/// What one item, or a whole answer, says of the account.
fn candidate(
    lookup: &Lookup,
    choose: Option<&Choose>,
    item: &Value,
    target: &Target<'_>,
) -> std::result::Result<Candidate, String> {
    let mut variables = Variables::new();
    let known = |name: &str| target.variable(&format!("account.{name}"));
    for (name, at) in lookup.save.iter() {
        let found = if at.is_empty() || at.starts_with('/') {
            json::find_text(item, &[*at])
        } else {
            template::fill(at, |name| variables.get(name).cloned().or_else(|| known(name)))
        };
        variables.extend(found.filter(|text| !text.is_empty()).map(|text| ((*name).to_owned(), text)));
    }
    let is_needed = |name: &str| !matches!(name, "label" | "external_id") && !variables.contains_key(name);
    let missing: Vec<_> = lookup.save.iter().map(|(name, _)| *name).filter(|name| is_needed(name)).collect();
    if !missing.is_empty() {
        let name = target.connector.name;
        return Err(format!("{name} did not tell {} of this account", missing.join(", ")));
    }
    let text = |at: &str| json::find_text(item, &[at]).unwrap_or_default();
    let (label, detail) = choose.map_or_else(Default::default, |choose| {
        (text(choose.label), if choose.detail.is_empty() { String::new() } else { text(choose.detail) })
    });
    Ok(Candidate { label, detail, variables })
}
