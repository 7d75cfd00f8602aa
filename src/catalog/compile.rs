//! From the files of one connector to [`model::Connector`], with every problem found on the way. Build time and tests only.

use super::check::{self, Problems};
use super::format::{
    AuthFile, ConnectorFile, ContentFile, CredentialFile, ErrorsFile, FieldFile, HttpFile, JwtFile, KeyFile,
    LookupFile, Map, OAuth1File, OAuth2File, PageFile, ParamFile, PickFile, RevokeFile, ToolFile, ToolsFile,
};
use super::model::{
    Answer, Auth, BodyEncoding, Call, Choose, ClientAuth, Condition, Connector, Content, Credential, Effect, Encode,
    Errors, FailedWhen, Field, Group, GroupRule, Http, Jwt, Key, Limit, LimitScope, List, Lookup, Meaning, Message,
    Method, OAuth1, OAuth2, Page, PageStyle, Pair, Param, Pick, Place, RetryAfter, RetryUnit, Revoke, RevokeAuth, Rule,
    Step, TokenResponse, Tool,
};
use super::schema;
use crate::template;
use serde_json::Value;

/// One file of a connector: its path as people know it, and its text.
pub struct Source {
    /// For messages: `connectors/slack/tools/messages.toml`.
    pub path: String,
    /// The TOML.
    pub text: String,
}

/// The files of one connector's folder.
pub struct Folder {
    /// Name of the folder, which must be the connector's id.
    pub id: String,
    /// `connector.toml`
    pub connector: Source,
    /// `tools/*.toml`
    pub tools: Vec<Source>,
    /// `cases.toml`
    pub cases: Source,
}

pub(super) fn text(value: &str) -> &'static str {
    Box::leak(value.to_owned().into_boxed_str())
}

fn list<T>(items: Vec<T>) -> List<T> {
    List(Box::leak(items.into_boxed_slice()))
}

fn texts(items: &[String]) -> List<&'static str> {
    list(items.iter().map(|item| text(item)).collect())
}

fn pairs(map: &Map<String>) -> List<Pair> {
    list(map.iter().map(|(key, value)| (text(key), text(value))).collect())
}

fn json(value: Option<&Value>) -> &'static str {
    value.map_or("", |value| text(&value.to_string()))
}

/// Compiles one folder. Problems are added to `problems`; the answer is `None` when `connector.toml` cannot be read.
pub fn compile(folder: &Folder, problems: &mut Problems) -> Option<Connector> {
    problems.file(&folder.connector.path, &folder.connector.text);
    let file: ConnectorFile = match toml::from_str(&folder.connector.text) {
        Ok(file) => file,
        Err(error) => {
            problems.syntax(&error);
            return None;
        }
    };
    check::connector(&file, &folder.id, problems);
    let mut tools = Vec::new();
    for source in &folder.tools {
        problems.file(&source.path, &source.text);
        match toml::from_str::<ToolsFile>(&source.text) {
            Ok(found) => {
                for tool in &found.tool {
                    check::tool(tool, &file, problems);
                    tools.push(compile_tool(tool, &file, problems));
                }
            }
            Err(error) => problems.syntax(&error),
        }
    }
    tools.sort_by_key(|tool: &Tool| tool.name);
    problems.file(&folder.connector.path, &folder.connector.text);
    let limits = compile_limits(&file, problems);
    check::costs(&limits, &tools, problems);
    problems.file(&folder.cases.path, &folder.cases.text);
    check::cases(&folder.cases.text, &tools, problems);
    Some(Connector {
        id: text(&file.id),
        name: text(&file.name),
        summary: text(&file.summary),
        categories: texts(&file.categories),
        docs: text(&file.docs),
        auth: compile_auth(&file.auth, problems),
        http: compile_http(&file.http),
        errors: compile_errors(&file.errors, problems),
        limits,
        tools: list(tools),
    })
}

fn compile_limits(file: &ConnectorFile, problems: &mut Problems) -> List<Limit> {
    let limits = file.limits.iter().map(|limit| Limit {
        name: text(&limit.name),
        units: limit.units,
        most: limit.most.unwrap_or(limit.units),
        per_seconds: limit.per_seconds,
        scope: problems.word("scope", &limit.scope, LIMIT_SCOPES),
        every_request: limit.every_request,
        cost: limit.cost,
        by: text(limit.by.trim_start_matches("account.")),
    });
    list(limits.collect())
}

const LIMIT_SCOPES: &[(&str, LimitScope)] = &[
    ("app", LimitScope::PerApp),
    ("account", LimitScope::PerAccount),
    ("tool", LimitScope::PerTool),
    ("parameter", LimitScope::PerParameter),
    ("tenant", LimitScope::PerTenant),
    ("tenant_tool", LimitScope::PerTenantTool),
];
const MEANINGS: &[(&str, Meaning)] = &[
    ("grant", Meaning::MeansGrant),
    ("client", Meaning::MeansClient),
    ("redirect", Meaning::MeansRedirect),
    ("request", Meaning::MeansRequest),
    ("rate_limited", Meaning::MeansRateLimited),
    ("temporary", Meaning::MeansTemporary),
    ("admin_consent", Meaning::MeansAdminConsent),
];
const CLIENT_AUTH: &[(&str, ClientAuth)] = &[
    ("basic", ClientAuth::ClientBasic),
    ("body", ClientAuth::ClientBody),
    ("json", ClientAuth::ClientJson),
    ("basic_json", ClientAuth::ClientBasicJson),
    ("none", ClientAuth::ClientNone),
];
const REVOKE_AUTH: &[(&str, RevokeAuth)] = &[
    ("client", RevokeAuth::RevokeAsClient),
    ("client_basic", RevokeAuth::RevokeAsBasic),
    ("client_body", RevokeAuth::RevokeAsBody),
    ("bearer", RevokeAuth::RevokeAsAccount),
    ("none", RevokeAuth::RevokeAsNobody),
];
const RETRY_UNITS: &[(&str, RetryUnit)] = &[
    ("seconds", RetryUnit::WaitSeconds),
    ("milliseconds", RetryUnit::WaitMilliseconds),
    ("epoch_seconds", RetryUnit::AtEpochSeconds),
    ("epoch_milliseconds", RetryUnit::AtEpochMilliseconds),
    ("timestamp", RetryUnit::AtTimestamp),
];
const EFFECTS: &[(&str, Effect)] =
    &[("read", Effect::Read), ("write", Effect::Write), ("destructive", Effect::Destructive)];
const BODY_ENCODINGS: &[(&str, BodyEncoding)] = &[
    ("json", BodyEncoding::JsonBody),
    ("form", BodyEncoding::FormBody),
    ("bytes", BodyEncoding::BytesBody),
    ("related", BodyEncoding::RelatedBody),
    ("form_data", BodyEncoding::FormDataBody),
];
const ENCODES: &[(&str, Encode)] = &[
    ("plain", Encode::Plain),
    ("csv", Encode::Csv),
    ("space_separated", Encode::SpaceSeparated),
    ("json", Encode::JsonText),
    ("parsed_json", Encode::ParsedJson),
    ("base64", Encode::Base64),
    ("base64url", Encode::Base64Url),
    ("epoch_seconds", Encode::EpochSeconds),
    ("epoch_milliseconds", Encode::EpochMilliseconds),
    ("adf", Encode::Adf),
    ("path", Encode::PathSegments),
    ("null_if_empty", Encode::NullIfEmpty),
    ("lower", Encode::Lower),
    ("slashes_twice", Encode::SlashesTwice),
];
const ANSWERS: &[(&str, Answer)] = &[
    ("json", Answer::JsonAnswer),
    ("text", Answer::TextAnswer),
    ("bytes", Answer::BytesAnswer),
    ("base64url", Answer::Base64UrlAnswer),
];
const PLACES: &[(&str, Place)] = &[
    ("path", Place::InPath),
    ("query", Place::InQuery),
    ("body", Place::InBody),
    ("header", Place::InHeader),
    ("variables", Place::InVariables),
    ("template", Place::InTemplate),
];
const PAGE_STYLES: &[(&str, PageStyle)] = &[
    ("cursor", PageStyle::ByCursor),
    ("number", PageStyle::ByNumber),
    ("offset", PageStyle::ByOffset),
    ("link_header", PageStyle::ByLinkHeader),
    ("next_url", PageStyle::ByNextUrl),
    ("whole_url", PageStyle::ByWholeUrl),
];

fn compile_auth(file: &AuthFile, problems: &mut Problems) -> Auth {
    Auth {
        oauth2: file.oauth2.as_ref().map(|oauth2| compile_oauth2(oauth2, problems)),
        oauth1: file.oauth1.as_ref().map(|oauth1| compile_oauth1(oauth1, problems)),
        key: file.key.as_ref().map(|key| compile_key(key, problems)),
        jwt: file.jwt.as_ref().map(|jwt| compile_jwt(jwt, file.oauth2.as_ref())),
        fields: list(file.fields.iter().map(|(name, field)| compile_field(name, field, problems)).collect()),
        identity: list(file.identity.iter().map(|lookup| compile_lookup(lookup, problems)).collect()),
        patterns: pairs(&file.patterns),
    }
}

fn methods(names: &[String], problems: &mut Problems) -> List<Method> {
    list(names.iter().map(|name| problems.word("method", name, Method::ALL)).collect())
}

fn compile_field(name: &str, file: &FieldFile, problems: &mut Problems) -> Field {
    Field {
        name: text(name),
        title: text(&file.title),
        help: text(&file.help),
        example: text(&file.example),
        pattern: text(&file.pattern),
        default: text(file.default.as_deref().unwrap_or_default()),
        by_operator: problems.word("by", &file.by, &[("user", false), ("operator", true)]),
        secret: file.secret,
        multiline: file.multiline,
        required: file.default.is_none(),
        methods: methods(&file.methods, problems),
    }
}

fn credential(file: Option<&CredentialFile>, headers: &Map<String>) -> Credential {
    Credential {
        header: file.map_or(("", ""), |given| (text(&given.header), text(&given.value))),
        headers: pairs(headers),
    }
}

fn compile_key(file: &KeyFile, problems: &mut Problems) -> Key {
    Key {
        title: text(&file.title),
        help: text(&file.help),
        token: text(&file.token),
        base64: problems.word("encode", &file.encode, &[("plain", false), ("base64", true)]),
        credential: credential(file.credential.as_ref(), &file.headers),
    }
}

fn compile_jwt(file: &JwtFile, oauth2: Option<&OAuth2File>) -> Jwt {
    let scopes = file.scopes.clone();
    let usual = || oauth2.map_or_else(Vec::new, |oauth2| oauth2.scopes.keys().cloned().collect());
    Jwt {
        title: text(&file.title),
        help: text(&file.help),
        private_key: text(&file.private_key),
        header: pairs(&file.header),
        claims: pairs(&file.claims),
        lifetime: file.lifetime_seconds,
        exchange: text(&file.exchange),
        scopes: texts(&scopes.unwrap_or_else(usual)),
        credential: credential(file.credential.as_ref(), &file.headers),
    }
}

fn compile_oauth1(file: &OAuth1File, problems: &mut Problems) -> OAuth1 {
    OAuth1 {
        request_token_url: text(&file.request_token_url),
        authorize_url: text(&file.authorize_url),
        access_token_url: text(&file.access_token_url),
        authorize_params: pairs(&file.authorize_params),
        scope_param: text(&file.scope_param),
        scope_separator: text(&file.scope_separator),
        scopes: keys(&file.scopes),
        optional_scopes: keys(&file.optional_scopes),
        scope_words: words(&file.scopes, &file.optional_scopes),
        revoke: file.revoke.as_ref().map(|revoke| compile_revoke(revoke, problems)),
        credential: credential(file.credential.as_ref(), &file.headers),
    }
}

fn keys(map: &Map<String>) -> List<&'static str> {
    list(map.keys().map(|key| text(key)).collect())
}

fn words(scopes: &Map<String>, optional: &Map<String>) -> List<Pair> {
    list(scopes.iter().chain(optional).map(|(scope, words)| (text(scope), text(words))).collect())
}

fn compile_oauth2(file: &OAuth2File, problems: &mut Problems) -> OAuth2 {
    let pointers = |given: &Option<Vec<String>>, usual: &str| match given {
        Some(pointers) => texts(pointers),
        None => list(vec![text(usual)]),
    };
    if !file.issuer.is_empty() && (!file.issuer.starts_with("https://") || file.issuer.contains(['?', '#', '{'])) {
        problems.add(&format!(
            "`{}` is no issuer: that is an https URL without query, fragment or holes (RFC 9207 section 2)",
            file.issuer
        ));
    }
    OAuth2 {
        authorize_url: text(&file.authorize_url),
        issuer: text(&file.issuer),
        token_url: text(&file.token_url),
        client_auth: problems.word("client_auth", &file.client_auth, CLIENT_AUTH),
        pkce: file.pkce,
        scope_separator: text(&file.scope_separator),
        scope_param: text(&file.scope_param),
        scopes: keys(&file.scopes),
        optional_scopes: keys(&file.optional_scopes),
        scope_words: words(&file.scopes, &file.optional_scopes),
        scope_groups: pairs(&file.scope_groups),
        refusals: list(
            file.refusals
                .iter()
                .map(|(said, meaning)| (text(said), problems.word("refusal", meaning, MEANINGS)))
                .collect(),
        ),
        authorize_params: pairs(&file.authorize_params),
        refresh_params: pairs(&file.refresh_params),
        refresh_scopes: file.refresh_scopes,
        token_params: pairs(&file.token_params),
        assumed_lifetime: file.assumed_lifetime_seconds,
        rotates_refresh_token: file.rotates_refresh_token,
        response: TokenResponse {
            access_token: pointers(&file.response.access_token, "/access_token"),
            refresh_token: pointers(&file.response.refresh_token, "/refresh_token"),
            expires_in: pointers(&file.response.expires_in, "/expires_in"),
            scope: pointers(&file.response.scope, "/scope"),
            save: pairs(&file.response.save),
        },
        revoke: file.revoke.as_ref().map(|revoke| compile_revoke(revoke, problems)),
    }
}

fn compile_revoke(file: &RevokeFile, problems: &mut Problems) -> Revoke {
    Revoke {
        request: request(&file.request),
        auth: problems.word("auth", &file.auth, REVOKE_AUTH),
        refresh_token: file.token.as_deref() != Some("access_token"),
        form: json(file.form.as_ref()),
        json: json(file.json.as_ref()),
    }
}

fn compile_lookup(file: &LookupFile, problems: &mut Problems) -> Lookup {
    Lookup {
        request: request(&file.request),
        json: json(file.json.as_ref()),
        form: json(file.form.as_ref()),
        credential: file.credential,
        choose: file.choose.as_ref().map(|choose| Choose {
            items: text(&choose.items),
            label: text(&choose.label),
            detail: text(&choose.detail),
            at: text(&choose.at),
            contains: text(&choose.contains),
        }),
        save: pairs(&file.save),
        optional: file.optional,
        methods: methods(&file.methods, problems),
    }
}

fn request(line: &str) -> (&'static str, &'static str) {
    let (method, url) = line.split_once(' ').unwrap_or(("GET", line));
    (text(method), text(url.trim()))
}

fn compile_http(file: &HttpFile) -> Http {
    let credential = file.credential.as_ref();
    Http {
        base_url: text(&file.base_url),
        hosts: texts(&file.hosts),
        file_hosts: texts(&file.file_hosts),
        headers: pairs(&file.headers),
        credential: credential
            .map_or(("authorization", "Bearer {access_token}"), |given| (text(&given.header), text(&given.value))),
        timeout_ms: file.timeout_seconds * 1000,
    }
}

fn compile_errors(file: &ErrorsFile, problems: &mut Problems) -> Errors {
    Errors {
        failed_when: list(
            file.failed_when
                .iter()
                .map(|when| FailedWhen { at: text(&when.at), equals: json(when.equals.as_ref()) })
                .collect(),
        ),
        code: texts(&file.code),
        message: texts(&file.message),
        scopes: texts(&file.scopes),
        scope_headers: file.scope_headers.as_ref().map_or(("", ""), |of| (text(&of.needed), text(&of.granted))),
        help: texts(&file.help),
        rules: list(
            file.rules
                .iter()
                .map(|rule| Rule {
                    status: list(rule.status.clone()),
                    codes: texts(&rule.codes),
                    message_contains: text(&rule.message_contains.to_lowercase()),
                    header: rule.header.as_ref().map_or(("", ""), |is| {
                        (text(&is.name), text(is.equals.as_deref().or(is.begins.as_deref()).unwrap_or_default()))
                    }),
                    header_begins: rule.header.as_ref().is_some_and(|is| is.equals.is_none()),
                    renew: rule.renew,
                    error: text(&rule.error),
                    limit_type: text(&rule.limit_type),
                    wait: rule.wait_seconds,
                })
                .collect(),
        ),
        retry_after: list(
            file.retry_after
                .iter()
                .map(|place| RetryAfter {
                    header: text(&place.header),
                    at: text(&place.at),
                    unit: problems.word("unit", &place.unit, RETRY_UNITS),
                })
                .collect(),
        ),
    }
}

fn compile_tool(tool: &ToolFile, connector: &ConnectorFile, problems: &mut Problems) -> Tool {
    problems.item(&tool.name);
    let page = match &tool.pagination {
        Some(page) => Some(page),
        None if tool.paginated => connector.pagination.as_ref(),
        None => None,
    };
    let mut params: Vec<Param> =
        tool.params.iter().map(|(name, param)| compile_param(name, param, tool, problems)).collect();
    if let Some(page) = page {
        params.push(cursor(page));
    }
    let steps = tool.before.iter().map(|step| Step {
        call: Call {
            method: request(&step.request).0,
            url: request(&step.request).1,
            query: json(step.query.as_ref()),
            body: json(step.body.as_ref()),
            headers: pairs(&step.headers),
            encoding: encoding(step.encoding.as_deref(), problems),
            graphql: step.graphql.as_deref().map_or("", |document| text(document.trim())),
            message: None,
            content: step.content.as_ref().map(content),
            body_header: text(&step.body_header),
            credential: step.credential,
            follow: step.follow,
        },
        save: pairs(&step.save),
        pick: step.pick.as_ref().map(pick),
        when: text(&step.when),
        unless: text(&step.unless),
        optional: step.optional,
        limits: texts(&step.limits),
    });
    let before = list(steps.collect());
    Tool {
        name: text(&tool.name),
        title: text(&tool.title),
        description: text(&tool.description),
        docs: text(&tool.docs),
        effect: problems.word("effect", &tool.effect, EFFECTS),
        scopes: texts(&tool.scopes),
        input_schema: text(&schema::input(tool, page.is_some()).to_string()),
        params: list(params),
        groups: list(groups(tool)),
        changes: list(super::change::changes(tool).into_iter().map(text).collect()),
        call: Call {
            method: request(&tool.request).0,
            url: request(&tool.request).1,
            query: json(tool.query.as_ref()),
            body: json(tool.body.as_ref()),
            headers: pairs(&tool.headers),
            encoding: encoding(tool.encoding.as_deref(), problems),
            graphql: tool.graphql.as_deref().map_or("", |document| text(document.trim())),
            message: tool
                .message
                .as_ref()
                .map(|message| Message { at: text(&message.at), parts: text(&message.parts.to_string()) }),
            content: tool.content.as_ref().map(content),
            body_header: text(&tool.body_header),
            credential: tool.credential,
            follow: tool.follow,
        },
        before,
        result: text(&tool.result),
        answer: tool.answer.as_deref().map_or(Answer::JsonAnswer, |answer| problems.word("answer", answer, ANSWERS)),
        result_headers: pairs(&tool.result_headers),
        page: page.map(|page| compile_page(page, tool, problems)),
        limits: texts(&tool.limits),
        costs: list(tool.costs.iter().map(|(name, cost)| (text(name), *cost)).collect()),
        timeout_ms: tool.timeout_seconds.map(|seconds| seconds * 1000),
    }
}

/// What a tool says of parameters that go together.
fn groups(tool: &ToolFile) -> Vec<Group> {
    let of = |rule: GroupRule| move |names: &Vec<String>| Group { rule, names: texts(names) };
    let mut all: Vec<Group> = tool.one_of.iter().map(of(GroupRule::ExactlyOne)).collect();
    all.extend(tool.any_of.iter().map(of(GroupRule::AtLeastOne)));
    all.extend(tool.at_most_one.iter().map(of(GroupRule::AtMostOne)));
    all.extend(tool.requires.iter().map(|(name, others)| Group {
        rule: GroupRule::Needs,
        names: list([name].into_iter().chain(others).map(|name| text(name)).collect()),
    }));
    all
}

fn encoding(given: Option<&str>, problems: &mut Problems) -> BodyEncoding {
    given.map_or(BodyEncoding::JsonBody, |word| problems.word("encoding", word, BODY_ENCODINGS))
}

fn pick(file: &PickFile) -> Pick {
    let conditions = file.conditions.iter().map(|condition| Condition {
        at: text(&condition.at),
        is: text(&condition.is),
        lacks: text(&condition.lacks),
    });
    Pick { items: text(&file.items), conditions: list(conditions.collect()), otherwise: text(&file.otherwise) }
}

fn content(file: &ContentFile) -> Content {
    Content {
        base64: text(&file.base64),
        text: text(&file.text),
        media_type: text(&file.media_type),
        field: text(&file.field),
        file_name: text(&file.file_name),
    }
}

fn compile_param(name: &str, param: &ParamFile, tool: &ToolFile, problems: &mut Problems) -> Param {
    let place = match &param.place {
        Some(word) => problems.word("in", word, PLACES),
        None => usual_place(name, param, tool),
    };
    let at = match (&param.at, place) {
        (Some(at), _) => text(at),
        (None, Place::InBody | Place::InVariables) => text(&format!("/{name}")),
        (None, _) => text(name),
    };
    Param {
        name: text(name),
        aliases: texts(&param.aliases),
        place,
        at,
        encode: param.encode.as_deref().map_or(Encode::Plain, |word| problems.word("encode", word, ENCODES)),
        values: json(param.values.as_ref()),
        each: text(&param.each),
        template: text(&param.template),
        escape: text(&param.escape),
        double: text(&param.double),
        null_as: json(param.null_as.as_ref()),
        null_at: text(param.null_at.as_deref().unwrap_or_default()),
        computed: text(&param.computed),
        default: json(param.default.as_ref()),
        default_with: text(&param.default_with),
    }
}

/// In the URL → path; named by a template → there alone; GraphQL → variables; GET and DELETE → query; else body.
pub(super) fn usual_place(name: &str, param: &ParamFile, tool: &ToolFile) -> Place {
    if template::names(&tool.request).contains(&name) {
        Place::InPath
    } else if param.at.is_none() && check::templates(tool).iter().any(|text| template::names(text).contains(&name)) {
        Place::InTemplate
    } else if tool.graphql.is_some() {
        Place::InVariables
    } else if matches!(request(&tool.request).0, "GET" | "DELETE" | "HEAD") {
        Place::InQuery
    } else {
        Place::InBody
    }
}

fn compile_page(file: &PageFile, tool: &ToolFile, problems: &mut Problems) -> Page {
    let style = problems.word("style", &file.style, PAGE_STYLES);
    Page {
        style,
        send: text(&file.send),
        body: file.place.as_deref() == Some("body") || (file.place.is_none() && tool.graphql.is_some()),
        next: text(&file.next),
        more: text(&file.more),
        last: text(&file.last),
        total: text(&file.total),
        items: text(&file.items),
        first: file.first.unwrap_or(u32::from(style == PageStyle::ByNumber)),
        continue_at: text(&file.continue_at),
    }
}

/// The one parameter every tool that pages has.
fn cursor(page: &PageFile) -> Param {
    Param {
        name: "cursor",
        aliases: texts(&page.aliases),
        place: Place::InTemplate,
        at: "cursor",
        encode: Encode::Plain,
        values: "",
        each: "",
        template: "",
        escape: "",
        double: "",
        null_as: "",
        null_at: "",
        computed: "",
        default: "",
        default_with: "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONNECTOR: &str = r#"
id = "acme"
name = "Acme"
summary = "Do things in Acme."
categories = ["test"]
docs = "https://acme.example/docs"
verified = "2026-11-20"
[auth.oauth2]
authorize_url = "https://acme.example/authorize"
token_url = "https://acme.example/token"
client_auth = "basic"
[auth.oauth2.scopes]
read = "Read things"
[http]
base_url = "https://api.acme.example/v1"
"#;
    const TOOL: &str = r#"
[[tool]]
name = "acme_get_thing"
title = "Get a thing"
description = "Get one thing by its id."
docs = "https://acme.example/docs/things"
request = "GET /things/{thing_id}"
effect = "read"
scopes = ["read"]
[tool.params]
thing_id = { type = "string", required = true, description = "Id of the thing." }
"#;
    const CASE: &str = "[[case]]\nname = \"gets\"\ntool = \"acme_get_thing\"\n";

    fn problems(connector: &str, tools: &str, cases: &str) -> (Option<Connector>, Vec<String>) {
        let source = |path: &str, text: &str| Source { path: path.into(), text: text.into() };
        let folder = Folder {
            id: "acme".into(),
            connector: source("connector.toml", connector),
            tools: vec![source("things.toml", tools)],
            cases: source("cases.toml", cases),
        };
        let mut problems = Problems::default();
        (compile(&folder, &mut problems), problems.found)
    }

    #[test]
    fn a_sound_connector_compiles() {
        let (connector, found) = problems(CONNECTOR, TOOL, CASE);
        assert_eq!(found, Vec::<String>::new());
        let connector = connector.unwrap();
        assert_eq!(connector.tools[0].params[0].place, Place::InPath);
        let source = format!("{:?}", connector.tools);
        assert!(source.starts_with("List(&[Tool { name: \"acme_get_thing\""), "{source}");
    }

    #[test]
    fn every_problem_is_found_with_its_line_and_what_would_work() {
        for (from, to, wanted) in [
            (
                "effect = \"read\"",
                "effect = \"reed\"",
                "things.toml:3: acme_get_thing: `reed` is no effect; one of read, write, destructive",
            ),
            ("effect = \"read\"", "effect = \"write\"", "a GET must have effect = \"read\""),
            ("title = ", "titel = ", "things.toml:4: unknown field `titel`, expected one of `name`, `title`"),
            ("[\"read\"]", "[\"admin\"]", "scope `admin` stands neither in"),
            ("{thing_id}", "{thing}", "{thing} in the request needs a parameter `thing`"),
            ("by its id.", "by its id", "must end with a full stop"),
            ("\"string\"", "\"text\"", "type `text` is not one of string"),
            ("required = true", "required = true, default = \"x\"", "required and a default exclude each other"),
            ("acme_get_thing", "acne_get_thing", "must start with `acme_`"),
            ("GET /things", "GET https://evil.example/things", "host `evil.example` is not declared"),
            ("[tool.params]", "paginated = true\n[tool.params]", "paginated needs [pagination]"),
            (
                "[tool.params]\n",
                "body = { list = [{ a = 1 }] }\n[tool.params]\nx = { type = \"string\", description = \"X.\", at = \"/list/0/x\" }\n",
                "`x`: `/list/0/x` is inside a list of `body`",
            ),
            (
                "[tool.params]",
                "[[tool.before]]\nrequest = \"GET /a\"\nsave = { last = \"/items/-/id\" }\n[tool.params]",
                "`/items/-/id` takes whatever item comes first or last: say which one with `pick`",
            ),
            (
                "thing_id = { type = \"string\"",
                "thing_id = { type = \"integer\"",
                "`thing_id`: an id of 2^53 or more loses digits",
            ),
            (
                "[tool.params]\n",
                "[tool.params]\nmime_type = { type = \"string\", description = \"Type.\" }\n",
                "`mime_type`: a media type needs a pattern",
            ),
            (
                "[tool.params]\n",
                "[tool.params]\nend = { type = \"integer\", computed = \"start + content.size\", description = \"End.\" }\n",
                "`end`: `start` of computed is no whole number",
            ),
        ] {
            let (_, found) = problems(CONNECTOR, &TOOL.replace(from, to), CASE);
            assert!(found.iter().any(|problem| problem.contains(wanted)), "{wanted}\nis not in {found:#?}");
        }
        let limit = |rest: &str| {
            let text = format!("{CONNECTOR}\n[[limits]]\nname = \"calls\"\nunits = 10\nper_seconds = 60\n{rest}\n");
            let (_, found) = problems(&text, &TOOL.replace("effect", "costs = { calls = 20 }\neffect"), CASE);
            found.into_iter().find(|problem| problem.starts_with("connector.toml:")).unwrap_or_default()
        };
        for (rest, wanted) in [
            (
                "scope = \"tenant\"\nby = \"account.site\"",
                "limit `calls`: scope = \"tenant\" needs `by`, an account variable",
            ),
            ("scope = \"tenant_tool\"", "limit `calls`: scope = \"tenant_tool\" needs `by`, an account variable"),
            ("scope = \"account\"\nby = \"thing_id\"", "`by` belongs to the scopes parameter, tenant and tenant_tool"),
            (
                "scope = \"parameter\"\nby = \"account.site\"",
                "scope = \"parameter\" needs `by`, the name of a parameter",
            ),
            ("scope = \"account\"\nmost = 10", "`most` is what larger plans have, so it is more than units"),
            ("scope = \"account\"", "limit `calls`: acme_get_thing costs 20, more than its 10 units"),
        ] {
            assert!(limit(rest).contains(wanted), "{wanted} is not in {}", limit(rest));
        }
        let (_, found) = problems(CONNECTOR, TOOL, "");
        assert_eq!(found, ["cases.toml:1: no case for the tool `acme_get_thing`"]);
        let (_, found) = problems(&CONNECTOR.replace("basic", "magic"), TOOL, CASE);
        assert!(
            found[0].contains("`magic` is no client_auth; one of basic, body, json, basic_json, none"),
            "{found:?}"
        );
        let (_, found) = problems("id = \"acme\"", TOOL, CASE);
        assert!(found[0].starts_with("connector.toml:1: missing field"), "{found:?}");
    }

    const UPDATE: &str = r#"
[[tool]]
name = "acme_update_thing"
title = "Change a thing"
description = "Change one thing by its id."
docs = "https://acme.example/docs/things"
request = "PATCH /things/{thing_id}"
effect = "write"
scopes = ["read"]
[tool.params]
thing_id = { type = "string", required = true, description = "Id of the thing." }
name = { type = "string", description = "Its name." }
due_on = { type = "string", nullable = true, description = "Its day." }
due_at = { type = "string", description = "Its time." }
quiet = { type = "boolean", modifier = true, description = "Whether nobody is told." }
"#;

    #[test]
    fn an_update_knows_what_it_can_change() {
        let case = CASE.replace("get", "update");
        let changes = |tool: &str| problems(CONNECTOR, tool, &case).0.unwrap().tools[0].changes.0.to_vec();
        assert_eq!(problems(CONNECTOR, UPDATE, &case).1, Vec::<String>::new());
        assert_eq!(changes(UPDATE), ["name", "due_on", "due_at"]);
        assert_eq!(changes(&UPDATE.replace("[tool.params]", "changes = []\n[tool.params]")), Vec::<&str>::new());
        assert_eq!(
            changes(&UPDATE.replace("[tool.params]", "body = { done = true }\n[tool.params]")),
            Vec::<&str>::new()
        );
        assert_eq!(
            changes(&UPDATE.replace(
                "\"string\", description = \"Its name",
                "\"string\", required = true, description = \"Its name"
            )),
            Vec::<&str>::new()
        );
    }

    #[test]
    fn nothing_that_is_given_is_lost_without_a_word() {
        let with = |line: &str| UPDATE.replace("[tool.params]", &format!("{line}\n[tool.params]"));
        let about = |from: &str, to: &str| UPDATE.replace(from, to);
        let case = CASE.replace("get", "update");
        for (tool, wanted) in [
            (
                about("Its time.", "Its time; this or due_on."),
                "`due_at` says in words how it goes with `due_on`: say it as one_of",
            ),
            (about("Its time.", "Its time. Not with name."), "`due_at` says in words how it goes with `name`"),
            (
                about("description = \"Its name.\"", "at = \"/due_at\", description = \"Its name.\""),
                "`name` and `due_at` go to one place",
            ),
            (with("body = { when = \"{due_at|name}\" }"), "`due_at` and `name` go to one place"),
            (
                with("one_of = [[\"due_on\", \"due_at\"]]\nbody = { when = \"{due_on|due_at}\" }"),
                "go to one place, where the null of one would replace the other",
            ),
            (with("one_of = [[\"name\", \"nam\"]]"), "`nam` of a group is not a parameter"),
            (with("one_of = [[\"name\"]]"), "a group names two parameters or more"),
            (with("any_of = [[\"name\", \"thing_id\"]]"), "`thing_id` is required, so it is no choice of a group"),
            (with("requires = { name = [\"dueon\"] }"), "`dueon` of a group is not a parameter"),
            (with("changes = [\"nme\"]"), "`nme` of `changes` is not a parameter"),
            (about("nullable = true", "nullable = true, in = \"header\""), "`due_on`: null goes out in a JSON body"),
            (with("headers = { x = \"{due_on}\" }"), "`due_on`: null goes out in a JSON body"),
            (about("nullable = true", "null_as = \"\""), "`due_on`: null_as and null_at need nullable = true"),
            (about("nullable = true", "encode = \"null_if_empty\""), "`due_on`: null_if_empty needs nullable = true"),
            (about("nullable = true", "aliases = [\"name\"]"), "`due_on`: the alias `name` is taken"),
            (about("quiet =", "clear_fields ="), "`clear_fields` is the word of strict functions"),
        ] {
            let (_, found) = problems(CONNECTOR, &tool, &case);
            assert!(found.iter().any(|problem| problem.contains(wanted)), "{wanted}\nis not in {found:#?}");
        }
        let grouped =
            with("at_most_one = [[\"due_on\", \"due_at\"]]").replace("Its time.", "Its time; this or due_on.");
        let (connector, found) = problems(CONNECTOR, &grouped, &case);
        assert_eq!(found, Vec::<String>::new());
        let schema: Value = serde_json::from_str(connector.unwrap().tools[0].input_schema).unwrap();
        assert_eq!(schema["properties"]["due_on"]["type"], serde_json::json!(["string", "null"]));
        let choice = UPDATE.replace("[tool.params]", "one_of = [[\"name\", \"due_at\"]]\n[tool.params]");
        let schema: Value =
            serde_json::from_str(problems(CONNECTOR, &choice, &case).0.unwrap().tools[0].input_schema).unwrap();
        assert_eq!(schema["oneOf"][1]["required"], serde_json::json!(["due_at"]));
    }

    #[test]
    fn rules_of_failures_that_cannot_hold_are_found() {
        for (rule, wanted) in [
            ("header = { name = \"x-a\" }\nerror = \"CONFLICT\"", "a rule's header `x-a` says `equals`, or `begins`"),
            (
                "header = { name = \"x-a\", equals = \"1\", begins = \"2\" }\nerror = \"CONFLICT\"",
                "a rule's header `x-a` says `equals`, or `begins`",
            ),
            ("renew = true\nerror = \"RESOURCE_NOT_FOUND\"", "a rule with `renew` names its status"),
            ("renew = true\nstatus = [401]\nerror = \"REAUTHORIZATION_REQUIRED\"", "which renews anyway"),
        ] {
            let (_, found) = problems(&format!("{CONNECTOR}[[errors.rules]]\n{rule}\n"), TOOL, CASE);
            assert!(found.iter().any(|problem| problem.contains(wanted)), "{wanted}\nis not in {found:#?}");
        }
        let fine = "[[errors.rules]]\nstatus = [404]\nheader = { name = \"x-a\", begins = \"\" }\nrenew = true\nerror = \"RESOURCE_NOT_FOUND\"\n";
        assert_eq!(problems(&format!("{CONNECTOR}{fine}"), TOOL, CASE).1, Vec::<String>::new());
    }

    #[test]
    fn a_pattern_holds_for_all_of_a_value() {
        for (pattern, is_whole) in [
            ("^[a-z]+$", true),
            ("^(a|b)$", true),
            ("^[a|b]$", true),
            (r"^a\|b$", true),
            ("[a-z]+", false),
            (r"^https://api\.acme\.example$|^https://.*$", false),
            ("^(a)|b$", false),
            (r"^acme\$", false),
            (r"^acme\\$", true),
            (r"^(?m)[a-z]+$", false),
            (r"^(?:a|b)$", true),
            (r"^[]|]x$", true),
            (r"^[]]|x$", false),
        ] {
            let (_, found) = problems(&format!("{CONNECTOR}[auth.patterns]\nsite = '{pattern}'\n"), TOOL, CASE);
            let wanted = "the pattern of `site` must start with ^ and end with $";
            assert_eq!(found.iter().any(|problem| problem.contains(wanted)), !is_whole, "{pattern}: {found:#?}");
        }
    }
}
