//! Texts that lead from a browser back to one account: magic links, OAuth `state`, verification requests.
//!
//! `<account id>.<milliseconds, base 36>.<128 random bits>.<signature>`; a magic link says before its signature also the
//! account's epoch, base 36, and who is behind it. The signature lets the Worker refuse a made-up
//! ticket before any Durable Object is woken; whether a ticket was used already is the object's to know.

use crate::account::AccountId;
use crate::digest;
use crate::keys::Keys;
use crate::ports::{Millis, Random, random};

/// What a ticket is for. A ticket of one kind is nothing to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A magic link.
    Link,
    /// OAuth `state` (RFC 6749 section 10.12).
    State,
    /// A choice among several sites or workspaces.
    Choice,
    /// Verification of the user by the operator's backend.
    Verification,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::State => "state",
            Self::Choice => "choice",
            Self::Verification => "verification",
        }
    }

    /// Milliseconds a ticket lives.
    pub fn lifetime(self) -> Millis {
        match self {
            Self::Link => 15 * 60_000,
            Self::State | Self::Choice | Self::Verification => 10 * 60_000,
        }
    }
}

/// Who is behind a magic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkKind {
    /// The operator asked for it. What they asked for is kept by the account, and it is nothing without that.
    Operators,
    /// An error gave it, and it leads to the person who was connected before.
    SamePerson,
    /// An error gave it, and nobody knows who was connected before.
    Anyone,
}

impl LinkKind {
    const ALL: [(Self, &str); 3] = [(Self::Operators, "o"), (Self::SamePerson, "s"), (Self::Anyone, "a")];
}

/// What a magic link says beside its account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The account's epoch when it was made.
    pub epoch: u32,
    /// Who is behind it.
    pub kind: LinkKind,
}

/// A ticket that was opened.
#[derive(Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The account it leads to.
    pub account: AccountId,
    /// When it was issued.
    pub issued_at: Millis,
    /// Of a magic link; links of former versions have none.
    pub standing: Option<Standing>,
}

/// Why a ticket is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Not one of ours, or changed.
    Forged,
    /// Too old.
    Expired,
}

/// Makes a ticket.
pub fn issue(purpose: Purpose, account: &AccountId, keys: &Keys, now: Millis, source: &dyn Random) -> String {
    sign(purpose, &format!("{account}.{}.{}", base36(now), digest::base64url(&random::<16>(source))), keys)
}

/// Makes the ticket of a magic link.
pub fn issue_link(account: &AccountId, standing: Standing, keys: &Keys, now: Millis, source: &dyn Random) -> String {
    let kind = LinkKind::ALL.iter().find(|(kind, _)| *kind == standing.kind).map_or("o", |(_, name)| name);
    let (at, epoch, dice) = (base36(now), base36(standing.epoch.into()), digest::base64url(&random::<16>(source)));
    sign(Purpose::Link, &format!("{account}.{at}.{dice}.{epoch}.{kind}"), keys)
}

fn sign(purpose: Purpose, text: &str, keys: &Keys) -> String {
    let signature = keys.sign(purpose.name(), text);
    format!("{text}.{signature}")
}

/// Whether a magic link leads nowhere but to the person who was connected before.
pub fn leads_to_the_same_person(ticket: &str, keys: &Keys, now: Millis) -> bool {
    let standing = open(Purpose::Link, ticket, keys, now).ok().and_then(|ticket| ticket.standing);
    standing.is_some_and(|standing| standing.kind == LinkKind::SamePerson)
}

/// Opens a ticket.
pub fn open(purpose: Purpose, ticket: &str, keys: &Keys, now: Millis) -> Result<Ticket, Refused> {
    let (text, signature) = ticket.rsplit_once('.').ok_or(Refused::Forged)?;
    if !keys.is_signed(purpose.name(), text, signature) {
        return Err(Refused::Forged);
    }
    let mut parts = text.split('.');
    let account = parts.next().and_then(AccountId::parse).ok_or(Refused::Forged)?;
    let issued_at = parts.next().and_then(from_base36).ok_or(Refused::Forged)?;
    let standing = match (parts.nth(1), parts.next()) {
        (None, _) => None,
        (Some(epoch), kind) => {
            let kind = LinkKind::ALL.iter().find(|(_, name)| Some(*name) == kind).map(|(kind, _)| *kind);
            let epoch = from_base36(epoch).and_then(|epoch| u32::try_from(epoch).ok());
            let (epoch, kind) = epoch.zip(kind).ok_or(Refused::Forged)?;
            Some(Standing { epoch, kind })
        }
    };
    if now >= issued_at.saturating_add(purpose.lifetime()) {
        return Err(Refused::Expired);
    }
    Ok(Ticket { account, issued_at, standing })
}

fn from_base36(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 36).ok()
}

fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    loop {
        digits.push(char::from_digit((number % 36) as u32, 36).unwrap_or('0'));
        number /= 36;
        if number == 0 {
            return digits.into_iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::tests::Counting;

    #[test]
    fn a_ticket_opens_for_its_purpose_while_it_lives() {
        let keys = Keys::parse("k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").ok().unwrap();
        let account = AccountId::parse("ca_aaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbb").unwrap();
        let now = 1_800_000_000_000;
        let ticket = issue(Purpose::State, &account, &keys, now, &Counting(0.into()));
        assert_eq!(
            open(Purpose::State, &ticket, &keys, now + 599_999),
            Ok(Ticket { account, issued_at: now, standing: None })
        );
        assert_eq!(open(Purpose::State, &ticket, &keys, now + 600_000), Err(Refused::Expired));
        assert_eq!(open(Purpose::Link, &ticket, &keys, now), Err(Refused::Forged));
        assert_eq!(open(Purpose::State, &ticket.replace("ca_a", "ca_b"), &keys, now), Err(Refused::Forged));
        assert_eq!(open(Purpose::State, "", &keys, now), Err(Refused::Forged));
    }

    #[test]
    fn a_link_says_the_epoch_and_who_is_behind_it() {
        let keys = Keys::parse("k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").ok().unwrap();
        let account = AccountId::parse("ca_aaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbb").unwrap();
        let now = 1_800_000_000_000;
        for (kind, name) in LinkKind::ALL {
            let standing = Standing { epoch: 40, kind };
            let ticket = issue_link(&account, standing, &keys, now, &Counting(0.into()));
            assert_eq!(open(Purpose::Link, &ticket, &keys, now).unwrap().standing, Some(standing));
            assert_eq!(leads_to_the_same_person(&ticket, &keys, now), kind == LinkKind::SamePerson);
            let changed = ticket.replace(&format!(".14.{name}."), ".15.s.");
            assert_ne!(changed, ticket);
            assert_eq!(open(Purpose::Link, &changed, &keys, now), Err(Refused::Forged));
            assert!(!leads_to_the_same_person(&changed, &keys, now));
        }
        let former = issue(Purpose::Link, &account, &keys, now, &Counting(0.into()));
        assert!(!leads_to_the_same_person(&former, &keys, now));
    }
}
