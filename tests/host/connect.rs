//! The whole loop through the router: connect in a browser, call a tool, disconnect.

use crate::support::{Deployment, deployment};
use serde_json::{Value, json};
use valetkey::http::handle;
use valetkey::ports::{Body, Request, Response, Unanswered, put};

#[expect(clippy::unnecessary_wraps, reason = "a script may also not answer")]
fn provider(request: &Request) -> Result<Response, Unanswered> {
    let body = match request.url.split(['?', '#']).next().unwrap() {
        "https://api.linear.app/oauth/token" => {
            json!({ "access_token": "the-access-token", "refresh_token": "r", "expires_in": 86399, "scope": "read write" })
        }
        "https://api.linear.app/graphql" => {
            json!({ "data": { "viewer": { "id": "u1", "name": "Jo", "email": "jo@example.com" }, "organization": { "id": "o1", "name": "Example", "urlKey": "ex" } } })
        }
        _ => json!({}),
    };
    Ok(Response::new(200, "application/json", body.to_string()))
}

pub async fn call(
    world: &Deployment,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<Value>,
) -> Response {
    let url = format!("https://vk.example.com{path}");
    let mut request = Request { method: method.into(), url, ..Request::default() };
    for (name, value) in headers {
        put(&mut request.headers, name, value);
    }
    request.body = body.map_or(Body::Empty, |body| Body::Bytes(body.to_string().into_bytes()));
    handle(&world.app, request).await
}

pub fn json_of(response: &Response) -> Value {
    serde_json::from_slice(response.body.bytes()).unwrap_or_default()
}

pub fn path_of(url: &str) -> String {
    url.trim_start_matches("https://vk.example.com").to_owned()
}

#[test]
fn connect_call_disconnect() {
    pollster::block_on(async {
        let world = deployment(provider);
        let form =
            json!({ "grant_type": "client_credentials", "client_id": "first", "client_secret": "first-secret-0000" });
        let token = json_of(&call(&world, "POST", "/oauth/token", &[], Some(form)).await)["access_token"]
            .as_str()
            .unwrap()
            .to_owned();
        let bearer = format!("Bearer {token}");
        let auth = [("authorization", bearer.as_str())];
        let made = call(&world, "POST", "/api/v1/connections", &auth, Some(json!({
            "name": "linear", "connector": "linear", "client_id": "c", "client_secret": "client-secret", "operator": "Example Ltd." }))).await;
        assert_eq!(made.status, 200, "{}", json_of(&made));
        assert!(!json_of(&made).to_string().contains("client-secret"));
        let account = json!({ "connection_name": "linear", "identifier": "user" });
        let link =
            json_of(&call(&world, "POST", "/api/v1/connected_accounts/magic_link", &auth, Some(account.clone())).await)
                ["link"]
                .clone();
        let link = path_of(link.as_str().unwrap());

        let page = call(&world, "GET", &link, &[], None).await;
        assert!(String::from_utf8_lossy(page.body.bytes()).contains("Example Ltd."));
        let cookie = page.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        assert!(cookie.starts_with("__Host-valetkey="));
        let cookies = [("cookie", cookie.as_str())];
        let away = call(&world, "POST", &link, &cookies, None).await;
        let authorize = url::Url::parse(away.header("location").unwrap()).unwrap();
        let parameter = |name: &str| authorize.query_pairs().find(|(known, _)| known == name).unwrap().1.into_owned();
        assert_eq!(parameter("redirect_uri"), "https://vk.example.com/callback/linear");
        assert_eq!(parameter("code_challenge_method"), "S256");
        let back = format!("/callback/linear?code=the-code&state={}", parameter("state"));
        let other = call(&world, "GET", &back, &[("cookie", "__Host-valetkey=x")], None).await;
        assert_eq!(other.status, 400);
        let done = call(&world, "GET", &back, &cookies, None).await;
        assert_eq!(done.status, 200, "{}", String::from_utf8_lossy(done.body.bytes()));
        assert_eq!(call(&world, "GET", &back, &cookies, None).await.status, 400, "a state works once");

        let mut execution = account.clone();
        execution["tool_name"] = json!("linear_viewer_get");
        let asked = world.objects.asked.get();
        let result = json_of(&call(&world, "POST", "/api/v1/execute_tool", &auth, Some(execution.clone())).await);
        assert!(result["execution_id"].as_str().unwrap().starts_with("exec_"), "{result}");
        assert_eq!(world.objects.asked.get(), asked, "a fresh token needs no Durable Object");
        let gone = call(&world, "POST", "/api/v1/connected_accounts:delete", &auth, Some(account)).await;
        assert_eq!(json_of(&gone)["revocation"]["succeeded"], true);
        let refused = json_of(&call(&world, "POST", "/api/v1/execute_tool", &auth, Some(execution)).await);
        assert_eq!(refused["error"]["code"], "REAUTHORIZATION_REQUIRED");
        assert!(
            refused["error"]["details"]["reauthorizeUrl"]
                .as_str()
                .unwrap()
                .starts_with("https://vk.example.com/connect/")
        );
        let stored = format!("{:?}{:?}", world.config.0.borrow(), world.snapshots.0.borrow());
        assert!(!stored.contains("the-access-token") && !stored.contains("client-secret"));
        assert!(world.counters.asked.get() > 0 && world.later.0.borrow().is_empty());
    });
}
