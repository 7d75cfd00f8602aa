//! The pages a person sees. No script, no outside resource, nothing a provider said unless escaped.

use crate::catalog;
use crate::code::Code;
use crate::error::Error;
use crate::ports::Response;
use maud::{DOCTYPE, Markup, html};

const STYLE: &str = "
:root{color-scheme:light dark;--ink:#1c2330;--soft:#5b6577;--line:#d9dee7;--paper:#fff;--back:#f4f6f9;--accent:#1f5fd6;--good:#1c7a42;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--ink:#e8ebf1;--soft:#a3adbe;--line:#343c4a;--paper:#1b212b;--back:#12161d;--accent:#7aa7ff;--good:#7fd6a0;--bad:#ff9d94}}
*{box-sizing:border-box}body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.5rem;background:var(--back);color:var(--ink);font:1rem/1.5 system-ui,sans-serif}
main{width:100%;max-width:30rem;background:var(--paper);border:1px solid var(--line);border-radius:.75rem;padding:2rem}
h1{font-size:1.35rem;line-height:1.3;margin:0 0 .75rem}p{margin:.5rem 0}ul{padding-left:1.2rem;margin:.75rem 0}li{margin:.3rem 0}
.soft{color:var(--soft);font-size:.9rem}.good{color:var(--good)}.bad{color:var(--bad)}
label{display:block;margin-top:1rem;font-weight:600}label .soft{font-weight:400}label.option{display:flex;gap:.6rem;align-items:baseline;font-weight:400}
input:not([type=radio]),textarea{width:100%;margin-top:.25rem;padding:.6rem .7rem;border:1px solid var(--line);border-radius:.5rem;background:var(--back);color:var(--ink);font:inherit}textarea{font-family:ui-monospace,monospace;font-size:.85rem}
button{width:100%;margin-top:1.25rem;padding:.75rem 1rem;border:0;border-radius:.5rem;background:var(--accent);color:var(--paper);font:inherit;font-weight:600;cursor:pointer}
button:focus-visible{outline:3px solid var(--ink);outline-offset:2px}code{font-size:.9em}main{overflow-wrap:anywhere}@media(max-width:30rem){body{padding:.75rem}main{padding:1.25rem}}";

/// What the consent page says.
pub struct Consent {
    /// Who asks; none means the operator gave no name.
    pub operator: Option<String>,
    /// For which provider.
    pub provider: String,
    /// For what, in words.
    pub scopes: Vec<String>,
    /// Where its button leads.
    pub action: String,
    /// What is asked for.
    pub fields: Vec<Input>,
    /// The credential that is typed in; none when the person goes to the provider.
    pub typed_in: Option<TypedIn>,
    /// Why what was typed in before did not do.
    pub error: Option<String>,
}

/// A credential that is typed in.
pub struct TypedIn {
    /// What it is called.
    pub title: &'static str,
    /// Where it is found.
    pub help: &'static str,
    /// Whether it only signs, and is not sent itself.
    pub signs: bool,
}

/// A field of the form.
pub struct Input {
    /// What it is.
    pub field: &'static catalog::model::Field,
    /// What stands in it.
    pub value: String,
    /// What is wrong with that.
    pub problem: Option<String>,
}

fn page(status: u16, title: &str, content: &Markup) -> Response {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="robots" content="noindex";
                title { (title) }
                style { (maud::PreEscaped(STYLE)) }
            }
            body { main { h1 { (title) } (content) } }
        }
    };
    // The form's target is ourselves; where that redirects to is the provider, which browsers count as form-action too.
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'";
    Response::new(status, "text/html; charset=utf-8", markup.into_string())
        .with_header("content-security-policy", policy)
        .with_header("x-frame-options", "DENY")
}

/// Who asks for what.
pub fn consent(consent: &Consent) -> Response {
    let operator = consent.operator.as_deref().unwrap_or("An application");
    page(
        200,
        &format!("Connect {}", consent.provider),
        &html! {
            p {
                strong { (operator) } " asks to act for you in " strong { (consent.provider) } ". "
                @if consent.scopes.is_empty() && consent.typed_in.is_some() {
                    "Its agents will be able to do there what this credential allows."
                } @else {
                    "Its agents will be able to:"
                }
            }
            @if !consent.scopes.is_empty() {
                ul { @for scope in &consent.scopes { li { (scope) } } }
            } @else if consent.typed_in.is_none() {
                p class="soft" { "The permissions are chosen on the next page." }
            }
            @if let Some(error) = &consent.error {
                p class="bad" role="alert" { strong { "That did not work. " } (error) }
            }
            form method="post" action=(consent.action) {
                @if let Some(typed_in) = &consent.typed_in {
                    p { strong { (typed_in.title) } ". " (typed_in.help) }
                }
                @for field in &consent.fields { (input(field)) }
                @if let Some(typed_in) = &consent.typed_in {
                    p class="soft" {
                        "It is tried at once and kept encrypted. "
                        @if typed_in.signs { "The key itself signs, and is sent to nobody. " } @else { "It is sent to " (consent.provider) " alone. " }
                        "Not expected? Close this page, and nothing happens."
                    }
                    button type="submit" { "Connect " (consent.provider) }
                } @else {
                    p class="soft" { "You sign in on the next page, which is not ours: your password is not seen here. Not expected? Close this page, and nothing happens." }
                    button type="submit" { "Continue to " (consent.provider) }
                }
            }
        },
    )
}

fn input(Input { field, value, problem }: &Input) -> Markup {
    let (id, help) = (format!("field-{}", field.name), format!("help-{}", field.name));
    let kind = if field.secret { "password" } else { "text" };
    html! {
        label for=(id) { (field.title) @if !field.required { span class="soft" { " (optional)" } } }
        @if field.multiline {
            textarea id=(id) name=(field.name) rows="6" spellcheck="false" autocomplete="off" aria-describedby=(help) required[field.required] { (value) }
        } @else {
            input id=(id) name=(field.name) type=(kind) value=(value) placeholder=(field.example) spellcheck="false"
                autocapitalize="none" autocomplete="off" aria-describedby=(help) aria-invalid[problem.is_some()] required[field.required];
        }
        p class="soft" id=(help) { @if let Some(problem) = problem { strong class="bad" { (problem) } } @else { (field.help) } }
    }
}

/// Which of several.
pub fn choice(provider: &str, options: &[(String, String)], action: &str) -> Response {
    page(
        200,
        &format!("Which {provider}?"),
        &html! {
            p { "You may use several. Choose the one to connect; another can be connected later with another link." }
            form method="post" action=(action) {
                @for (number, (label, detail)) in options.iter().enumerate() {
                    label class="option" {
                        input type="radio" name="option" value=(number) required checked[number == 0];
                        span { (label) @if !detail.is_empty() { span class="soft" { " " (detail) } } }
                    }
                }
                button type="submit" { "Connect" }
            }
        },
    )
}

/// It worked.
pub fn connected(provider: &str, label: Option<&str>) -> Response {
    page(
        200,
        &format!("{provider} is connected"),
        &html! {
            @if let Some(label) = label { p class="good" { "Account: " strong { (label) } } }
            p { "You can close this window." }
        },
    )
}

/// It did not, and what to do.
pub fn failure(error: &Error) -> Response {
    let reason = error.details.status_reason.as_deref().unwrap_or(match error.code {
        Code::Internal => "internal",
        Code::ConnectionNotFound => "connection_gone",
        _ => "failed",
    });
    let (title, advice) = words(reason);
    let status = match error.code {
        Code::ConnectionMisconfigured | Code::Internal => 500,
        Code::ProviderUnavailable | Code::ProviderTimeout => 502,
        Code::InvalidRequest if matches!(reason, "link_expired" | "link_ended" | "state_expired") => 410,
        Code::Conflict => 409,
        _ => 400,
    };
    page(
        status,
        title,
        &html! {
            p { (advice) }
            p class="soft" { "Details: " (error.message) }
            p class="soft" { "Reason: " code { (reason) } }
        },
    )
}

/// Title and advice for a reason. `tests` below renders one page for each.
fn words(reason: &str) -> (&'static str, &'static str) {
    const AGAIN: &str = "Open the link you were given once more to start over, or ask for a new one.";
    const OPERATOR: &str = "This has to be fixed by the people who sent you the link. The reason below helps them.";
    match reason {
        "link_unknown" => {
            ("This link does not work", "Copy the whole link into the address bar, or ask for a new one.")
        }
        "link_expired" => ("This link has expired", "Links work for 15 minutes. Ask for a new one."),
        "link_ended" => (
            "This link has ended",
            "If the account was connected meanwhile you can close this window; if not, ask for a new link.",
        ),
        "other_account" => (
            "This is another account",
            "Sign out at the provider, sign in there with the account you used before, and open the link again. To change to another account on purpose, ask for a link that allows it.",
        ),
        "no_cookie" => ("A cookie is missing", "Allow cookies for this site, then open the link again."),
        "state_invalid" => ("This page cannot be used", AGAIN),
        "state_expired" => ("This took too long", AGAIN),
        "state_used" => {
            ("Already done", "If it worked the first time you can close this window; if not, ask for a new link.")
        }
        "other_site" => ("This form came from another site", AGAIN),
        "state_of_another_connection" => ("This sign-in belongs to another connection", AGAIN),
        "other_browser" => {
            ("This is another browser", "Start and finish in the same browser, without private windows in between.")
        }
        "consent_denied" => {
            ("Access was not granted", "Nothing was connected. If that was a mistake, open the link again.")
        }
        "authorization_failed" => ("The provider refused", AGAIN),
        "issuer_mismatch" => (
            "This sign-in came from elsewhere",
            "Do not try again from the page that sent you here. Ask for a new link and tell who sent it.",
        ),
        "code_refused" => ("The confirmation was not valid", AGAIN),
        "client_rejected" => ("The application is not set up correctly", OPERATOR),
        "redirect_uri_mismatch" => ("The application's address is not registered", OPERATOR),
        "provider_unreachable" => ("The provider does not answer", "Wait a minute, then open the link again."),
        "identity_lookup_failed" => (
            "The account could not be read",
            "Wait a minute, then open the link again. If it stays so, tell the people who sent you the link.",
        ),
        "admin_consent_required" => (
            "An administrator has to approve this",
            "Your organisation lets only administrators approve applications. Ask yours to approve it, then open the link again.",
        ),
        "credential_refused" => ("The provider refused this credential", AGAIN),
        "choice_missing" => ("Nothing was chosen", "Go back, choose one of the list, and go on."),
        "connection_gone" => ("This connection was removed", OPERATOR),
        _ => ("Something went wrong", "Wait a minute, then open the link again."),
    }
}

/// To another address, as a GET.
pub fn redirect(url: &str) -> Response {
    Response::new(303, "text/plain; charset=utf-8", "").with_header("location", url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::flow_error;

    fn text(response: &Response) -> String {
        String::from_utf8(response.body.bytes().to_vec()).unwrap()
    }

    #[test]
    fn what_others_wrote_is_escaped() {
        let response = consent(&Consent {
            operator: Some("<script>alert(1)</script>".into()),
            provider: "Gmail".into(),
            scopes: vec!["a<b".into()],
            action: "/connect/x\"y".into(),
            fields: Vec::new(),
            typed_in: None,
            error: Some("<b>no</b>".into()),
        });
        let page = text(&response);
        assert!(
            !page.contains("<script>")
                && page.contains("a&lt;b")
                && page.contains("&lt;b&gt;no")
                && page.contains("x&quot;y")
        );
        assert!(response.header("content-security-policy").unwrap().contains("default-src 'none'"));
    }

    #[test]
    fn every_reason_has_a_page_of_its_own() {
        let mut titles = std::collections::BTreeSet::new();
        for reason in [
            "link_unknown",
            "link_expired",
            "link_ended",
            "other_account",
            "no_cookie",
            "state_invalid",
            "state_expired",
            "state_used",
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
            "admin_consent_required",
            "credential_refused",
            "choice_missing",
        ] {
            let page = text(&failure(&flow_error(reason, "It failed.")));
            assert!(page.contains(reason) && page.contains("It failed."));
            assert!(titles.insert(words(reason).0), "{reason} shares its title");
        }
    }
}
