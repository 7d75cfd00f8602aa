//! A provider that knows which of its tokens live: codes are good once, refresh tokens rotate, revoking ends a grant.

use form_urlencoded::parse;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use valetkey::ports::{Request, Response, get};

/// A grant: what one person has given to the application.
#[derive(Debug, Clone)]
struct Grant {
    person: String,
    access: Vec<String>,
    refresh: String,
    scope: &'static str,
}

#[derive(Debug, Clone, Default)]
pub struct Vendor {
    grants: BTreeMap<String, Grant>,
    used: Vec<String>,
    /// Access tokens that were given for a refresh token.
    renewed: Vec<String>,
    count: u32,
    /// A person has one grant for each consent; else one for the application, and ending it ends all.
    pub many_grants: bool,
    /// A refresh token comes with a person's first consent alone; what they consent to later adds to that.
    pub one_refresh_token: bool,
    /// What was granted elsewhere was granted to the same application.
    pub same_application: bool,
    /// What everybody is called; else their address.
    pub label: Option<String>,
}

impl Vendor {
    /// Tokens `access-<name>` and `refresh-<name>`, granted to nobody we know.
    pub fn grant_elsewhere(&mut self, person: &str, name: &str) {
        let grant = Grant {
            person: format!("{person}@elsewhere"),
            access: vec![format!("access-{name}")],
            refresh: format!("refresh-{name}"),
            scope: "read",
        };
        self.grants.insert(name.to_owned(), grant);
    }

    /// The person ends what they granted.
    pub fn withdraw(&mut self, person: &str) {
        self.grants.retain(|_, grant| grant.person != person);
    }

    /// The person an access token is of, if it lives.
    pub fn whose(&self, access: &str) -> Option<String> {
        let grant = self.grants.values().find(|grant| grant.access.iter().any(|known| known == access))?;
        Some(grant.person.trim_end_matches("@elsewhere").to_owned())
    }

    /// Whether a refresh token lives.
    pub fn honours(&self, refresh: &str) -> bool {
        self.grants.values().any(|grant| grant.refresh == refresh)
    }

    /// Whether an access token came for a refresh token.
    pub fn has_renewed(&self, access: &str) -> bool {
        self.renewed.iter().any(|known| known == access)
    }

    /// Who has granted something that lives.
    pub fn people(&self) -> Vec<String> {
        let people = self.grants.values().map(|grant| grant.person.clone());
        people.filter(|person| !person.ends_with("@elsewhere")).collect()
    }

    pub fn answer(&mut self, request: &Request) -> Response {
        let fields: BTreeMap<String, String> = parse(request.body.bytes()).into_owned().collect();
        let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
        let answer = |status, body: Value| Response::new(status, "application/json", body.to_string());
        match request.url.rsplit('/').next().unwrap_or_default() {
            "token" => match self.token(&field("grant_type"), &field("code"), &field("refresh_token")) {
                Some((access, refresh, scope)) => {
                    let mut body = json!({ "access_token": access, "expires_in": 86_399, "scope": scope });
                    body.as_object_mut()
                        .unwrap()
                        .extend(refresh.map(|token| ("refresh_token".to_owned(), token.into())));
                    answer(200, body)
                }
                None => answer(400, json!({ "error": "invalid_grant" })),
            },
            "revoke" => {
                self.revoke(&field("token"));
                answer(200, json!({}))
            }
            _ => {
                let bearer = get(&request.headers, "authorization").unwrap_or_default();
                match self.whose(bearer.trim_start_matches("Bearer ")) {
                    Some(person) => {
                        let email = self.label.clone().unwrap_or_else(|| format!("{person}@example.com"));
                        let viewer = json!({ "id": person, "email": email });
                        let organization = json!({ "id": "o", "name": "Example", "urlKey": "ex" });
                        answer(200, json!({ "data": { "viewer": viewer, "organization": organization } }))
                    }
                    None => answer(401, json!({ "errors": [{ "message": "Authentication required" }] })),
                }
            }
        }
    }

    /// A new access token, with it a refresh token or not, and what both are good for.
    fn token(&mut self, grant_type: &str, code: &str, refresh: &str) -> Option<(String, Option<String>, &'static str)> {
        self.count += 1;
        let (access, next) = (format!("access-{}", self.count), format!("refresh-{}", self.count));
        if grant_type == "refresh_token" {
            let grant = self.grants.values_mut().find(|grant| grant.refresh == refresh)?;
            grant.access.push(access.clone());
            grant.refresh.clone_from(&next);
            self.renewed.push(access.clone());
            return Some((access, Some(next), grant.scope));
        }
        if self.used.iter().any(|used| used == code) {
            return None;
        }
        self.used.push(code.to_owned());
        let person = code.split('-').next().unwrap_or_default().to_owned();
        // The first consent is to less than the others.
        let scope = if code.ends_with("-0") { "read" } else { "read,write" };
        let before = self.grants.values_mut().find(|grant| grant.person == person);
        if let Some(grant) = before.filter(|_| self.one_refresh_token) {
            grant.access.push(access.clone());
            grant.scope = scope;
            return Some((access, None, scope));
        }
        let grant = Grant { person, access: vec![access.clone()], refresh: next.clone(), scope };
        self.grants.insert(code.to_owned(), grant);
        Some((access, Some(next), scope))
    }

    fn revoke(&mut self, token: &str) {
        let is = |grant: &Grant| grant.refresh == token || grant.access.iter().any(|known| known == token);
        let Some(person) = self.grants.values().find(|grant| is(grant)).map(|grant| grant.person.clone()) else {
            return;
        };
        let here = |person: &str| person.trim_end_matches("@elsewhere").to_owned();
        if self.many_grants {
            self.grants.retain(|_, grant| !is(grant));
        } else if self.same_application {
            self.grants.retain(|_, grant| here(&grant.person) != here(&person));
        } else {
            self.grants.retain(|_, grant| grant.person != person);
        }
    }
}
