//! The page of a magic link: who asks for what, and the form for what has to be typed in.

use super::mark::Mark;
use super::{About, PLAIN, page};
use crate::catalog::model::Field;
use crate::ports::Response;
use maud::{Markup, html};

/// What the consent page says.
pub struct Consent {
    /// Whose page it is.
    pub about: About,
    /// For what, in words.
    pub scopes: Vec<Ability>,
    /// Whether it is asked to go on while the person is away.
    pub lasting: bool,
    /// Where its button leads.
    pub action: String,
    /// What is asked for.
    pub fields: Vec<Input>,
    /// The credential that is typed in; none when the person goes to the provider.
    pub typed_in: Option<TypedIn>,
    /// Why what was typed in before did not do.
    pub wrong: Option<Wrong>,
}

/// What agents will be able to do.
pub enum Ability {
    /// In words.
    Words(&'static str),
    /// By a name that only the provider explains.
    Named(String),
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

/// Why a credential did not do.
pub enum Wrong {
    /// The provider refused it, and said this.
    Refused(String),
    /// It cannot be used at all.
    Unusable(String),
}

/// A field of the form.
pub struct Input {
    /// What it is.
    pub field: &'static Field,
    /// What stands in it.
    pub value: String,
    /// What is wrong with that.
    pub problem: Option<String>,
    /// What stands before and after it in the address it is a part of.
    pub host: Option<(&'static str, &'static str)>,
}

/// Who asks for what.
pub fn consent(consent: &Consent) -> Response {
    let Consent { about, fields, typed_in, wrong, .. } = consent;
    let (operator, provider) = (about.operator(), about.provider());
    let has_problems = wrong.is_some() || fields.iter().any(|field| field.problem.is_some());
    let title = format!("Connect {provider}");
    page(
        if has_problems { 400 } else { 200 },
        &title,
        &PLAIN,
        about,
        &html! {
            @if has_problems { (notice(consent)) }
            p { strong { (operator) } " asks to act for you in " strong { (provider) } ". " (lead(consent)) }
            @if !consent.scopes.is_empty() {
                ul class="abilities" {
                    @for ability in &consent.scopes {
                        li { @match ability { Ability::Words(words) => (words), Ability::Named(name) => { "More, named " code { (name) } } } }
                    }
                }
            }
            @if consent.lasting { p class="small soft" { "It stays connected until you end it, also while you are away." } }
            form method="post" action=(consent.action) {
                @let shown_at_field = typed_in.as_ref().and_then(|typed_in| fields.iter().find(|field| field.field.title == typed_in.title));
                @if let (Some(typed_in), None) = (typed_in, shown_at_field) {
                    p { strong { (typed_in.title) } ". " (typed_in.help) }
                }
                @let first = fields.iter().position(|field| field.problem.is_some());
                @for (number, field) in fields.iter().enumerate() {
                    @let help = typed_in.as_ref().filter(|typed_in| typed_in.title == field.field.title).map(|typed_in| typed_in.help);
                    (input(field, help, first == Some(number)))
                }
                button type="submit" { @if typed_in.is_some() { "Connect " (provider) } @else { "Continue to " (provider) } }
                p class="small soft" {
                    @match typed_in {
                        Some(typed_in) => {
                            "It is tried at once and kept encrypted. "
                            @if typed_in.signs { "The key itself signs, and is sent to nobody. " } @else { "It is sent to " (provider) " alone. " }
                        }
                        None => { "You sign in on the next page, which is not ours: your password is not seen here. " }
                    }
                    "Not expected? Close this page, and nothing happens."
                }
            }
        },
    )
}

fn lead(consent: &Consent) -> &'static str {
    match (consent.scopes.is_empty(), consent.lasting, &consent.typed_in) {
        (false, ..) => "Its agents will be able to:",
        (true, _, Some(_)) => "Its agents will be able to do there what this credential allows.",
        (true, true, None) => "Its agents will be able to do there what you may do.",
        (true, false, None) => "The permissions are chosen on the next page.",
    }
}

/// What did not do, above everything else, with a way to each field that has to be changed.
fn notice(consent: &Consent) -> Markup {
    let provider = consent.about.provider();
    let titles: Vec<_> = consent.fields.iter().map(|field| field.field.title).collect();
    let wrong: Vec<_> = consent.fields.iter().filter(|field| field.problem.is_some()).collect();
    html! {
        div class="notice" role="alert" {
            h2 {
                (Mark::Failed.drawn(18))
                span {
                    @match (&consent.wrong, wrong.len()) {
                        (Some(Wrong::Refused(_)), _) => { (provider) " did not accept this" }
                        (Some(Wrong::Unusable(_)), _) => "This cannot be used",
                        (None, 1) => "One field needs another look",
                        (None, many) => { (many) " fields need another look" }
                    }
                }
            }
            @match &consent.wrong {
                Some(Wrong::Refused(said)) => {
                    p { "Nothing is connected yet. " (check(&titles)) }
                    @if !said.is_empty() { p class="small" { (provider) " said:" } blockquote class="small" { (said) } }
                }
                Some(Wrong::Unusable(words)) => p { (words) },
                None => ul { @for field in &wrong { li { a href=(format!("#field-{}", field.field.name)) { (field.field.title) } } } },
            }
        }
    }
}

/// What to look at, of what was typed in.
fn check(titles: &[&str]) -> String {
    match titles {
        [] => "Check that what you gave is complete and still valid.".to_owned(),
        [one] => format!("Check that {one} is complete and still valid."),
        [rest @ .., last] => {
            format!("Check that {} and {last} are complete, belong together and are still valid.", rest.join(", "))
        }
    }
}

/// A field with its help and, between the two, what is wrong with what stands in it.
fn input(Input { field, value, problem, host }: &Input, help: Option<&str>, focused: bool) -> Markup {
    let (id, help_id, wrong_id) =
        (format!("field-{}", field.name), format!("help-{}", field.name), format!("wrong-{}", field.name));
    let described = if problem.is_some() { format!("{wrong_id} {help_id}") } else { help_id.clone() };
    let kind = if field.secret { "password" } else { "text" };
    let example = if field.secret { "" } else { field.example };
    html! {
        div class="field" {
            label for=(id) { (field.title) @if !field.required { span class="soft" { " (optional)" } } }
            p class="small soft" id=(help_id) { @if let Some(help) = help { (help) " " } (field.help) }
            @if let Some(problem) = problem { p class="small wrong" id=(wrong_id) { (Mark::Failed.drawn(16)) span { (problem) } } }
            @if field.multiline {
                textarea id=(id) name=(field.name) rows="6" spellcheck="false" autocomplete="off" aria-describedby=(described)
                    aria-invalid[problem.is_some()] autofocus[focused] required[field.required] { (value) }
            } @else {
                div class="box" {
                    @if let Some((before, _)) = host { @if !before.is_empty() { span class="soft" aria-hidden="true" { (before) } } }
                    input id=(id) name=(field.name) type=(kind) value=(value) placeholder=(example) spellcheck="false"
                        autocapitalize="none" autocomplete="off" aria-describedby=(described) aria-invalid[problem.is_some()]
                        autofocus[focused] required[field.required];
                    @if let Some((_, after)) = host { @if !after.is_empty() { span class="soft" aria-hidden="true" { (after) } } }
                }
            }
        }
    }
}
