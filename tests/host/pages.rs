//! What a person sees on the way through the pages: whose they are, what went wrong, and the way on.

use crate::connect::{call, path_of};
use crate::typed::{COOKIE, World, text};
use serde_json::json;

async fn jira(world: &World) -> String {
    let connection = json!({ "name": "jira", "connector": "jira", "client_id": "a-client", "client_secret": "client-secret",
        "operator": "Example Ltd." });
    world.post("/api/v1/connections", connection).await;
    world.link("jira", json!({})).await
}

/// The cookie as the page of a link sets it, and the `state` that the provider is sent.
async fn underway(world: &World, link: &str) -> (String, String) {
    let page = call(&world.world, "GET", link, &[("cookie", COOKIE)], None).await;
    let cookie = page.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let away = world.submit_as(&cookie, link, &[]).await;
    let authorize = url::Url::parse(away.header("location").unwrap()).unwrap();
    let state = authorize.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    (cookie, state)
}

async fn get(world: &World, path: &str, cookie: &str) -> (u16, String) {
    text(&call(&world.world, "GET", path, &[("cookie", cookie)], None).await)
}

#[test]
fn who_was_refused_at_the_provider_is_led_back_to_the_link() {
    pollster::block_on(async {
        let world = World::open().await;
        let link = jira(&world).await;
        let (cookie, state) = underway(&world, &link).await;
        let back = format!("/callback/jira?error=access_denied&state={state}");
        let (status, page) = get(&world, &back, &cookie).await;
        assert!(status == 400 && page.contains(&format!("class=\"button\" href=\"{link}\"")), "{page}");
        assert!(
            page.contains("You did not allow it") && page.contains("Example Ltd.") && page.contains("Jira"),
            "{page}"
        );
        assert!(world.get(&link).await.1.contains("Connect Jira"), "and the way back leads somewhere");
    });
}

#[test]
fn no_page_leads_to_a_link_of_another_account() {
    pollster::block_on(async {
        let world = World::open().await;
        let link = jira(&world).await;
        let (_, state) = underway(&world, &link).await;
        world.post("/api/v1/connections", json!({ "name": "z", "connector": "zendesk", "method": "key" })).await;
        let other = world.link("z", json!({})).await;
        let page = call(&world.world, "GET", &other, &[("cookie", COOKIE)], None).await;
        let cookie = page.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        assert!(!cookie.contains(other.trim_start_matches("/connect/")), "a cookie that is read is no link");
        let (_, page) = get(&world, &format!("/callback/jira?error=access_denied&state={state}"), &cookie).await;
        assert!(!page.contains("/connect/") && page.contains("open the link you were given"), "{page}");
        let forged = format!("{COOKIE}~{}", other.trim_start_matches("/connect/"));
        let (_, page) = get(&world, "/callback/jira?error=access_denied&state=nonsense", &forged).await;
        assert!(!page.contains("/connect/"), "{page}");
    });
}

#[test]
fn the_choice_can_be_left_and_a_missed_one_made_up_for() {
    pollster::block_on(async {
        let world = World::open().await;
        let link = jira(&world).await;
        let (cookie, state) = underway(&world, &link).await;
        let back = call(
            &world.world,
            "GET",
            &format!("/callback/jira?code=c&state={state}"),
            &[("cookie", cookie.as_str())],
            None,
        )
        .await;
        let choice = path_of(back.header("location").unwrap());
        let (_, page) = get(&world, &choice, &cookie).await;
        assert!(page.contains("<fieldset>") && page.contains("Example Ltd."), "{page}");
        assert!(page.contains(&format!("href=\"{link}\"")), "{page}");
        let (status, page) = text(&world.submit_as(&cookie, &choice, &[]).await);
        assert!(status == 400 && page.contains(&format!("href=\"{choice}\"")), "{page}");
        let (status, page) = text(&world.submit_as(&cookie, &choice, &[("option", "0")]).await);
        assert!(status == 200 && page.contains("Example Ltd.") && page.contains("Jira is connected"), "{page}");
    });
}

#[test]
fn a_provider_that_cannot_be_asked_has_refused_nothing() {
    pollster::block_on(async {
        let world = World::open().await;
        world.post("/api/v1/connections", json!({ "name": "f", "connector": "freshdesk", "method": "key" })).await;
        let link = world.link("f", json!({})).await;
        let typed = [("domain", "https://acme.freshdesk.com/a/"), ("api_key", "0123456789abcdef0123")];
        let (status, page) = text(&world.submit(&link, &typed).await);
        let sent = world.world.http.sent.borrow();
        assert_eq!(sent.last().map(|sent| sent.url.as_str()), Some("https://acme.freshdesk.com/api/v2/agents/me"));
        assert!(status >= 500 && page.contains("class=\"button\" href=\"/connect/"), "{page}");
        assert!(!page.contains("did not accept") && !page.contains("credential_refused"), "{page}");
    });
}

#[test]
fn the_bare_address_is_a_page_for_people_and_no_route_for_programs() {
    pollster::block_on(async {
        let world = World::open().await;
        let page = call(&world.world, "GET", "/", &[("accept", "text/html,*/*;q=0.8")], None).await;
        assert!(page.status == 200 && text(&page).1.contains("This is valetkey"));
        assert_eq!(call(&world.world, "GET", "/", &[("accept", "application/json")], None).await.status, 404);
        assert_eq!(call(&world.world, "POST", "/", &[], None).await.status, 404);
        let icon = call(&world.world, "GET", "/favicon.svg", &[], None).await;
        assert_eq!((icon.status, icon.header("content-type")), (200, Some("image/svg+xml")));
        let (status, page) = text(&call(&world.world, "GET", "/connect", &[], None).await);
        assert!(status == 400 && page.contains("This link is not complete"), "{page}");
    });
}

#[test]
fn going_on_while_away_is_no_ability_and_is_not_listed_as_one() {
    pollster::block_on(async {
        let world = World::open().await;
        for (name, fields) in [("snowflake", json!({ "account": "acme-prod" })), ("outlook", json!({}))] {
            let connection =
                json!({ "name": name, "connector": name, "client_id": "a-client", "client_secret": "client-secret" });
            world.post("/api/v1/connections", connection).await;
            let link = world.link(name, fields).await;
            let (status, page) = world.get(&link).await;
            assert!(status == 200 && page.contains("It stays connected until you end it"), "{page}");
            assert!(!page.contains("<li>Stay connected") && !page.contains("<li>Keep access"), "{page}");
        }
    });
}
