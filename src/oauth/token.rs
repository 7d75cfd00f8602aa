//! The token endpoint: requests (RFC 6749 sections 4.1.3 and 6) and answers, which real providers write in many ways.

use super::Client;
use crate::catalog::model::{ClientAuth, Meaning, OAuth2};
use crate::digest;
use crate::json;
use crate::ports::{Body, Request, Response, Unanswered};
use crate::scrub::Scrub;
use crate::secret::Secret;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};

/// RFC 3986 section 2.3.
pub(super) const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Milliseconds a token request may take. Long enough for a slow provider, short enough for the calls that wait.
pub const TIMEOUT_MS: u32 = 10_000;

/// The most bytes of an answer with tokens.
pub const LARGEST_ANSWER: usize = 256 * 1024;
/// The most values of one. An account's object takes it apart, and each takes a hundred bytes, whatever it was in the text.
pub const MOST_VALUES: u32 = 2_000;

/// The longest life that is believed of an access token: ten years. What is longer, or no number at all, is a mistake of the
/// provider's that must not become a time in the past.
pub const LONGEST_LIFETIME: u64 = 10 * 365 * 86_400;

/// What a token endpoint gave us.
#[derive(Debug)]
pub struct Tokens {
    /// Access token.
    pub access: Secret,
    /// Refresh token, if a new one came.
    pub refresh: Option<Secret>,
    /// Seconds the access token lives, if the answer says.
    pub expires_in: Option<u64>,
    /// Granted scopes, if the answer says.
    pub scopes: Option<Vec<String>>,
    /// Account variables found in the answer.
    pub variables: Vec<(&'static str, String)>,
}

/// Why there are no tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The code or refresh token is no good: `invalid_grant`.
    Grant,
    /// Client id or secret refused: `invalid_client`.
    Client,
    /// The redirect URI is not the registered one.
    Redirect,
    /// The request itself was refused: scope, grant type.
    Request,
    /// An administrator has to approve the application first.
    AdminConsent,
    /// Too many requests.
    RateLimited,
    /// The provider failed, or answered something that is no token response.
    Broken,
    /// No answer in time.
    TimedOut,
    /// No connection.
    Unreachable,
}

impl Refusal {
    /// Whether it says nothing of what was sent, and passes.
    pub fn passes(self) -> bool {
        matches!(self, Self::RateLimited | Self::Broken | Self::TimedOut | Self::Unreachable)
    }
}

/// A refusal with what was said.
#[derive(Debug, Clone)]
pub struct Refused {
    /// Which kind.
    pub refusal: Refusal,
    /// HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// The provider's code.
    pub code: Option<String>,
    /// The provider's words, without the secrets it was sent; never the whole body, which may hold a token.
    pub description: Option<String>,
    /// Seconds to wait.
    pub retry_after: Option<u64>,
}

impl From<Unanswered> for Refused {
    fn from(unanswered: Unanswered) -> Self {
        let refusal = match unanswered {
            Unanswered::TimedOut => Refusal::TimedOut,
            Unanswered::Unreachable => Refusal::Unreachable,
            Unanswered::TooLarge => Refusal::Broken,
        };
        Self { refusal, status: None, code: None, description: None, retry_after: None }
    }
}

/// The request that exchanges an authorization code.
pub fn exchange(
    oauth2: &OAuth2,
    url: String,
    client: &Client,
    code: &Secret,
    redirect_uri: &str,
    verifier: Option<&Secret>,
) -> Request {
    let mut form = vec![
        ("grant_type".to_owned(), "authorization_code".to_owned()),
        ("code".to_owned(), code.reveal().to_owned()),
        ("redirect_uri".to_owned(), redirect_uri.to_owned()),
    ];
    if let Some(verifier) = verifier {
        form.push(("code_verifier".to_owned(), verifier.reveal().to_owned()));
    }
    request(oauth2, url, client, form)
}

/// The request that renews an access token. The scopes go along where the vendor wants to hear them again.
pub fn refresh(oauth2: &OAuth2, url: String, client: &Client, token: &Secret, scopes: &[String]) -> Request {
    let mut form = vec![
        ("grant_type".to_owned(), "refresh_token".to_owned()),
        ("refresh_token".to_owned(), token.reveal().to_owned()),
    ];
    if oauth2.refresh_scopes && !scopes.is_empty() {
        form.push(("scope".to_owned(), scopes.join(oauth2.scope_separator)));
    }
    request(oauth2, url, client, form)
}

fn request(oauth2: &OAuth2, url: String, client: &Client, mut form: Vec<(String, String)>) -> Request {
    let mut request = Request { method: "POST".into(), url, timeout_ms: TIMEOUT_MS, ..Request::default() };
    request.header("accept", "application/json");
    form.extend(oauth2.token_params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    authenticate(oauth2.client_auth, client, &mut request, &mut form);
    if matches!(oauth2.client_auth, ClientAuth::ClientJson | ClientAuth::ClientBasicJson) {
        let fields: Map<_, _> = form.into_iter().map(|(name, value)| (name, Value::String(value))).collect();
        request.header("content-type", "application/json");
        request.body = Body::Bytes(Value::Object(fields).to_string().into_bytes());
    } else {
        request.header("content-type", "application/x-www-form-urlencoded");
        let text = form_urlencoded::Serializer::new(String::new()).extend_pairs(&form).finish();
        request.body = Body::Bytes(text.into_bytes());
    }
    request
}

/// Adds the client's credentials. In HTTP Basic both halves are form-encoded first (RFC 6749 section 2.3.1).
pub fn authenticate(auth: ClientAuth, client: &Client, request: &mut Request, form: &mut Vec<(String, String)>) {
    match auth {
        ClientAuth::ClientBasic | ClientAuth::ClientBasicJson => {
            let encode = |text: &str| utf8_percent_encode(text, UNRESERVED).to_string();
            let pair = format!("{}:{}", encode(&client.id), encode(client.secret.reveal()));
            let basic = format!("Basic {}", digest::base64(pair.as_bytes()));
            request.set_header("authorization", &basic).expect("base64 can stand in a header");
        }
        ClientAuth::ClientBody | ClientAuth::ClientJson => {
            form.push(("client_id".into(), client.id.clone()));
            form.push(("client_secret".into(), client.secret.reveal().to_owned()));
        }
        ClientAuth::ClientNone => form.push(("client_id".into(), client.id.clone())),
    }
}

/// Reads the answer of a token endpoint. `scrub` has the secrets of the request, which a refusal may repeat.
pub fn read(oauth2: &OAuth2, response: &Response, scrub: &Scrub) -> Result<Tokens, Refused> {
    let refused = |refusal| Refused {
        refusal,
        status: Some(response.status),
        code: None,
        description: None,
        retry_after: response.header("retry-after").and_then(|text| text.trim().parse().ok()),
    };
    let body = parse(response);
    let said = body.as_ref().map(|body| said(body, response.status)).unwrap_or_default();
    if let Some(code) = &said.0 {
        let meant = meaning(oauth2, code, said.1.as_deref()).map(refusal_of);
        let meant = meant.unwrap_or_else(|| refusal(code, response.status));
        let refusal = passing(response.status).unwrap_or(meant);
        // Cut after the secrets are out: half of one is not recognized.
        let description = said.1.map(|words| scrub.beginning(&words, 300));
        return Err(Refused { code: Some(scrub.beginning(code, 100)), description, ..refused(refusal) });
    }
    if let Some(passing) = passing(response.status) {
        return Err(refused(passing));
    }
    match response.status {
        200..=299 => {}
        401 if body.is_some() => return Err(refused(Refusal::Client)),
        _ => return Err(refused(Refusal::Broken)),
    }
    let body = body.ok_or_else(|| refused(Refusal::Broken))?;
    let reply = &oauth2.response;
    let text = |pointers: &[&str]| json::find_text(&body, pointers).filter(|text| !text.is_empty());
    let access = text(&reply.access_token).ok_or_else(|| refused(Refusal::Broken))?;
    Ok(Tokens {
        access: Secret::new(access),
        refresh: text(&reply.refresh_token).map(Secret::new),
        expires_in: text(&reply.expires_in).and_then(|text| text.parse::<f64>().ok()).filter(|n| *n > 0.0).map(seconds),
        scopes: reply.scope.iter().find_map(|pointer| scopes(json::find(&body, pointer)?)),
        variables: reply.save.iter().filter_map(|(name, at)| Some((*name, text(&[*at])?))).collect(),
    })
}

/// What a status says by itself, whatever the body names: a token endpoint that is overloaded or broken says nothing of the
/// grant, and an account must not end by that.
fn passing(status: u16) -> Option<Refusal> {
    match status {
        429 => Some(Refusal::RateLimited),
        408 | 500.. => Some(Refusal::Broken),
        _ => None,
    }
}

/// A lifetime in whole seconds; a part of one counts as one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and a cast saturates")]
fn seconds(number: f64) -> u64 {
    (number.ceil() as u64).min(LONGEST_LIFETIME)
}

/// JSON, or the form that RFC 6749's drafts had and some providers still send.
fn parse(response: &Response) -> Option<Value> {
    let bytes = response.body.bytes();
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if bytes.len() > LARGEST_ANSWER {
        return None;
    }
    match json::count(bytes, MOST_VALUES) {
        Some(values) if values > MOST_VALUES => return None,
        Some(_) => return json::parse(bytes).ok().filter(Value::is_object),
        None => {}
    }
    let fields: Map<_, _> = form_urlencoded::parse(bytes)
        .map(|(name, value)| (name.into_owned(), Value::String(value.into_owned())))
        .collect();
    (fields.contains_key("access_token") || fields.contains_key("error")).then_some(Value::Object(fields))
}

/// Code and description of an error, wherever they stand. `{"ok": true, …}` and the like are none; a `status` is one only
/// where the answer is no success.
fn said(body: &Value, status: u16) -> (Option<String>, Option<String>) {
    let code = ["/error", "/error/code", "/error/type", "/errorCode", "/error_code", "/ECODE", "/errors/0/code"];
    let code = json::find_text(body, &code).filter(|text| !text.is_empty() && text != "false");
    let in_status = || body.get("status").and_then(Value::as_str).filter(|_| status >= 400).map(str::to_owned);
    let code = code.or_else(in_status);
    let words = json::find_text(
        body,
        &["/error_description", "/error/message", "/message", "/reason", "/err", "/errors/0/message"],
    );
    (code, words)
}

fn scopes(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => {
            Some(text.split([' ', ',']).filter(|scope| !scope.is_empty()).map(str::to_owned).collect())
        }
        Value::Array(items) => Some(items.iter().filter_map(json::to_text).collect()),
        _ => None,
    }
}

/// What the connector says the vendor's words mean: a code, or a part of the description.
pub fn meaning(oauth2: &OAuth2, code: &str, description: Option<&str>) -> Option<Meaning> {
    let said = |words: &str| code == words || description.is_some_and(|text| text.contains(words));
    oauth2.refusals.iter().find(|(words, _)| said(words)).map(|(_, meaning)| *meaning)
}

fn refusal_of(meaning: Meaning) -> Refusal {
    match meaning {
        Meaning::MeansGrant => Refusal::Grant,
        Meaning::MeansClient => Refusal::Client,
        Meaning::MeansRedirect => Refusal::Redirect,
        Meaning::MeansRequest => Refusal::Request,
        Meaning::MeansRateLimited => Refusal::RateLimited,
        Meaning::MeansTemporary => Refusal::Broken,
        Meaning::MeansAdminConsent => Refusal::AdminConsent,
    }
}

/// The codes of RFC 6749 section 5.2 and what vendors say instead (GitHub, Slack, Salesforce, HubSpot).
fn refusal(code: &str, status: u16) -> Refusal {
    match code {
        "invalid_grant"
        | "bad_verification_code"
        | "bad_refresh_token"
        | "invalid_code"
        | "code_already_used"
        | "code_expired"
        | "invalid_refresh_token"
        | "token_revoked"
        | "token_expired"
        | "account_inactive"
        | "BAD_REFRESH_TOKEN"
        | "BAD_AUTH_CODE"
        | "interaction_required"
        | "consent_required" => Refusal::Grant,
        "invalid_client"
        | "unauthorized_client"
        | "incorrect_client_credentials"
        | "bad_client_secret"
        | "invalid_client_id"
        | "invalid_client_secret"
        | "BAD_CLIENT_ID"
        | "BAD_CLIENT_SECRET" => Refusal::Client,
        "redirect_uri_mismatch" | "bad_redirect_uri" | "invalid_redirect_uri" | "BAD_REDIRECT_URI" => Refusal::Redirect,
        "ratelimited" | "rate_limited" | "slow_down" | "too_many_requests" => Refusal::RateLimited,
        "temporarily_unavailable" | "server_error" | "internal_error" => Refusal::Broken,
        "invalid_request" | "invalid_scope" | "unsupported_grant_type" => Refusal::Request,
        _ if status == 401 => Refusal::Client,
        _ => Refusal::Request,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::model::{List, TokenResponse};

    fn oauth2(client_auth: ClientAuth) -> OAuth2 {
        OAuth2 {
            authorize_url: "https://a.example/authorize",
            issuer: "",
            token_url: "https://a.example/token",
            client_auth,
            pkce: true,
            scope_separator: " ",
            scope_param: "scope",
            scopes: List(&[]),
            optional_scopes: List(&[]),
            scope_words: List(&[]),
            scope_groups: List(&[]),
            refusals: List(&[("BAD_LUCK", Meaning::MeansTemporary), ("AADSTS900", Meaning::MeansAdminConsent)]),
            authorize_params: List(&[]),
            refresh_params: List(&[]),
            refresh_scopes: false,
            token_params: List(&[]),
            assumed_lifetime: None,
            rotates_refresh_token: true,
            response: TokenResponse {
                access_token: List(&["/access_token", "/authed_user/access_token"]),
                refresh_token: List(&["/refresh_token"]),
                expires_in: List(&["/expires_in"]),
                scope: List(&["/scope"]),
                save: List(&[("team", "/team/id")]),
            },
            revoke: None,
        }
    }

    fn answer(status: u16, body: &str) -> Result<Tokens, Refused> {
        read(&oauth2(ClientAuth::ClientBasic), &Response::new(status, "text/plain", body), &Scrub::default())
    }

    #[test]
    fn good_answers_are_read_in_every_spelling() {
        let tokens =
            answer(200, r#"{"access_token":"a","expires_in":"3600","scope":"x,y z","team":{"id":"T"}}"#).unwrap();
        assert_eq!((tokens.access.reveal(), tokens.expires_in), ("a", Some(3600)));
        assert_eq!(tokens.scopes.unwrap(), ["x", "y", "z"]);
        assert_eq!(tokens.variables, [("team", "T".to_owned())]);
        assert_eq!(answer(200, "\u{feff}{\"access_token\":\"a\"}").unwrap().access.reveal(), "a");
        assert_eq!(answer(200, "access_token=a&scope=").unwrap().access.reveal(), "a");
        assert_eq!(answer(200, r#"{"ok":true,"authed_user":{"access_token":"u"}}"#).unwrap().access.reveal(), "u");
        for (said, seconds) in [
            ("0", None),
            ("-1", None),
            ("0.5", Some(1)),
            ("1e30", Some(LONGEST_LIFETIME)),
            ("1e19", Some(LONGEST_LIFETIME)),
            ("10000000000000000000", Some(LONGEST_LIFETIME)),
            (r#""inf""#, Some(LONGEST_LIFETIME)),
            (r#""NaN""#, None),
            (r#""soon""#, None),
            ("null", None),
        ] {
            let text = format!(r#"{{"access_token":"a","expires_in":{said}}}"#);
            assert_eq!(answer(200, &text).unwrap().expires_in, seconds, "{said}");
        }
    }

    #[test]
    fn refusals_are_told_apart() {
        for (status, body, wanted) in [
            (400, r#"{"error":"invalid_grant"}"#, Refusal::Grant),
            (200, r#"{"error":"bad_verification_code","error_description":"…"}"#, Refusal::Grant),
            (200, "error=bad_refresh_token", Refusal::Grant),
            (200, r#"{"ok":false,"error":"bad_client_secret"}"#, Refusal::Client),
            (401, r#"{"error":"invalid_client"}"#, Refusal::Client),
            (400, r#"{"error":"redirect_uri_mismatch"}"#, Refusal::Redirect),
            (503, "<html>down</html>", Refusal::Broken),
            (200, "<html>sign in</html>", Refusal::Broken),
            (429, "", Refusal::RateLimited),
            (200, "{}", Refusal::Broken),
            (400, r#"{"status":"BAD_REFRESH_TOKEN","message":"…"}"#, Refusal::Grant),
            (400, r#"{"error":"BAD_LUCK"}"#, Refusal::Broken),
            (500, r#"{"error":"invalid_grant"}"#, Refusal::Broken),
            (502, r#"{"error":"invalid_grant","error_description":"AADSTS900: …"}"#, Refusal::Broken),
            (503, r#"{"error":"invalid_client"}"#, Refusal::Broken),
            (429, r#"{"error":"invalid_grant"}"#, Refusal::RateLimited),
            (408, r#"{"error":"invalid_request"}"#, Refusal::Broken),
            (403, r#"{"error":"invalid_grant"}"#, Refusal::Grant),
            (503, "{}", Refusal::Broken),
            (500, r#"{"access_token":"a"}"#, Refusal::Broken),
            (400, r#"{"error":"invalid_grant","error_description":"AADSTS900: …"}"#, Refusal::AdminConsent),
        ] {
            assert_eq!(answer(status, body).unwrap_err().refusal, wanted, "{status} {body}");
        }
    }

    #[test]
    fn a_refusal_does_not_repeat_what_was_sent() {
        let (token, secret) = (Secret::new("rt_0123456789abcdef"), Secret::new("client-secret-0123456789"));
        let scrub = Scrub::of([&token, &secret]);
        for before in 0..320 {
            let said =
                format!("{}{} {}", "x".repeat(before), token.reveal(), digest::base64(secret.reveal().as_bytes()));
            let body = Value::from_iter([("error", said.clone()), ("error_description", said)]).to_string();
            let answer = Response::new(400, "application/json", body);
            let refused = read(&oauth2(ClientAuth::ClientBasic), &answer, &scrub).unwrap_err();
            let shown = format!("{:?} {:?}", refused.code, refused.description);
            assert!(!shown.contains("rt_0") && !shown.contains("Y2xpZW50"), "{shown}");
            assert!(shown.len() < 450, "{shown}");
        }
    }

    #[test]
    fn the_client_authenticates_the_way_the_connector_says() {
        let client = Client { id: "i d".into(), secret: Secret::new("s:e") };
        let request = refresh(
            &oauth2(ClientAuth::ClientBasic),
            "https://a.example/token".into(),
            &client,
            &Secret::new("r"),
            &[],
        );
        assert_eq!(request.headers["authorization"], format!("Basic {}", digest::base64(b"i%20d:s%3Ae")).as_str());
        assert_eq!(request.body.bytes(), b"grant_type=refresh_token&refresh_token=r");
        let request =
            refresh(&oauth2(ClientAuth::ClientJson), "https://a.example/token".into(), &client, &Secret::new("r"), &[]);
        let body: Value = serde_json::from_slice(request.body.bytes()).unwrap();
        assert_eq!(body["client_secret"], "s:e");
        let asking = OAuth2 { refresh_scopes: true, ..oauth2(ClientAuth::ClientNone) };
        let scopes = ["offline_access".to_owned(), "Mail.Send".to_owned()];
        let request = refresh(&asking, "https://a.example/token".into(), &client, &Secret::new("r"), &scopes);
        let form = b"grant_type=refresh_token&refresh_token=r&scope=offline_access+Mail.Send&client_id=i+d";
        assert_eq!(request.body.bytes(), form);
    }

    #[test]
    fn an_answer_of_very_many_values_is_none() {
        let answer = |more: &str| {
            let body = format!(r#"{{"access_token":"a","more":[{more}0]}}"#);
            parse(&Response::new(200, "application/json", body)).is_some()
        };
        assert!(answer(&"0,".repeat(MOST_VALUES as usize - 10)));
        assert!(!answer(&"{},".repeat(MOST_VALUES as usize)));
        assert!(!answer(&format!("\"{}\",", "x".repeat(LARGEST_ANSWER))));
    }
}
