//! An account is one person, and no link or import goes around that.

use crate::connect::{call, json_of, path_of};
use crate::support::{Deployment, deployment};
use crate::vendor::Vendor;
use futures_util::future::join;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::rc::Rc;
use valetkey::http::handle;
use valetkey::ports::{Body, Request, Response, Unanswered};

const COOKIE: &str = "__Host-valetkey=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const VERIFY: &str = "https://op.example.com/v";

/// Linear, a vendor with a memory, and an operator with an agent that may only call tools.
struct Stage {
    world: Deployment,
    vendor: Rc<RefCell<Vendor>>,
    operator: String,
    agent: String,
}

impl Stage {
    async fn open() -> Self {
        let vendor = Rc::new(RefCell::new(Vendor::default()));
        let answering = vendor.clone();
        let world = deployment(move |request: &Request| -> Result<Response, Unanswered> {
            Ok(answering.borrow_mut().answer(request))
        });
        let mut stage = Self { world, vendor, operator: String::new(), agent: String::new() };
        stage.operator = stage.token("first", "first-secret-0000").await;
        stage
            .post(
                "/api/v1/connections",
                json!({ "name": "linear", "connector": "linear", "client_id": "c", "client_secret": "client-secret" }),
            )
            .await;
        let caller = stage.post("/api/v1/callers", json!({ "name": "agent", "scopes": ["tools"] })).await.1;
        let text = |at: &str| caller.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (id, secret) = (text("/caller/client_id"), text("/client_secret"));
        assert!(!id.is_empty() && !secret.is_empty(), "{caller}");
        stage.agent = stage.token(&id, &secret).await;
        stage
    }

    async fn token(&self, id: &str, secret: &str) -> String {
        let form = json!({ "grant_type": "client_credentials", "client_id": id, "client_secret": secret });
        let answer = json_of(&call(&self.world, "POST", "/oauth/token", &[], Some(form)).await);
        format!("Bearer {}", answer["access_token"].as_str().unwrap())
    }

    async fn as_caller(&self, bearer: &str, path: &str, body: Value) -> (u16, Value) {
        let answer = call(&self.world, "POST", path, &[("authorization", bearer)], Some(body)).await;
        (answer.status, json_of(&answer))
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.as_caller(&self.operator, path, body).await
    }

    async fn link(&self, more: Value) -> String {
        let mut body = json!({ "connection_name": "linear", "identifier": "user" });
        body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        let (status, answer) = self.post("/api/v1/connected_accounts/magic_link", body).await;
        assert_eq!(status, 200, "{answer}");
        path_of(answer["link"].as_str().unwrap())
    }

    /// Presses the button of a link. → the `state` the browser took to the provider
    async fn start(&self, link: &str) -> Result<String, (u16, String)> {
        let mut request =
            Request { method: "POST".into(), url: format!("https://vk.example.com{link}"), ..Request::default() };
        request.header("cookie", COOKIE);
        request.body = Body::Empty;
        let answer = handle(&self.world.app, request).await;
        let Some(url) = answer.header("location") else {
            return Err((answer.status, String::from_utf8_lossy(answer.body.bytes()).into_owned()));
        };
        let url = url::Url::parse(url).unwrap();
        Ok(url.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned())
    }

    /// The provider sends the browser back, signed in as the person in the code. → status, words or address
    async fn back(&self, state: &str, code: &str) -> (u16, String) {
        let path = format!("/callback/linear?code={code}&state={state}");
        let answer = call(&self.world, "GET", &path, &[("cookie", COOKIE)], None).await;
        let words = String::from_utf8_lossy(answer.body.bytes()).into_owned();
        (answer.status, answer.header("location").map_or(words, str::to_owned))
    }

    async fn connect(&self, more: Value, code: &str) -> (u16, String) {
        let link = self.link(more).await;
        self.back(&self.start(&link).await.unwrap(), code).await
    }

    async fn account(&self) -> Value {
        let path = "/api/v1/connected_accounts/details?connection_name=linear&identifier=user";
        let answer = call(&self.world, "GET", path, &[("authorization", &self.operator)], None).await;
        json_of(&answer)["connected_account"].clone()
    }

    async fn delete(&self) -> Value {
        self.post("/api/v1/connected_accounts:delete", json!({ "connection_name": "linear", "identifier": "user" }))
            .await
            .1
    }

    async fn import(&self, name: &str, more: Value) -> (u16, Value) {
        let token = json!({ "access_token": format!("access-{name}"), "refresh_token": format!("refresh-{name}") });
        let mut body = json!({ "connection_name": "linear", "identifier": "user",
            "authorization_details": { "oauth_token": token } });
        body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        self.post("/api/v1/connected_accounts", body).await
    }

    /// The link a caller finds in the error of a call.
    async fn link_in_error(&self, bearer: &str) -> Option<String> {
        let body = json!({ "connection_name": "linear", "identifier": "user", "tool_name": "linear_viewer_get" });
        let (status, answer) = self.as_caller(bearer, "/api/v1/execute_tool", body).await;
        assert_eq!(status, 401, "{answer}");
        let details = &answer["error"]["details"];
        assert!(details.get("reauthorizeUrl").is_some(), "{answer}");
        details["reauthorizeUrl"].as_str().map(path_of)
    }

    /// The consent is withdrawn at the provider, and a call has found out.
    async fn expire(&self) {
        self.vendor.borrow_mut().withdraw("jo");
        let named = json!({ "connection_name": "linear", "identifier": "user" });
        assert_eq!(self.post("/api/v1/connected_accounts/refresh", named).await.0, 401);
    }

    /// How often an event happened; what happens again is counted in one line.
    fn times(account: &Value, wanted: &str) -> u64 {
        let events = account["audit"].as_array().unwrap().iter().filter(|event| event["event"] == wanted);
        events.map(|event| event["count"].as_u64().unwrap_or(1)).sum()
    }

    fn events(account: &Value) -> Vec<String> {
        let events = account["audit"].as_array().unwrap().iter();
        events.map(|event| event["event"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn another_persons_sign_in_ends_in_a_page_and_is_revoked() {
    pollster::block_on(async {
        let stage = Stage::open().await;
        assert_eq!(stage.connect(json!({}), "jo-1").await.0, 200);
        let before = stage.account().await;
        assert_eq!(before["external_id"], "jo");
        for (round, code) in ["mallory-1", "mallory-2", "mallory-3"].into_iter().enumerate() {
            let (status, page) = stage.connect(json!({}), code).await;
            assert!(status == 409 && page.contains("This is another account"), "{status} {page}");
            assert!(!stage.vendor.borrow().people().contains(&"mallory".to_owned()), "what mallory granted is ended");
            let now = stage.account().await;
            assert_eq!(now["external_id"], "jo");
            assert_eq!((&now["label"], Stage::times(&now, "other_account")), (&before["label"], round as u64 + 1));
            match round {
                0 => stage.expire().await,
                1 => {
                    stage.delete().await;
                }
                _ => {}
            }
        }
        // The same person may come back, and the operator may ask for a change.
        assert_eq!(stage.connect(json!({}), "jo-4").await.0, 200);
        assert_eq!(stage.connect(json!({ "allow_other_account": true }), "mallory-5").await.0, 200);
        assert_eq!(stage.account().await["external_id"], "mallory");
        assert_eq!(
            stage.vendor.borrow().people(),
            ["mallory"],
            "what jo granted is ended, since nobody holds it any more"
        );
    });
}

#[test]
fn a_link_in_an_error_leads_an_agent_to_nobody_but_the_person_known() {
    pollster::block_on(async {
        let stage = Stage::open().await;
        stage.link(json!({})).await;
        assert_eq!(stage.link_in_error(&stage.agent).await, None, "an account that was never connected");
        assert!(stage.link_in_error(&stage.operator).await.is_some(), "whoever may make links gets one");
        assert_eq!(stage.connect(json!({}), "jo-1").await.0, 200);
        stage.expire().await;
        let link = stage.link_in_error(&stage.agent).await.unwrap();
        let (status, page) = stage.back(&stage.start(&link).await.unwrap(), "attacker-2").await;
        assert!(status == 409 && page.contains("other_account"), "{page}");
        let account = stage.account().await;
        assert_eq!((&account["status"], &account["external_id"]), (&json!("EXPIRED"), &json!("jo")));
        assert_eq!(stage.back(&stage.start(&link).await.unwrap(), "jo-3").await.0, 200);
        assert_eq!(stage.account().await["status"], "ACTIVE");
        // Once it is connected, the link has ended, and so has a consent that it began before.
        let (status, page) = stage.start(&link).await.unwrap_err();
        assert!(status == 410 && page.contains("link_ended"), "{page}");
    });
}

#[test]
fn a_link_in_an_error_does_not_go_past_the_operators_verification() {
    pollster::block_on(async {
        let stage = Stage::open().await;
        let (status, url) = stage.connect(json!({ "user_verify_url": VERIFY }), "jo-1").await;
        assert_eq!(status, 303);
        let request = url::Url::parse(&url).unwrap();
        let request = request.query_pairs().find(|(name, _)| name == "auth_request_id").unwrap().1.into_owned();
        let verified = json!({ "auth_request_id": request, "identifier": "user" });
        assert_eq!(stage.post("/api/v1/connected_accounts/user/verify", verified).await.0, 200);
        stage.delete().await;
        for (code, bearer) in [("jo-2", &stage.agent), ("jo-3", &stage.operator)] {
            let link = stage.link_in_error(bearer).await.unwrap();
            let (status, url) = stage.back(&stage.start(&link).await.unwrap(), code).await;
            assert!(status == 303 && url.starts_with(VERIFY), "{status} {url}");
            assert_eq!(stage.link_in_error(bearer).await, None, "now it is the operator's turn");
            stage.delete().await;
        }
    });
}

#[test]
fn an_import_ends_the_links_of_before_and_keeps_what_the_operator_set() {
    pollster::block_on(async {
        let stage = Stage::open().await;
        assert_eq!(stage.connect(json!({}), "jo-1").await.0, 200);
        let made_at = stage.account().await["created_at"].clone();
        let link = stage.link(json!({ "user_verify_url": VERIFY })).await;
        let state = stage.start(&link).await.unwrap();
        stage.world.clock.0.set(stage.world.clock.0.get() + 1000);
        stage.delete().await;
        stage.vendor.borrow_mut().grant_elsewhere("jo", "moved");
        let (status, answer) = stage.import("moved", json!({})).await;
        assert_eq!((status, &answer["connected_account"]["label"]), (200, &json!("jo@example.com")), "{answer}");
        assert_eq!(answer["connected_account"]["created_at"], made_at);
        let (status, page) = stage.start(&link).await.unwrap_err();
        assert!(status == 410 && page.contains("link_ended"), "{page}");
        let (status, page) = stage.back(&state, "stranger-2").await;
        assert!(status == 400 && page.contains("state_used"), "{status} {page}");
        assert!(stage.vendor.borrow().people().is_empty(), "no code was exchanged");
        // Without a link of its own the person still comes to the operator's check.
        stage.delete().await;
        let again = stage.link_in_error(&stage.agent).await.unwrap();
        let (_, url) = stage.back(&stage.start(&again).await.unwrap(), "jo-3").await;
        assert!(url.starts_with(VERIFY), "{url}");
    });
}

#[test]
fn an_import_takes_over_where_the_user_is_verified_now() {
    pollster::block_on(async {
        let stage = Stage::open().await;
        assert_eq!(stage.connect(json!({}), "jo-1").await.0, 200);
        stage.delete().await;
        stage.vendor.borrow_mut().grant_elsewhere("jo", "moved");
        // While the import asks whose tokens these are, the operator makes a link.
        let (imported, _) =
            join(stage.import("moved", json!({})), stage.link(json!({ "user_verify_url": VERIFY }))).await;
        assert_eq!(imported.0, 200, "{}", imported.1);
        stage.delete().await;
        let again = stage.link_in_error(&stage.agent).await.unwrap();
        let (_, url) = stage.back(&stage.start(&again).await.unwrap(), "jo-3").await;
        assert!(url.starts_with(VERIFY), "{url}");
    });
}

#[test]
fn two_names_of_different_accounts_name_none() {
    pollster::block_on(async {
        let stage = Stage::open().await;
        assert_eq!(stage.connect(json!({}), "jo-1").await.0, 200);
        stage.delete().await;
        let id = stage.account().await["id"].clone();
        for (more, wrong) in [
            (json!({ "id": id, "identifier": "somebody-else" }), "identifier"),
            (json!({ "id": id, "identifier": "line\nbreak" }), "identifier"),
            (json!({ "id": id, "identifier": "" }), "identifier"),
            (json!({ "id": id, "identifier": "user", "connection_name": "another" }), "connection_name"),
        ] {
            for path in ["", "/magic_link", "/refresh", ":delete"] {
                let path = format!("/api/v1/connected_accounts{path}");
                let (status, answer) = stage.post(&path, more.clone()).await;
                let message = answer["error"]["message"].as_str().unwrap_or_default();
                assert!(status == 400 && message.starts_with(wrong), "{path} {more}: {answer}");
            }
            let mut call = json!({ "tool_name": "linear_viewer_get", "connected_account_id": id });
            let renamed = more.as_object().unwrap().iter().filter(|(name, _)| *name != "id");
            call.as_object_mut().unwrap().extend(renamed.map(|(name, value)| (name.clone(), value.clone())));
            assert_eq!(stage.post("/api/v1/execute_tool", call).await.0, 400, "{more}");
        }
        assert_eq!(stage.account().await["identifier"], "user");
        let same = json!({ "id": id, "identifier": "user", "connection_name": "linear" });
        assert_eq!(stage.post("/api/v1/connected_accounts/magic_link", same).await.0, 200);
    });
}

#[test]
fn a_connector_beside_another_connection_is_not_dropped() {
    pollster::block_on(async {
        let stage = Stage::open().await;
        assert_eq!(stage.connect(json!({}), "jo-1").await.0, 200);
        let of = |connector: &str| json!({ "connection_name": "linear", "connector": connector, "identifier": "user" });
        for path in ["", "/magic_link", "/refresh", ":delete"] {
            let (status, answer) = stage.post(&format!("/api/v1/connected_accounts{path}"), of("gmail")).await;
            let message = answer["error"]["message"].as_str().unwrap_or_default();
            assert!(status == 400 && message.starts_with("connector `gmail`"), "{path}: {answer}");
        }
        let mut call = of("gmail");
        call["tool_name"] = json!("linear_viewer_get");
        assert_eq!(stage.post("/api/v1/execute_tool", call).await.0, 400);
        assert_eq!(stage.post("/api/v1/connected_accounts/magic_link", of("linear")).await.0, 200);
    });
}

/// What is said beside an id is compared also where the connection is gone, or another one has its name now: an account can
/// still be made to forget its tokens by its id.
#[test]
fn two_names_differ_without_a_connection_too() {
    pollster::block_on(async {
        for again in [false, true] {
            let stage = Stage::open().await;
            assert_eq!(stage.connect(json!({}), "jo-1").await.0, 200);
            let id = stage.account().await["id"].clone();
            let operator = [("authorization", stage.operator.as_str())];
            assert_eq!(call(&stage.world, "DELETE", "/api/v1/connections/linear", &operator, None).await.status, 200);
            stage.world.clock.0.set(stage.world.app.now() + 60_000);
            if again {
                let body = json!({ "name": "linear", "connector": "linear", "client_id": "c", "client_secret": "client-secret" });
                assert_eq!(stage.post("/api/v1/connections", body).await.0, 200);
            }
            let path = "/api/v1/connected_accounts:delete";
            for (more, wrong) in [
                (json!({ "id": id, "identifier": "somebody-else" }), "identifier"),
                (json!({ "id": id, "connection_name": "another" }), "connection_name"),
                (json!({ "id": id, "connector": "gmail", "identifier": "user" }), "connector"),
            ] {
                let (status, answer) = stage.post(path, more.clone()).await;
                let message = answer["error"]["message"].as_str().unwrap_or_default();
                assert!(status == 400 && message.starts_with(wrong), "{again} {more}: {answer}");
            }
            let same = json!({ "id": id, "identifier": "user", "connection_name": "linear" });
            let (status, answer) = stage.post(path, same).await;
            assert_eq!(
                (status, &answer["connected_account"]["status"]),
                (200, &json!("DISCONNECTED")),
                "{again} {answer}"
            );
        }
    });
}

/// What a route does not take, it does not drop: an operator who asked for a verification would not get one.
#[test]
fn a_body_is_read_whole_or_refused() {
    pollster::block_on(async {
        let stage = Stage::open().await;
        let token = json!({ "oauth_token": { "access_token": "a", "refresh_token": "r" } });
        let named = json!({ "connection_name": "linear", "identifier": "user" });
        let with = |more: Value| {
            let mut body = named.clone();
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            body
        };
        for (path, body) in [
            ("", with(json!({ "user_verify_url": VERIFY }))),
            (
                "",
                with(
                    json!({ "authorization_details": token, "connected_account": { "authorization_details": token } }),
                ),
            ),
            ("/magic_link", with(json!({ "authorization_details": token }))),
            ("/magic_link", with(json!({ "state": "s" }))),
            ("/refresh", with(json!({ "fields": { "a": "b" } }))),
            (":delete", with(json!({ "allow_other_account": true }))),
            (":delete", with(json!({ "connector": "staging" }))),
            ("?dry_run=true", named.clone()),
            ("/magic_link?x", named.clone()),
            ("/refresh?x=1", named.clone()),
            (":delete?dry_run=true", named.clone()),
            ("/user/verify?x=1", json!({ "auth_request_id": "x", "identifier": "user" })),
        ] {
            let (status, answer) = stage.post(&format!("/api/v1/connected_accounts{path}"), body.clone()).await;
            assert_eq!(status, 400, "{path} {body}: {answer}");
        }
        let two = json!({ "tool_name": "linear_viewer_get", "connection_name": "linear", "identifier": "user",
            "params": { "a": 1 }, "tool_input": { "a": 2 } });
        assert_eq!(stage.post("/api/v1/execute_tool", two).await.0, 400);
        for path in ["/api/v1/execute_tool?dry_run", "/api/v1/execute_tool?dry_run="] {
            let call = json!({ "tool_name": "linear_viewer_get", "connection_name": "linear", "identifier": "user" });
            let (status, answer) = stage.post(path, call).await;
            assert!(status == 400 && answer["error"]["message"].as_str().unwrap().contains("dry_run"), "{answer}");
        }
        for path in ["/api/v1/connected_accounts?identifier=", "/api/v1/connected_accounts?connection_names=,"] {
            let answer = call(&stage.world, "GET", path, &[("authorization", &stage.operator)], None).await;
            assert_eq!(answer.status, 400, "{path}");
        }
        assert!(stage.world.http.sent.borrow().is_empty() && stage.world.snapshots.0.borrow().is_empty());
    });
}

#[test]
fn a_secret_in_the_wrong_place_is_not_repeated() {
    pollster::block_on(async {
        let stage = Stage::open().await;
        let secret = "ya29.a0, expected `x` \"y";
        for (path, body) in [
            ("/api/v1/connected_accounts", json!({ "authorization_details": { "oauth_token": secret } })),
            ("/api/v1/connected_accounts", json!({ "fields": secret })),
            (
                "/api/v1/connected_accounts",
                json!({ "authorization_details": { "oauth_token": { "access_token": "a", "scopes": secret } } }),
            ),
            (
                "/api/v1/connections",
                json!({ "name": "x", "connector": "github", "client_id": "c", "client_secret": "your-ya29.a0" }),
            ),
            ("/api/v1/connections", json!({ "name": "x", "connector": "github", "scopes": secret })),
            ("/api/v1/callers", json!({ "name": "x", "scopes": secret })),
        ] {
            let (status, answer) = stage.post(path, body.clone()).await;
            assert!(status == 400 && !answer.to_string().contains("ya29"), "{path} {body}: {answer}");
        }
    });
}

#[test]
fn imported_tokens_are_looked_up_and_nothing_is_stored_unless_they_work() {
    pollster::block_on(async {
        let stage = Stage::open().await;
        let (status, refused) = stage.import("unknown", json!({})).await;
        assert_eq!(
            (status, &refused["error"]["details"]["statusReason"]),
            (403, &json!("credential_refused")),
            "{refused}"
        );
        let (status, refused) = stage.import("unknown", json!({ "fields": { "nonsense": "x" } })).await;
        assert!(
            status == 400 && refused["error"]["message"].as_str().unwrap().contains("fields/nonsense"),
            "{refused}"
        );
        assert!(stage.world.snapshots.0.borrow().is_empty(), "nothing is stored");
        stage.vendor.borrow_mut().grant_elsewhere("jo", "jo");
        stage.vendor.borrow_mut().grant_elsewhere("mallory", "mallory");
        assert_eq!(stage.import("jo", json!({})).await.0, 200);
        let account = stage.account().await;
        assert_eq!((&account["external_id"], &account["status_reason"]), (&json!("jo"), &json!("imported")));
        let call = json!({ "connection_name": "linear", "identifier": "user", "tool_name": "linear_viewer_get" });
        assert_eq!(stage.post("/api/v1/execute_tool", call).await.0, 200);
        stage.delete().await;
        let (status, refused) = stage.import("mallory", json!({})).await;
        assert_eq!((status, &refused["error"]["details"]["statusReason"]), (409, &json!("other_account")), "{refused}");
        assert_eq!(stage.account().await["status"], "DISCONNECTED");
        assert_eq!(stage.import("mallory", json!({ "allow_other_account": true })).await.0, 200);
        assert_eq!(stage.account().await["external_id"], "mallory");
    });
}

#[test]
fn what_is_not_verified_is_revoked() {
    pollster::block_on(async {
        for late in [false, true] {
            let stage = Stage::open().await;
            let (_, url) = stage.connect(json!({ "user_verify_url": VERIFY }), "stranger-1").await;
            let request = url::Url::parse(&url).unwrap();
            let request = request.query_pairs().find(|(name, _)| name == "auth_request_id").unwrap().1.into_owned();
            assert_eq!(stage.vendor.borrow().people(), ["stranger"]);
            if late {
                let (id, _) = stage
                    .world
                    .objects
                    .known
                    .borrow()
                    .iter()
                    .next()
                    .map(|(id, made)| (id.clone(), made.1.clone()))
                    .unwrap();
                let (object, _) = stage.world.objects.object(&id);
                stage.world.clock.0.set(object.next_wake().unwrap());
                object.wake().await;
                assert_eq!(stage.account().await["status_reason"], "verification_expired");
            } else {
                let wrong = json!({ "auth_request_id": request, "identifier": "somebody else" });
                assert_eq!(stage.post("/api/v1/connected_accounts/user/verify", wrong).await.0, 403);
            }
            assert!(stage.vendor.borrow().people().is_empty(), "late: {late}");
            assert!(Stage::events(&stage.account().await).contains(&"revoked".to_owned()));
        }
    });
}

#[test]
fn a_copy_in_kv_always_fits_and_is_deleted_when_it_cannot_be_written() {
    pollster::block_on(async {
        let stage = Stage::open().await;
        stage.vendor.borrow_mut().label = Some("\u{1}\"\\é💡".repeat(100));
        for (number, identifier) in
            ["\"\\".repeat(128), "é".repeat(128), "💡".repeat(64), "user".to_owned()].into_iter().enumerate()
        {
            let link = stage.link(json!({ "identifier": identifier })).await;
            assert_eq!(stage.back(&stage.start(&link).await.unwrap(), &format!("jo-{number}")).await.0, 200);
        }
        let rows = stage.world.snapshots.0.borrow().clone();
        assert_eq!(rows.len(), 4);
        for (_, row) in rows.values() {
            let row: Value = serde_json::from_str(row.as_deref().unwrap()).unwrap();
            let label = row["label"].as_str().unwrap();
            assert!(label.len() > 50 && !label.contains('\u{1}'), "{row}");
            assert!(row["identifier"].as_str().unwrap().len() >= 4, "{row}");
        }
        // KV takes no more writes: the copy is deleted, so that no call goes on with it.
        stage.world.snapshots.2.set(true);
        let gone = stage.delete().await;
        assert_eq!(
            (&gone["connected_account"]["status"], &gone["published"]),
            (&json!("DISCONNECTED"), &json!(true)),
            "{gone}"
        );
        assert_eq!(stage.world.snapshots.0.borrow().len(), 3);
        // It takes no deletions either: whoever disconnects is told.
        stage.world.snapshots.2.set(false);
        assert_eq!(stage.connect(json!({}), "jo-9").await.0, 200);
        stage.world.snapshots.2.set(true);
        stage.world.snapshots.3.set(true);
        assert_eq!(stage.delete().await["published"], false);
        // The alarm makes it good, later each time.
        let id = stage.account().await["id"].as_str().unwrap().to_owned();
        let (object, _) = stage.world.objects.object(&id);
        let mut waits = Vec::new();
        for _ in 0..3 {
            let at = object.next_wake().unwrap();
            waits.push(at - stage.world.clock.0.get());
            stage.world.clock.0.set(at);
            object.wake().await;
        }
        assert!(waits.windows(2).all(|pair| pair[1] > pair[0]), "{waits:?}");
        stage.world.snapshots.2.set(false);
        stage.world.clock.0.set(object.next_wake().unwrap());
        object.wake().await;
        let copy = stage.world.snapshots.0.borrow()[&format!("account:{id}")].0.clone();
        assert!(copy.contains("DISCONNECTED"), "{copy}");
    });
}
