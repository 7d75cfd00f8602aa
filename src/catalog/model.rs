//! The connectors as the Worker reads them: plain `'static` data.
//!
//! `build.rs` fills these types from `connectors/` and writes them out with their own `Debug`, whose output is Rust
//! source again. So the types the build writes and the types the Worker reads are one and cannot drift, nothing is
//! parsed when the Worker starts, and [`List`] exists only because a slice's `Debug` lacks the `&`.

use std::fmt;
use std::ops::Deref;

/// A `'static` slice whose `Debug` is valid Rust source.
pub struct List<T: 'static>(pub &'static [T]);

impl<T> Deref for List<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        self.0
    }
}

impl<T: fmt::Debug> fmt::Debug for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "List(&{:?})", self.0)
    }
}

/// Name and value, both fixed or with `{holes}`.
pub type Pair = (&'static str, &'static str);

/// One provider, as described by `connectors/<id>/`.
#[derive(Debug)]
pub struct Connector {
    /// Lower-case letters and digits; the first part of every tool name.
    pub id: &'static str,
    /// Name of the product as people write it.
    pub name: &'static str,
    /// One sentence: what an agent can do with it.
    pub summary: &'static str,
    /// What kind of application it is.
    pub categories: List<&'static str>,
    /// The vendor's API documentation.
    pub docs: &'static str,
    /// How an account is connected.
    pub auth: Auth,
    /// How the API is reached.
    pub http: Http,
    /// What its failures mean.
    pub errors: Errors,
    /// The limits it publishes.
    pub limits: List<Limit>,
    /// Its tools, sorted by name.
    pub tools: List<Tool>,
}

/// How an account of a connector is connected. A connection uses one of the ways.
#[derive(Debug)]
pub struct Auth {
    /// The OAuth 2.0 authorization code flow, where the vendor has it.
    pub oauth2: Option<OAuth2>,
    /// OAuth 1.0a, where the vendor has that.
    pub oauth1: Option<OAuth1>,
    /// A credential that people type in.
    pub key: Option<Key>,
    /// A JWT signed with a private key that people paste.
    pub jwt: Option<Jwt>,
    /// What must be known before an account can be connected.
    pub fields: List<Field>,
    /// Look-ups after the tokens arrived: the account's label, a site's id.
    pub identity: List<Lookup>,
    /// Patterns that looked-up variables must match, since they may end up in a host name.
    pub patterns: List<Pair>,
}

/// A way to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// OAuth 2.0, authorization code (RFC 6749 section 4.1).
    ByOAuth2,
    /// OAuth 1.0a (RFC 5849).
    ByOAuth1,
    /// A typed-in credential.
    ByKey,
    /// A signed JWT (RFC 7523).
    ByJwt,
}

impl Method {
    /// All ways by their names, the one taken first before the others.
    pub const ALL: &'static [(&'static str, Self)] =
        &[("oauth2", Self::ByOAuth2), ("oauth1", Self::ByOAuth1), ("key", Self::ByKey), ("jwt", Self::ByJwt)];
}

/// Something asked before an account can be connected: `{account.<name>}`, or a part of a credential.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "four properties that have nothing to do with each other")]
pub struct Field {
    /// Name in templates.
    pub name: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// Where it is found.
    pub help: &'static str,
    /// A value that would do; empty for none.
    pub example: &'static str,
    /// What it must match; empty for anything.
    pub pattern: &'static str,
    /// Value when none is given; empty for none.
    pub default: &'static str,
    /// Whether it belongs to the connection and is never asked of people.
    pub by_operator: bool,
    /// Whether it is sealed and never shown.
    pub secret: bool,
    /// Whether it has several lines.
    pub multiline: bool,
    /// Whether connecting fails without it.
    pub required: bool,
    /// The ways to connect it is for; empty for all.
    pub methods: List<Method>,
}

/// How a credential is sent: header, its template, and further headers.
#[derive(Debug)]
pub struct Credential {
    /// Header and template; an empty name means the connector's own.
    pub header: Pair,
    /// Further headers, for this way to connect alone.
    pub headers: List<Pair>,
}

/// A typed-in credential.
#[derive(Debug)]
pub struct Key {
    /// What it is called.
    pub title: &'static str,
    /// Where people find it.
    pub help: &'static str,
    /// Template that makes the access token of the fields.
    pub token: &'static str,
    /// Whether the token is base64 of that.
    pub base64: bool,
    /// How it is sent.
    pub credential: Credential,
}

/// A JWT signed with RS256 whenever the last one ends.
#[derive(Debug)]
pub struct Jwt {
    /// What it is called.
    pub title: &'static str,
    /// Where people find the key.
    pub help: &'static str,
    /// Template that gives the private key, PEM of PKCS#8 (RFC 5958).
    pub private_key: &'static str,
    /// Further members of the JOSE header.
    pub header: List<Pair>,
    /// Claims beside `iat` and `exp`.
    pub claims: List<Pair>,
    /// Seconds a JWT is good for.
    pub lifetime: u32,
    /// Token endpoint it is exchanged at (RFC 7523 section 2.1); empty when the JWT itself is the access token.
    pub exchange: &'static str,
    /// Scopes it asks for when the operator names none.
    pub scopes: List<&'static str>,
    /// How it is sent.
    pub credential: Credential,
}

/// The OAuth 1.0a part of a connector (RFC 5849), HMAC-SHA1.
#[derive(Debug)]
pub struct OAuth1 {
    /// Temporary credential request.
    pub request_token_url: &'static str,
    /// Resource owner authorization.
    pub authorize_url: &'static str,
    /// Token request.
    pub access_token_url: &'static str,
    /// Extra parameters of the authorization.
    pub authorize_params: List<Pair>,
    /// Name of the parameter that carries the scopes; empty for none.
    pub scope_param: &'static str,
    /// What stands between two scopes.
    pub scope_separator: &'static str,
    /// Scopes asked for when the operator names none.
    pub scopes: List<&'static str>,
    /// Further scopes an operator may ask for.
    pub optional_scopes: List<&'static str>,
    /// Scope and what it lets an agent do.
    pub scope_words: List<Pair>,
    /// How a token is revoked.
    pub revoke: Option<Revoke>,
    /// How it is sent.
    pub credential: Credential,
}

/// The OAuth 2.0 part of a connector.
#[derive(Debug)]
pub struct OAuth2 {
    /// Authorization endpoint (RFC 6749 section 3.1); may have `{field}` holes.
    pub authorize_url: &'static str,
    /// What `iss` of its answers is, letter by letter (RFC 9207); empty when the vendor names none.
    pub issuer: &'static str,
    /// Token endpoint (RFC 6749 section 3.2).
    pub token_url: &'static str,
    /// How the client authenticates at the token endpoint.
    pub client_auth: ClientAuth,
    /// Whether PKCE S256 (RFC 7636) is used.
    pub pkce: bool,
    /// What stands between two scopes, both in the request and in the answer.
    pub scope_separator: &'static str,
    /// Name of the query parameter that carries the scopes.
    pub scope_param: &'static str,
    /// Scopes asked for when the operator names none.
    pub scopes: List<&'static str>,
    /// Further scopes an operator may ask for.
    pub optional_scopes: List<&'static str>,
    /// Scope and what it lets an agent do, in words for the person who consents.
    pub scope_words: List<Pair>,
    /// Beginning of a scope, and the parameter that scopes which begin so go into, without it.
    pub scope_groups: List<Pair>,
    /// The vendor's own words and what they mean.
    pub refusals: List<(&'static str, Meaning)>,
    /// Extra parameters of the authorization request.
    pub authorize_params: List<Pair>,
    /// Further ones, unless the account has a refresh token that works.
    pub refresh_params: List<Pair>,
    /// Whether the granted scopes are sent again with a refresh.
    pub refresh_scopes: bool,
    /// Extra parameters of token requests.
    pub token_params: List<Pair>,
    /// Seconds an access token lives when the answer does not say; none means it does not expire.
    pub assumed_lifetime: Option<u32>,
    /// Whether each refresh replaces the refresh token.
    pub rotates_refresh_token: bool,
    /// Where things stand in the token response.
    pub response: TokenResponse,
    /// How a token is revoked.
    pub revoke: Option<Revoke>,
}

/// What an authorization server's refusal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The code or refresh token is no good.
    MeansGrant,
    /// Client id or secret refused.
    MeansClient,
    /// The redirect URI is not the registered one.
    MeansRedirect,
    /// The request itself was refused.
    MeansRequest,
    /// Too many requests.
    MeansRateLimited,
    /// It passes.
    MeansTemporary,
    /// An administrator has to approve the application first.
    MeansAdminConsent,
}

/// How the client proves itself at the token endpoint (RFC 6749 section 2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// HTTP Basic.
    ClientBasic,
    /// `client_id` and `client_secret` in the form.
    ClientBody,
    /// As `ClientBody`, but the whole request is JSON.
    ClientJson,
    /// HTTP Basic, and the rest of the request is JSON.
    ClientBasicJson,
    /// No secret: a public client.
    ClientNone,
}

/// JSON Pointers into the token response; the first that exists counts.
#[derive(Debug)]
pub struct TokenResponse {
    /// Access token.
    pub access_token: List<&'static str>,
    /// Refresh token.
    pub refresh_token: List<&'static str>,
    /// Lifetime in seconds.
    pub expires_in: List<&'static str>,
    /// Granted scopes.
    pub scope: List<&'static str>,
    /// Account variables to keep.
    pub save: List<Pair>,
}

/// A revocation request: RFC 7009 or the vendor's own.
#[derive(Debug)]
pub struct Revoke {
    /// Method and absolute URL.
    pub request: (&'static str, &'static str),
    /// Whose credential goes with it.
    pub auth: RevokeAuth,
    /// Whether `{token}` is the refresh token (when there is one) rather than the access token.
    pub refresh_token: bool,
    /// Form template, JSON text; empty for none.
    pub form: &'static str,
    /// JSON body template, JSON text; empty for none.
    pub json: &'static str,
}

/// Who authenticates a revocation request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevokeAuth {
    /// The client, as at the token endpoint.
    RevokeAsClient,
    /// The client, always by HTTP Basic.
    RevokeAsBasic,
    /// The client, always in the body.
    RevokeAsBody,
    /// The account's access token.
    RevokeAsAccount,
    /// Nobody: the token itself is enough.
    RevokeAsNobody,
}

/// A request made once the tokens are there, to learn about the account.
#[derive(Debug)]
pub struct Lookup {
    /// Method and absolute URL, with holes.
    pub request: (&'static str, &'static str),
    /// JSON body template, JSON text; empty for none.
    pub json: &'static str,
    /// Form template, JSON text; empty for none.
    pub form: &'static str,
    /// Whether the account's credential goes with it.
    pub credential: bool,
    /// How one of several is chosen.
    pub choose: Option<Choose>,
    /// Variable and JSON Pointer, or a text with holes. `label` is shown to people, `external_id` is the provider's id of
    /// the account.
    pub save: List<Pair>,
    /// Whether the account is usable without it.
    pub optional: bool,
    /// The ways to connect it is for; empty for all.
    pub methods: List<Method>,
}

/// A look-up that may find several things, of which an account is one.
#[derive(Debug)]
pub struct Choose {
    /// JSON Pointer of the list.
    pub items: &'static str,
    /// JSON Pointer in an item: what people choose by.
    pub label: &'static str,
    /// JSON Pointer in an item: what tells two of the same name apart; empty for none.
    pub detail: &'static str,
    /// JSON Pointer in an item …
    pub at: &'static str,
    /// … whose value has this text; empty for every item.
    pub contains: &'static str,
}

/// How the API is reached.
#[derive(Debug)]
pub struct Http {
    /// What a relative request of a tool or of the proxy is appended to.
    pub base_url: &'static str,
    /// Further hosts the credential may go to; `*.example.com` is any one label below example.com.
    pub hosts: List<&'static str>,
    /// Hosts that only requests without the credential may go to.
    pub file_hosts: List<&'static str>,
    /// Headers of every request.
    pub headers: List<Pair>,
    /// Header that carries the credential, and its template.
    pub credential: Pair,
    /// Milliseconds until a request is given up.
    pub timeout_ms: u32,
}

/// What a connector's failures mean.
#[derive(Debug)]
pub struct Errors {
    /// Conditions under which a 2xx answer is a failure.
    pub failed_when: List<FailedWhen>,
    /// JSON Pointers to the provider's error code.
    pub code: List<&'static str>,
    /// JSON Pointers to the provider's message.
    pub message: List<&'static str>,
    /// JSON Pointers to the scope that was missing.
    pub scopes: List<&'static str>,
    /// Headers that list the scopes one of which a request needs, and those the token has; empty names for none.
    pub scope_headers: Pair,
    /// JSON Pointers, or `header:<name>`, to the address where a person can mend a failure at the provider.
    pub help: List<&'static str>,
    /// Rules, first match wins; what none matches is told by its status.
    pub rules: List<Rule>,
    /// Where the time to wait stands.
    pub retry_after: List<RetryAfter>,
}

/// A condition on the body of a 2xx answer.
#[derive(Debug)]
pub struct FailedWhen {
    /// JSON Pointer.
    pub at: &'static str,
    /// JSON text the value must equal; empty means it only has to exist.
    pub equals: &'static str,
}

/// What a certain failure is.
#[derive(Debug)]
pub struct Rule {
    /// HTTP statuses it applies to; empty for any.
    pub status: List<u16>,
    /// Provider codes it applies to; empty for any.
    pub codes: List<&'static str>,
    /// Text the message must contain, in any case; empty for any.
    pub message_contains: &'static str,
    /// Header and the value it must have; an empty name for any.
    pub header: Pair,
    /// Whether the header only has to begin so.
    pub header_begins: bool,
    /// Whether this may be said of a token that has ended: an older one is renewed once, and the request sent once more.
    pub renew: bool,
    /// Name of the error code (docs/errors.md).
    pub error: &'static str,
    /// For limits: which one.
    pub limit_type: &'static str,
    /// Seconds to wait when the answer does not say.
    pub wait: Option<u32>,
}

/// A place that says how long to wait.
#[derive(Debug)]
pub struct RetryAfter {
    /// Header name; empty when it stands in the body.
    pub header: &'static str,
    /// JSON Pointer; empty when it is a header.
    pub at: &'static str,
    /// How to read it.
    pub unit: RetryUnit,
}

/// How a time to wait is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryUnit {
    /// Seconds from now, or an HTTP date (RFC 9110 section 10.2.3).
    WaitSeconds,
    /// Milliseconds from now.
    WaitMilliseconds,
    /// Seconds since 1970.
    AtEpochSeconds,
    /// Milliseconds since 1970.
    AtEpochMilliseconds,
    /// RFC 3339.
    AtTimestamp,
}

/// A limit the provider publishes.
#[derive(Debug)]
pub struct Limit {
    /// Its name: what `limitType` says and what an operator tightens it by.
    pub name: &'static str,
    /// Units in one period, unless the operator sets others.
    pub units: u32,
    /// The most an operator may set: what the vendor's largest plan has.
    pub most: u32,
    /// Length of the period in seconds.
    pub per_seconds: u32,
    /// Whom it counts for.
    pub scope: LimitScope,
    /// Whether it counts every request, or only tools that name it.
    pub every_request: bool,
    /// Units of a request that names no cost of its own.
    pub cost: u32,
    /// For `PerParameter`: the parameter. For `PerTenant` and `PerTenantTool`: the account variable that tells customers
    /// of the provider apart.
    pub by: &'static str,
}

impl Limit {
    /// Whether this request, a tool's own (none: that of the proxy) or one of a step before it, counts against it.
    pub fn counts(&self, tool: Option<&Tool>, request: Option<&Step>) -> bool {
        let named = request.map(|step| &step.limits).or(tool.map(|tool| &tool.limits));
        self.every_request || named.is_some_and(|limits| limits.contains(&self.name))
    }

    /// The units that count: the operator's, as far as they are allowed.
    pub fn units_with(&self, set: Option<u32>) -> u32 {
        set.map_or(self.units, |units| units.min(self.most))
    }

    /// The most that one call of any tool, with all steps before it, or of the proxy needs.
    pub fn largest_need(&self, tools: &[Tool]) -> (u32, &'static str) {
        let needs = tools.iter().map(|tool| (self.need(Some(tool), &tool.requests()), tool.name));
        let alone = if self.every_request { (self.cost, "a request") } else { (0, "") };
        needs.fold(alone, |most, need| if need.0 > most.0 { need } else { most })
    }

    /// Units of these requests. A cost that a tool declares is that of the whole call.
    pub fn need(&self, tool: Option<&Tool>, requests: &[Option<&Step>]) -> u32 {
        let counted = requests.iter().filter(|request| self.counts(tool, **request)).count();
        if counted == 0 {
            return 0;
        }
        let declared = tool.and_then(|tool| tool.costs.iter().find(|(name, _)| *name == self.name));
        declared.map_or(self.cost * u32::try_from(counted).unwrap_or(u32::MAX), |(_, cost)| *cost)
    }
}

/// In a strict function: what is to be emptied. Strict mode makes every parameter required, so a model says null for what it
/// leaves out; that the input has this word tells it from an input in which null means null. `docs/decisions/0016-null.md`.
pub const CLEAR_FIELDS: &str = "clear_fields";

/// What the description of a parameter that null clears ends with.
pub const NULL_CLEARS: &str = " Null clears it.";

/// Whom a limit counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitScope {
    /// The operator's OAuth client: all accounts of a connection together.
    PerApp,
    /// One connected account.
    PerAccount,
    /// One tool of one connected account.
    PerTool,
    /// All accounts of the connection together, apart for each value of a parameter.
    PerParameter,
    /// One customer of the provider: all accounts of the connection that have the same value of a variable.
    PerTenant,
    /// One tool of one customer of the provider.
    PerTenantTool,
}

/// One operation of a provider.
#[derive(Debug)]
pub struct Tool {
    /// `<connector>_<what>`.
    pub name: &'static str,
    /// Two to five words.
    pub title: &'static str,
    /// Written for a language model.
    pub description: &'static str,
    /// The vendor's page on this operation.
    pub docs: &'static str,
    /// What it does to the provider's data.
    pub effect: Effect,
    /// Any one of these scopes is enough.
    pub scopes: List<&'static str>,
    /// JSON Schema of the input, minified JSON text.
    pub input_schema: &'static str,
    /// Its parameters: where each goes.
    pub params: List<Param>,
    /// What goes together, and what excludes what.
    pub groups: List<Group>,
    /// For an update: the parameters that change something, of which one must be given; empty for what is complete
    /// without.
    pub changes: List<&'static str>,
    /// The request that does it.
    pub call: Call,
    /// Requests made before, each to learn something for the next.
    pub before: List<Step>,
    /// JSON Pointer of the useful part of the answer; empty for all of it.
    pub result: &'static str,
    /// What the body of the answer is.
    pub answer: Answer,
    /// Member of the result, and the header of the answer that is put there.
    pub result_headers: List<Pair>,
    /// How the next page is had, for tools that list.
    pub page: Option<Page>,
    /// Names of the limits it counts against beside those of every request.
    pub limits: List<&'static str>,
    /// Limit name and what this tool costs there.
    pub costs: List<(&'static str, u32)>,
    /// Milliseconds until this tool's request is given up; none means the connector's.
    pub timeout_ms: Option<u32>,
}

/// Parameters that have to do with each other.
#[derive(Debug)]
pub struct Group {
    /// How.
    pub rule: GroupRule,
    /// Their names. For `Needs` the first is what needs the others; there, `name=value` is a parameter with this value,
    /// and `a|b` is either.
    pub names: List<&'static str>,
}

/// How parameters go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupRule {
    /// One of them, and no other.
    ExactlyOne,
    /// One of them, or several.
    AtLeastOne,
    /// None or one.
    AtMostOne,
    /// The first needs the others.
    Needs,
}

impl Tool {
    /// All requests that one call may send: the steps before, and its own, which is none of them.
    pub fn requests(&self) -> Vec<Option<&Step>> {
        self.before.iter().map(Some).chain([None]).collect()
    }
}

/// What a tool does to the provider's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Looks only.
    Read,
    /// Adds or changes.
    Write,
    /// Removes, or cannot be undone.
    Destructive,
}

/// A request, with holes.
#[derive(Debug)]
pub struct Call {
    /// Verb.
    pub method: &'static str,
    /// Path below the base URL, or an absolute URL on a declared host.
    pub url: &'static str,
    /// Query template, JSON text; empty for none.
    pub query: &'static str,
    /// Body template, JSON text; empty for none.
    pub body: &'static str,
    /// Header name and template.
    pub headers: List<Pair>,
    /// How the body is written.
    pub encoding: BodyEncoding,
    /// GraphQL document; empty for none.
    pub graphql: &'static str,
    /// An e-mail message to write and place in the body.
    pub message: Option<Message>,
    /// Bytes to send.
    pub content: Option<Content>,
    /// Header that the JSON body goes into instead; empty for none.
    pub body_header: &'static str,
    /// Whether the account's credential goes with it.
    pub credential: bool,
    /// Whether one redirect is followed, without the credential.
    pub follow: bool,
}

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyEncoding {
    /// `application/json`.
    JsonBody,
    /// `application/x-www-form-urlencoded`.
    FormBody,
    /// The bytes of `content` alone.
    BytesBody,
    /// `multipart/related`: the body as JSON, then the bytes (RFC 2387).
    RelatedBody,
    /// `multipart/form-data`: the body as fields, then the bytes (RFC 7578).
    FormDataBody,
}

/// An RFC 5322 message made from parameters, base64url, put at `at` in the body.
#[derive(Debug)]
pub struct Message {
    /// JSON Pointer in the body.
    pub at: &'static str,
    /// Template of its parts, JSON text: to, cc, bcc, from, subject, text, html, body, content_type, in_reply_to, references, attachments.
    pub parts: &'static str,
}

/// Bytes a request carries.
#[derive(Debug)]
pub struct Content {
    /// Template that gives base64; empty for none.
    pub base64: &'static str,
    /// Template that gives text, used when there is no base64.
    pub text: &'static str,
    /// Template of the media type.
    pub media_type: &'static str,
    /// Name of the form field, for `FormDataBody`.
    pub field: &'static str,
    /// Template of the file name, for `FormDataBody`.
    pub file_name: &'static str,
}

/// A request made before the one that gives the result.
#[derive(Debug)]
pub struct Step {
    /// The request.
    pub call: Call,
    /// Variable and JSON Pointer into its answer (into the item that was picked), `header:<name>`, or `count:` and the pointer of a list.
    pub save: List<Pair>,
    /// Which item of a list it learns from.
    pub pick: Option<Pick>,
    /// Only when this parameter is given; empty for always.
    pub when: &'static str,
    /// Not when this parameter is given; empty for always.
    pub unless: &'static str,
    /// Whether the tool goes on when it fails.
    pub optional: bool,
    /// Limits it counts against besides those of every request.
    pub limits: List<&'static str>,
}

/// The last item of a list that meets every condition.
#[derive(Debug)]
pub struct Pick {
    /// JSON Pointer of the list.
    pub items: &'static str,
    /// What an item has to be.
    pub conditions: List<Condition>,
    /// What is said when no item is so; empty: the step learns nothing then.
    pub otherwise: &'static str,
}

/// What an item has to be.
#[derive(Debug)]
pub struct Condition {
    /// JSON Pointer in the item.
    pub at: &'static str,
    /// Template of the text that stands there; empty for any. Without a value for its hole the condition does not count.
    pub is: &'static str,
    /// Text that neither stands there nor in the list there; empty for none.
    pub lacks: &'static str,
}

/// One parameter of a tool.
#[derive(Debug)]
pub struct Param {
    /// Name the agent uses.
    pub name: &'static str,
    /// Other names accepted.
    pub aliases: List<&'static str>,
    /// Where its value goes.
    pub place: Place,
    /// Name or JSON Pointer there.
    pub at: &'static str,
    /// How its value is written.
    pub encode: Encode,
    /// Our value and the provider's, JSON text of an object; empty for none.
    pub values: &'static str,
    /// JSON Pointer inside an object that each array item is wrapped into; empty for none.
    pub each: &'static str,
    /// Text around the value, `{}` marks it; empty for none.
    pub template: &'static str,
    /// Characters of the value that get a backslash.
    pub escape: &'static str,
    /// Characters of the value that are written twice.
    pub double: &'static str,
    /// What goes out for null, JSON text; empty for null itself.
    pub null_as: &'static str,
    /// JSON Pointer in the body or the variables where null goes; empty for the value's own place.
    pub null_at: &'static str,
    /// Sum that is the value, in case none is given, and that a given one must equal; empty for none.
    pub computed: &'static str,
    /// Value when absent, JSON text; empty for none.
    pub default: &'static str,
    /// The parameter without which the default does not count; empty for none.
    pub default_with: &'static str,
}

/// Where a parameter goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A hole of the URL, percent-encoded.
    InPath,
    /// The query.
    InQuery,
    /// The body.
    InBody,
    /// A header.
    InHeader,
    /// The variables of a GraphQL document.
    InVariables,
    /// Only where a template has a hole for it.
    InTemplate,
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encode {
    /// As it is.
    Plain,
    /// An array joined with commas.
    Csv,
    /// An array joined with spaces.
    SpaceSeparated,
    /// JSON inside a string.
    JsonText,
    /// JSON parsed out of a string.
    ParsedJson,
    /// Base64 of the text (RFC 4648 section 4).
    Base64,
    /// Base64url of the text without padding (RFC 4648 section 5).
    Base64Url,
    /// RFC 3339 to seconds since 1970.
    EpochSeconds,
    /// RFC 3339 to milliseconds since 1970.
    EpochMilliseconds,
    /// Markdown to the Atlassian Document Format.
    Adf,
    /// A path whose slashes stay.
    PathSegments,
    /// Empty text to null.
    NullIfEmpty,
    /// Small letters.
    Lower,
    /// Percent-encoded once more when it begins with `/` or has `//`.
    SlashesTwice,
}

/// What the body of an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// JSON.
    JsonAnswer,
    /// Text, answered as `{text}`.
    TextAnswer,
    /// Bytes, answered as `{content_base64, mime_type, size_bytes}`.
    BytesAnswer,
    /// Base64url text at the result pointer, answered like bytes.
    Base64UrlAnswer,
}

/// How the next page is had.
#[derive(Debug)]
pub struct Page {
    /// Which way.
    pub style: PageStyle,
    /// The provider's parameter: a query name or, with `body`, a JSON Pointer. Several with commas between, as in `next`,
    /// for a cursor made of several values.
    pub send: &'static str,
    /// Whether it goes into the body (for GraphQL: the variables).
    pub body: bool,
    /// JSON Pointer of the next cursor, or of the next page's URL.
    pub next: &'static str,
    /// JSON Pointer of a boolean that must be true for a next page; empty for none.
    pub more: &'static str,
    /// JSON Pointer of a boolean that is true on the last page; empty for none.
    pub last: &'static str,
    /// JSON Pointer of the number of all items, for offsets; empty for none.
    pub total: &'static str,
    /// JSON Pointer of the items, for page numbers and offsets.
    pub items: &'static str,
    /// Number of the first page or offset.
    pub first: u32,
    /// Path that further pages are asked at, with nothing but the cursor; empty for that of the tool.
    pub continue_at: &'static str,
}

/// The ways providers page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageStyle {
    /// The answer has a cursor to send next.
    ByCursor,
    /// Pages are numbered; a page without items is the last.
    ByNumber,
    /// Items are skipped.
    ByOffset,
    /// The `Link` header has `rel="next"` (RFC 8288); its `send` parameter is the cursor.
    ByLinkHeader,
    /// The answer has the URL of the next page; its `send` parameter is the cursor.
    ByNextUrl,
    /// The answer has the URL of the next page, to be called as it is.
    ByWholeUrl,
}
