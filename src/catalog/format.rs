//! The shape of `connector.toml` and `tools/*.toml`, as people write it. Build time and tests only.
//!
//! `connectors/README.md` explains every field; unknown fields are refused with the list of those that exist.

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::Value;

/// Ordered, because the order in the file is the order an agent sees.
pub type Map<T> = IndexMap<String, T>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectorFile {
    pub id: String,
    pub name: String,
    pub summary: String,
    pub categories: Vec<String>,
    pub docs: String,
    /// The day somebody last compared the file with the vendor's documentation.
    pub verified: String,
    pub auth: AuthFile,
    pub http: HttpFile,
    /// Name of a parameter and why it may be a number: it never reaches 2^53, from where on many JSON readers lose digits.
    #[serde(default)]
    pub small_ids: Map<String>,
    #[serde(default)]
    pub errors: ErrorsFile,
    #[serde(default)]
    pub limits: Vec<LimitFile>,
    pub pagination: Option<PageFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthFile {
    pub oauth2: Option<OAuth2File>,
    pub oauth1: Option<OAuth1File>,
    pub key: Option<KeyFile>,
    pub jwt: Option<JwtFile>,
    #[serde(default)]
    pub fields: Map<FieldFile>,
    #[serde(default)]
    pub identity: Vec<LookupFile>,
    #[serde(default)]
    pub patterns: Map<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldFile {
    pub title: String,
    pub help: String,
    #[serde(default)]
    pub example: String,
    #[serde(default)]
    pub pattern: String,
    /// Given, the field may be left out; an empty one means it has no value then.
    pub default: Option<String>,
    #[serde(default = "user")]
    pub by: String,
    #[serde(default)]
    pub secret: bool,
    #[serde(default)]
    pub multiline: bool,
    #[serde(default)]
    pub methods: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    pub title: String,
    pub help: String,
    pub token: String,
    #[serde(default = "plain")]
    pub encode: String,
    pub credential: Option<CredentialFile>,
    #[serde(default)]
    pub headers: Map<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtFile {
    pub title: String,
    pub help: String,
    pub private_key: String,
    #[serde(default)]
    pub header: Map<String>,
    pub claims: Map<String>,
    pub lifetime_seconds: u32,
    #[serde(default)]
    pub exchange: String,
    /// Left out: those of `[auth.oauth2.scopes]`.
    pub scopes: Option<Vec<String>>,
    pub credential: Option<CredentialFile>,
    #[serde(default)]
    pub headers: Map<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OAuth1File {
    pub request_token_url: String,
    pub authorize_url: String,
    pub access_token_url: String,
    #[serde(default)]
    pub authorize_params: Map<String>,
    #[serde(default)]
    pub scope_param: String,
    #[serde(default = "space")]
    pub scope_separator: String,
    #[serde(default)]
    pub scopes: Map<String>,
    #[serde(default)]
    pub optional_scopes: Map<String>,
    pub revoke: Option<RevokeFile>,
    pub credential: Option<CredentialFile>,
    #[serde(default)]
    pub headers: Map<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OAuth2File {
    pub authorize_url: String,
    #[serde(default)]
    pub issuer: String,
    pub token_url: String,
    pub client_auth: String,
    #[serde(default = "yes")]
    pub pkce: bool,
    #[serde(default = "space")]
    pub scope_separator: String,
    #[serde(default = "scope")]
    pub scope_param: String,
    #[serde(default)]
    pub scopes: Map<String>,
    #[serde(default)]
    pub optional_scopes: Map<String>,
    #[serde(default)]
    pub scope_groups: Map<String>,
    #[serde(default)]
    pub refusals: Map<String>,
    #[serde(default)]
    pub authorize_params: Map<String>,
    #[serde(default)]
    pub refresh_params: Map<String>,
    #[serde(default)]
    pub refresh_scopes: bool,
    #[serde(default)]
    pub token_params: Map<String>,
    pub assumed_lifetime_seconds: Option<u32>,
    #[serde(default)]
    pub rotates_refresh_token: bool,
    #[serde(default)]
    pub response: TokenResponseFile,
    pub revoke: Option<RevokeFile>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct TokenResponseFile {
    pub access_token: Option<Vec<String>>,
    pub refresh_token: Option<Vec<String>>,
    pub expires_in: Option<Vec<String>>,
    pub scope: Option<Vec<String>>,
    #[serde(default)]
    pub save: Map<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokeFile {
    pub request: String,
    pub auth: String,
    #[serde(default)]
    pub token: Option<String>,
    pub form: Option<Value>,
    pub json: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LookupFile {
    pub request: String,
    pub json: Option<Value>,
    pub form: Option<Value>,
    #[serde(default = "yes")]
    pub credential: bool,
    pub choose: Option<ChooseFile>,
    pub save: Map<String>,
    #[serde(default)]
    pub optional: bool,
    #[serde(default)]
    pub methods: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChooseFile {
    #[serde(default)]
    pub items: String,
    pub label: String,
    #[serde(default)]
    pub detail: String,
    #[serde(default)]
    pub at: String,
    #[serde(default)]
    pub contains: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpFile {
    pub base_url: String,
    #[serde(default)]
    pub hosts: Vec<String>,
    #[serde(default)]
    pub file_hosts: Vec<String>,
    #[serde(default)]
    pub headers: Map<String>,
    pub credential: Option<CredentialFile>,
    #[serde(default = "thirty")]
    pub timeout_seconds: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialFile {
    pub header: String,
    pub value: String,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct ErrorsFile {
    #[serde(default)]
    pub failed_when: Vec<FailedWhenFile>,
    #[serde(default)]
    pub code: Vec<String>,
    #[serde(default)]
    pub message: Vec<String>,
    #[serde(default)]
    pub scopes: Vec<String>,
    pub scope_headers: Option<ScopeHeaders>,
    #[serde(default)]
    pub help: Vec<String>,
    #[serde(default)]
    pub rules: Vec<RuleFile>,
    #[serde(default)]
    pub retry_after: Vec<RetryAfterFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailedWhenFile {
    pub at: String,
    pub equals: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleFile {
    #[serde(default)]
    pub status: Vec<u16>,
    #[serde(default)]
    pub codes: Vec<String>,
    #[serde(default)]
    pub message_contains: String,
    pub header: Option<HeaderIs>,
    #[serde(default)]
    pub renew: bool,
    pub error: String,
    #[serde(default)]
    pub limit_type: String,
    pub wait_seconds: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderIs {
    pub name: String,
    pub equals: Option<String>,
    pub begins: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScopeHeaders {
    pub needed: String,
    pub granted: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryAfterFile {
    #[serde(default)]
    pub header: String,
    #[serde(default)]
    pub at: String,
    pub unit: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitFile {
    pub name: String,
    pub units: u32,
    pub most: Option<u32>,
    pub per_seconds: u32,
    pub scope: String,
    #[serde(default = "yes")]
    pub every_request: bool,
    #[serde(default = "one")]
    pub cost: u32,
    #[serde(default)]
    pub by: String,
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub struct PageFile {
    pub style: String,
    #[serde(default)]
    pub send: String,
    #[serde(default, rename = "in")]
    pub place: Option<String>,
    #[serde(default)]
    pub next: String,
    #[serde(default)]
    pub more: String,
    #[serde(default)]
    pub last: String,
    #[serde(default)]
    pub total: String,
    #[serde(default)]
    pub items: String,
    pub first: Option<u32>,
    /// Path of the request for a further page, which gets the cursor alone.
    #[serde(default)]
    pub continue_at: String,
    /// The reference's name of the cursor parameter, accepted beside `cursor`.
    #[serde(default)]
    pub aliases: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolsFile {
    pub tool: Vec<ToolFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolFile {
    pub name: String,
    pub title: String,
    pub description: String,
    pub docs: String,
    pub effect: String,
    #[serde(default)]
    pub scopes: Vec<String>,
    #[serde(default)]
    pub params: Map<ParamFile>,
    #[serde(default)]
    pub before: Vec<StepFile>,
    #[serde(default)]
    pub result: String,
    pub answer: Option<String>,
    #[serde(default)]
    pub result_headers: Map<String>,
    #[serde(default)]
    pub paginated: bool,
    pub pagination: Option<PageFile>,
    #[serde(default)]
    pub limits: Vec<String>,
    #[serde(default)]
    pub costs: Map<u32>,
    pub timeout_seconds: Option<u32>,
    /// Groups of parameters of which exactly one is given …
    #[serde(default)]
    pub one_of: Vec<Vec<String>>,
    /// … at least one …
    #[serde(default)]
    pub any_of: Vec<Vec<String>>,
    /// … or at most one.
    #[serde(default)]
    pub at_most_one: Vec<Vec<String>>,
    /// What must be given beside a parameter, or beside a value of it (`state=3`).
    #[serde(default)]
    pub requires: Map<Vec<String>>,
    /// For updates: what they can change, of which something must be given. Left out, it is derived; empty, the request
    /// says all by itself.
    pub changes: Option<Vec<String>>,
    // The request; the same fields as in a step. (`flatten` would switch off the check for unknown fields.)
    pub request: String,
    pub query: Option<Value>,
    pub body: Option<Value>,
    #[serde(default)]
    pub headers: Map<String>,
    pub encoding: Option<String>,
    pub graphql: Option<String>,
    pub message: Option<MessageFile>,
    pub content: Option<ContentFile>,
    #[serde(default)]
    pub body_header: String,
    #[serde(default = "yes")]
    pub credential: bool,
    #[serde(default)]
    pub follow: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepFile {
    pub save: Map<String>,
    pub pick: Option<PickFile>,
    #[serde(default)]
    pub when: String,
    #[serde(default)]
    pub unless: String,
    #[serde(default)]
    pub optional: bool,
    #[serde(default)]
    pub limits: Vec<String>,
    pub request: String,
    pub query: Option<Value>,
    pub body: Option<Value>,
    #[serde(default)]
    pub headers: Map<String>,
    pub encoding: Option<String>,
    pub graphql: Option<String>,
    pub content: Option<ContentFile>,
    #[serde(default)]
    pub body_header: String,
    #[serde(default = "yes")]
    pub credential: bool,
    #[serde(default)]
    pub follow: bool,
}

/// Which item of a list a step learns from.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PickFile {
    pub items: String,
    #[serde(rename = "where")]
    pub conditions: Vec<ConditionFile>,
    #[serde(default)]
    pub otherwise: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConditionFile {
    pub at: String,
    #[serde(default)]
    pub is: String,
    #[serde(default)]
    pub lacks: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageFile {
    pub at: String,
    pub parts: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContentFile {
    #[serde(default)]
    pub base64: String,
    #[serde(default)]
    pub text: String,
    #[serde(rename = "type")]
    pub media_type: String,
    #[serde(default)]
    pub field: String,
    #[serde(default)]
    pub file_name: String,
}

/// A parameter: a JSON Schema in short form, and where its value goes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools, reason = "properties that have nothing to do with each other")]
pub struct ParamFile {
    #[serde(rename = "type")]
    pub kind: String,
    pub description: String,
    #[serde(default)]
    pub required: bool,
    /// Whether null is a value, which clears the field at the vendor.
    #[serde(default)]
    pub nullable: bool,
    /// What goes out for null, where the vendor wants something else …
    pub null_as: Option<Value>,
    /// … and where it goes.
    pub null_at: Option<String>,
    /// Says how something is changed, and changes nothing by itself.
    #[serde(default)]
    pub modifier: bool,
    pub default: Option<Value>,
    #[serde(default, rename = "enum")]
    pub choices: Vec<Value>,
    pub minimum: Option<Value>,
    pub maximum: Option<Value>,
    pub min_length: Option<u32>,
    pub max_length: Option<u32>,
    pub min_items: Option<u32>,
    pub max_items: Option<u32>,
    pub pattern: Option<String>,
    pub format: Option<String>,
    pub items: Option<Value>,
    pub properties: Option<Value>,
    #[serde(default)]
    pub open: bool,
    #[serde(default)]
    pub aliases: Vec<String>,
    #[serde(rename = "in")]
    pub place: Option<String>,
    pub at: Option<String>,
    pub encode: Option<String>,
    pub values: Option<Value>,
    #[serde(default)]
    pub each: String,
    #[serde(default)]
    pub template: String,
    #[serde(default)]
    pub escape: String,
    /// Characters that are written twice, as OData and SQL have it.
    #[serde(default)]
    pub double: String,
    /// The default counts only when this parameter is given.
    #[serde(default)]
    pub default_with: String,
    /// A sum, `"first_byte + content.size - 1"`: the value when none is given, and the only one that may be given.
    #[serde(default)]
    pub computed: String,
}

fn yes() -> bool {
    true
}
fn one() -> u32 {
    1
}
fn thirty() -> u32 {
    30
}
fn user() -> String {
    "user".into()
}
fn plain() -> String {
    "plain".into()
}
fn space() -> String {
    " ".into()
}
fn scope() -> String {
    "scope".into()
}
