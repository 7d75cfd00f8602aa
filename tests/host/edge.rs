//! The edge: who may, what is named, lists, what browsers are told, and bounds on what is sent.

use crate::connect::{call, json_of, path_of};
use crate::support::{Deployment, NOW, deployment};
use serde_json::{Value, json};
use valetkey::caller::{Caller, Scope};
use valetkey::ports::{Body, Request, Response, Store, put};

pub async fn token_of(world: &Deployment, id: &str, secret: &str) -> Response {
    let form = json!({ "grant_type": "client_credentials", "client_id": id, "client_secret": secret });
    call(world, "POST", "/oauth/token", &[], Some(form)).await
}

pub async fn bearer(world: &Deployment, id: &str, secret: &str) -> String {
    format!("Bearer {}", json_of(&token_of(world, id, secret).await)["access_token"].as_str().unwrap())
}

pub async fn operator(world: &Deployment) -> String {
    bearer(world, "first", "first-secret-0000").await
}

/// Calls with a bearer token.
pub async fn as_caller(world: &Deployment, bearer: &str, method: &str, path: &str, body: Option<Value>) -> Response {
    call(world, method, path, &[("authorization", bearer)], body).await
}

/// Everybody is jo at the provider.
fn world() -> Deployment {
    deployment(|_| Ok(crate::proxy::identity()))
}

async fn connection(world: &Deployment, name: &str) {
    let operator = operator(world).await;
    let made = json!({ "name": name, "connector": "github", "client_id": "c", "client_secret": "s" });
    let made = as_caller(world, &operator, "POST", "/api/v1/connections", Some(made)).await;
    assert_eq!(made.status, 200, "{}", json_of(&made));
}

/// An imported account. → its id
async fn account(world: &Deployment, connection: &str, identifier: &str) -> String {
    let body = json!({ "connection_name": connection, "identifier": identifier,
        "authorization_details": { "oauth_token": { "access_token": "imported-token-0000" } } });
    let made = as_caller(world, &operator(world).await, "POST", "/api/v1/connected_accounts", Some(body)).await;
    json_of(&made)["connected_account"]["id"].as_str().unwrap_or_else(|| panic!("{}", json_of(&made))).to_owned()
}

/// A caller as it is stored, also as older versions stored it. → its bearer token
async fn stored(world: &Deployment, scopes: &[Scope], connections: &[&str]) -> String {
    let names = connections.iter().map(|name| (*name).to_owned()).collect();
    let (caller, secret) = Caller::create("limited", scopes.to_vec(), Some(names), NOW, &*world.app.random);
    let text = serde_json::to_string(&caller).unwrap();
    world.config.put(&valetkey::caller::key(&caller.client_id), &text, None).await.unwrap();
    bearer(world, &caller.client_id, secret.reveal()).await
}

fn code(response: &Response) -> String {
    json_of(response)["error"]["code"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn an_account_is_found_by_its_identifier_in_one_read_among_thousands() {
    pollster::block_on(async {
        let world = world();
        connection(&world, "many").await;
        connection(&world, "more").await;
        let wanted = account(&world, "many", "wanted").await;
        let row = world.snapshots.0.borrow()[&format!("account:{wanted}")].clone();
        for n in 0..6_000 {
            // Before and behind the one that is wanted, with the first part of its id, which is the connection's.
            let id = format!("{}{n:024}", &wanted[..15]).replace(['0', '1', '8', '9'], "a");
            let id = format!("{}{}", &id[..33], ["abc", "zzz"][n % 2]);
            let other = |text: &str| text.replace("\"wanted\"", "\"other\"").replace(&wanted, &id);
            world
                .snapshots
                .0
                .borrow_mut()
                .insert(format!("account:{id}{n}"), (other(&row.0), row.1.as_deref().map(other)));
        }
        let operator = operator(&world).await;
        for query in [
            "connection_name=many&identifier=wanted",
            "connection_name=many&identifier=wanted&page_size=1",
            "connection_names=more&connection_names=many&identifier=wanted",
            "connection_names=more,many&identifier=wanted",
        ] {
            let reads = world.snapshots.1.replace(0);
            let list = as_caller(&world, &operator, "GET", &format!("/api/v1/connected_accounts?{query}"), None).await;
            let list = json_of(&list);
            assert_eq!(list["connected_accounts"][0]["id"], json!(wanted), "{query}: {list}");
            assert_eq!((&list["next_page_token"], &list["total_size"]), (&Value::Null, &json!(1)), "{query}");
            assert!(world.snapshots.1.get() <= 2, "{query}: {} reads, {reads} before", world.snapshots.1.get());
        }
        // Without a connection it is found at once, too; what is left to look through are accounts of removed connections.
        let list =
            json_of(&as_caller(&world, &operator, "GET", "/api/v1/connected_accounts?identifier=wanted", None).await);
        assert_eq!(list["connected_accounts"][0]["id"], json!(wanted));
        let none = "/api/v1/connected_accounts?connection_name=many&identifier=nobody";
        let none = json_of(&as_caller(&world, &operator, "GET", none, None).await);
        assert_eq!((&none["connected_accounts"], &none["total_size"]), (&json!([]), &json!(0)));
    });
}

#[test]
fn a_list_is_read_to_its_end_page_by_page() {
    pollster::block_on(async {
        let world = world();
        for name in ["a", "b", "c"] {
            connection(&world, name).await;
        }
        let mut made = Vec::new();
        for n in 0..7 {
            made.push(account(&world, ["a", "b", "c"][n % 3], &format!("user-{n}")).await);
        }
        made.sort();
        let operator = operator(&world).await;
        for (filter, count) in [("", 7), ("connection_names=a&connection_names=b&", 5), ("provider=github&", 7)] {
            let (mut seen, mut token) = (Vec::new(), String::new());
            for _ in 0..20 {
                let path = format!("/api/v1/connected_accounts?{filter}page_size=2{token}");
                let page = json_of(&as_caller(&world, &operator, "GET", &path, None).await);
                let rows = page["connected_accounts"].as_array().unwrap_or_else(|| panic!("{page}")).clone();
                assert!(rows.len() <= 2);
                seen.extend(rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()));
                let Some(next) = page["next_page_token"].as_str() else { break };
                token = format!("&page_token={next}");
            }
            seen.sort();
            assert_eq!(seen.len(), count, "{filter}");
            seen.dedup();
            assert_eq!(seen.len(), count, "{filter} has something twice");
            assert!(count < 7 || seen == made);
        }
    });
}

#[test]
fn more_than_twenty_connections_are_not_named_at_once() {
    pollster::block_on(async {
        let world = world();
        connection(&world, "c0").await;
        let operator = operator(&world).await;
        let names = (0..21).map(|n| format!("c{n}")).collect::<Vec<_>>().join(",");
        let path = format!("/api/v1/connected_accounts?connection_names={names}");
        let refused = as_caller(&world, &operator, "GET", &path, None).await;
        assert_eq!(refused.status, 400);
        assert!(json_of(&refused)["error"]["message"].as_str().unwrap().contains("20"));
    });
}

#[test]
fn an_identifier_alone_also_finds_accounts_of_a_connection_that_was_removed() {
    pollster::block_on(async {
        let world = world();
        connection(&world, "gone").await;
        connection(&world, "here").await;
        let mut ids = [account(&world, "gone", "jo").await, account(&world, "here", "jo").await];
        ids.sort();
        let operator = operator(&world).await;
        assert_eq!(as_caller(&world, &operator, "DELETE", "/api/v1/connections/gone", None).await.status, 200);
        let list =
            json_of(&as_caller(&world, &operator, "GET", "/api/v1/connected_accounts?identifier=jo", None).await);
        let mut found: Vec<_> =
            list["connected_accounts"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect();
        found.sort_unstable();
        assert_eq!(found, ids);
    });
}

#[test]
fn a_page_token_is_for_one_list_its_filters_and_its_reader() {
    pollster::block_on(async {
        let world = world();
        for name in ["secret-customer-1", "secret-customer-2"] {
            connection(&world, name).await;
        }
        let one = operator(&world).await;
        let other = stored(&world, &[Scope::Tools, Scope::Accounts], &["secret-customer-1"]).await;
        let page = json_of(&as_caller(&world, &one, "GET", "/api/v1/connections?page_size=1", None).await);
        let token = page["next_page_token"].as_str().unwrap().to_owned();
        for part in token.split('.') {
            let text = valetkey::digest::from_base64(part).unwrap_or_default();
            assert!(!String::from_utf8_lossy(&text).contains("secret-customer"), "a cursor may hold the next name");
        }
        let get = async |bearer: &str, path: &str| as_caller(&world, bearer, "GET", path, None).await.status;
        assert_eq!(get(&one, &format!("/api/v1/connections?page_size=1&page_token={token}")).await, 200);
        assert_eq!(get(&other, &format!("/api/v1/connections?page_size=1&page_token={token}")).await, 400);
        assert_eq!(get(&one, &format!("/api/v1/callers?page_token={token}")).await, 400);
        let tools =
            json_of(&as_caller(&world, &one, "GET", "/api/v1/tools?filter.provider=github&page_size=1", None).await);
        let token = tools["next_page_token"].as_str().unwrap();
        let next = format!("/api/v1/tools?filter.provider=github&page_size=1&page_token={token}");
        let next = json_of(&as_caller(&world, &one, "GET", &next, None).await);
        assert_ne!(next["tool_names"], tools["tool_names"]);
        assert_eq!(get(&one, &format!("/api/v1/tools?filter.provider=gmail&page_token={token}")).await, 400);
        for wrong in ["4294967290", "1", "v1.k1.AAAA", "x"] {
            assert_eq!(get(&one, &format!("/api/v1/tools?page_token={wrong}")).await, 400, "{wrong}");
        }
    });
}

#[test]
fn filters_of_tools_are_read_whole_or_refused_by_name() {
    pollster::block_on(async {
        let world = world();
        connection(&world, "careful").await;
        let jo = account(&world, "careful", "jo").await;
        let operator = operator(&world).await;
        let get = async |query: &str| {
            let answer = as_caller(&world, &operator, "GET", &format!("/api/v1/tools?{query}"), None).await;
            (answer.status, json_of(&answer))
        };
        let two = json!(["github_issue_get", "github_repo_get"]);
        for query in [
            "filter.tool_name=github_issue_get&filter.tool_name=github_repo_get",
            "filter.tool_name=github_issue_get,github_repo_get",
            "filter.tool_names=github_repo_get&tool_name=github_issue_get",
        ] {
            let (_, list) = get(query).await;
            let mut names: Vec<_> = list["tool_names"].as_array().unwrap_or_else(|| panic!("{list}")).clone();
            names.sort_by_key(Value::to_string);
            assert_eq!(json!(names), two, "{query}");
            assert_eq!(list["tools"].as_array().unwrap().len(), 2);
        }
        let (_, names) = get("filter.summary=true&filter.provider=github").await;
        assert_eq!((&names["tools"], names["tool_names"].as_array().unwrap().len()), (&json!([]), 50));
        let all_of_github = get("filter.provider=github").await.1["total_size"].clone();
        for query in [
            "filter.connector=careful".to_owned(),
            "filter.connector=github".into(),
            "filter.connector=careful&filter.identifier=jo".into(),
            format!("filter.connected_account_id={jo}"),
        ] {
            assert_eq!(get(&query).await.1["total_size"], all_of_github, "{query}");
        }
        for (query, status) in [
            ("filter.provder=gmail", 400),
            ("filter.identifier=jo", 400),
            ("filter.summary=yes", 400),
            ("filter.provider=github&filter.provider=gmail", 400),
            ("filter.provider=gmail&filter.connector=careful", 400),
            ("filter.user_id=u", 400),
            ("filter.provider=gihub", 404),
            ("filter.connector=carefull", 404),
            ("filter.connector=careful&filter.identifier=nobody", 404),
        ] {
            assert_eq!(get(query).await.0, status, "{query}");
        }
        let words = vec!["a"; 17].join("+");
        assert_eq!(get(&format!("filter.query={words}")).await.0, 400);
        for path in [
            "/api/v1/connected_accounts?organization_id=o",
            "/api/v1/connected_accounts?identifier=a&identifier=b",
            "/api/v1/connected_accounts?provider=gmail&connector=github",
            "/api/v1/connected_accounts/details?id=x&nonsense=1",
            "/api/v1/connections?name=x",
            "/api/v1/callers?scope=x",
        ] {
            assert_eq!(as_caller(&world, &operator, "GET", path, None).await.status, 400, "{path}");
        }
        world.http.sent.borrow_mut().clear();
        let dry = "/api/v1/execute_tool?dry_run=1";
        let body = json!({ "tool_name": "github_issue_get", "connected_account_id": jo, "params": {} });
        assert_eq!(as_caller(&world, &operator, "POST", dry, Some(body)).await.status, 400, "not sent by mistake");
        assert!(world.http.sent.borrow().is_empty());
    });
}

#[test]
fn a_limited_caller_learns_nothing_of_what_is_not_its_own() {
    pollster::block_on(async {
        let world = world();
        for name in ["own", "secret-customer", "removed-customer"] {
            connection(&world, name).await;
        }
        let (theirs, orphan) =
            (account(&world, "secret-customer", "jo").await, account(&world, "removed-customer", "jo").await);
        let operator = operator(&world).await;
        as_caller(&world, &operator, "DELETE", "/api/v1/connections/removed-customer", None).await;
        let limited = stored(&world, &[Scope::Accounts, Scope::Tools, Scope::Tokens], &["own"]).await;
        let unknown = format!("{}{}", &theirs[..15], "a".repeat(24));
        world.http.sent.borrow_mut().clear();
        let tool = json!({ "tool_name": "github_user_get_authenticated", "params": {} });
        let with = |fields: Value| {
            let mut body = tool.clone();
            body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            body
        };
        let mut requests = Vec::new();
        for id in [theirs.clone(), orphan.clone(), unknown] {
            requests.push(("GET", format!("/api/v1/connected_accounts/details?id={id}"), None, id.clone()));
            requests.push(("GET", format!("/api/v1/connected_accounts/auth?id={id}"), None, id.clone()));
            requests.push(("GET", format!("/api/v1/tools?filter.connected_account_id={id}"), None, id.clone()));
            for path in [":delete", "/refresh", "/magic_link"] {
                requests.push((
                    "POST",
                    format!("/api/v1/connected_accounts{path}"),
                    Some(json!({ "id": id })),
                    id.clone(),
                ));
            }
            requests.push((
                "POST",
                "/api/v1/execute_tool".into(),
                Some(with(json!({ "connected_account_id": id }))),
                id.clone(),
            ));
        }
        for (method, path, body, id) in requests {
            let answer = as_caller(&world, &limited, method, &path, body).await;
            let text = json_of(&answer).to_string();
            assert_eq!((answer.status, code(&answer).as_str()), (404, "CONNECTED_ACCOUNT_NOT_FOUND"), "{path}: {text}");
            assert!(!text.contains("customer"), "{path}: {text}");
            let words = json_of(&answer)["error"]["message"].as_str().unwrap().replace(&id, "ID");
            assert_eq!(words, "no connected account `ID`; GET /api/v1/connected_accounts lists them", "{path}");
        }
        for name in ["secret-customer", "removed-customer", "never-was"] {
            let named = json!({ "connection_name": name, "identifier": "jo" });
            for (method, path, body) in [
                ("GET", format!("/api/v1/connections/{name}"), None),
                ("GET", format!("/api/v1/connected_accounts?connection_name={name}"), None),
                ("GET", format!("/api/v1/connected_accounts/details?connection_name={name}&identifier=jo"), None),
                ("GET", format!("/api/v1/tools?filter.connector={name}"), None),
                ("POST", "/api/v1/connected_accounts".into(), Some(named.clone())),
                ("POST", "/api/v1/connected_accounts/magic_link".into(), Some(named.clone())),
                ("POST", "/api/v1/execute_tool".into(), Some(with(named))),
            ] {
                let answer = as_caller(&world, &limited, method, &path, body).await;
                let message = json_of(&answer)["error"]["message"].as_str().unwrap_or_default().to_owned();
                assert_eq!((answer.status, code(&answer).as_str()), (404, "CONNECTION_NOT_FOUND"), "{path}: {message}");
                assert_eq!(message, format!("no connection `{name}`; GET /api/v1/connections lists them"), "{path}");
            }
        }
        for path in ["/api/v1/connected_accounts", "/api/v1/connected_accounts?identifier=jo", "/api/v1/connections"] {
            let text = json_of(&as_caller(&world, &limited, "GET", path, None).await).to_string();
            assert!(!text.contains("customer"), "{path}: {text}");
        }
        let bearer = [("authorization", limited.as_str()), ("connected_account_id", theirs.as_str())];
        assert_eq!(code(&call(&world, "GET", "/proxy/user", &bearer, None).await), "CONNECTED_ACCOUNT_NOT_FOUND");
        assert!(world.http.sent.borrow().is_empty(), "nothing went out for it");
    });
}

#[test]
fn admin_and_connections_do_not_go_together() {
    pollster::block_on(async {
        let world = world();
        connection(&world, "own").await;
        connection(&world, "other").await;
        let operator = operator(&world).await;
        let make = async |fields: Value| {
            let mut body = json!({ "name": "c", "scopes": ["tools"] });
            body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            as_caller(&world, &operator, "POST", "/api/v1/callers", Some(body)).await.status
        };
        assert_eq!(make(json!({ "scopes": ["tools", "admin"], "connections": ["own"] })).await, 400);
        assert_eq!(make(json!({ "connections": [] })).await, 400);
        assert_eq!(make(json!({ "connections": ["No Name"] })).await, 400);
        assert_eq!(make(json!({ "connections": (0..101).map(|n| format!("c{n}")).collect::<Vec<_>>() })).await, 400);
        assert_eq!(make(json!({ "scopes": ["tools", "tools"], "connections": ["own", "own"] })).await, 200);
        // One that an older version made stays within its connections.
        let old = stored(&world, &[Scope::Admin], &["own"]).await;
        let change = || Some(json!({ "endpoints": { "token_url": "https://attacker.example/token" } }));
        let new =
            |name: &str| Some(json!({ "name": name, "connector": "github", "client_id": "c", "client_secret": "s" }));
        for (method, path, body, status) in [
            ("PATCH", "/api/v1/connections/other", change(), 404),
            ("DELETE", "/api/v1/connections/other", None, 404),
            ("POST", "/api/v1/connections", new("another"), 404),
            ("GET", "/api/v1/callers", None, 403),
            ("POST", "/api/v1/callers", Some(json!({ "name": "all", "scopes": ["admin"] })), 403),
            ("DELETE", "/api/v1/callers/vkc_aaaaaaaaaaaaaaaaaaaaaaaa", None, 403),
            ("PATCH", "/api/v1/connections/own", Some(json!({ "operator": "Own" })), 200),
        ] {
            let answer = as_caller(&world, &old, method, path, body).await;
            assert_eq!(answer.status, status, "{method} {path}: {}", json_of(&answer));
        }
    });
}

#[test]
fn the_token_endpoint_slows_down_who_guesses_and_nobody_else() {
    pollster::block_on(async {
        let world = world();
        let try_from = async |address: &str, id: &str, secret: &str, scheme: &str| {
            let pair = valetkey::digest::base64(format!("{id}:{secret}").as_bytes());
            let basic = format!("{scheme} {pair}");
            let headers = [("cf-connecting-ip", address), ("authorization", basic.as_str())];
            call(&world, "POST", "/oauth/token", &headers, Some(json!({ "grant_type": "client_credentials" }))).await
        };
        assert_eq!(
            try_from("1.1.1.1", "first", "first-secret-0000", "bAsIc").await.status,
            200,
            "a scheme has no case"
        );
        for n in 0..200 {
            let refused = try_from("1.1.1.1", "first", &format!("guess-{n}"), "Basic").await;
            assert_eq!(refused.status, if n < 10 { 401 } else { 429 }, "{n}");
            assert_eq!(json_of(&refused)["error"], "invalid_client");
            assert_eq!(refused.header("retry-after").is_some(), n >= 10);
        }
        assert_eq!(try_from("2.2.2.2", "first", "first-secret-0000", "Basic").await.status, 200, "another address");
        let unknown = "vkc_aaaaaaaaaaaaaaaaaaaaaaaa";
        let reads = world.config.1.get();
        for _ in 0..200 {
            try_from("3.3.3.3", unknown, "x", "Basic").await;
        }
        assert!(world.config.1.get() - reads <= 20, "KV is not asked for every guess");
        for nonsense in ["vkc_", "vkc_short", "vkc_AAAAAAAAAAAAAAAAAAAAAAAA", "../callers"] {
            let reads = world.config.1.get();
            assert_eq!(try_from("4.4.4.4", nonsense, "x", "Basic").await.status, 401);
            assert_eq!(world.config.1.get(), reads, "{nonsense} cannot be an id");
        }
        world.clock.0.set(NOW + 60_001);
        assert_eq!(try_from("1.1.1.1", "first", "first-secret-0000", "Basic").await.status, 200, "a minute later");
    });
}

#[test]
fn a_parameter_given_twice_is_no_token_request() {
    pollster::block_on(async {
        let world = world();
        let mut request =
            Request { method: "POST".into(), url: "https://vk.example.com/oauth/token".into(), ..Request::default() };
        let form = "grant_type=client_credentials&client_id=first&client_secret=first-secret-0000&client_id=other";
        request.body = Body::Bytes(form.into());
        let answer = valetkey::http::handle(&world.app, request).await;
        assert_eq!((answer.status, &json_of(&answer)["error"]), (400, &json!("invalid_request")));
    });
}

#[test]
fn plain_http_is_for_loopback() {
    pollster::block_on(async {
        let world = world();
        let send = async |method: &str, url: &str| {
            let request = Request { method: method.into(), url: url.into(), ..Request::default() };
            valetkey::http::handle(&world.app, request).await
        };
        assert_eq!(send("GET", "http://127.0.0.1:8787/health").await.status, 200);
        assert_eq!(send("GET", "http://localhost/health").await.status, 200);
        let page = send("GET", "http://vk.example.com/connect/x?y").await;
        assert_eq!((page.status, page.header("location")), (303, Some("https://vk.example.com/connect/x?y")));
        for (method, path) in [("GET", "/health"), ("POST", "/oauth/token"), ("GET", "/proxy/user")] {
            let refused = send(method, &format!("http://vk.example.com{path}")).await;
            assert_eq!((refused.status, code(&refused).as_str()), (400, "INVALID_REQUEST"), "{path}");
            assert_eq!(refused.header("cache-control"), Some("no-store"), "{path}");
        }
        let form = send("POST", "http://vk.example.com/connect/x").await;
        assert_eq!((form.status, form.header("set-cookie")), (400, None));
    });
}

#[test]
fn every_answer_of_ours_tells_browsers_what_not_to_do() {
    pollster::block_on(async {
        let world = world();
        for path in ["/health", "/nothing", "/connect/x", "/proxy/user"] {
            let answer = call(&world, "GET", path, &[], None).await;
            for (name, value) in [
                ("x-content-type-options", "nosniff"),
                ("cache-control", "no-store"),
                ("strict-transport-security", "max-age=63072000"),
                ("cross-origin-opener-policy", "same-origin"),
                ("cross-origin-resource-policy", "same-origin"),
            ] {
                assert_eq!(answer.header(name), Some(value), "{path}: {name}");
            }
            assert!(answer.header("permissions-policy").unwrap().contains("camera=()"), "{path}");
        }
    });
}

#[test]
fn a_form_that_another_site_sends_is_not_read() {
    pollster::block_on(async {
        let world = world();
        for path in ["/connect/x", "/choose/x"] {
            for (headers, other) in [
                (&[("sec-fetch-site", "cross-site")][..], true),
                (&[("sec-fetch-site", "same-site"), ("origin", "https://vk.example.com")], true),
                (&[("origin", "https://evil.example")], true),
                (&[("origin", "https://vk.example.com.evil.example")], true),
                (&[("sec-fetch-site", "same-origin"), ("origin", "null")], false),
                (&[("origin", "https://vk.example.com")], false),
                (&[("origin", "null")], false),
                (&[], false),
            ] {
                let page = call(&world, "POST", path, headers, None).await;
                let text = String::from_utf8_lossy(page.body.bytes()).into_owned();
                assert_eq!(text.contains("other_site"), other, "{path} {headers:?}: {text}");
                assert_eq!(page.status, 400);
            }
        }
    });
}

#[test]
fn head_is_answered_like_get_and_a_callback_is_not_used_up_by_it() {
    pollster::block_on(async {
        let world = world();
        let operator = operator(&world).await;
        for path in ["/health", "/api/v1/tools", "/api/v1/connections"] {
            let head = as_caller(&world, &operator, "HEAD", path, None).await;
            assert_eq!(
                (head.status, head.header("content-type"), head.body.bytes().len()),
                (200, Some("application/json"), 0)
            );
        }
        let callback = call(&world, "HEAD", "/callback/github?code=c&state=s", &[], None).await;
        assert_eq!((callback.status, callback.header("allow")), (405, Some("GET")));
        assert_eq!(as_caller(&world, &operator, "HEAD", "/api/v1/execute_tool", None).await.status, 405);
    });
}

#[test]
fn what_cannot_be_a_token_is_not_imported() {
    pollster::block_on(async {
        let world = world();
        connection(&world, "c").await;
        let operator = operator(&world).await;
        for (access, refresh) in [
            ("tök en", None),
            ("a\nb", None),
            ("a\u{0}", None),
            ("", None),
            (" a", None),
            ("fine", Some("a\r\nb")),
            (&*"x".repeat(16 * 1024 + 1), None),
        ] {
            let body = json!({ "connection_name": "c", "identifier": "jo",
                "authorization_details": { "oauth_token": { "access_token": access, "refresh_token": refresh } } });
            let answer = as_caller(&world, &operator, "POST", "/api/v1/connected_accounts", Some(body)).await;
            assert_eq!((answer.status, code(&answer).as_str()), (400, "INVALID_REQUEST"), "{access:?}");
        }
        assert!(world.snapshots.0.borrow().is_empty());
    });
}

#[test]
fn an_answer_repeats_no_more_than_a_little_of_what_was_sent() {
    pollster::block_on(async {
        let world = world();
        connection(&world, "c").await;
        let operator = operator(&world).await;
        let long = "x".repeat(900_000);
        let fields: Value =
            (0..20_000).map(|n| (format!("f{n}"), json!("1"))).collect::<serde_json::Map<_, _>>().into();
        for (method, path, body) in [
            ("POST", "/api/v1/execute_tool", json!({ "tool_name": long })),
            ("POST", "/api/v1/execute_tool", json!({ "tool_name": "github_issue_get", "connected_account_id": long })),
            (
                "POST",
                "/api/v1/execute_tool",
                json!({ "tool_name": "github_issue_get", "connection_name": long, "identifier": "i" }),
            ),
            (
                "POST",
                "/api/v1/connections",
                json!({ "name": long, "connector": "github", "client_id": "c", "client_secret": "s" }),
            ),
            ("POST", "/api/v1/connections", json!({ "name": "n", "connector": long })),
            (
                "POST",
                "/api/v1/connections",
                json!({ "name": "n", "connector": "github", "client_id": "c", "client_secret": "s", "fields": fields }),
            ),
            (
                "POST",
                "/api/v1/connections",
                json!({ "name": "n", "connector": "github", "client_id": long, "client_secret": "s" }),
            ),
            (
                "POST",
                "/api/v1/connections",
                json!({ "name": "n", "connector": "github", "client_id": "c", "client_secret": "s", "scopes": vec!["a"; 201] }),
            ),
            ("POST", "/api/v1/callers", json!({ "name": "n", "scopes": [long] })),
            ("POST", "/api/v1/callers", json!({ "name": "n", "scopes": ["tools"], "connections": [long] })),
            (
                "POST",
                "/api/v1/connected_accounts/magic_link",
                json!({ "connection_name": "c", "identifier": "i", "user_verify_url": "https://a.example/v", "state": long }),
            ),
            (
                "POST",
                "/api/v1/connected_accounts/magic_link",
                json!({ "connection_name": "c", "identifier": "i", "user_verify_url": format!("https://a.example/{long}") }),
            ),
            (
                "POST",
                "/api/v1/connected_accounts/magic_link",
                json!({ "connection_name": "c", "identifier": "i", "fields": { long.as_str(): "x" } }),
            ),
        ] {
            let answer = as_caller(&world, &operator, method, path, Some(body.clone())).await;
            let keys: Vec<_> = body.as_object().unwrap().keys().cloned().collect();
            assert!((400..500).contains(&answer.status), "{path} {keys:?}: {}", answer.status);
            let size = answer.body.bytes().len();
            assert!(size < 10_000, "{path} {keys:?}: {size} bytes");
        }
    });
}

#[test]
fn a_body_of_very_many_values_is_refused_before_it_is_taken_apart() {
    pollster::block_on(async {
        let world = world();
        let bearer = operator(&world).await;
        let body = |n| json!({ "tool_name": "linear_graphql_query", "params": { "query": "q", "variables": { "a": vec![0; n] } } });
        let many = as_caller(&world, &bearer, "POST", "/api/v1/execute_tool", Some(body(100_000))).await;
        let said = String::from_utf8_lossy(many.body.bytes()).into_owned();
        assert!(many.status == 400 && said.contains("more than 100000 values"), "{said}");
        let few = as_caller(&world, &bearer, "POST", "/api/v1/execute_tool", Some(body(90_000))).await;
        assert!(!String::from_utf8_lossy(few.body.bytes()).contains("values"));
    });
}

/// What is asked of a path (who answers, where a proxied call goes, whether a browser may act on what comes back, whether HEAD
/// uses up a code) is asked of one reading of it.
#[test]
fn a_path_that_looks_like_another_one_is_no_route() {
    pollster::block_on(async {
        let world = world();
        let bearer = operator(&world).await;
        for (method, path) in [
            ("DELETE", "//proxy/users/1"),
            ("GET", "///proxy/x"),
            ("GET", "/proxy"),
            ("GET", "/proxy?x=/proxy/y"),
            ("HEAD", "//callback/linear?code=c&state=s"),
            ("POST", "//oauth/token"),
            ("GET", "//api/v1/tools"),
            ("GET", "/api/v1//tools"),
        ] {
            let answer = as_caller(&world, &bearer, method, path, None).await;
            assert_eq!(answer.status, 404, "{method} {path}");
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{method} {path}: an answer of ours");
        }
        assert!(world.http.sent.borrow().is_empty(), "nothing was sent");
    });
}

#[test]
fn only_who_has_a_token_may_send_much() {
    pollster::block_on(async {
        let world = world();
        let bearer = operator(&world).await;
        let mut with = ::http::HeaderMap::new();
        put(&mut with, "authorization", &bearer);
        let most = |path, headers| {
            let url = format!("https://vk.example.com{path}");
            valetkey::http::largest_body(&world.app, "POST", &url, headers)
        };
        let without = ::http::HeaderMap::new();
        assert_eq!(most("/api/v1/execute_tool", &with), 12 * 1024 * 1024);
        assert_eq!(most("/api/v1/execute_tool", &without), 1024 * 1024);
        // A path that looks like another one is no route, and gets no more than one.
        for path in
            ["/oauth/token", "/oauth/token/", "//oauth/token", "/connect/x", "/choose/x", "//api/v1/execute_tool", "/x"]
        {
            assert_eq!(most(path, &with), 128 * 1024, "{path}");
        }
        assert_eq!(most("/api/v1/execute_tool/?dry_run=true", &with), 12 * 1024 * 1024);
    });
}

#[test]
fn a_name_in_a_header_may_have_any_letters() {
    let read = |bytes: &[u8]| {
        let mut headers = ::http::HeaderMap::new();
        headers.insert("identifier", ::http::HeaderValue::from_bytes(bytes).unwrap());
        valetkey::ports::text(&headers, "identifier")
    };
    for (sent, name) in [
        ("Zoë/42", "Zoë/42"),
        ("Zo%C3%AB%2F42", "Zoë/42"),
        ("100%25", "100%"),
        ("100%", "100%"),
        ("50% off", "50% off"),
        ("%zz", "%zz"),
        ("plain", "plain"),
    ] {
        assert_eq!(read(sent.as_bytes()).unwrap().as_deref(), Some(name), "{sent}");
    }
    for unreadable in [&b"Zo\xeb"[..], "Zo\u{fffd}".as_bytes(), b"Zo%EB"] {
        assert!(read(unreadable).is_err(), "{unreadable:?}");
    }
    assert_eq!(valetkey::ports::text(&::http::HeaderMap::new(), "identifier").unwrap(), None);
}

#[test]
fn jira_and_confluence_are_connected_also_where_their_api_was_moved() {
    let cloud = "11111111-2222-3333-4444-555555555555";
    for connector in ["jira", "confluence"] {
        pollster::block_on(async {
            let world = deployment(move |request| {
                let path =
                    request.url.strip_prefix("https://egress.example.com").unwrap_or_else(|| panic!("{}", request.url));
                let body = match path.split('?').next().unwrap() {
                    "/token" => {
                        json!({ "access_token": "an-access-token-0000", "refresh_token": "r", "expires_in": 3600 })
                    }
                    "/oauth/token/accessible-resources" => json!([{ "id": cloud, "name": "Acme",
                        "url": "https://acme.atlassian.net", "scopes": ["read:jira-work", "read:confluence-user", "read:confluence-content.all"] }]),
                    _ => {
                        json!({ "accountId": "5b10", "displayName": "Jo", "emailAddress": "jo@example.com", "email": "jo@example.com" })
                    }
                };
                Ok(Response::new(200, "application/json", body.to_string()))
            });
            let bearer = operator(&world).await;
            let made = json!({ "name": "c", "connector": connector, "client_id": "c", "client_secret": "s", "endpoints": {
                "authorize_url": "https://egress.example.com/authorize", "token_url": "https://egress.example.com/token",
                "api_base": "https://egress.example.com/base" } });
            assert_eq!(as_caller(&world, &bearer, "POST", "/api/v1/connections", Some(made)).await.status, 200);
            let account = json!({ "connection_name": "c", "identifier": "jo" });
            let link =
                as_caller(&world, &bearer, "POST", "/api/v1/connected_accounts/magic_link", Some(account.clone()))
                    .await;
            let link = path_of(json_of(&link)["link"].as_str().unwrap());
            let page = call(&world, "GET", &link, &[], None).await;
            let cookie = page.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
            let cookies = [("cookie", cookie.as_str())];
            let away = call(&world, "POST", &link, &cookies, None).await;
            let authorize = url::Url::parse(away.header("location").unwrap()).unwrap();
            let state = authorize.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
            let back = format!("/callback/c?code=the-code&state={state}");
            let done = call(&world, "GET", &back, &cookies, None).await;
            let text = String::from_utf8_lossy(done.body.bytes()).into_owned();
            assert_eq!(done.status, 200, "{connector}: {text}");
            let details = "/api/v1/connected_accounts/details?connection_name=c&identifier=jo";
            let details = json_of(&as_caller(&world, &bearer, "GET", details, None).await);
            assert_eq!(details["connected_account"]["status"], "ACTIVE", "{connector}");
        });
    }
}

#[test]
fn cloudflares_own_log_of_urls_is_off() {
    let settings: toml::Table = std::fs::read_to_string("wrangler.toml").unwrap().parse().unwrap();
    assert_eq!(settings["observability"]["logs"]["invocation_logs"].as_bool(), Some(false));
}
