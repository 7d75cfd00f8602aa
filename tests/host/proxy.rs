//! The proxy: what ends an account, what is sent again, where links lead, and which bytes go through.

use crate::connect::{call, json_of};
use crate::edge::{as_caller, operator};
use crate::support::{Deployment, deployment};
use serde_json::{Value, json};
use std::cell::Cell;
use std::rc::Rc;
use valetkey::http::handle;
use valetkey::ports::{Body, Request, Response, Unanswered, put};

/// Whose account it is, as the APIs of these tests say it while the account is imported.
pub fn identity() -> Response {
    let user = json!({ "id": 1, "username": "jo", "email": "jo@example.com" });
    let body = json!({ "id": 1, "login": "jo", "email": "jo@example.com", "user": user });
    Response::new(200, "application/json", body.to_string())
}

/// A deployment with an imported account of a connector, whose API answers so from then on.
async fn with_account(
    connector: &str,
    more: Value,
    mut answer: impl FnMut(&Request) -> Result<Response, Unanswered> + 'static,
) -> (Deployment, String, String) {
    let imported = Rc::new(Cell::new(false));
    let is_imported = imported.clone();
    let world = deployment(move |request| if is_imported.get() { answer(request) } else { Ok(identity()) });
    let bearer = operator(&world).await;
    let mut made = json!({ "name": "c", "connector": connector, "client_id": "c", "client_secret": "s" });
    made.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let made = as_caller(&world, &bearer, "POST", "/api/v1/connections", Some(made)).await;
    assert_eq!(made.status, 200, "{}", json_of(&made));
    let account = json!({ "connection_name": "c", "identifier": "jo",
        "authorization_details": { "oauth_token": { "access_token": "imported-token-0000" } } });
    let made = json_of(&as_caller(&world, &bearer, "POST", "/api/v1/connected_accounts", Some(account)).await);
    let id = made["connected_account"]["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    world.http.sent.borrow_mut().clear();
    imported.set(true);
    (world, bearer, id)
}

async fn proxied(
    world: &Deployment,
    bearer: &str,
    id: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Response {
    let all = [&[("authorization", bearer), ("connected_account_id", id)], headers].concat();
    call(world, method, &format!("/proxy/{path}"), &all, None).await
}

async fn status_of(world: &Deployment, bearer: &str, id: &str) -> String {
    let path = format!("/api/v1/connected_accounts/details?id={id}");
    let account = json_of(&as_caller(world, bearer, "GET", &path, None).await);
    account["connected_account"]["status"].as_str().unwrap().to_owned()
}

#[test]
fn a_401_ends_an_account_only_when_the_connectors_rules_say_so() {
    pollster::block_on(async {
        let long = format!("{{\"err\":\"{}\"}}", "x".repeat(70_000));
        for (connector, method, status, body, ends) in [
            ("clickup", "GET", 401, r#"{"err":"Team not authorized","ECODE":"OAUTH_027"}"#, false),
            ("clickup", "DELETE", 401, r#"{"err":"Team not authorized","ECODE":"OAUTH_027"}"#, false),
            ("clickup", "GET", 401, r#"{"err":"Token invalid","ECODE":"OAUTH_025"}"#, true),
            ("clickup", "GET", 401, long.as_str(), false),
            ("clickup", "HEAD", 401, "", false),
            ("github", "GET", 401, r#"{"message":"Bad credentials"}"#, true),
            ("github", "GET", 403, r#"{"message":"Resource not accessible"}"#, false),
            ("github", "GET", 500, r#"{"message":"Bad credentials"}"#, false),
        ] {
            let answer = body.to_owned();
            let (world, bearer, id) = with_account(connector, json!({}), move |_| {
                Ok(Response::new(status, "application/json", answer.clone()))
            })
            .await;
            let back = proxied(&world, &bearer, &id, method, "thing", &[]).await;
            assert_eq!(back.status, status, "{connector} {body:.60}");
            if method != "HEAD" {
                assert_eq!(back.body.bytes(), body.as_bytes(), "handed on whole");
            }
            assert_eq!(back.header("x-valetkey-error"), None);
            let expected = if ends { "EXPIRED" } else { "ACTIVE" };
            assert_eq!(status_of(&world, &bearer, &id).await, expected, "{connector} {method} {status} {body:.60}");
            assert_eq!(world.http.sent.borrow().len(), 1);
        }
    });
}

#[test]
fn a_401_that_cannot_be_read_ends_nothing_where_the_connector_tells_401s_apart() {
    // zlib: what the platform does not unpack arrives as it was packed.
    let packed = [b"\x78\x9c\xab\x56\x72\x75".as_slice(), &[0xff; 40]].concat();
    let long = format!("<html>{}</html>", "x".repeat(3_000));
    pollster::block_on(async {
        for (connector, kind, body, expected) in [
            ("clickup", "text/html", b"<html>Authorization Required</html>".to_vec(), "ACTIVE"),
            ("clickup", "text/html", long.into_bytes(), "ACTIVE"),
            ("clickup", "application/json", packed.clone(), "ACTIVE"),
            ("clickup", "application/json", b"{\"err\":\"Token inv".to_vec(), "ACTIVE"),
            ("clickup", "application/json", b"Unauthorized".to_vec(), "ACTIVE"),
            // What says nothing hides nothing, and words are words.
            ("clickup", "application/json", Vec::new(), "EXPIRED"),
            ("clickup", "text/plain", b"Unauthorized".to_vec(), "EXPIRED"),
            ("github", "application/json", packed, "EXPIRED"),
        ] {
            let answer = body.clone();
            let (world, bearer, id) = with_account(connector, json!({}), move |_| {
                Ok(Response { body: Body::Bytes(answer.clone()), ..Response::new(401, kind, "") })
            })
            .await;
            let back = proxied(&world, &bearer, &id, "GET", "thing", &[]).await;
            assert_eq!((back.status, back.body.bytes()), (401, body.as_slice()));
            let shown = String::from_utf8_lossy(&body);
            assert_eq!(status_of(&world, &bearer, &id).await, expected, "{connector} {kind} {shown:.40}");
        }
    });
}

#[test]
fn a_caller_asks_for_no_encoding_that_the_platform_does_not_unpack() {
    pollster::block_on(async {
        let (world, bearer, id) =
            with_account("github", json!({}), |_| Ok(Response::new(200, "application/json", "{}"))).await;
        for (asked, wanted) in [
            ("gzip, deflate, br, zstd", "gzip, br"),
            ("GZIP;q=0.5,identity;q=0", "GZIP;q=0.5, identity;q=0"),
            ("deflate", "identity"),
            ("*", "identity"),
            ("", "identity"),
        ] {
            proxied(&world, &bearer, &id, "GET", "user", &[("accept-encoding", asked)]).await;
            let sent = world.http.sent.borrow_mut().pop().unwrap();
            assert_eq!(sent.headers["accept-encoding"], wanted, "{asked:?}");
        }
        proxied(&world, &bearer, &id, "GET", "user", &[]).await;
        assert!(!world.http.sent.borrow()[0].headers.contains_key("accept-encoding"), "nothing is made up");
    });
}

#[test]
fn a_connection_that_breaks_is_tried_once_more_where_that_is_safe() {
    pollster::block_on(async {
        for (method, breaks, status, sent) in
            [("GET", 1, 200, 2), ("HEAD", 1, 200, 2), ("GET", 2, 503, 2), ("POST", 1, 503, 1), ("DELETE", 1, 503, 1)]
        {
            let left = Rc::new(Cell::new(breaks));
            let (world, bearer, id) = with_account("github", json!({}), move |_| {
                if left.get() > 0 {
                    left.set(left.get() - 1);
                    return Err(Unanswered::Unreachable);
                }
                Ok(Response::new(200, "application/json", "{}"))
            })
            .await;
            assert_eq!(proxied(&world, &bearer, &id, method, "user", &[]).await.status, status, "{method} {breaks}");
            assert_eq!(world.http.sent.borrow().len(), sent, "{method} {breaks}");
        }
        let (world, bearer, id) = with_account("github", json!({}), |_| Err(Unanswered::TimedOut)).await;
        assert_eq!(proxied(&world, &bearer, &id, "GET", "user", &[]).await.status, 504);
        assert_eq!(world.http.sent.borrow().len(), 1, "what took too long is not asked again");
    });
}

#[test]
fn links_to_the_providers_api_lead_back_through_the_proxy() {
    pollster::block_on(async {
        let links = "<https://api.github.com/user/repos?page=2>; rel=\"next\", <https://api.github.com/user/repos?page=9>; rel=\"last\", \
            <https://docs.github.com/rest>; rel=\"help\"";
        let (world, bearer, id) = with_account("github", json!({}), move |request| {
            let path = request.url.trim_start_matches("https://api.github.com");
            Ok(match path {
                "/moved" => Response::new(301, "text/plain", "")
                    .with_header("location", "https://api.github.com/repositories/1"),
                "/asset" => {
                    Response::new(302, "text/plain", "").with_header("location", "https://uploads.github.com/x?y#z")
                }
                "/away" => Response::new(302, "text/plain", "").with_header("location", "https://evil.example/steal"),
                "/plain" => Response::new(302, "text/plain", "").with_header("location", "http://api.github.com/user"),
                "/relative" => Response::new(302, "text/plain", "").with_header("location", "/user?x"),
                "/network" => Response::new(302, "text/plain", "").with_header("location", "//uploads.github.com/x"),
                "/backslash" => Response::new(302, "text/plain", "").with_header("location", "/\\uploads.github.com/x"),
                "/network-away" => Response::new(302, "text/plain", "").with_header("location", "//evil.example/steal"),
                "/networks" => Response::new(200, "application/json", "[]").with_header(
                    "link",
                    "<//uploads.github.com/x>; rel=next, <//api.github.com/y>; rel=last, <//evil.example/>; rel=help",
                ),
                "/spoof" => {
                    Response::new(302, "text/plain", "").with_header("location", "https://api.github.com.evil.example/")
                }
                "/made" => {
                    Response::new(201, "text/plain", "").with_header("content-location", "https://api.github.com/a/1")
                }
                _ => Response::new(200, "application/json", "[]").with_header("link", links),
            })
        })
        .await;
        let get =
            async |path: &str, headers: &[(&str, &str)]| proxied(&world, &bearer, &id, "GET", path, headers).await;
        let page = get("user/repos", &[]).await;
        assert_eq!(
            page.header("link").unwrap(),
            "<https://vk.example.com/proxy/user/repos?page=2>; rel=\"next\", <https://vk.example.com/proxy/user/repos?page=9>; \
             rel=\"last\", <https://docs.github.com/rest>; rel=\"help\""
        );
        assert_eq!(get("user/repos", &[("x-valetkey-links", "keep")]).await.header("link"), Some(links));
        for (path, location) in [
            ("moved", "https://vk.example.com/proxy/repositories/1"),
            ("asset", "https://vk.example.com/proxy/https://uploads.github.com/x?y#z"),
            ("away", "https://evil.example/steal"),
            ("plain", "https://vk.example.com/proxy/user"),
            ("relative", "https://vk.example.com/proxy/user?x"),
            ("network", "https://vk.example.com/proxy/https://uploads.github.com/x"),
            ("backslash", "https://vk.example.com/proxy/https://uploads.github.com/x"),
            ("network-away", "//evil.example/steal"),
            ("spoof", "https://api.github.com.evil.example/"),
        ] {
            assert_eq!(get(path, &[]).await.header("location"), Some(location), "{path}");
        }
        assert_eq!(get("made", &[]).await.header("content-location"), Some("https://vk.example.com/proxy/a/1"));
        assert_eq!(
            get("networks", &[]).await.header("link").unwrap(),
            "<https://vk.example.com/proxy/https://uploads.github.com/x>; rel=next, <https://vk.example.com/proxy/y>; \
             rel=last, <//evil.example/>; rel=help"
        );
        // What was handed out leads to where the provider meant.
        world.http.sent.borrow_mut().clear();
        get("https://uploads.github.com/x?y", &[]).await;
        assert_eq!(world.http.sent.borrow()[0].url, "https://uploads.github.com/x?y");
        assert!(world.http.sent.borrow().iter().all(|sent| !sent.headers.contains_key("x-valetkey-links")));
    });
}

#[test]
fn links_lead_back_also_where_the_api_was_moved() {
    pollster::block_on(async {
        let endpoints = json!({ "endpoints": { "api_base": "https://egress.example.com/gh" } });
        let (world, bearer, id) = with_account("github", endpoints, |_| {
            Ok(Response::new(200, "application/json", "[]")
                .with_header("link", "<https://api.github.com/user?page=2>; rel=next"))
        })
        .await;
        let page = proxied(&world, &bearer, &id, "GET", "user", &[]).await;
        assert_eq!(page.header("link"), Some("<https://vk.example.com/proxy/user?page=2>; rel=next"));
        assert_eq!(world.http.sent.borrow()[0].url, "https://egress.example.com/gh/user");
    });
}

#[test]
fn an_address_of_the_providers_host_leads_back_also_outside_of_the_apis_base() {
    pollster::block_on(async {
        // The base is https://api.clickup.com/api.
        let (world, bearer, id) = with_account("clickup", json!({}), |_| {
            Ok(Response::new(200, "application/json", "[]")
                .with_header("link", "<//api.clickup.com/files/x>; rel=next")
                .with_header("location", "/files/x"))
        })
        .await;
        let page = proxied(&world, &bearer, &id, "GET", "team", &[]).await;
        assert_eq!(
            page.header("link"),
            Some("<https://vk.example.com/proxy/https://api.clickup.com/files/x>; rel=next")
        );
        // A path leads to ourselves in any case.
        assert_eq!(page.header("location"), Some("/files/x"));
    });
}

#[test]
fn an_address_as_a_value_is_a_value() {
    pollster::block_on(async {
        let (world, bearer, id) =
            with_account("github", json!({}), |_| Ok(Response::new(200, "application/json", "{}"))).await;
        for path in ["search?q=https://x.example", "repos/o/r/contents/a://b"] {
            assert_eq!(proxied(&world, &bearer, &id, "GET", path, &[]).await.status, 200, "{path}");
            let sent = world.http.sent.borrow_mut().pop().unwrap();
            assert_eq!(sent.url, format!("https://api.github.com/{path}"));
        }
        assert_eq!(proxied(&world, &bearer, &id, "GET", "https://x.example/", &[]).await.status, 403);
    });
}

#[test]
fn a_get_with_a_body_is_the_callers_mistake() {
    pollster::block_on(async {
        let (world, bearer, id) =
            with_account("github", json!({}), |_| Ok(Response::new(200, "application/json", "{}"))).await;
        for method in ["GET", "HEAD"] {
            let mut request = Request {
                method: method.into(),
                url: "https://vk.example.com/proxy/user".into(),
                ..Request::default()
            };
            put(&mut request.headers, "authorization", &bearer);
            put(&mut request.headers, "connected_account_id", &id);
            request.body = Body::Bytes(b"{}".to_vec());
            let refused = handle(&world.app, request).await;
            assert_eq!((refused.status, &json_of(&refused)["error"]["code"]), (400, &json!("INVALID_REQUEST")));
            assert!(json_of(&refused)["error"]["message"].as_str().unwrap().contains(method));
        }
        assert!(world.http.sent.borrow().is_empty());
    });
}

#[test]
fn header_values_go_through_byte_for_byte_and_name_accounts_in_any_alphabet() {
    pollster::block_on(async {
        let (world, bearer, _) = with_account("github", json!({}), |_| {
            let mut answer = Response::new(200, "application/json", "{}");
            put(&mut answer.headers, "content-disposition", "attachment; filename=\"Übersicht.pdf\"");
            Ok(answer)
        })
        .await;
        let zoe = json!({ "connection_name": "c", "identifier": "Zoë/42",
            "authorization_details": { "oauth_token": { "access_token": "imported-token-0001" } } });
        assert_eq!(as_caller(&world, &bearer, "POST", "/api/v1/connected_accounts", Some(zoe)).await.status, 200);
        let argument = "{\"path\":\"/Grüße.txt\"}";
        for identifier in ["Zoë/42", "Zo%C3%AB%2F42", "Zoë%2F42"] {
            let headers = [
                ("authorization", bearer.as_str()),
                ("connection_name", "c"),
                ("identifier", identifier),
                ("dropbox-api-arg", argument),
            ];
            let answer = call(&world, "GET", "/proxy/user", &headers, None).await;
            assert_eq!(answer.status, 200, "{identifier}: {}", json_of(&answer));
            let disposition = answer.headers["content-disposition"].as_bytes();
            assert_eq!(disposition, "attachment; filename=\"Übersicht.pdf\"".as_bytes());
            let sent = world.http.sent.borrow_mut().pop().unwrap();
            assert_eq!(sent.headers["dropbox-api-arg"].as_bytes(), argument.as_bytes());
            assert_eq!(sent.headers["authorization"], "Bearer imported-token-0001");
        }
        let latin1 = [("authorization", bearer.as_str()), ("connection_name", "c"), ("identifier", "Zo\u{fffd}/42")];
        let refused = call(&world, "GET", "/proxy/user", &latin1, None).await;
        assert_eq!(refused.status, 400);
        assert!(json_of(&refused)["error"]["message"].as_str().unwrap().contains("percent-encoded"));
    });
}

#[test]
fn a_proxied_answer_cannot_act_on_our_origin_nor_pass_for_ours() {
    pollster::block_on(async {
        let (world, bearer, id) = with_account("github", json!({}), |_| {
            Ok(Response::new(200, "text/html", "<script>1</script>")
                .with_header("content-security-policy", "script-src 'self'")
                .with_header("x-valetkey-error", "true")
                .with_header("clear-site-data", "\"*\"")
                .with_header("strict-transport-security", "max-age=0; includeSubDomains")
                .with_header("cache-control", "max-age=60"))
        })
        .await;
        let page = proxied(&world, &bearer, &id, "GET", "page", &[]).await;
        let policies: Vec<_> = page.headers.get_all("content-security-policy").iter().collect();
        assert_eq!(policies, ["script-src 'self'", "sandbox"]);
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(page.header("cache-control"), Some("max-age=60"), "what the provider says of its answer stays");
        for gone in ["x-valetkey-error", "clear-site-data", "strict-transport-security"] {
            assert_eq!(page.header(gone), None, "{gone}");
        }
    });
}

#[test]
fn a_request_never_goes_out_without_its_credential() {
    let mut request = Request::default();
    for wrong in ["tok\nen", "tok\r\nx: y", "a\u{0}", "\u{7f}"] {
        assert!(request.set_header("authorization", wrong).is_err(), "{wrong:?}");
    }
    assert!(request.headers.is_empty());
    pollster::block_on(async {
        // A token as an older version took it in.
        let (world, bearer, id) =
            with_account("github", json!({}), |_| Ok(Response::new(200, "application/json", "{}"))).await;
        let (object, storage) = world.objects.object(&id);
        let sealed =
            world.app.keys.seal(&format!("{id}/access"), &valetkey::secret::Secret::new("tok\nen"), &*world.app.random);
        let mut account: Value =
            serde_json::from_str(&valetkey::ports::Storage::get(&*storage, "account").unwrap()).unwrap();
        account["tokens"]["access"] = json!(sealed);
        account["unpublished"] = json!(true);
        valetkey::ports::Storage::put(&*storage, "account", &account.to_string());
        object.wake().await;
        world.clock.0.set(world.clock.0.get() + 5_000);
        let proxied = proxied(&world, &bearer, &id, "GET", "user", &[]).await;
        let tool = json!({ "tool_name": "github_user_get_authenticated", "connected_account_id": id, "params": {} });
        let called = as_caller(&world, &bearer, "POST", "/api/v1/execute_tool", Some(tool)).await;
        for answer in [proxied, called] {
            let text = json_of(&answer).to_string();
            assert_eq!(json_of(&answer)["error"]["code"], "REAUTHORIZATION_REQUIRED", "{text}");
            assert!(!text.contains("tok"), "{text}");
        }
        assert!(world.http.sent.borrow().is_empty());
    });
}
