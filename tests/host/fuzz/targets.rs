//! What is tried: everything that reads bytes of others, by itself or through the router, and what it promises.

use crate::support::{KEYS, NOW, deployment};
use serde_json::{Value, json};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use valetkey::account::AccountId;
use valetkey::keys::Keys;
use valetkey::ports::{Body, Request, Response, put};
use valetkey::ticket::{self, Purpose};
use valetkey::tool::multipart::{self, Bytes};
use valetkey::tool::{adf, mime};
use valetkey::{address, catalog, connection, digest, http, json as places, template, timestamp};

/// One thing to try.
pub struct Target {
    /// Its name; that of its folder of kept inputs.
    pub name: &'static str,
    /// How many inputs are made in a test run: about a second's worth for all of them.
    pub runs: u64,
    /// Good inputs to begin with.
    pub seeds: &'static [&'static str],
    /// Fails when a promise does not hold.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target {
        name: "template",
        runs: 2000,
        seeds: &["/repos/{owner}/{repo|account.repo}?q={q}", "{\"a\": {b}}"],
        run: templates,
    },
    Target {
        name: "pointer",
        runs: 2000,
        seeds: &[
            "/a/[name=Subject]/value\n{\"a\": [{\"name\": \"subject\", \"value\": 1}]}",
            "/a/-/0/~01\n{\"a\": [[1]]}",
        ],
        run: pointer,
    },
    Target {
        name: "time",
        runs: 4000,
        seeds: &["2027-01-15T08:00:00Z", "2027-01-15T08:00:00.123+01:30", "Sun, 06 Nov 1994 08:49:37 GMT"],
        run: time,
    },
    Target {
        name: "ticket",
        runs: 1000,
        seeds: &["ca_aaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbb.abc.AAAAAAAAAAAAAAAAAAAAAA.k1-AAAA", "v1.k1.AAAA"],
        run: tickets,
    },
    Target {
        name: "address",
        runs: 2000,
        seeds: &[
            "https://api.example.com/v1",
            "http://127.0.0.1:8080",
            "https://[::1]/",
            "https://user:pw@host.example/",
        ],
        run: addresses,
    },
    Target { name: "base64", runs: 2000, seeds: &["aGVsbG8=", "_-_-", "aGVs\r\nbG8"], run: base64 },
    Target { name: "mime", runs: 1500, seeds: MESSAGES, run: message },
    Target {
        name: "multipart",
        runs: 1000,
        seeds: &["a valetkey and valetkeyx", "\r\n--valetkey--\r\n", "\"; name=\"x\r\n"],
        run: parts,
    },
    Target { name: "markdown", runs: 1500, seeds: MARKDOWN, run: markdown },
    Target { name: "answer", runs: 300, seeds: ANSWERS, run: answer },
    Target { name: "token", runs: 250, seeds: TOKENS, run: token },
    Target { name: "input", runs: 600, seeds: INPUTS, run: tool_input },
    Target {
        name: "proxied",
        runs: 250,
        seeds: &["/user/repos?page=2", "/https://uploads.github.com/x", "/%2e%2e/%2e%2e/admin", "/a//b\\c"],
        run: proxied,
    },
    Target { name: "route", runs: 300, seeds: ROUTES, run: route },
];

const MESSAGES: &[&str] = &[
    r#"{"to": "Jo <jo@example.com>, al@example.com", "subject": "Grüße", "body": "Hi\n.\n", "references": "<1@x> <2@x>"}"#,
    r#"{"to": ["a@example.com"], "content_type": "text/html", "body": "<b>", "text": "b", "attachments": [{"file_name": "é\".txt", "mime_type": "text/plain", "content_base64": "aGk="}]}"#,
];
const MARKDOWN: &[&str] = &[
    "# T\n\n1. a\n   - [ ] b `c`\n2. **d _e_** ~~f~~\n\n> # g\n> | a | b |\n> |---|---|\n> | 1 | 2 |\n\n```rs\nx\n```\n---\n[l](https://e.example/a_(b) \"t\") ![i](https://e.example/i.png) <https://e.example> [~accountid:1:a-b]",
    "| a | b |\n|---|:-:|\n| x<br>y | `c` |\n\n- [x] done\n  - [ ] open\n\n<details>\n<summary>x</summary>\n</details>\n\n&copy; \\* a  \nb",
    r#"{"version": 1, "type": "doc", "content": []}"#,
];
const ANSWERS: &[&str] = &[
    "\u{0}\u{0}{\"ok\": false, \"error\": \"ratelimited\", \"message\": \"no\"}",
    "\u{1}\u{1}[{\"id\": 1}]",
    "\u{2}\u{2}{\"data\": {\"issues\": {\"nodes\": [], \"pageInfo\": {\"hasNextPage\": true, \"endCursor\": \"x\"}}}}",
    "\u{3}\u{3}<html><h1>hibernating</h1></html>",
    "\u{4}\u{4}{\"errors\": [{\"message\": \"x\", \"extensions\": {\"code\": \"RATELIMITED\"}}]}",
];
const TOKENS: &[&str] = &[
    "\u{0}{\"access_token\": \"a\", \"refresh_token\": \"r\", \"expires_in\": 3600, \"scope\": \"read write\"}",
    "\u{0}access_token=a&expires_in=3600&scope=read",
    "\u{1}{\"error\": \"invalid_grant\", \"error_description\": \"revoked\"}",
    "\u{2}{\"ok\": true, \"expires_in\": \"1e30\"}",
];
const INPUTS: &[&str] = &[
    "{\"owner\": \"o\", \"repo\": \"r\", \"issue_number\": 1, \"title\": \"t\", \"body\": null}",
    "{\"channel\": \"C1\", \"text\": \"hi\", \"blocks\": [{\"type\": \"section\"}], \"cursor\": \"18446744073709551615\"}",
    "{\"to\": \"a@example.com\", \"subject\": \"s\", \"start_time\": \"2027-01-15T08:00:00Z\", \"limit\": 10, \"ids\": [\"1\", 2]}",
    "{\"id\": \"../..\", \"path\": \"a/b\", \"fields\": {\"a\": {\"b\": [null, 1e400]}}, \"file_id\": \"x%2Fy\"}",
];
const ROUTES: &[&str] = &[
    "GET /callback/linear?code=c&state=ca_aaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbb.1.x.k1-y&iss=https%3A%2F%2Fx\ncookie: __Host-valetkey=AAAA\n",
    "GET /connect/ca_aaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbb.1.x.k1-y\n\n",
    "POST /choose/x\ncookie: a=b; __Host-valetkey=c\n\noption=1",
    "GET /api/v1/connected_accounts?page_size=5&page_token=x&connection_name=linear\n\n",
    "GET /api/v1/tools?filter.provider=github&page_size=3&query=issue\nidentifier: Zo%C3%AB\n",
    "POST /api/v1/connections\n\n{\"name\": \"x\", \"connector\": \"github\", \"client_id\": \"a\", \"client_secret\": \"b\", \"limits\": {\"requests_per_hour\": 5}}",
    "POST /api/v1/execute_tool\nidempotency-key: k\n\n{\"tool_name\": \"github_get_repo\", \"connection_name\": \"github\", \"identifier\": \"u\", \"params\": {}}",
    "POST /oauth/token\nauthorization: Basic Zmlyc3Q6eA==\n\ngrant_type=client_credentials&client_id=first",
];

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn templates(bytes: &[u8]) {
    let template = text(bytes);
    let mut again = String::new();
    for piece in template::pieces(&template) {
        match piece {
            template::Piece::Text(text) => again.push_str(text),
            template::Piece::Hole(name) => {
                again.push_str(&format!("{{{name}}}"));
            }
        }
    }
    assert_eq!(again, template, "a template is its pieces");
    let filled = template::fill(&template, |name| Some(format!("<{name}>")));
    assert!(filled.is_some(), "everything has a value");
}

fn pointer(bytes: &[u8]) {
    let all = text(bytes);
    let (pointer, json) = all.split_once('\n').unwrap_or((&all, "{}"));
    let mut value: Value = serde_json::from_str(json).unwrap_or_default();
    places::find(&value, pointer);
    places::find_text(&value, &[pointer]);
    if pointer.starts_with('/') && !pointer.contains(['*', '[', '-']) {
        places::place(&mut value, pointer, json!("here"));
        assert!(value.to_string().len() < 100_000, "a place makes no gigabytes");
        assert_eq!(places::find(&value, pointer), Some(&json!("here")), "what is placed is found");
    }
    places::fill(&value, &|name| Some(json!(name)));
}

fn time(bytes: &[u8]) {
    let text = text(bytes);
    for at in [timestamp::parse(&text), timestamp::parse_http(&text)].into_iter().flatten() {
        assert_eq!(timestamp::parse(&timestamp::format(at)), Some(at / 1000 * 1000), "a time is the same again");
    }
}

fn tickets(bytes: &[u8]) {
    let keys = Keys::parse(KEYS).ok().unwrap();
    let text = text(bytes);
    for purpose in [Purpose::Link, Purpose::State, Purpose::Choice, Purpose::Verification] {
        assert!(ticket::open(purpose, &text, &keys, NOW).is_err(), "nobody makes a ticket");
    }
    assert!(keys.open("x", &text).is_err(), "nobody seals");
    keys.is_outdated(&text);
    let _ = Keys::parse(&text);
    if let Some(id) = AccountId::parse(&text) {
        assert_eq!(id.as_str(), text);
    }
}

fn addresses(bytes: &[u8]) {
    let text = text(bytes);
    if address::problem(&text).is_none() {
        let url = url::Url::parse(&text).unwrap();
        assert!(url.scheme() == "https" || address::is_loopback(&url), "{url}");
        assert!(url.username().is_empty() && url.password().is_none(), "{url}");
        assert!(!["169.254.169.254", "10.0.0.1"].contains(&url.host_str().unwrap_or_default()), "{url}");
    }
    address::matches(&text, "*.example.com");
    connection::is_name(&text);
}

fn base64(bytes: &[u8]) {
    let text = text(bytes);
    if let Some(decoded) = digest::from_base64(&text) {
        assert_eq!(digest::from_base64(&digest::base64(&decoded)), Some(decoded));
    }
    assert_eq!(digest::from_base64(&digest::base64url(bytes)).as_deref(), Some(bytes));
}

fn message(bytes: &[u8]) {
    let Ok(parts) = serde_json::from_slice::<Value>(bytes) else { return };
    let Ok(message) = mime::write(&parts) else { return };
    let (head, _) = message.split_once("\r\n\r\n").unwrap_or((&message, ""));
    for line in message.split("\r\n") {
        assert!(line.len() <= 998, "a line of {} characters", line.len());
        assert!(line.bytes().all(|b| matches!(b, b' '..=b'~')), "{line:?}");
    }
    let names: Vec<_> =
        head.split("\r\n").filter(|line| !line.starts_with(' ')).map(|line| line.split(':').next().unwrap()).collect();
    let once: BTreeSet<_> = names.iter().collect();
    assert_eq!(once.len(), names.len(), "no header twice: {head}");
    let known = [
        "From",
        "To",
        "Cc",
        "Bcc",
        "Reply-To",
        "Subject",
        "In-Reply-To",
        "References",
        "MIME-Version",
        "Content-Type",
        "Content-Transfer-Encoding",
    ];
    assert!(names.iter().all(|name| known.contains(name)), "{head}");
}

fn parts(bytes: &[u8]) {
    let given = text(bytes);
    let file =
        Bytes { media_type: given.clone(), bytes: bytes.to_vec(), field: given.clone(), file_name: given.clone() };
    let fields = [(given.clone(), given.clone()), ("x".into(), "y".into())];
    for (count, (kind, body)) in
        [(2, multipart::related(&json!(given), &file)), (3, multipart::form_data(&fields, Some(&file)))]
    {
        let boundary = kind.split_once("boundary=").unwrap().1;
        assert!(
            boundary.len() <= 70 && boundary.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)),
            "{boundary}"
        );
        let between = format!("\r\n--{boundary}");
        let all = [b"\r\n", body.as_slice()].concat();
        let found = all.windows(between.len()).filter(|window| *window == between.as_bytes()).count();
        assert_eq!(found, count + 1, "as many parts as were given");
        assert!(body.ends_with(format!("\r\n--{boundary}--\r\n").as_bytes()));
    }
}

fn markdown(bytes: &[u8]) {
    let text = text(bytes);
    let Ok(document) = adf::document(&text) else { return };
    // What somebody wrote in ADF is theirs.
    if serde_json::from_str::<Value>(&text).is_err() {
        let problems = crate::adf_rules::problems(&document);
        assert!(problems.is_empty(), "{problems:?}\n{document}");
    }
}

/// A world with one connection and account, whose provider answers with what is tried once it is there.
struct Served {
    world: crate::support::Deployment,
    bearer: String,
    sent: usize,
}

const FORM: &str = "application/x-www-form-urlencoded";

impl Served {
    fn new(connector: &str, answer: impl Fn() -> Response + 'static) -> Self {
        let begun = Rc::new(Cell::new(false));
        let ready = begun.clone();
        let world = deployment(move |_| if ready.get() { Ok(answer()) } else { Ok(fine()) });
        let mut served = Self { world, bearer: String::new(), sent: 0 };
        let form = "grant_type=client_credentials&client_id=first&client_secret=first-secret-0000";
        let token = served.ask("POST", "/oauth/token", &[("content-type", FORM)], form.as_bytes());
        let token: Value = serde_json::from_slice(token.body.bytes()).unwrap();
        served.bearer = format!("Bearer {}", token["access_token"].as_str().unwrap());
        let connection = json!({ "name": connector, "connector": connector, "client_id": "c", "client_secret": "the-client-secret" });
        served.made("/api/v1/connections", &connection);
        let expires = timestamp::format(NOW + 3_600_000);
        let token =
            json!({ "access_token": "the-access-token", "refresh_token": "the-refresh-token", "expires_at": expires });
        let account = json!({ "connection_name": connector, "identifier": "u", "authorization_details": { "oauth_token": token } });
        served.made("/api/v1/connected_accounts", &account);
        begun.set(true);
        served.sent = served.world.http.sent.borrow().len();
        served
    }

    fn made(&self, path: &str, body: &Value) {
        let answer = self.ask("POST", path, &[], body.to_string().as_bytes());
        assert!((200..300).contains(&answer.status), "{path}: {}", text(answer.body.bytes()));
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let url = format!("https://vk.example.com{path}");
        let mut request =
            Request { method: method.into(), url, body: Body::Bytes(body.to_vec()), ..Request::default() };
        if !self.bearer.is_empty() {
            put(&mut request.headers, "authorization", &self.bearer);
        }
        for (name, value) in headers {
            put(&mut request.headers, name, value);
        }
        pollster::block_on(http::handle(&self.world.app, request))
    }

    fn execute(&self, tool: &str, params: &Value, query: &str) -> Response {
        let connector = tool.split('_').next().unwrap();
        let body = json!({ "tool_name": tool, "connection_name": connector, "identifier": "u", "params": params });
        self.ask("POST", &format!("/api/v1/execute_tool{query}"), &[], body.to_string().as_bytes())
    }

    /// Ours is never the fault, and nobody is told a secret.
    fn holds(&self, answer: &Response) {
        let body = text(answer.body.bytes());
        assert!((200..600).contains(&answer.status) && answer.status != 500, "{} {body}", answer.status);
        for secret in ["the-client-secret", "the-refresh-token"] {
            assert!(!body.contains(secret), "{body}");
        }
        for request in self.world.http.sent.borrow().iter().skip(self.sent) {
            let url = url::Url::parse(&request.url).unwrap();
            let carries =
                request.headers.values().any(|value| value.as_bytes().windows(16).any(|w| w == b"the-access-token"));
            let known = [
                "api.github.com",
                "uploads.github.com",
                "github.com",
                "api.linear.app",
                "slack.com",
                "files.slack.com",
                "gmail.googleapis.com",
                "www.googleapis.com",
                "people.googleapis.com",
                "oauth2.googleapis.com",
            ];
            let fine = url.scheme() == "https" && known.contains(&url.host_str().unwrap_or_default());
            assert!(fine || !carries, "the credential went to {url}");
        }
    }
}

/// What any provider answers before anything is tried.
fn fine() -> Response {
    let body = json!({
        "ok": true, "id": 1, "login": "jo", "team": "T", "team_id": "T1", "user_id": "U1", "emailAddress": "jo@example.com", "sub": "1", "email": "jo@example.com",
        "data": { "viewer": { "id": "u1", "name": "Jo", "email": "jo@example.com" }, "organization": { "id": "o1", "name": "E", "urlKey": "ex" } }
    });
    Response::new(200, "application/json", body.to_string())
}

fn tail(bytes: &[u8], from: usize) -> &[u8] {
    bytes.get(from..).unwrap_or_default()
}

fn answer(bytes: &[u8]) {
    let (kind, which) = (bytes.first().copied().unwrap_or_default(), bytes.get(1).copied().unwrap_or_default());
    let body = tail(bytes, 2).to_vec();
    let status = [200, 200, 200, 201, 400, 401, 403, 404, 409, 422, 429, 500, 503, 302][usize::from(kind) % 14];
    let tools = [
        ("slack_list_channels", json!({})),
        ("github_issues_list", json!({ "owner": "o", "repo": "r" })),
        ("linear_viewer_get", json!({})),
        ("gmail_get_attachment_by_id", json!({ "message_id": "m", "attachment_id": "a" })),
        ("github_issue_create", json!({ "owner": "o", "repo": "r", "title": "t" })),
    ];
    let (tool, params) = &tools[usize::from(which) % tools.len()];
    let tool = catalog::find_tool(tool).map_or("slack_list_channels", |(_, tool)| tool.name);
    let served = Served::new(tool.split('_').next().unwrap(), move || {
        let words = text(&body);
        let line = words.lines().next().unwrap_or_default().to_owned();
        let kind = if kind.is_multiple_of(3) { "text/html" } else { "application/json" };
        let answer = Response::new(status, kind, body.clone());
        ["retry-after", "link", "x-ratelimit-reset", "location", "x-ratelimit-remaining"]
            .into_iter()
            .fold(answer, |answer, name| answer.with_header(name, &line))
    });
    let answer = served.execute(tool, params, "");
    served.holds(&answer);
    let said: Value = serde_json::from_slice(answer.body.bytes()).unwrap();
    assert!(said["data"].is_object() != said["error"]["code"].is_string(), "{said}");
}

fn token(bytes: &[u8]) {
    let status = [200, 400, 200, 401, 429, 500, 503][usize::from(bytes.first().copied().unwrap_or_default()) % 7];
    let body = tail(bytes, 1).to_vec();
    let served = Served::new("linear", move || Response::new(status, "application/json", body.clone()));
    served.world.clock.0.set(NOW + 7_200_000);
    for _ in 0..2 {
        served.holds(&served.execute("linear_viewer_get", &json!({}), ""));
    }
    let id = served.world.objects.known.borrow().keys().next().unwrap().clone();
    let (object, _) = served.world.objects.object(&id);
    let next = object.next_wake();
    assert!(next.is_none_or(|at| at >= NOW), "{next:?}");
}

fn tool_input(bytes: &[u8]) {
    let Ok(params) = serde_json::from_slice::<Value>(bytes) else { return };
    let at = bytes.iter().fold(7_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    let connectors = ["slack", "github", "linear", "gmail"].map(|id| catalog::find_connector(id).unwrap());
    let connector = connectors[at % 4];
    let tool = &connector.tools[at / 4 % connector.tools.len()];
    let served = Served::new(connector.id, || Response::new(200, "application/json", "{}"));
    let answer = served.execute(tool.name, &params, "?dry_run=true");
    served.holds(&answer);
    served.holds(&served.execute(tool.name, &params, ""));
}

fn proxied(bytes: &[u8]) {
    let path = text(bytes).replace(['\r', '\n', ' ', '#'], "");
    let served = Served::new("github", || Response::new(200, "application/json", "{}"));
    let headers = [("connection_name", "github"), ("identifier", "u")];
    served.holds(&served.ask("GET", &format!("/proxy/{}", path.trim_start_matches('/')), &headers, b""));
}

/// A request as text: line, headers, an empty line, body.
fn route(bytes: &[u8]) {
    let all = text(bytes);
    let (head, body) = all.split_once("\n\n").unwrap_or((&all, ""));
    let mut lines = head.lines();
    let (method, path) = lines.next().and_then(|line| line.split_once(' ')).unwrap_or(("GET", "/"));
    let method = if matches!(method, "GET" | "POST" | "PATCH" | "DELETE") { method } else { "GET" };
    let path = format!("/{}", path.trim_start_matches('/').replace([' ', '#'], ""));
    let headers: Vec<_> = lines.filter_map(|line| line.split_once(": ")).collect();
    let served = Served::new("linear", || Response::new(200, "application/json", "{}"));
    served.holds(&served.ask(method, &path, &headers, body.as_bytes()));
}
