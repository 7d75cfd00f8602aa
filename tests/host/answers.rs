//! What a provider's answer is taken for: readable or not, moved, repeated, doubted; and what of it is shown.

use crate::support::{Deployment, NOW, connected, deployment};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use valetkey::access::{Named, find};
use valetkey::account::AccountId;
use valetkey::app::App;
use valetkey::catalog;
use valetkey::code::Code;
use valetkey::error::{Error, Origin};
use valetkey::ports::{Body, Millis, Response, Unanswered};
use valetkey::scrub::Scrub;
use valetkey::secret::Secret;
use valetkey::tool::execute::{self, Effects};
use valetkey::tool::reading::{MOST_VALUES, Reading};
use valetkey::tool::response::{self, Outcome};
use valetkey::{connection, digest};

const TOKEN: &str = "the/access+token=0123";
const OPERATORS: &str = "developer-token-0123456789";

type Answer = Result<Response, Unanswered>;

fn reply(status: u16, body: &Value) -> Response {
    Response::new(status, "application/json", body.to_string())
}

/// A deployment with an active account of a connector whose token was had a while ago, and these answers of its provider.
async fn world(connector: &str, variables: &[(&str, &str)], answers: Vec<Answer>) -> Deployment {
    let answers = RefCell::new(VecDeque::from(answers));
    let world = deployment(move |_| answers.borrow_mut().pop_front().unwrap_or(Err(Unanswered::TimedOut)));
    connect(&world, connector, variables, NOW - 3_600_000).await;
    world
}

async fn connect(world: &Deployment, connector: &str, variables: &[(&str, &str)], obtained_at: Millis) -> AccountId {
    let app = &world.app;
    let mut connection = connection::fresh(connector, connector, &app.keys, &*app.clock, &*app.random);
    connection.client_id = "client".into();
    connection.set_client_secret(&Secret::new("client-secret-0123"), &app.keys, &*app.random);
    connection.set_fields(BTreeMap::from([("developer_token".into(), OPERATORS.into())]), &app.keys, &*app.random);
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    connected(world, &connection, &variables, (TOKEN, Some("refresh-token-0123")), obtained_at).await
}

async fn call(app: &App, tool: &str, input: Value) -> Result<Outcome, Error> {
    let (connector, tool) = catalog::find_tool(tool).unwrap();
    let named = Named { identifier: Some("user".into()), ..Named::default() };
    let used = find(app, &named, Some(connector.id), &|_| true).await.unwrap();
    execute::execute(app, tool, &used, input, &Effects::default()).await
}

/// One call of a GitHub tool that is answered like this.
fn github(tool: &str, answers: Vec<Answer>) -> (Result<Outcome, Error>, Deployment) {
    pollster::block_on(async {
        let world = world("github", &[], answers).await;
        let input = match tool {
            "github_issue_create" => json!({ "owner": "o", "repo": "r", "title": "t" }),
            _ => json!({ "owner": "o", "repo": "r" }),
        };
        (call(&world.app, tool, input).await, world)
    })
}

fn sent(world: &Deployment) -> Vec<(String, String, usize)> {
    let sent = world.http.sent.borrow();
    let line =
        |request: &valetkey::ports::Request| (request.method.clone(), request.url.clone(), request.body.bytes().len());
    sent.iter().map(line).collect()
}

#[test]
fn a_success_that_cannot_be_read_is_no_success() {
    let page = "<html><h1>Your instance is hibernating</h1></html>";
    for (body, kind) in [(page, "text/html"), ("{\"id\": 1, \"na", "application/json"), ("OK", "text/plain")] {
        for (tool, retryable) in [("github_issues_list", None), ("github_issue_create", Some(false))] {
            let (outcome, world) = github(tool, vec![Ok(Response::new(200, kind, body))]);
            let error = outcome.unwrap_err();
            assert_eq!((error.code, error.details.origin), (Code::ProviderError, Origin::Provider), "{tool} {body}");
            assert_eq!(error.details.retryable, retryable, "{tool}: a write may have happened");
            assert_eq!(error.details.provider_response, Some(json!(body)), "what came is kept");
            assert_eq!(error.details.provider_status, Some(200));
            assert_eq!(sent(&world).len(), 1);
        }
    }
    let fine =
        |body: &str| github("github_repo_get", vec![Ok(Response::new(200, "application/json", body))]).0.unwrap();
    assert_eq!(fine("").value(), json!({}), "an empty body says that there is nothing");
    assert_eq!(fine("\u{feff}{\"id\":1}").value(), json!({ "id": 1 }), "a byte-order mark is none of the text");
}

#[test]
fn a_failure_that_says_so_with_200_is_seen_behind_a_mark() {
    pollster::block_on(async {
        let body = "\u{feff}{\"ok\":false,\"error\":\"channel_not_found\"}";
        let world = world("slack", &[], vec![Ok(Response::new(200, "application/json", body))]).await;
        let error = call(&world.app, "slack_send_message", json!({ "channel": "C1", "text": "x" })).await.unwrap_err();
        assert_eq!(error.details.provider_code.as_deref(), Some("channel_not_found"));
    });
}

#[test]
fn content_that_is_no_base64_is_not_an_empty_file() {
    let get = |data: &Value| {
        let answer = reply(200, &json!({ "data": data, "size": 3 }));
        pollster::block_on(async {
            let world = world("gmail", &[], vec![Ok(answer)]).await;
            let input = json!({ "message_id": "m", "attachment_id": "a" });
            call(&world.app, "gmail_get_attachment_by_id", input).await
        })
    };
    assert_eq!(get(&json!("aGk_")).unwrap().value()["content_base64"], "aGk/");
    for wrong in [json!("a*b"), json!("a"), json!(7), json!(["aGk_"])] {
        assert_eq!(get(&wrong).unwrap_err().code, Code::ProviderError, "{wrong}");
    }
    assert_eq!(get(&Value::Null).unwrap().value()["size_bytes"], 0, "JSON leaves empty content out");
}

#[test]
fn an_answer_of_very_many_values_is_refused_and_says_what_to_do() {
    let most = MOST_VALUES as usize;
    let body = format!("[{}{{}}]", "0,".repeat(most));
    let error = github("github_repo_get", vec![Ok(Response::new(200, "application/json", body))]).0.unwrap_err();
    assert_eq!((error.code, error.details.retryable), (Code::ProviderError, Some(false)));
    assert!(error.message.contains("250000 values") && error.message.contains("/proxy"), "{}", error.message);
    // The same as a file is handed on as it is.
    pollster::block_on(async {
        let body = format!("[{}0]", "0,".repeat(most));
        let world = world("googledrive", &[], vec![Ok(Response::new(200, "application/json", body.clone()))]).await;
        let outcome = call(&world.app, "googledrive_download_file", json!({ "file_id": "f" })).await.unwrap();
        assert_eq!(outcome.content.as_ref().map(Vec::len), Some(body.len()));
        let (answer, _) = written(outcome);
        assert_eq!(answer["data"]["content_base64"], json!(digest::base64(body.as_bytes())));
        assert_eq!(answer["data"]["size_bytes"], json!(body.len()));
        assert_eq!(answer["execution_id"], "exec_1");
    });
}

/// The answer to the caller, and whether it was made in pieces.
fn written(outcome: Outcome) -> (Value, bool) {
    let body = outcome.into_body("exec_1");
    let in_pieces = matches!(body, Body::Pieces(_));
    (serde_json::from_slice(&body.into_bytes()).unwrap(), in_pieces)
}

#[test]
fn an_answer_is_written_out_as_what_it_is() {
    let outcome = Outcome { data: json!({ "a": "\"ü" }), content: None, next_cursor: Some("c\"".into()) };
    let answer = json!({ "data": { "a": "\"ü" }, "execution_id": "exec_1", "next_cursor": "c\"" });
    assert_eq!(written(outcome), (answer, false));
    // Lengths around the end of a piece, and of a triple.
    for length in [0, 1, 2, 3, 4, 196_606, 196_607, 196_608, 196_609, 196_610, 500_000] {
        let content: Vec<u8> = (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let outcome = Outcome { data: json!({ "size_bytes": length }), content: Some(content), next_cursor: None };
        let (whole, size) = (outcome.value(), outcome.size());
        let (answer, in_pieces) = written(outcome);
        assert_eq!(in_pieces, length > 196_608, "{length}");
        assert_eq!(answer, json!({ "data": whole, "execution_id": "exec_1" }), "{length}");
        assert!(size >= length * 4 / 3, "{length}: {size}");
    }
    let outcome = Outcome { data: json!({ "text": "ü\n".repeat(200_000) }), content: None, next_cursor: None };
    let whole = outcome.value();
    assert_eq!(written(outcome), (json!({ "data": whole, "execution_id": "exec_1" }), true));
}

/// Every spelling in which a server may repeat what it was sent.
fn spellings(secret: &str) -> Vec<String> {
    vec![
        secret.to_owned(),
        form_urlencoded::byte_serialize(secret.as_bytes()).collect(),
        digest::base64(secret.as_bytes()),
        digest::base64url(secret.as_bytes()),
        digest::base64(format!("client:{secret}").as_bytes()),
    ]
}

#[track_caller]
fn clean(text: &str, secret: &str) {
    for spelled in spellings(secret) {
        // Half a secret is one too.
        for part in [&spelled[4..], &spelled[..spelled.len() - 4]] {
            assert!(!text.contains(part), "{part} in {text}");
        }
    }
}

#[test]
fn what_a_provider_repeats_is_not_shown() {
    for secret in [TOKEN, OPERATORS] {
        let said = spellings(secret).join(" ");
        // Wherever the cut at 500 or 4,000 characters falls.
        for before in [0, 480, 490, 3_980, 3_990] {
            let said = format!("{}{said}", "x".repeat(before));
            let bodies =
                [json!({ "error": { "message": said, "status": said, "code": 400 } }).to_string(), said.clone()];
            for body in bodies {
                pollster::block_on(async {
                    let answer = Response::new(400, "application/json", body.clone());
                    let world = world("googleads", &[], vec![Ok(answer)]).await;
                    let input = json!({ "customer_id": "1234567890", "query": "SELECT campaign.id FROM campaign" });
                    let error = call(&world.app, "googleads_search", input).await.unwrap_err();
                    clean(&error.to_json().to_string(), secret);
                });
            }
        }
    }
}

#[test]
fn what_a_provider_repeats_in_a_success_is_not_handed_on() {
    let answer = reply(200, &json!({ "id": 1, "you_sent": format!("Bearer {TOKEN}"), "next": [{ "x": TOKEN }] }));
    let outcome = github("github_repo_get", vec![Ok(answer)]).0.unwrap();
    let (answer, _) = written(outcome);
    clean(&answer.to_string(), TOKEN);
    assert_eq!(answer["data"]["id"], 1);
    assert_eq!(answer["data"]["you_sent"], "Bearer ***");
}

#[test]
fn what_has_moved_on_the_same_host_is_followed_once_with_the_credential() {
    let moved = |status, to: &str| Ok(reply(status, &json!({ "message": "Moved" })).with_header("location", to));
    let place = "https://api.github.com/repositories/1/issues";
    for status in [301, 302, 307, 308] {
        let (outcome, world) =
            github("github_issues_list", vec![moved(status, place), Ok(reply(200, &json!([{ "id": 7 }])))]);
        assert_eq!(outcome.unwrap().data["items"][0]["id"], 7);
        let requests = world.http.sent.borrow();
        assert_eq!((requests.len(), requests[1].url.as_str()), (2, place));
        assert_eq!(requests[1].headers["authorization"], format!("Bearer {TOKEN}").as_str());
    }
    // A write goes with its method and body, where the status says that both are kept.
    let (outcome, world) = github("github_issue_create", vec![moved(307, place), Ok(reply(201, &json!({ "id": 8 })))]);
    assert_eq!(outcome.unwrap().data["id"], 8);
    let requests = sent(&world);
    assert_eq!(requests[1], ("POST".to_owned(), place.to_owned(), requests[0].2));
    // Else the error names the new place.
    let not_followed = [
        ("github_issue_create", 301, place),
        ("github_issue_create", 303, place),
        ("github_issues_list", 301, "https://evil.example/x"),
        ("github_issues_list", 301, "http://api.github.com/x"),
        ("github_issues_list", 301, "https://uploads.github.com/x"),
    ];
    for (tool, status, to) in not_followed {
        let (outcome, world) = github(tool, vec![moved(status, &format!("{to}?sig=1"))]);
        let error = outcome.unwrap_err();
        assert_eq!(sent(&world).len(), 1, "{tool} {status} {to}");
        assert_eq!(error.details.provider_status, Some(status));
        if status != 303 {
            assert!(error.message.contains(to) && !error.message.contains("sig="), "{}", error.message);
        }
    }
    // Once, and no oftener.
    let (outcome, world) = github("github_issues_list", vec![moved(301, place), moved(301, &format!("{place}2"))]);
    assert!(outcome.unwrap_err().message.contains("issues2"));
    assert_eq!(sent(&world).len(), 2);
}

#[test]
fn a_read_whose_connection_breaks_is_tried_once_more_and_a_write_is_not() {
    let (outcome, world) =
        github("github_repo_get", vec![Err(Unanswered::Unreachable), Ok(reply(200, &json!({ "id": 1 })))]);
    assert_eq!((outcome.unwrap().data["id"].as_u64(), sent(&world).len()), (Some(1), 2));
    let (outcome, world) =
        github("github_issue_create", vec![Err(Unanswered::Unreachable), Ok(reply(200, &json!({})))]);
    assert_eq!((outcome.unwrap_err().code, sent(&world).len()), (Code::ProviderUnavailable, 1));
}

#[test]
fn a_token_that_ended_early_is_renewed_where_the_connector_says_how_it_is_told() {
    const SITE: [(&str, &str); 2] = [
        ("cloud_id", "11111111-2222-3333-4444-555555555555"),
        ("api_url", "https://api.atlassian.com/ex/jira/11111111-2222-3333-4444-555555555555"),
    ];
    let missing = || Ok(reply(404, &json!({ "errorMessages": ["Issue does not exist"] })));
    let tokens = || {
        Ok(reply(
            200,
            &json!({ "access_token": "access-token-new", "refresh_token": "refresh-new", "expires_in": 3600 }),
        ))
    };
    let run = |obtained_at, answers: Vec<Answer>| {
        pollster::block_on(async {
            let answers = RefCell::new(VecDeque::from(answers));
            let world = deployment(move |_| answers.borrow_mut().pop_front().unwrap_or(Err(Unanswered::TimedOut)));
            connect(&world, "jira", &SITE, obtained_at).await;
            let outcome = call(&world.app, "jira_issue_get", json!({ "issueIdOrKey": "A-1" })).await;
            (outcome, world)
        })
    };
    // An old token: the account gets another, and the call is made again.
    let (outcome, world) = run(NOW - 600_000, vec![missing(), tokens(), Ok(reply(200, &json!({ "key": "A-1" })))]);
    assert_eq!(outcome.unwrap().data["key"], "A-1");
    assert_eq!(world.http.sent.borrow()[2].headers["authorization"], "Bearer access-token-new");
    // It really is missing: said so after one renewal, and not renewed for it again.
    let (outcome, world) = run(NOW - 600_000, vec![missing(), tokens(), missing(), missing()]);
    assert_eq!(outcome.unwrap_err().code, Code::ResourceNotFound);
    let again = pollster::block_on(call(&world.app, "jira_issue_get", json!({ "issueIdOrKey": "A-1" })));
    assert_eq!((again.unwrap_err().code, sent(&world).len()), (Code::ResourceNotFound, 4));
    // A new token is not doubted, and a renewal that fails leaves the answer as it is and the account alive.
    let (outcome, world) = run(NOW - 60_000, vec![missing()]);
    assert_eq!((outcome.unwrap_err().code, sent(&world).len()), (Code::ResourceNotFound, 1));
    let (outcome, world) = run(NOW - 600_000, vec![missing(), Ok(reply(503, &json!({}))), missing()]);
    assert_eq!((outcome.unwrap_err().code, sent(&world).len()), (Code::ResourceNotFound, 2));
}

#[test]
fn headers_that_tell_of_scopes_and_of_a_way_out_are_heard() {
    let missing = |needed: &str, granted: &str| {
        let answer = reply(404, &json!({ "message": "Not Found" }));
        Ok(answer.with_header("x-accepted-oauth-scopes", needed).with_header("x-oauth-scopes", granted))
    };
    let code = |answer| github("github_repo_get", vec![answer]).0.unwrap_err();
    let error = code(missing("repo", "gist, read:user"));
    assert_eq!(
        (error.code, error.details.required_scopes.as_slice()),
        (Code::InsufficientScope, ["repo".to_owned()].as_slice())
    );
    assert_eq!(code(missing("repo, public_repo", "public_repo")).code, Code::ResourceNotFound);
    assert_eq!(code(missing("", "gist")).code, Code::ResourceNotFound, "a route that needs no scope");
    assert_eq!(
        code(Ok(reply(404, &json!({})).with_header("x-accepted-oauth-scopes", "repo"))).code,
        Code::ResourceNotFound
    );
    let sso = "required; url=https://github.com/orgs/octo-org/sso?authorization_request=AB1";
    let answer = reply(403, &json!({ "message": "Resource protected by organization SAML enforcement." }));
    let error = code(Ok(answer.with_header("x-github-sso", sso)));
    let url = "https://github.com/orgs/octo-org/sso?authorization_request=AB1";
    assert_eq!(
        (error.code, error.to_json()["error"]["details"]["helpUrl"].as_str()),
        (Code::FeatureRestricted, Some(url))
    );
}

#[test]
fn an_address_that_the_provider_names_is_its_doing() {
    for url in ["https://evil.example/up", "not a url", "http://files.slack.com/up"] {
        pollster::block_on(async {
            let upload = reply(200, &json!({ "ok": true, "upload_url": url, "file_id": "F1" }));
            let world = world("slack", &[], vec![Ok(upload)]).await;
            let input = json!({ "filename": "a.txt", "length": 2, "content": "hi", "channel_id": "C1" });
            let error = call(&world.app, "slack_upload_file", input).await.unwrap_err();
            assert_eq!((error.code, error.details.origin), (Code::ProviderError, Origin::Provider), "{url}: {error}");
            assert_eq!(sent(&world).len(), 1);
        });
    }
}

#[test]
fn a_step_that_cannot_be_read_stops_the_call_before_its_request() {
    pollster::block_on(async {
        let world = world("slack", &[], vec![Ok(Response::new(200, "text/html", "<html>down</html>"))]).await;
        let input = json!({ "filename": "a.txt", "length": 2, "content": "hi", "channel_id": "C1" });
        let error = call(&world.app, "slack_upload_file", input).await.unwrap_err();
        assert_eq!((error.code, sent(&world).len()), (Code::ProviderError, 1));
    });
}

#[test]
fn each_request_that_was_not_foreseen_takes_a_permit() {
    let moved = || Ok(reply(301, &json!({})).with_header("location", "https://api.github.com/repositories/1"));
    let tokens = || Ok(reply(200, &json!({ "access_token": "access-token-new", "expires_in": 3600 })));
    let unexpected: [(&str, Vec<Answer>, usize); 3] = [
        (
            "a replay",
            vec![Ok(reply(401, &json!({ "message": "Bad credentials" }))), tokens(), Ok(reply(200, &json!({})))],
            2,
        ),
        ("a redirect", vec![moved(), Ok(reply(200, &json!({})))], 1),
        ("a broken connection", vec![Err(Unanswered::Unreachable), Ok(reply(200, &json!({})))], 1),
    ];
    for (what, answers, requests) in unexpected {
        pollster::block_on(async {
            let world = world("github", &[], answers).await;
            let app = &world.app;
            let mut connection = connection::load(&*app.config, &app.keys, "github").await.unwrap();
            connection.limits.insert("requests_per_hour".into(), 1);
            connection::save(&*app.config, &connection).await.unwrap();
            app.forget_connection("github");
            let error = call(app, "github_repo_get", json!({ "owner": "o", "repo": "r" })).await.unwrap_err();
            assert_eq!((error.code, error.details.origin), (Code::RateLimitExceeded, Origin::Platform), "{what}");
            assert_eq!(sent(&world).len(), requests, "{what}");
        });
    }
}

#[test]
fn a_reset_in_the_past_says_nothing_and_the_next_place_is_asked() {
    pollster::block_on(async {
        let past = (NOW / 1000 - 60).to_string();
        let limited = |headers: &[(&str, &str)]| {
            let answer = reply(429, &json!({ "message": "API rate limit exceeded" }));
            headers.iter().fold(answer, |answer, (name, value)| answer.with_header(name, value))
        };
        let reset = ("x-ratelimit-reset", past.as_str());
        for (connector, headers, wait) in [
            ("github", vec![reset, ("retry-after", "0")], 30),
            ("github", vec![reset, ("retry-after", "-5")], 30),
            ("github", vec![("retry-after", "0"), ("x-ratelimit-reset", "1800000090")], 90),
            // Its own place comes first, then the usual one, then the rule's wait.
            ("intercom", vec![reset, ("retry-after", "7")], 7),
            ("intercom", vec![reset], 10),
            ("intercom", vec![("x-ratelimit-reset", "1800000000")], 10),
            ("intercom", vec![("x-ratelimit-reset", "1800000001")], 1),
        ] {
            let response = limited(&headers);
            let connector = catalog::find_connector(connector).unwrap();
            let body = Reading::of_failure(response.body.bytes());
            let error = response::failure(connector, &response, &body, &Scrub::default, NOW).unwrap();
            assert_eq!(error.code, Code::RateLimitExceeded);
            assert_eq!(error.details.retry_after, Some(wait), "{} {headers:?}", connector.id);
        }
        // A wait of nothing would lift what was learnt before.
        let world = world("github", &[], vec![Ok(limited(&[reset]))]).await;
        let input = || json!({ "owner": "o", "repo": "r" });
        assert_eq!(call(&world.app, "github_repo_get", input()).await.unwrap_err().details.origin, Origin::Provider);
        let error = call(&world.app, "github_repo_get", input()).await.unwrap_err();
        assert_eq!((error.code, error.details.retry_after), (Code::RateLimitExceeded, Some(30)));
        assert_eq!(sent(&world).len(), 1, "the wait is kept");
    });
}

#[test]
fn a_401_that_cannot_be_read_is_a_doubt_where_words_tell_what_it_means() {
    pollster::block_on(async {
        let tokens = || Ok(reply(200, &json!({ "access_token": "access-token-new", "expires_in": 3600 })));
        let page = || Answer::Ok(Response::new(401, "text/html", "<html>Authorization Required</html>"));
        // A rule for every 401 is for those that no other rule can have known.
        let zoom = catalog::find_connector("zoom").unwrap();
        assert!(!response::ends_token(zoom, &page().unwrap(), NOW));
        assert!(response::ends_token(zoom, &reply(401, &json!({ "code": 124, "message": "Invalid token" })), NOW));
        // What is read in a header is read.
        let jira = catalog::find_connector("jira").unwrap();
        let failed = page().map(|page| page.with_header("x-seraph-loginreason", "AUTHENTICATED_FAILED"));
        assert!(
            response::ends_token(jira, &failed.unwrap(), NOW) && !response::ends_token(jira, &page().unwrap(), NOW)
        );
        // So are words that are known, though they are not what the answer says it is.
        let trello = catalog::find_connector("trello").unwrap();
        let plain = |words: &str| Response::new(401, "application/json", words.to_owned());
        assert!(response::ends_token(trello, &plain("invalid token"), NOW));
        assert!(!response::ends_token(trello, &plain("<html>Authorization Required</html>"), NOW));
        // The token is renewed once, and the account goes on.
        let world = world("airtable", &[], vec![page(), tokens(), page(), page()]).await;
        for requests in [3, 4] {
            let error = call(&world.app, "airtable_list_bases", json!({})).await.unwrap_err();
            assert_eq!(error.code, Code::ProviderError, "{error}");
            assert_eq!(sent(&world).len(), requests);
        }
    });
}
