//! What people type in and choose: fields, keys, service accounts, one of several sites.

use crate::connect::{call, json_of, path_of};
use crate::support::{Deployment, deployment};
use serde_json::{Value, json};
use valetkey::http::handle;
use valetkey::ports::{Body, Request, Response, Unanswered, get};

pub const COOKIE: &str = "__Host-valetkey=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const TOKEN: &str = "right0123456789right0123456789";

/// Zendesk for one right token; Atlassian with two sites of Jira and one of another product.
fn provider(request: &Request) -> Result<Response, Unanswered> {
    let authorization = get(&request.headers, "authorization").unwrap_or_default();
    let right = format!("Basic {}", valetkey::digest::base64(format!("jo@example.com/token:{TOKEN}").as_bytes()));
    let answer = |status, body: Value| Ok(Response::new(status, "application/json", body.to_string()));
    let site = |id: &str, name: &str, scope: &str| json!({ "id": format!("{id}1111111-2222-3333-4444-555555555555"), "name": name, "url": "https://x", "scopes": [scope] });
    match request.url.split('?').next().unwrap_or_default() {
        "https://acme.zendesk.com/api/v2/users/me.json" if authorization == right => {
            answer(200, json!({ "user": { "id": 1, "name": "Jo", "email": "jo@example.com" } }))
        }
        url if url.starts_with("https://acme.zendesk.com/") && authorization == right => {
            answer(200, json!({ "groups": [] }))
        }
        url if url.starts_with("https://acme.zendesk.com/") => {
            answer(401, json!({ "error": "Couldn't authenticate you" }))
        }
        "https://auth.atlassian.com/oauth/token" => answer(
            200,
            json!({ "access_token": "the-access-token", "refresh_token": "r", "expires_in": 3600, "scope": "read:jira-work" }),
        ),
        "https://api.atlassian.com/oauth/token/accessible-resources" => answer(
            200,
            json!([
                site("a", "one", "read:jira-work"),
                site("b", "two", "read:jira-work"),
                site("c", "wiki", "read:page:confluence")
            ]),
        ),
        "https://openidconnect.googleapis.com/v1/userinfo" => {
            answer(200, json!({ "sub": "1", "email": "jo@example.com" }))
        }
        url if url.ends_with("/rest/api/3/myself") => {
            answer(200, json!({ "accountId": "1", "displayName": "Jo", "emailAddress": "jo@example.com" }))
        }
        _ => Err(Unanswered::Unreachable),
    }
}

pub struct World {
    pub world: Deployment,
    bearer: String,
}

impl World {
    pub async fn open() -> Self {
        let world = deployment(provider);
        let form =
            json!({ "grant_type": "client_credentials", "client_id": "first", "client_secret": "first-secret-0000" });
        let token = json_of(&call(&world, "POST", "/oauth/token", &[], Some(form)).await)["access_token"].clone();
        let bearer = format!("Bearer {}", token.as_str().unwrap());
        Self { world, bearer }
    }

    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let answer = call(&self.world, "POST", path, &[("authorization", &self.bearer)], Some(body)).await;
        (answer.status, json_of(&answer))
    }

    pub async fn link(&self, connection: &str, fields: Value) -> String {
        let body = json!({ "connection_name": connection, "identifier": "jo", "fields": fields });
        let (status, answer) = self.post("/api/v1/connected_accounts/magic_link", body).await;
        assert_eq!(status, 200, "{answer}");
        path_of(answer["link"].as_str().unwrap())
    }

    async fn details(&self, connection: &str) -> Value {
        let path = format!("/api/v1/connected_accounts/details?connection_name={connection}&identifier=jo");
        let answer = call(&self.world, "GET", &path, &[("authorization", &self.bearer)], None).await;
        json_of(&answer)["connected_account"].clone()
    }

    pub async fn get(&self, path: &str) -> (u16, String) {
        text(&call(&self.world, "GET", path, &[("cookie", COOKIE)], None).await)
    }

    pub async fn submit(&self, path: &str, form: &[(&str, &str)]) -> Response {
        self.submit_as(COOKIE, path, form).await
    }

    pub async fn submit_as(&self, cookie: &str, path: &str, form: &[(&str, &str)]) -> Response {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let mut request =
            Request { method: "POST".into(), url: format!("https://vk.example.com{path}"), ..Request::default() };
        request.set_header("cookie", cookie).unwrap();
        request.body = Body::Bytes(body.into_bytes());
        handle(&self.world.app, request).await
    }
}

pub fn text(response: &Response) -> (u16, String) {
    (response.status, String::from_utf8_lossy(response.body.bytes()).into_owned())
}

#[test]
fn a_typed_in_key_is_tried_before_it_is_kept() {
    pollster::block_on(async {
        let world = World::open().await;
        let (status, made) =
            world.post("/api/v1/connections", json!({ "name": "z", "connector": "zendesk", "method": "key" })).await;
        assert_eq!((status, &made["connection"]["method"]), (200, &json!("key")), "{made}");
        let link = world.link("z", json!({})).await;
        let (_, page) = world.get(&link).await;
        for name in ["subdomain", "email", "api_token"] {
            assert!(page.contains(&format!("name=\"{name}\"")), "{page}");
        }
        assert!(page.contains("type=\"password\""));

        let wrong = [("subdomain", "help.acme.example"), ("email", "jo@example.com"), ("api_token", "")];
        let (status, page) = text(&world.submit(&link, &wrong).await);
        assert_eq!(status, 400);
        assert!(page.contains("Subdomain does not look right. It looks like this: acme"), "{page}");
        assert!(page.contains("API token is missing.") && !page.contains("., e.g."), "{page}");
        assert!(world.world.http.sent.borrow().is_empty(), "what is wrong already is not tried");

        let bad = [("subdomain", "acme"), ("email", "jo@example.com"), ("api_token", "wrong0123456789wrong0123456789")];
        let (status, page) = text(&world.submit(&link, &bad).await);
        assert_eq!(status, 400);
        assert!(page.contains("Couldn&#39;t authenticate you") || page.contains("Couldn't authenticate you"), "{page}");
        assert!(page.contains("value=\"acme\"") && !page.contains("wrong0123456789"), "{page}");
        assert_eq!(world.details("z").await["status_reason"], "credential_refused");

        assert!(page.contains("Zendesk did not accept this") && page.contains("<blockquote"), "{page}");

        let right =
            [("subdomain", "https://acme.zendesk.com/agent/"), ("email", "jo@example.com"), ("api_token", TOKEN)];
        let (status, page) = text(&world.submit(&link, &right).await);
        assert!(status == 200 && page.contains("is connected"), "{page}");
        let account = world.details("z").await;
        assert_eq!((&account["status"], &account["authorization_type"]), (&json!("ACTIVE"), &json!("API_KEY")));
        assert_eq!(account["variables"]["subdomain"], "acme");
        assert!(!account.to_string().contains(TOKEN));
        let execution = json!({ "connection_name": "z", "identifier": "jo", "tool_name": "zendesk_groups_list" });
        let (status, result) = world.post("/api/v1/execute_tool", execution).await;
        assert_eq!(status, 200, "{result}");
        let stored = format!("{:?}{:?}", world.world.config.0.borrow(), world.world.snapshots.0.borrow());
        assert!(!stored.contains(TOKEN));
        let named = json!({ "connection_name": "z", "identifier": "jo" });
        let (_, gone) = world.post("/api/v1/connected_accounts:delete", named).await;
        assert_eq!(gone["revocation"]["attempted"], false, "a person's own key is theirs");
    });
}

#[test]
fn what_the_operator_knows_is_not_asked_and_a_backend_needs_no_browser() {
    pollster::block_on(async {
        let world = World::open().await;
        world.post("/api/v1/connections", json!({ "name": "z", "connector": "zendesk", "method": "key" })).await;
        let link = world.link("z", json!({ "subdomain": "acme" })).await;
        let (_, page) = world.get(&link).await;
        assert!(!page.contains("name=\"subdomain\"") && page.contains("name=\"email\""), "{page}");
        let named = |fields: Value| json!({ "connection_name": "z", "identifier": "jo", "fields": fields });
        for fields in [json!({ "api_token": "x" }), json!({ "subdomain": "no spaces" }), json!({ "colour": "red" })] {
            let (status, refused) = world.post("/api/v1/connected_accounts/magic_link", named(fields)).await;
            assert_eq!((status, &refused["error"]["code"]), (400, &json!("INVALID_REQUEST")), "{refused}");
        }

        let fields = |token: &str| json!({ "subdomain": "acme", "email": "jo@example.com", "api_token": token });
        let bad = named(fields("wrong0123456789wrong0123456789"));
        let (status, refused) = world.post("/api/v1/connected_accounts", bad).await;
        assert_eq!(status, 403, "{refused}");
        assert_eq!(refused["error"]["details"]["statusReason"], "credential_refused");
        let (status, made) = world.post("/api/v1/connected_accounts", named(fields(TOKEN))).await;
        assert_eq!((status, &made["connected_account"]["status"]), (200, &json!("ACTIVE")), "{made}");
        assert_eq!(made["connected_account"]["label"], "jo@example.com");
    });
}

#[test]
fn of_several_sites_the_person_takes_one() {
    pollster::block_on(async {
        let world = World::open().await;
        let connection =
            json!({ "name": "jira", "connector": "jira", "client_id": "c", "client_secret": "client-secret" });
        world.post("/api/v1/connections", connection).await;
        let link = world.link("jira", json!({})).await;
        world.get(&link).await;
        let away = world.submit(&link, &[]).await;
        let authorize = url::Url::parse(away.header("location").unwrap()).unwrap();
        let state = authorize.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
        let back =
            call(&world.world, "GET", &format!("/callback/jira?code=c&state={state}"), &[("cookie", COOKIE)], None)
                .await;
        assert_eq!(back.status, 303);
        let choice = path_of(back.header("location").unwrap());
        assert_ne!(world.details("jira").await["status"], "ACTIVE");

        let (status, page) = world.get(&choice).await;
        assert!(status == 200 && page.contains("one") && page.contains("two") && !page.contains("wiki"), "{page}");
        let other = COOKIE.replace("AAA", "BBB");
        assert_eq!(world.submit_as(&other, &choice, &[("option", "0")]).await.status, 400);
        assert_eq!(world.submit(&choice, &[("option", "7")]).await.status, 400);
        assert_eq!(world.submit(&choice, &[]).await.status, 400);
        let (status, page) = text(&world.submit(&choice, &[("option", "1")]).await);
        assert!(status == 200 && page.contains("is connected"), "{page}");
        let account = world.details("jira").await;
        assert_eq!(account["variables"]["cloud_id"], "b1111111-2222-3333-4444-555555555555");
        assert_eq!(account["label"], "jo@example.com (two)");
        assert_eq!(world.submit(&choice, &[("option", "0")]).await.status, 400, "a choice is made once");
    });
}

#[test]
fn a_service_account_whose_key_is_no_key_is_told_so() {
    pollster::block_on(async {
        let world = World::open().await;
        world.post("/api/v1/connections", json!({ "name": "b", "connector": "bigquery", "method": "jwt" })).await;
        let link = world.link("b", json!({})).await;
        let (_, page) = world.get(&link).await;
        assert!(page.contains("<textarea") && page.contains("name=\"key_file\""), "{page}");
        let key_file =
            r#"{"client_email":"x@y.iam.gserviceaccount.com","private_key":"-----BEGIN PRIVATE KEY-----\nAAAA"}"#;
        let (status, page) = text(&world.submit(&link, &[("key_file", key_file)]).await);
        assert_eq!(status, 400);
        assert!(page.contains("has to be given whole"), "{page}");
    });
}

#[test]
fn a_connection_says_what_it_needs() {
    pollster::block_on(async {
        let world = World::open().await;
        let problem = async |body: Value| {
            let (status, answer) = world.post("/api/v1/connections", body).await;
            assert_eq!(status, 400, "{answer}");
            answer["error"]["message"].as_str().unwrap().to_owned()
        };
        let unknown = problem(json!({ "name": "z", "connector": "zendesk", "method": "jwt" })).await;
        assert!(unknown.contains("oauth2, key"), "{unknown}");
        let field =
            problem(json!({ "name": "z", "connector": "zendesk", "method": "key", "fields": { "colour": "red" } }))
                .await;
        assert!(field.contains("subdomain"), "{field}");
        let value = problem(
            json!({ "name": "z", "connector": "zendesk", "method": "key", "fields": { "subdomain": "https://acme" } }),
        )
        .await;
        assert!(value.contains("e.g. acme"), "{value}");
        world.post("/api/v1/connections", json!({ "name": "z", "connector": "zendesk", "method": "key" })).await;
        let changed = call(
            &world.world,
            "PATCH",
            "/api/v1/connections/z",
            &[("authorization", &world.bearer)],
            Some(json!({ "method": "oauth2" })),
        )
        .await;
        assert_eq!(changed.status, 409);
    });
}

#[test]
fn an_example_that_was_copied_whole_is_told_so() {
    pollster::block_on(async {
        let world = World::open().await;
        for (id, secret, field) in [
            ("…", "client-secret", "/client_id"),
            ("a-client", "…", "/client_secret"),
            ("YOUR_CLIENT_ID", "client-secret", "/client_id"),
            ("a-client", "<client secret>", "/client_secret"),
            ("a-client", "...", "/client_secret"),
        ] {
            let body = json!({ "name": "linear", "connector": "linear", "client_id": id, "client_secret": secret });
            let (status, answer) = world.post("/api/v1/connections", body).await;
            assert_eq!(status, 400, "{id} {secret}");
            let problem = &answer["error"]["details"]["problems"][0];
            assert_eq!(problem["path"], field, "{answer}");
            assert!(problem["message"].as_str().unwrap().contains("placeholder"), "{answer}");
        }
        let body =
            json!({ "name": "linear", "connector": "linear", "client_id": "a-client", "client_secret": "yours" });
        assert_eq!(world.post("/api/v1/connections", body).await.0, 200);
    });
}

#[test]
fn a_secret_of_the_operator_is_sealed_shown_by_name_and_masked() {
    pollster::block_on(async {
        let world = World::open().await;
        let body = json!({ "name": "ads", "connector": "googleads", "client_id": "c", "client_secret": "client-secret",
            "fields": { "developer_token": "an-operator-secret-01" } });
        let (status, made) = world.post("/api/v1/connections", body).await;
        assert_eq!((status, &made["connection"]["secret_fields"]), (200, &json!(["developer_token"])), "{made}");
        let execution =
            json!({ "connection_name": "ads", "identifier": "jo", "tool_name": "googleads_list_accessible_customers" });
        let (status, shown) = world.post("/api/v1/execute_tool?dry_run=true", execution).await;
        assert_eq!(status, 200, "{shown}");
        assert!(shown.to_string().contains("\"developer-token\":\"***\""), "{shown}");
        let stored = format!("{made}{shown}{:?}", world.world.config.0.borrow());
        assert!(!stored.contains("an-operator-secret-01"));
    });
}

#[test]
fn a_second_refresh_token_is_asked_for_only_when_one_is_needed() {
    pollster::block_on(async {
        let world = World::open().await;
        let connection =
            json!({ "name": "gmail", "connector": "gmail", "client_id": "c", "client_secret": "client-secret" });
        world.post("/api/v1/connections", connection).await;
        let away = async || {
            let link = world.link("gmail", json!({})).await;
            world.get(&link).await;
            world.submit(&link, &[]).await.header("location").unwrap().to_owned()
        };
        let token = json!({ "access_token": "a-token-of-jo", "refresh_token": "a-refresh-token", "scopes": [] });
        let import = json!({ "connection_name": "gmail", "identifier": "jo",
            "authorization_details": { "oauth_token": token } });
        let (status, made) = world.post("/api/v1/connected_accounts", import).await;
        assert_eq!(status, 200, "{made}");
        let url = away().await;
        assert!(url.contains("access_type=offline") && !url.contains("prompt=consent"), "{url}");
        world
            .post("/api/v1/connected_accounts:delete", json!({ "connection_name": "gmail", "identifier": "jo" }))
            .await;
        world.world.clock.0.set(world.world.clock.0.get() + 1_000);
        let url = away().await;
        assert!(url.contains("prompt=consent"), "{url}");
    });
}
