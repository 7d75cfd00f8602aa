//! What the pages say, and that their colours can be told apart.

use super::*;
use crate::account::flow_error;
use crate::catalog::{CONNECTORS, find_connector};
use crate::code::Code;
use crate::error::{Error, Origin};
use std::collections::{BTreeMap, BTreeSet};

fn text(response: &Response) -> String {
    String::from_utf8(response.body.bytes().to_vec()).unwrap()
}

fn about() -> About {
    About {
        operator: Some("Example Ltd.".into()),
        provider: Some("Freshdesk"),
        again: Some("/connect/ca_x".into()),
        at: Some("2027-01-15 08:00:00 UTC".into()),
    }
}

fn form(connector: &str, wrong: Option<Wrong>, problem: Option<&str>) -> String {
    let connector = find_connector(connector).unwrap();
    let key = connector.auth.key.as_ref().unwrap();
    let input = |field| Input { field, value: String::new(), problem: problem.map(str::to_owned), host: None };
    text(&consent(&Consent {
        about: About { provider: Some(connector.name), ..about() },
        scopes: Vec::new(),
        lasting: false,
        action: "/connect/x".into(),
        fields: connector.auth.fields.iter().map(input).collect(),
        typed_in: Some(TypedIn { title: key.title, help: key.help, signs: false }),
        wrong,
    }))
}

#[test]
fn what_others_wrote_is_escaped() {
    let response = consent(&Consent {
        about: About { operator: Some("<script>alert(1)</script>".into()), ..about() },
        scopes: vec![Ability::Named("a<b".into())],
        lasting: false,
        action: "/connect/x\"y".into(),
        fields: Vec::new(),
        typed_in: None,
        wrong: Some(Wrong::Refused("<b>no</b>".into())),
    });
    let page = text(&response);
    assert!(
        !page.contains("<script>")
            && page.contains("a&lt;b")
            && page.contains("&lt;b&gt;no")
            && page.contains("x&quot;y")
    );
    let policy = response.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
}

const REASONS: [&str; 25] = [
    "link_unknown",
    "link_expired",
    "link_ended",
    "no_cookie",
    "state_invalid",
    "state_expired",
    "state_used",
    "other_site",
    "state_of_another_connection",
    "other_browser",
    "consent_denied",
    "authorization_failed",
    "issuer_mismatch",
    "code_refused",
    "client_rejected",
    "redirect_uri_mismatch",
    "provider_unreachable",
    "identity_lookup_failed",
    "other_account",
    "admin_consent_required",
    "credential_refused",
    "fields_invalid",
    "choice_missing",
    "connection_gone",
    "internal",
];

#[test]
fn every_reason_has_a_page_of_its_own() {
    let mut titles = BTreeSet::new();
    for reason in REASONS {
        let page = text(&failure(&flow_error(reason, "It failed."), &about()));
        assert!(page.contains(reason), "{page}");
        assert!(titles.insert(failure::words(reason).title), "{reason} shares its title");
    }
}

#[test]
fn each_failure_shows_at_a_glance_that_it_is_one_and_leads_on() {
    for reason in REASONS {
        let error = flow_error(reason, "It failed.");
        let page = text(&failure(&error, &about()));
        assert!(page.contains("<main class=\"bad\">") || page.contains("<main class=\"user\">"), "{reason}: {page}");
        assert!(page.contains("class=\"mark\""), "{reason}");
        let leads_on = page.contains("<a class=\"button\" href=\"/connect/ca_x\">");
        assert_eq!(leads_on, failure::words(reason).way == failure::Way::Again, "{reason}");
        let unknown = text(&failure(&error, &About::default()));
        let told =
            ["open the link", "ask for a new", "tell them"].iter().any(|way| unknown.to_lowercase().contains(way));
        assert!(told && !unknown.contains("class=\"button\""), "{reason}: {unknown}");
    }
    let fine = text(&connected(&about(), Some("jo@example.com")));
    assert!(fine.contains("<main class=\"ok\">") && fine.contains("class=\"mark\"") && fine.contains("Example Ltd."));
}

#[test]
fn machine_words_are_not_shown_and_the_providers_only_as_its_own() {
    let ours = "the account lacks what `https://api.atlassian.com/ex/jira/{account.cloud_id}/myself` needs";
    for code in [Code::Internal, Code::ProviderUnavailable, Code::InvalidRequest] {
        let error =
            Error::new(code, ours).with(|details| details.status_reason = Some("identity_lookup_failed".into()));
        let page = text(&failure(&error, &about()));
        assert!(!page.contains("account.cloud_id") && !page.contains("https://api"), "{page}");
        let support = page.find("class=\"support").unwrap();
        assert!(page.find("identity_lookup_failed").unwrap() > support, "the reason is small print");
    }
    let denied = Error::new(Code::ProviderPermissionDenied, "Freshdesk answered: invalid_scope No <such> scope")
        .with(|details| details.status_reason = Some("authorization_failed".into()));
    let page = text(&failure(&denied, &about()));
    assert!(page.contains("What Freshdesk said") && page.contains("<blockquote>invalid_scope No &lt;such&gt; scope"));
    let ours = denied.with(|details| details.origin = Origin::Platform);
    assert!(!text(&failure(&ours, &about())).contains("invalid_scope"));
}

#[test]
fn whose_page_it_is_stands_on_every_page() {
    let options = [("one".to_owned(), "https://one.atlassian.net".to_owned())];
    let pages = [
        failure(&flow_error("internal", "x"), &about()),
        connected(&about(), None),
        choice(&about(), &options, "/choose/x"),
    ];
    for page in pages {
        let page = text(&page);
        assert!(
            page.contains("Example Ltd.") && page.contains("<svg") && page.contains("href=\"/favicon.svg\""),
            "{page}"
        );
    }
    assert!(form("freshdesk", None, None).contains(">EL<") && form("freshdesk", None, None).contains(">F<"));
    assert!(text(&home()).contains("This is valetkey"));
    assert!(icon().header("content-type") == Some("image/svg+xml") && text(&icon()).starts_with("<svg xmlns"));
}

#[test]
fn a_field_has_its_error_beside_it_and_help_is_said_once() {
    let page = form("freshdesk", None, Some("Freshdesk address does not look right."));
    assert!(page.contains("aria-invalid") && page.contains("aria-describedby=\"wrong-domain help-domain\""), "{page}");
    assert!(page.contains("id=\"wrong-domain\"") && page.contains("href=\"#field-domain\""));
    assert_eq!(page.matches("autofocus").count(), 1);
    let page = form("freshdesk", None, None);
    let (_, body) = page.split_once("<body>").unwrap();
    assert!(!body.contains("aria-invalid") && !page.contains("id=\"wrong-") && !page.contains("role=\"alert\""));
    let help = find_connector("freshdesk").unwrap().auth.key.as_ref().unwrap().help;
    assert_eq!(page.matches(help).count(), 1);
}

#[test]
fn a_refused_credential_is_told_in_our_words_and_the_vendors_are_quoted() {
    let said = "You have to be logged in to perform this action.";
    let page = form("freshdesk", Some(Wrong::Refused(said.into())), None);
    assert!(page.contains("Freshdesk did not accept this"), "{page}");
    assert!(page.contains("Freshdesk address and API key are complete"), "{page}");
    assert!(page.contains("Freshdesk said:") && page.contains(&format!(">{said}</blockquote>")), "{page}");
}

#[test]
fn a_choice_is_a_group_of_whole_rows_with_a_way_back() {
    let options = [("one".to_owned(), "https://one.atlassian.net".to_owned()), ("two".to_owned(), String::new())];
    let page = text(&choice(&about(), &options, "/choose/x"));
    assert!(page.contains("<fieldset>") && page.contains("<legend>"), "{page}");
    assert_eq!(page.matches("<label class=\"row\"><input").count(), 2);
    assert!(
        page.contains("<span class=\"name\">one</span><span class=\"soft small\">one.<wbr>atlassian.<wbr>net</span>")
    );
    assert!(page.contains("href=\"/connect/ca_x\""));
}

/// In all connectors, what is said of a credential and of its fields does not say the same twice.
#[test]
fn where_a_credential_is_found_is_said_once() {
    let runs = |text: &str| -> BTreeSet<String> {
        let words: Vec<_> = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
        words.windows(4).map(|run| run.join(" ").to_lowercase()).collect()
    };
    for connector in CONNECTORS {
        let auth = &connector.auth;
        let ways = auth.key.iter().map(|key| key.help).chain(auth.jwt.iter().map(|jwt| jwt.help));
        for (way, field) in ways.flat_map(|way| auth.fields.iter().map(move |field| (way, field))) {
            let twice: Vec<_> = runs(way).intersection(&runs(field.help)).cloned().collect();
            assert!(twice.is_empty(), "{} {}: {twice:?} stands in both", connector.id, field.name);
        }
        for (number, field) in auth.fields.iter().enumerate() {
            let like = |other: &&crate::catalog::model::Field| other.title.starts_with(field.title);
            let others = auth.fields.iter().skip(number + 1).filter(|other| {
                other.methods.is_empty() || field.methods.is_empty() || *other.methods == *field.methods
            });
            let alike: Vec<_> = others.filter(like).map(|other| other.title).collect();
            let wanted = field.title == "Access key" && connector.id == "gong";
            assert!(alike.is_empty() || wanted, "{}: {} and {alike:?} look alike", connector.id, field.title);
        }
    }
}

/// The value of each colour, by scheme.
fn colours() -> [BTreeMap<&'static str, [u8; 3]>; 2] {
    let (light, dark) = STYLE.split_once("prefers-color-scheme:dark").unwrap();
    let read = |part: &'static str| {
        let block = &part[..part.find('}').unwrap()];
        block.split("--").skip(1).filter_map(|entry| {
            let (name, value) = entry.split_once(":#")?;
            let byte = |at: usize| u8::from_str_radix(&value[at..at + 2], 16).unwrap();
            Some((name, [byte(0), byte(2), byte(4)]))
        })
    };
    [read(light).collect(), read(dark).collect()]
}

/// Contrast ratio (WCAG 2.2, "contrast ratio" and "relative luminance").
fn contrast(a: [u8; 3], b: [u8; 3]) -> f64 {
    let luminance = |colour: [u8; 3]| {
        let part = |value: u8| {
            let value = f64::from(value) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * part(colour[0]) + 0.7152 * part(colour[1]) + 0.0722 * part(colour[2])
    };
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

/// WCAG 2.2, 1.4.3 for text and 1.4.11 for the edges of fields, marks and the focus ring.
#[test]
fn colours_can_be_told_apart_in_both_schemes() {
    const TEXT: f64 = 4.5;
    const SHAPE: f64 = 3.0;
    let pairs = [
        ("ink", "panel", TEXT),
        ("ink", "inset", TEXT),
        ("ink", "bad-back", TEXT),
        ("soft", "panel", TEXT),
        ("soft", "page", TEXT),
        ("soft", "inset", TEXT),
        ("accent", "panel", TEXT),
        ("on-accent", "accent", TEXT),
        ("ok", "panel", TEXT),
        ("ok", "ok-back", TEXT),
        ("user", "panel", TEXT),
        ("user", "user-back", TEXT),
        ("bad", "panel", TEXT),
        ("bad", "bad-back", TEXT),
        ("control", "panel", SHAPE),
        ("bad", "panel", SHAPE),
        ("ok", "inset", SHAPE),
        ("focus", "panel", SHAPE),
        ("focus", "page", SHAPE),
        ("focus", "bad-back", SHAPE),
    ];
    for (scheme, colours) in ["light", "dark"].into_iter().zip(colours()) {
        assert_eq!(colours.len(), 16, "{scheme}");
        for (front, back, least) in pairs {
            let ratio = contrast(colours[front], colours[back]);
            assert!(ratio >= least, "{scheme}: {front} on {back} is {ratio:.2}, and has to be {least}");
        }
    }
    for (part, colour) in [
        ("input:not([type=radio]),textarea", "border:1px solid var(--control)"),
        (".row", "border:1px solid var(--control)"),
        ("input::placeholder,textarea::placeholder", "color:var(--soft)"),
        ("[aria-invalid]", "border:2px solid var(--bad)"),
    ] {
        let rule = STYLE.lines().find(|line| line.starts_with(&format!("{part}{{"))).unwrap();
        assert!(rule.contains(colour), "{rule}");
    }
    // One way to show where the keyboard is, for everything it can reach.
    let focus: Vec<_> = STYLE.lines().filter(|line| line.contains("focus") && line.contains("outline")).collect();
    assert!(
        focus.len() == 1
            && ["a", "button", "input", "textarea", "summary"]
                .iter()
                .all(|part| { focus[0].contains(&format!("{part}:focus-visible")) }),
        "{focus:?}"
    );
}
