//! Where a request of a connection goes: the connector's URLs, filled with the account's variables, moved to the
//! operator's overrides, and refused when they leave the connector's hosts.

use crate::address;
use crate::catalog::Connector;
use crate::catalog::model::{Auth, Credential, List};
use crate::code::Code;
use crate::connection::Connection;
use crate::error::{Error, Result, short};
use crate::template;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use regex_lite::Regex;
use std::collections::BTreeMap;
use url::Url;

/// What the provider told us of an account (a cloud id).
pub type Variables = BTreeMap<String, String>;

/// What may stand in one path segment as it is: RFC 3986 unreserved characters.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Encodes a value for one path segment. One with `.` or `..` between slashes would be a step through the path for a
/// server that decodes early, so it is refused rather than encoded.
pub fn segment(value: &str) -> Result<String> {
    if value.is_empty() || value.split(['/', '\\']).any(|step| matches!(step, "." | "..")) {
        return Err(Error::new(
            Code::InvalidToolInput,
            format!("`{}` cannot stand in a path: it is empty or has a step `.` or `..`", short(value)),
        ));
    }
    Ok(utf8_percent_encode(value, SEGMENT).to_string())
}

/// A connection of a connector, for one account.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// The provider.
    pub connector: &'static Connector,
    /// The operator's settings.
    pub connection: &'a Connection,
    /// The account's variables.
    pub variables: &'a Variables,
}

impl Auth {
    /// Whether a value has the form that an account variable must have.
    pub fn fits(&self, name: &str, value: &str) -> bool {
        let field = self.fields.iter().find(|field| field.name == name);
        let pattern = self.patterns.iter().find(|(known, _)| *known == name).map(|(_, pattern)| *pattern);
        let pattern = pattern.or_else(|| field.map(|field| field.pattern)).filter(|pattern| !pattern.is_empty());
        pattern.is_none_or(|pattern| Regex::new(pattern).is_ok_and(|regex| regex.is_match(value)))
    }
}

impl Target<'_> {
    /// A variable by its name in templates, `account.cloud_id`, if it has the form it must have: the account's own, else
    /// the connection's, else what the field is when nobody says.
    pub fn variable(&self, name: &str) -> Option<String> {
        let name = name.strip_prefix("account.")?;
        let auth = &self.connector.auth;
        let field = auth.fields.iter().find(|field| field.name == name);
        let usual = || field.map(|field| field.default).filter(|default| !default.is_empty());
        let given = self.variables.get(name).or_else(|| self.connection.fields.get(name)).map(String::as_str);
        let value = given.or_else(usual)?;
        auth.fits(name, value).then(|| value.to_owned())
    }

    /// What a header may hold beside the token: account variables, the client's id, the operator's secret fields.
    pub fn secret(&self, name: &str) -> Option<String> {
        match (name, name.strip_prefix("connection.")) {
            ("client_id", _) => Some(self.connection.client_id.clone()),
            (_, Some(field)) => self.connection.opened.get(field).map(|secret| secret.reveal().to_owned()),
            _ => self.variable(name),
        }
    }

    /// How the credential is sent, the way this connection connects.
    pub fn credential(&self) -> Credential {
        let own = self.connector.http.credential;
        let (header, headers) = match self.connection.credential(self.connector) {
            Some(credential) if credential.header.0.is_empty() => (own, credential.headers.0),
            Some(credential) => (credential.header, credential.headers.0),
            None => (own, [].as_slice()),
        };
        Credential { header, headers: List(headers) }
    }

    /// Fills account variables into a URL of the connector.
    pub fn fill(&self, url: &str) -> Result<String> {
        template::fill(url, |name| self.variable(name)).ok_or_else(|| {
            let unknown = |name: &&str| self.variable(name).is_none();
            let names: Vec<_> = template::names(url).into_iter().filter(unknown).collect();
            self.lacks(&names.join(", "))
        })
    }

    /// The failure for an account that does not know these variables.
    pub fn lacks(&self, names: &str) -> Error {
        let (names, provider) = (names.replace("account.", ""), self.connector.name);
        let message = format!("the account does not know its {names} at {provider}; the user has to connect again");
        Error::new(Code::ReauthorizationRequired, message).of(self.connector.id)
    }

    /// The token endpoint.
    pub fn token_url(&self) -> Result<String> {
        let declared = self.connector.auth.oauth2.as_ref().map_or("", |oauth2| oauth2.token_url);
        self.connection.endpoints.token_url.clone().map_or_else(|| self.fill(declared), Ok)
    }

    /// An endpoint of OAuth 1.0a: the connector's, or its path on the origin of an overridden token endpoint.
    pub fn oauth1_url(&self, declared: &str) -> Result<String> {
        let mut url = self.fill(declared)?;
        if let Some(moved) = self.connection.endpoints.token_url.as_deref().and_then(|url| Url::parse(url).ok()) {
            let path = Url::parse(&url).map(|url| url.path().to_owned()).unwrap_or_default();
            url = format!("{}{path}", moved.origin().ascii_serialization());
        }
        Ok(url)
    }

    /// The authorization endpoint.
    pub fn authorize_url(&self) -> Result<String> {
        let declared = self.connector.auth.oauth2.as_ref().map_or("", |oauth2| oauth2.authorize_url);
        self.connection.endpoints.authorize_url.clone().map_or_else(|| self.fill(declared), Ok)
    }

    /// The revocation endpoint, its holes not filled yet. With an overridden token endpoint and no override of its own there is none: a sandbox's
    /// token is never shown to the real provider.
    pub fn revoke_url(&self, declared: &str) -> Option<String> {
        match (&self.connection.endpoints.revoke_url, &self.connection.endpoints.token_url) {
            (Some(url), _) => Some(url.clone()),
            (None, Some(_)) => None,
            (None, None) => Some(declared.to_owned()),
        }
    }

    /// The API's base URL, without a slash at its end.
    pub fn base(&self) -> Result<String> {
        let base = match &self.connection.endpoints.api_base {
            Some(base) => base.clone(),
            None => self.fill(self.connector.http.base_url)?,
        };
        Ok(base.trim_end_matches('/').to_owned())
    }

    /// The URL of a path below the base, or of an absolute URL on one of the connector's hosts.
    pub fn url(&self, path_or_url: &str) -> Result<Url> {
        let refused = |message: String| Error::invalid(message).of(self.connector.id);
        if !is_absolute(path_or_url) {
            let base = self.base()?;
            let parsed = Url::parse(&format!("{base}{path_or_url}"));
            let url = parsed.map_err(|error| refused(format!("`{path_or_url}` makes no URL: {error}")))?;
            let below = Url::parse(&base).ok().filter(|base| {
                let path = base.path().trim_end_matches('/');
                base.origin() == url.origin()
                    && url.path().strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            });
            return below.map(|_| url).ok_or_else(|| refused(format!("`{path_or_url}` leaves the API's base URL")));
        }
        let url = Url::parse(path_or_url).map_err(|error| refused(format!("`{path_or_url}` is not a URL: {error}")))?;
        self.check_host(&url, &[])?;
        self.moved(url)
    }

    /// As [`Target::url`], for a request without the credential: it may go to the connector's file hosts, too.
    pub fn file_url(&self, path_or_url: &str) -> Result<Url> {
        match Url::parse(path_or_url) {
            Ok(url) => {
                self.check_host(&url, self.connector.http.file_hosts.0)?;
                self.moved(url)
            }
            Err(_) => self.url(path_or_url),
        }
    }

    fn check_host(&self, url: &Url, more: &[&str]) -> Result<()> {
        let host = url.host_str().unwrap_or_default();
        // An account that is being looked up may not know yet what its base URL needs.
        let base = self.fill(self.connector.http.base_url).ok().and_then(|base| Url::parse(&base).ok());
        let own = base.as_ref().and_then(Url::host_str) == Some(host);
        let declared = self.connector.http.hosts.iter().chain(more).filter_map(|declared| self.fill(declared).ok());
        let fine =
            url.scheme() == "https" && url.port().is_none() && url.username().is_empty() && url.password().is_none();
        if fine && (own || declared.into_iter().any(|declared| address::matches(host, &declared))) {
            return Ok(());
        }
        if self.is_override(url) {
            return Ok(());
        }
        let declared =
            [self.connector.http.base_url].into_iter().chain(self.connector.http.hosts.iter().chain(more).copied());
        let known = declared.filter_map(|declared| self.fill(declared).ok()).collect::<Vec<_>>().join(", ");
        let message = format!(
            "`{host}` is not one of {}'s hosts, and no request goes there; they are {known}",
            self.connector.name
        );
        Err(Error::new(Code::PermissionDenied, message).of(self.connector.id))
    }

    fn is_override(&self, url: &Url) -> bool {
        let base = self.connection.endpoints.api_base.as_deref().and_then(|base| Url::parse(base).ok());
        base.is_some_and(|base| base.origin() == url.origin())
    }

    /// An overridden API base moves every URL of the connector: what is below the base keeps its path below the
    /// override, what is on another host keeps its path on the override's origin.
    fn moved(&self, url: Url) -> Result<Url> {
        let Some(base) = &self.connection.endpoints.api_base else { return Ok(url) };
        if self.is_override(&url) {
            return Ok(url);
        }
        // While an account is being looked up its base URL may not be known: then nothing is below it yet.
        let declared = self.fill(self.connector.http.base_url).ok();
        let below = declared.as_deref().and_then(|declared| below(url.as_str(), declared));
        let text = if let Some(rest) = below {
            format!("{}{rest}", base.trim_end_matches('/'))
        } else {
            let origin = Url::parse(base).map(|base| base.origin().ascii_serialization()).unwrap_or_default();
            let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
            format!("{origin}{}{query}", url.path())
        };
        Url::parse(&text).map_err(|_| Error::internal("the connection's api_base makes no URL"))
    }

    /// The URL of a look-up: as [`Target::url`], and the connector's own token or authorize host is fine too.
    pub fn lookup_url(&self, declared: &str) -> Result<Url> {
        let filled = self.fill(declared)?;
        let url = Url::parse(&filled).map_err(|_| Error::internal("a connector's look-up has no URL"))?;
        self.moved(url)
    }
}

/// What follows a base URL in a URL below it. `https://api.example.com/v1` is no base of `https://api.example.com/v10`.
pub fn below<'a>(url: &'a str, base: &str) -> Option<&'a str> {
    let rest = url.strip_prefix(base.trim_end_matches('/'))?;
    (rest.is_empty() || rest.starts_with(['/', '?', '#'])).then_some(rest)
}

/// Whether a text begins with a scheme (RFC 3986 section 3.1), so that it names its host itself. `://` further on is a
/// value like any other.
pub fn is_absolute(text: &str) -> bool {
    let Some((scheme, _)) = text.split_once("://") else { return false };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::{Target, Variables, below, is_absolute, segment};

    #[test]
    fn look_ups_find_an_api_that_was_moved_also_before_the_account_knows_its_base() {
        for connector in crate::catalog::CONNECTORS {
            let keys = crate::keys::Keys::parse("k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").ok().unwrap();
            let source = crate::keys::tests::Counting(0.into());
            let mut connection = crate::connection::fresh("c", connector.id, &keys, &Never, &source);
            connection.endpoints.api_base = Some("https://egress.example.com/base".into());
            let variables = Variables::new();
            let target = Target { connector, connection: &connection, variables: &variables };
            for lookup in connector.auth.identity.iter().filter(|lookup| !lookup.request.1.contains("{account.")) {
                let url = target.lookup_url(lookup.request.1).unwrap();
                assert_eq!(url.host_str(), Some("egress.example.com"), "{}: {url}", connector.id);
            }
        }
    }

    struct Never;
    impl crate::ports::Clock for Never {
        fn now(&self) -> crate::ports::Millis {
            0
        }
    }

    #[test]
    fn only_a_scheme_at_the_start_makes_a_url() {
        for url in ["https://x.example", "HTTP://x", "a+b-c.1://x"] {
            assert!(is_absolute(url), "{url}");
        }
        for path in ["/search?q=https://x.example", "/contents/a://b", "://x", "1a://x", "/x", "", "//x.example/a"] {
            assert!(!is_absolute(path), "{path}");
        }
    }

    #[test]
    fn a_base_ends_at_a_step_of_the_path() {
        assert_eq!(below("https://a.example/v1/x?y", "https://a.example/v1/"), Some("/x?y"));
        assert_eq!(below("https://a.example/v1", "https://a.example/v1"), Some(""));
        for other in ["https://a.example/v10/x", "https://a.example.evil.example/v1", "https://b.example/v1/x"] {
            assert_eq!(below(other, "https://a.example/v1"), None, "{other}");
        }
    }

    #[test]
    fn a_path_parameter_stays_one_segment() {
        assert_eq!(segment("a b/c?d#e").unwrap(), "a%20b%2Fc%3Fd%23e");
        assert_eq!(segment("v1..v2").unwrap(), "v1..v2");
        for step in ["..", ".", "", "../../admin", "a/../b", "a\\..\\b"] {
            assert!(segment(step).is_err(), "{step}");
        }
    }
}
