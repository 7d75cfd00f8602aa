//! What is asked of a connector's files beyond their shape. Every problem is collected, with the place and the words
//! that would have worked. Build time and tests only.

use super::format::{ConnectorFile, LimitFile, ToolFile};
use super::model::{CLEAR_FIELDS, Limit, Tool};
use super::{change, schema, together};
use crate::code::Code;
use crate::template;
use serde::Deserialize;
use std::collections::BTreeSet;

/// The problems found so far, and where we are.
#[derive(Default)]
pub struct Problems {
    /// One line each: `connectors/x/tools/y.toml:12: x_do: …`.
    pub found: Vec<String>,
    path: String,
    text: String,
    item: String,
    names: BTreeSet<String>,
}

impl Problems {
    /// Starts on a file.
    pub fn file(&mut self, path: &str, text: &str) {
        path.clone_into(&mut self.path);
        text.clone_into(&mut self.text);
        self.item.clear();
    }

    /// Starts on a tool of the file.
    pub fn item(&mut self, name: &str) {
        name.clone_into(&mut self.item);
    }

    /// Adds a problem at the present place. The line is that of the item's name, else of the quoted word in the message.
    pub fn add(&mut self, message: &str) {
        let wanted = if self.item.is_empty() {
            message.split('`').nth(1).unwrap_or_default().to_owned()
        } else {
            format!("\"{}\"", self.item)
        };
        let line = self.text.lines().position(|line| !wanted.is_empty() && line.contains(&wanted)).map_or(1, |n| n + 1);
        let item = if self.item.is_empty() { String::new() } else { format!("{}: ", self.item) };
        self.found.push(format!("{}:{line}: {item}{message}", self.path));
    }

    /// Adds what the TOML parser says, with its line.
    pub fn syntax(&mut self, error: &toml::de::Error) {
        let line = error.span().map_or(1, |span| self.text[..span.start].matches('\n').count() + 1);
        self.found.push(format!("{}:{line}: {}", self.path, error.message().replace('\n', " ")));
    }

    /// The value of a word out of a list; adds a problem that names the list when it is none of them.
    pub fn word<T: Copy>(&mut self, field: &str, word: &str, known: &[(&str, T)]) -> T {
        if let Some((_, value)) = known.iter().find(|(name, _)| *name == word) {
            return *value;
        }
        let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
        self.add(&format!("`{word}` is no {field}; one of {}", names.join(", ")));
        known[0].1
    }
}

/// Checks `connector.toml`.
pub fn connector(file: &ConnectorFile, folder: &str, problems: &mut Problems) {
    if file.id != folder || !file.id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
        problems.add(&format!("id `{}` must be the folder's name, lower-case letters and digits: {folder}", file.id));
    }
    sentence("summary", &file.summary, problems);
    if !is_date(&file.verified) {
        problems.add(&format!("verified `{}` must be a day, e.g. 2026-11-20", file.verified));
    }
    auth(file, problems);
    super::kinds::connector(file, problems);
    for rule in &file.errors.rules {
        if Code::parse(&rule.error).is_none() {
            let names: Vec<_> = Code::ALL.iter().map(|(_, name, _)| *name).collect();
            problems.add(&format!("`{}` is not an error code; one of {}", rule.error, names.join(", ")));
        }
        if let Some(header) = rule.header.as_ref().filter(|header| header.equals.is_some() == header.begins.is_some()) {
            let name = &header.name;
            problems.add(&format!("a rule's header `{name}` says `equals`, or `begins` (with \"\": it is there)"));
        }
        if rule.renew && (rule.status.is_empty() || rule.error == Code::ReauthorizationRequired.name()) {
            problems.add("a rule with `renew` names its status, and an error other than REAUTHORIZATION_REQUIRED, which renews anyway");
        }
    }
    for place in file.errors.help.iter().filter(|place| !place.starts_with("header:")) {
        check_pointer(place, problems);
    }
    for place in &file.errors.retry_after {
        if place.header.is_empty() == place.at.is_empty() {
            problems.add("a retry_after entry names a header or a place (`at`), not both");
        }
    }
    let pointers =
        file.errors.code.iter().chain(&file.errors.message).chain(file.errors.failed_when.iter().map(|w| &w.at));
    for pointer in pointers {
        check_pointer(pointer, problems);
    }
    for limit in &file.limits {
        limit_file(limit, file, problems);
    }
    let of_fields = file.auth.fields.iter().map(|(name, field)| (name, &field.pattern));
    for (name, pattern) in file.auth.patterns.iter().chain(of_fields.filter(|(_, pattern)| !pattern.is_empty())) {
        if let Err(error) = regex_lite::Regex::new(pattern) {
            problems.add(&format!("pattern of `{name}`: {error}"));
        }
        if !holds_for_all(pattern) {
            problems.add(&format!(
                "the pattern of `{name}` must start with ^ and end with $, around all of it: ^(a|b)$ and not ^a|b$, nor \\$ or flags"
            ));
        }
    }
}

/// Whether a pattern holds for all of a value: its first and last sign are anchors, no `|` outside parentheses leaves one of
/// them to each side, and no flag, as `(?m)` is, makes them mean something else.
fn holds_for_all(pattern: &str) -> bool {
    let Some(inner) = pattern.strip_prefix('^').and_then(|rest| rest.strip_suffix('$')) else { return false };
    let (mut depth, mut class, mut signs) = (0_u32, None, inner.chars().peekable());
    while let Some(sign) = signs.next() {
        match sign {
            // A `$` that is escaped is no anchor.
            '\\' if signs.next().is_none() => return false,
            '\\' => class = class.map(|_| false),
            // The first sign of a class is in it, be it a bracket.
            ']' if class == Some(false) => class = None,
            '^' if class == Some(true) => {}
            _ if class.is_some() => class = Some(false),
            '[' => class = Some(true),
            '(' => {
                depth += 1;
                let mut ahead = signs.clone();
                if ahead.next() == Some('?') && !matches!(ahead.next(), Some(':' | '<' | 'P')) {
                    return false;
                }
            }
            ')' => depth = depth.saturating_sub(1),
            '|' if depth == 0 => return false,
            _ => {}
        }
    }
    true
}

/// Checks one limit by itself.
fn limit_file(limit: &LimitFile, file: &ConnectorFile, problems: &mut Problems) {
    let name = &limit.name;
    let variable = limit.by.strip_prefix("account.");
    match limit.scope.as_str() {
        "parameter" if limit.by.is_empty() || variable.is_some() => {
            problems.add(&format!("limit `{name}`: scope = \"parameter\" needs `by`, the name of a parameter"));
        }
        "tenant" | "tenant_tool" if variable.is_none_or(|variable| !is_variable(variable, file)) => {
            let known = variables(file).join(", ");
            problems.add(&format!(
                "limit `{name}`: scope = \"{}\" needs `by`, an account variable that tells customers apart; one of {known}",
                limit.scope
            ));
        }
        "parameter" | "tenant" | "tenant_tool" => {}
        _ if !limit.by.is_empty() => {
            problems.add(&format!("limit `{name}`: `by` belongs to the scopes parameter, tenant and tenant_tool"));
        }
        _ => {}
    }
    if limit.units == 0 || limit.per_seconds == 0 || limit.cost > limit.units {
        problems.add(&format!("limit `{name}`: units, per_seconds must be above 0, and cost at most units"));
    }
    if limit.most.is_some_and(|most| most <= limit.units) {
        problems.add(&format!("limit `{name}`: `most` is what larger plans have, so it is more than units"));
    }
}

/// What a limit can count by: the variables of an account, as they are named in `by`.
fn variables(file: &ConnectorFile) -> Vec<String> {
    let auth = &file.auth;
    let fields = auth.fields.iter().filter(|(_, field)| !field.secret).map(|(name, _)| name);
    let saved = auth.oauth2.iter().flat_map(|oauth2| oauth2.response.save.keys());
    let found = auth.identity.iter().flat_map(|lookup| lookup.save.keys());
    let names: BTreeSet<_> = fields.chain(saved).chain(found).collect();
    names.into_iter().map(|name| format!("account.{name}")).collect()
}

/// Checks that each limit leaves room for one call of each tool: a call that costs more could never be made.
pub fn costs(limits: &[Limit], tools: &[Tool], problems: &mut Problems) {
    for limit in limits {
        let (need, tool) = limit.largest_need(tools);
        if need > limit.units {
            problems.add(&format!("limit `{}`: {tool} costs {need}, more than its {} units", limit.name, limit.units));
        }
    }
}

/// Checks the ways to connect, and that what their URLs need is asked for or looked up.
fn auth(file: &ConnectorFile, problems: &mut Problems) {
    let auth = &file.auth;
    if auth.oauth2.is_none() && auth.oauth1.is_none() && auth.key.is_none() && auth.jwt.is_none() {
        problems.add("auth needs one of [auth.oauth2], [auth.oauth1], [auth.key] and [auth.jwt]");
    }
    let urls =
        [&file.http.base_url].into_iter().chain(file.auth.oauth2.iter().flat_map(|o| [&o.authorize_url, &o.token_url]));
    let urls =
        urls.chain(auth.oauth1.iter().flat_map(|o| [&o.request_token_url, &o.authorize_url, &o.access_token_url]));
    for url in urls {
        if !url.starts_with("https://") && !url.starts_with("{account.") {
            problems.add(&format!("`{url}` must start with https:// or with an account variable"));
        }
        if url.ends_with('/') {
            problems.add(&format!("`{url}` must not end with a slash"));
        }
        for name in template::names(url) {
            let name = name.trim_start_matches("account.");
            let pattern = auth.patterns.get(name).or_else(|| auth.fields.get(name).map(|field| &field.pattern));
            let Some(pattern) = pattern.filter(|pattern| !pattern.is_empty()) else {
                problems.add(&format!(
                    "`{name}` stands in `{url}` and needs a pattern, in [auth.patterns] or [auth.fields]"
                ));
                continue;
            };
            if url.starts_with('{')
                && url.starts_with(&format!("{{account.{name}}}"))
                && !pattern.starts_with("^https://")
            {
                problems
                    .add(&format!("the pattern of `{name}` must start with ^https://, since `{url}` starts with it"));
            }
        }
    }
    for (name, field) in &auth.fields {
        sentence(&format!("`{name}`: help"), &field.help, problems);
        if field.secret && field.by == "user" && field.methods.is_empty() {
            problems.add(&format!("`{name}`: a secret field of people belongs to certain methods"));
        }
    }
    let given = auth.key.iter().map(|key| &key.token).chain(auth.jwt.iter().map(|jwt| &jwt.private_key));
    for name in given.chain(auth.jwt.iter().flat_map(|jwt| jwt.claims.values())).flat_map(|text| template::names(text))
    {
        let field = name.trim_start_matches("upper.").split('.').next().unwrap_or_default();
        if !auth.fields.contains_key(field) && !matches!(field, "scopes" | "fingerprint" | "account") {
            problems.add(&format!("{{{name}}} needs [auth.fields.{field}]"));
        }
    }
}

/// Whether an account has a variable of this name.
fn is_variable(name: &str, file: &ConnectorFile) -> bool {
    let auth = &file.auth;
    auth.fields.get(name).is_some_and(|field| !field.secret)
        || auth.oauth2.as_ref().is_some_and(|oauth2| oauth2.response.save.contains_key(name))
        || auth.identity.iter().any(|lookup| lookup.save.contains_key(name))
}

/// Checks one tool.
pub fn tool(tool: &ToolFile, connector: &ConnectorFile, problems: &mut Problems) {
    problems.item(&tool.name);
    let expected = format!("{}_", connector.id);
    if !tool.name.starts_with(&expected) || tool.name.len() > 64 {
        problems.add(&format!("the name must start with `{expected}` and have at most 64 characters"));
    }
    if !tool.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
        problems.add("the name must be lower-case letters, digits and `_`");
    }
    if !problems.names.insert(tool.name.clone()) {
        problems.add("the name is used twice");
    }
    sentence("description", &tool.description, problems);
    if !tool.docs.starts_with("https://") {
        problems.add("docs must be an https:// link to the vendor's page");
    }
    let (method, url) = tool.request.split_once(' ').unwrap_or(("", ""));
    if !matches!(method, "GET" | "POST" | "PUT" | "PATCH" | "DELETE" | "HEAD")
        || !(url.starts_with('/') || url.starts_with("https://") || is_whole_hole(url))
    {
        problems.add("request must be a verb and a path or URL, e.g. \"GET /users/{user_id}\"");
    }
    let by_agent = is_whole_hole(url) && tool.params.contains_key(url.trim_matches(['{', '}']));
    if by_agent && tool.credential {
        problems.add("a URL that the caller gives needs credential = false");
    }
    if tool.follow && method != "GET" {
        problems.add("only a GET can follow a redirect");
    }
    if method == "GET" && tool.effect != "read" {
        problems.add("a GET must have effect = \"read\"");
    }
    if tool.paginated && tool.pagination.is_none() && connector.pagination.is_none() {
        problems.add("paginated needs [pagination] in connector.toml or in the tool");
    }
    if tool.params.contains_key("cursor") && (tool.paginated || tool.pagination.is_some()) {
        problems.add("`cursor` comes by itself with pagination");
    }
    scopes(tool, connector, problems);
    limits(tool, connector, problems);
    holes(tool, connector, problems);
    for (name, param) in &tool.params {
        if param.required && param.default.is_some() {
            problems.add(&format!("`{name}`: required and a default exclude each other"));
        }
        if param.kind == "array" && param.items.is_none() {
            problems.add(&format!("`{name}`: an array needs `items`"));
        }
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            problems.add(&format!("`{name}`: parameter names are letters, digits and `_`"));
        }
        if let Some(pattern) = &param.pattern
            && let Err(error) = regex_lite::Regex::new(pattern)
        {
            problems.add(&format!("`{name}`: pattern: {error}"));
        }
        sentence(&format!("`{name}`: description"), &param.description, problems);
        for alias in &param.aliases {
            let taken = tool.params.iter().any(|(other, also)| {
                other == alias || other != name && also.aliases.iter().any(|theirs| theirs == alias)
            });
            if taken || alias == CLEAR_FIELDS {
                problems.add(&format!("`{name}`: the alias `{alias}` is taken"));
            }
        }
        if !param.template.is_empty() && !param.template.contains("{}") {
            problems.add(&format!("`{name}`: the template has no {{}}"));
        }
    }
    nulls(tool, problems);
    overlaps(tool, problems);
    together::check(tool, problems);
    super::kinds::tool(tool, connector, problems);
    for problem in schema::problems(&schema::shape(tool, false)) {
        problems.add(&problem);
    }
}

/// Null must be able to go out as null: not in an address, a header, a form or the middle of a text.
fn nulls(tool: &ToolFile, problems: &mut Problems) {
    if tool.params.contains_key(CLEAR_FIELDS) {
        problems.add(&format!("`{CLEAR_FIELDS}` is the word of strict functions for what is emptied"));
    }
    for (name, param) in &tool.params {
        if param.encode.as_deref() == Some("null_if_empty") && !param.nullable {
            problems.add(&format!("`{name}`: null_if_empty needs nullable = true"));
        }
        if (param.null_as.is_some() || param.null_at.is_some()) && !param.nullable {
            problems.add(&format!("`{name}`: null_as and null_at need nullable = true"));
        }
        if !param.nullable && param.kind != "scalar" {
            continue;
        }
        let written = templates(tool)
            .into_iter()
            .any(|text| template::names(text).contains(&name.as_str()) && text != format!("{{{name}}}"));
        let holds = change::carries(name, param, tool) && !written;
        let in_form = matches!(tool.encoding.as_deref(), Some("form" | "form_data"));
        let goes_out = param.null_as.is_some() || !in_form && (param.null_at.is_some() || holds);
        if !goes_out {
            problems.add(&format!(
                "`{name}`: null goes out in a JSON body, in variables or as a whole value of `body`; elsewhere null_as says what does"
            ));
        }
        if tool.before.iter().any(|step| step.when == *name) {
            problems.add(&format!("`{name}`: a step that runs when it is given would run for null"));
        }
    }
}

/// A place inside a list that the body's template writes: what comes later replaces the list as a whole, so one would be lost.
fn overlaps(tool: &ToolFile, problems: &mut Problems) {
    for (name, param) in &tool.params {
        let (Some(at), Some(body)) = (&param.at, &tool.body) else { continue };
        let steps: Vec<_> = at.split('/').skip(1).collect();
        let mut found = Some(body);
        for step in steps {
            if found.is_some_and(serde_json::Value::is_array) {
                problems
                    .add(&format!("`{name}`: `{at}` is inside a list of `body`; write it there as a hole, {{{name}}}"));
                break;
            }
            found = found.and_then(|value| value.get(step));
        }
    }
}

/// `{url}`: a request to a URL that a step learnt or the caller gives.
fn is_whole_hole(url: &str) -> bool {
    matches!(template::pieces(url).as_slice(), [template::Piece::Hole(name)] if !name.starts_with("account."))
}

fn scopes(tool: &ToolFile, connector: &ConnectorFile, problems: &mut Problems) {
    let auth = &connector.auth;
    let of_oauth2 = auth.oauth2.iter().flat_map(|oauth2| [&oauth2.scopes, &oauth2.optional_scopes]);
    let of_oauth1 = auth.oauth1.iter().flat_map(|oauth1| [&oauth1.scopes, &oauth1.optional_scopes]);
    let known: Vec<_> = of_oauth2.chain(of_oauth1).collect();
    for scope in tool.scopes.iter().filter(|scope| !known.iter().any(|scopes| scopes.contains_key(*scope))) {
        problems.add(&format!(
            "scope `{scope}` stands neither in [auth.oauth2.scopes] nor in [auth.oauth2.optional_scopes]"
        ));
    }
}

fn limits(tool: &ToolFile, connector: &ConnectorFile, problems: &mut Problems) {
    let known: Vec<_> = connector.limits.iter().map(|limit| limit.name.as_str()).collect();
    let of_steps = tool.before.iter().flat_map(|step| &step.limits);
    for name in tool.limits.iter().chain(tool.costs.keys()).chain(of_steps) {
        if !known.contains(&name.as_str()) {
            problems.add(&format!("limit `{name}` is not one of {}", known.join(", ")));
        }
    }
}

/// Every template of a tool apart from its URL.
pub fn templates(tool: &ToolFile) -> Vec<&str> {
    let mut all = Vec::new();
    let content = tool.content.iter().chain(tool.before.iter().filter_map(|step| step.content.as_ref()));
    for content in content {
        all.extend([&content.base64, &content.text, &content.media_type, &content.file_name].map(String::as_str));
    }
    all.extend(tool.headers.values().map(String::as_str));
    all.extend(tool.before.iter().flat_map(|step| step.headers.values().map(String::as_str)));
    all.extend(tool.before.iter().map(|step| step.request.as_str()));
    let picks = tool.before.iter().filter_map(|step| step.pick.as_ref());
    all.extend(picks.flat_map(|pick| pick.conditions.iter().map(|condition| condition.is.as_str())));
    let values = tool.query.iter().chain(&tool.body).chain(tool.message.iter().map(|message| &message.parts));
    let values = values.chain(tool.before.iter().flat_map(|step| step.query.iter().chain(&step.body)));
    for value in values {
        strings(value, &mut all);
    }
    all
}

/// The templates of what a tool's own request carries, apart from its address.
pub fn contents(tool: &ToolFile) -> Vec<&str> {
    let mut all = Vec::new();
    if let Some(content) = &tool.content {
        all.extend([&content.base64, &content.text].map(String::as_str));
    }
    for value in tool.body.iter().chain(tool.message.iter().map(|message| &message.parts)) {
        strings(value, &mut all);
    }
    all
}

fn strings<'a>(value: &'a serde_json::Value, out: &mut Vec<&'a str>) {
    match value {
        serde_json::Value::String(text) => out.push(text),
        serde_json::Value::Array(items) => items.iter().for_each(|item| strings(item, out)),
        serde_json::Value::Object(fields) => fields.values().for_each(|field| strings(field, out)),
        _ => {}
    }
}

fn holes(tool: &ToolFile, connector: &ConnectorFile, problems: &mut Problems) {
    let saved: BTreeSet<&str> = tool.before.iter().flat_map(|step| step.save.keys().map(String::as_str)).collect();
    let known = |name: &str| {
        let account = name.strip_prefix("account.");
        let by_operator = name.strip_prefix("connection.").and_then(|name| connector.auth.fields.get(name));
        tool.params.contains_key(name)
            || saved.contains(name)
            || matches!(name, "uuid" | "content.size")
            || account.is_some_and(|name| is_variable(name, connector))
            || by_operator.is_some_and(|field| field.secret && field.by == "operator")
    };
    for name in template::names(&tool.request) {
        let given = tool.params.get(name).is_some_and(|param| param.required || param.default.is_some());
        let account = name.strip_prefix("account.").is_some_and(|name| is_variable(name, connector));
        if !given && !saved.contains(name) && !account {
            problems.add(&format!(
                "{{{name}}} in the request needs a parameter `{name}` that is required or has a default"
            ));
        }
    }
    for text in templates(tool) {
        for name in template::names(text).into_iter().filter(|name| !known(name)) {
            problems.add(&format!("{{{name}}} is neither a parameter nor saved by a step before"));
        }
    }
    if let Some(document) = &tool.graphql {
        let head = document.split('{').next().unwrap_or_default();
        for variable in head.split('$').skip(1).map(|rest| rest.split([':', ' ']).next().unwrap_or_default()) {
            let start = format!("/{variable}");
            let by_param = tool.params.iter().any(|(name, param)| {
                let at = param.at.clone().unwrap_or_else(|| format!("/{name}"));
                at == start || at.starts_with(&format!("{start}/"))
            });
            let by_body = tool.body.as_ref().is_some_and(|body| body.get(variable).is_some());
            let page = tool.pagination.as_ref().or(if tool.paginated { connector.pagination.as_ref() } else { None });
            if !by_param && !by_body && page.is_none_or(|page| page.send != start) {
                problems.add(&format!("${variable} of the GraphQL document is never filled"));
            }
        }
    }
    for host in urls(tool).filter_map(|url| host(url)) {
        if host.contains('{') {
            continue;
        }
        let declared = host_of(&connector.http.base_url).is_some_and(|base| base == host)
            || connector.http.hosts.iter().any(|known| known == host);
        if !declared {
            problems.add(&format!("host `{host}` is not declared in [http] base_url or hosts"));
        }
    }
}

fn urls(tool: &ToolFile) -> impl Iterator<Item = &str> {
    [tool.request.as_str()]
        .into_iter()
        .chain(tool.before.iter().map(|step| step.request.as_str()))
        .filter_map(|line| line.split_once(' '))
        .map(|(_, url)| url)
}

fn host(url: &str) -> Option<&str> {
    url.starts_with("https://").then(|| host_of(url)).flatten()
}

fn host_of(url: &str) -> Option<&str> {
    url.strip_prefix("https://")?.split(['/', '?']).next()
}

fn sentence(what: &str, text: &str, problems: &mut Problems) {
    if !text.ends_with('.') || text.chars().count() > 240 {
        problems.add(&format!(
            "{what} must end with a full stop and have at most 240 characters (has {})",
            text.chars().count()
        ));
    }
}

fn check_pointer(pointer: &str, problems: &mut Problems) {
    if !pointer.is_empty() && !pointer.starts_with('/') {
        problems.add(&format!("`{pointer}` is not a JSON Pointer: it must start with /"));
    }
}

fn is_date(text: &str) -> bool {
    let b = text.as_bytes();
    b.len() == 10 && b.iter().enumerate().all(|(i, c)| if i == 4 || i == 7 { *c == b'-' } else { c.is_ascii_digit() })
}

/// Checks that each tool has a case.
pub fn cases(text: &str, tools: &[Tool], problems: &mut Problems) {
    #[derive(Deserialize)]
    struct Cases {
        #[serde(default)]
        case: Vec<Case>,
    }
    #[derive(Deserialize)]
    struct Case {
        tool: Option<String>,
    }
    match toml::from_str::<Cases>(text) {
        Ok(cases) => {
            let tried: BTreeSet<_> = cases.case.into_iter().filter_map(|case| case.tool).collect();
            for tool in tools.iter().filter(|tool| !tried.contains(tool.name)) {
                problems.add(&format!("no case for the tool `{}`", tool.name));
            }
        }
        Err(error) => problems.syntax(&error),
    }
}
