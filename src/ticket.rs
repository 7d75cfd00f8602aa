//! Texts that lead from a browser back to one account: magic links, OAuth `state`, verification requests.
//!
//! `<account id>.<milliseconds, base 36>.<128 random bits>.<signature>`. The signature lets the Worker refuse a made-up
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

/// A ticket that was opened.
#[derive(Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The account it leads to.
    pub account: AccountId,
    /// When it was issued.
    pub issued_at: Millis,
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
    let text = format!("{account}.{}.{}", base36(now), digest::base64url(&random::<16>(source)));
    let signature = keys.sign(purpose.name(), &text);
    format!("{text}.{signature}")
}

/// Opens a ticket.
pub fn open(purpose: Purpose, ticket: &str, keys: &Keys, now: Millis) -> Result<Ticket, Refused> {
    let (text, signature) = ticket.rsplit_once('.').ok_or(Refused::Forged)?;
    if !keys.is_signed(purpose.name(), text, signature) {
        return Err(Refused::Forged);
    }
    let mut parts = text.split('.');
    let account = parts.next().and_then(AccountId::parse).ok_or(Refused::Forged)?;
    let issued_at = parts.next().and_then(|text| u64::from_str_radix(text, 36).ok()).ok_or(Refused::Forged)?;
    if now >= issued_at.saturating_add(purpose.lifetime()) {
        return Err(Refused::Expired);
    }
    Ok(Ticket { account, issued_at })
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
        assert_eq!(open(Purpose::State, &ticket, &keys, now + 599_999), Ok(Ticket { account, issued_at: now }));
        assert_eq!(open(Purpose::State, &ticket, &keys, now + 600_000), Err(Refused::Expired));
        assert_eq!(open(Purpose::Link, &ticket, &keys, now), Err(Refused::Forged));
        assert_eq!(open(Purpose::State, &ticket.replace("ca_a", "ca_b"), &keys, now), Err(Refused::Forged));
        assert_eq!(open(Purpose::State, "", &keys, now), Err(Refused::Forged));
    }
}
