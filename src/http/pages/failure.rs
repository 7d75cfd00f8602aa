//! It did not work: what happened, in words of the person's own, and what to do next.

use super::mark::Mark;
use super::{About, Look, page};
use crate::code::Code;
use crate::error::{Error, Origin};
use crate::ports::Response;
use maud::html;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tone {
    /// The person can put it right, or nothing is wrong.
    Hint,
    /// It failed.
    Failed,
}

/// Whether the person can go on from here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// The link, or the list, once more.
    Again,
    /// Not from here: another link is needed, or somebody else.
    Ends,
}

/// What a page of failure says.
pub(super) struct Words {
    tone: Tone,
    pub(super) title: &'static str,
    advice: &'static str,
    pub(super) way: Way,
}

/// It did not, and what to do.
pub fn failure(error: &Error, about: &About) -> Response {
    let reason = reason(error);
    let Words { tone, title, advice, way } = words(reason);
    let status = match error.code {
        Code::ConnectionMisconfigured | Code::Internal => 500,
        Code::ProviderUnavailable | Code::ProviderTimeout => 502,
        Code::InvalidRequest if matches!(reason, "link_expired" | "link_ended" | "state_expired") => 410,
        Code::Conflict => 409,
        _ => 400,
    };
    let (class, mark) = match tone {
        Tone::Hint => ("user", Mark::Hint),
        Tone::Failed => ("bad", Mark::Failed),
    };
    let again = about.again.as_deref().filter(|_| way == Way::Again);
    page(
        status,
        title,
        &Look { class, mark: Some(mark) },
        about,
        &html! {
            p { (advice) }
            @match (again, way) {
                (Some(again), _) => a class="button" href=(again) { @if reason == "choice_missing" { "Back to the list" } @else { "Try again" } },
                (None, Way::Again) => p { "To try again, open the link you were given once more, or ask for a new one." },
                (None, Way::Ends) => {}
            }
            @if let Some(said) = said(error, reason, about) {
                details class="small" { summary { "What " (about.provider()) " said" } blockquote { (said) } }
            }
            p class="support small soft" {
                span { "For the people who sent you the link" }
                span { code { (reason) } @if let Some(provider) = about.provider { ", " (provider) } }
                @if let Some(at) = &about.at { span { (at) } }
            }
        },
    )
}

fn reason(error: &Error) -> &str {
    error.details.status_reason.as_deref().unwrap_or(match error.code {
        Code::Internal => "internal",
        Code::ConnectionNotFound => "connection_gone",
        Code::ResourceNotFound => "link_unknown",
        _ => "failed",
    })
}

/// The provider's own sentence, where there is one and it can help: never one of ours, which speaks to developers.
fn said(error: &Error, reason: &str, about: &About) -> Option<String> {
    const TOLD: [&str; 5] = [
        "authorization_failed",
        "admin_consent_required",
        "client_rejected",
        "redirect_uri_mismatch",
        "credential_refused",
    ];
    let of_provider = error.details.origin == Origin::Provider && TOLD.contains(&reason);
    of_provider.then(|| quoted(error, about.provider?))?
}

/// What a provider is quoted with in a message of ours.
pub fn quoted(error: &Error, provider: &str) -> Option<String> {
    let rest = error.message.strip_prefix(provider)?;
    let said = rest.strip_prefix(": ").or_else(|| rest.strip_prefix(" answered: "))?;
    Some(said.chars().take(300).collect::<String>().trim().to_owned()).filter(|said| !said.is_empty())
}

/// What is said for a reason. `tests` renders one page for each.
pub(super) fn words(reason: &str) -> Words {
    match reason {
        "link_unknown" => failed(
            "This link is not complete",
            "A piece of it is missing, or it is not one of ours. Copy the whole link into the address bar, or ask for a new one.",
            Way::Ends,
        ),
        "link_expired" => {
            hint("This link has expired", "A link works for 15 minutes. Ask for a new one where you got it.", Way::Ends)
        }
        "link_ended" => hint(
            "This link has ended",
            "If the account was connected meanwhile, you are done and can close this window. If not, ask for a new link.",
            Way::Ends,
        ),
        "no_cookie" => hint(
            "A cookie is missing",
            "It keeps others from finishing what you began. Allow cookies for this site, then try again.",
            Way::Again,
        ),
        "state_invalid" => {
            failed("This page cannot be used", "It does not belong to anything that was begun here.", Way::Again)
        }
        "state_expired" => {
            hint("This took too long", "You have ten minutes at the provider. Nothing was connected.", Way::Again)
        }
        "state_used" => hint(
            "This was answered already",
            "If it worked the first time, you are done and can close this window. If not, try again.",
            Way::Again,
        ),
        "other_site" => failed(
            "This form came from another site",
            "Only a page of ours may send it, so nothing was done with it.",
            Way::Again,
        ),
        "state_of_another_connection" => failed(
            "This sign-in was meant for something else",
            "It belongs to another connection than the one it came back to. Nothing was connected.",
            Way::Again,
        ),
        "other_browser" => hint(
            "This is another browser",
            "Start and finish in the same browser, without private windows in between.",
            Way::Again,
        ),
        "fields_invalid" => failed(
            "Something is missing",
            "A field is empty or does not look right. Nothing was connected.",
            Way::Again,
        ),
        "choice_missing" => hint("Nothing was chosen", "Choose one of the list, then go on.", Way::Again),
        _ => of_provider(reason),
    }
}

/// The same, for what came of it at the provider or in what was set up there.
fn of_provider(reason: &str) -> Words {
    const OPERATOR: &str = "Nothing you did is wrong, and nothing was connected. The people who sent you the link have to mend this: tell them what stands below.";
    match reason {
        "consent_denied" => hint(
            "You did not allow it",
            "Nothing was connected. If that is what you wanted, you can close this window.",
            Way::Again,
        ),
        "authorization_failed" => failed(
            "The provider refused",
            "It did not say that you may be connected. Nothing was connected.",
            Way::Again,
        ),
        "issuer_mismatch" => failed(
            "This sign-in came from elsewhere",
            "Another service than the one you were sent to answered. Do not try again from the page that sent you here: ask for a new link, and tell who sent it.",
            Way::Ends,
        ),
        "code_refused" => {
            failed("The sign-in did not come through", "The provider did not take its own confirmation.", Way::Again)
        }
        "client_rejected" => failed("The application is not set up correctly", OPERATOR, Way::Ends),
        "redirect_uri_mismatch" => failed("The application's address is not registered", OPERATOR, Way::Ends),
        "provider_unreachable" => failed(
            "The provider does not answer",
            "It is down, or busy. Nothing was connected. Wait a minute, then try again.",
            Way::Again,
        ),
        "identity_lookup_failed" => failed(
            "Your account could not be read",
            "Nothing was connected: the provider did not tell which account this is. Wait a minute, then try again. If it stays so, tell the people who sent you the link.",
            Way::Again,
        ),
        "other_account" => hint(
            "This is another account",
            "It is not the one that was connected before. Sign out at the provider, then try again and sign in there with that one. To change to another account on purpose, ask for a new link that allows it.",
            Way::Again,
        ),
        "admin_consent_required" => hint(
            "An administrator has to approve this",
            "Your organisation lets only administrators approve applications. Ask yours to approve this one, then try again.",
            Way::Again,
        ),
        "credential_refused" => failed(
            "The provider did not accept this",
            "What was typed in is not complete, or does not hold good any more. Nothing was connected.",
            Way::Again,
        ),
        "connection_gone" => failed("This connection was removed", OPERATOR, Way::Ends),
        _ => failed(
            "Something went wrong",
            "It is not your doing, and nothing was connected. Wait a minute, then try again.",
            Way::Again,
        ),
    }
}

fn hint(title: &'static str, advice: &'static str, way: Way) -> Words {
    Words { tone: Tone::Hint, title, advice, way }
}

fn failed(title: &'static str, advice: &'static str, way: Way) -> Words {
    Words { tone: Tone::Failed, title, advice, way }
}
