//! What happens to an account at once, in every order: two things at a time exhaustively, three with a bound on how often
//! one is interrupted by another. Every await on the provider or on KV is a point where another may go on.

mod check;
mod explore;
mod gates;
mod place;

use explore::explore;
use place::prepare;

const BROWSER: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// What may happen to an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    /// Jo's browser is back from the provider.
    ConnectJo,
    /// So is Jo's other browser.
    ConnectJoAgain,
    /// So is somebody else's, with the same link.
    ConnectMallory,
    Refresh,
    /// The person withdraws their consent at the provider; then a call needs a token.
    Withdraw,
    Disconnect,
    Import,
    Verify,
    /// The alarm, eleven minutes later.
    Expire,
    /// The alarm, now.
    Publish,
}
use Act::{
    ConnectJo, ConnectJoAgain, ConnectMallory, Disconnect, Expire, Publish, Refresh, Verify as Confirm, Withdraw,
};
const ACTS: [Act; 10] =
    [ConnectJo, ConnectJoAgain, ConnectMallory, Refresh, Withdraw, Disconnect, Act::Import, Confirm, Expire, Publish];

/// How an account begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begin {
    New,
    Connected,
    Disconnected,
    Verifying,
    /// Connected, and Jo has consented again, to more; that waits to be verified.
    Reverifying,
}

/// How the world behaves.
#[expect(clippy::struct_excessive_bools, reason = "each is a way the world may be, and they combine")]
#[derive(Debug, Clone, Copy, Default)]
struct Weather {
    /// The provider acts when a request is sent, not when its answer arrives.
    early: bool,
    /// The first write to KV fails, and arrives later all the same.
    late_write: bool,
    /// At the provider a person has one grant for each consent, not one for the application.
    many_grants: bool,
    /// A refresh token comes with the first consent of a person alone.
    one_refresh_token: bool,
    /// What is imported was granted to the same application.
    same_application: bool,
    /// The provider refuses a refresh token once, though it is good.
    refuses_once: bool,
}

fn fits(begin: Begin, act: Act) -> bool {
    match act {
        Confirm => matches!(begin, Begin::Verifying | Begin::Reverifying),
        Refresh | Withdraw => matches!(begin, Begin::Connected | Begin::Reverifying),
        Act::Import => !matches!(begin, Begin::Verifying | Begin::Reverifying),
        _ => true,
    }
}

const BEGINS: [Begin; 5] = [Begin::New, Begin::Connected, Begin::Disconnected, Begin::Verifying, Begin::Reverifying];

#[test]
fn two_things_at_once_in_every_order() {
    // In other weather the same orders hardly differ, and an interruption does.
    let weathers = [
        (Weather::default(), usize::MAX),
        (Weather { early: true, ..Weather::default() }, bound(1)),
        (Weather { many_grants: true, ..Weather::default() }, bound(1)),
    ];
    let mut runs = 0;
    for begin in BEGINS {
        let prepared = pollster::block_on(prepare(begin, Weather::default()));
        for (number, one) in ACTS.into_iter().enumerate() {
            // Jo's second browser differs from the first beside that one alone.
            let matters = |two: &Act| (one != ConnectJoAgain) && (*two != ConnectJoAgain || one == ConnectJo);
            let fit = |two: &Act| fits(begin, one) && fits(begin, *two);
            for two in ACTS.into_iter().skip(number + 1).filter(|two| fit(two) && matters(two)) {
                for (weather, interruptions) in weathers {
                    runs += explore(&[one, two], &prepared, begin, weather, interruptions);
                }
            }
        }
    }
    println!("{runs} orders of two");
    assert!(runs > 3_000, "{runs}: nothing was interleaved");
}

#[test]
fn a_write_to_kv_that_fails_and_arrives_late_is_made_good() {
    let weather = Weather { late_write: true, ..Weather::default() };
    let mut runs = 0;
    for begin in BEGINS {
        let prepared = pollster::block_on(prepare(begin, Weather::default()));
        for one in [ConnectJo, Refresh, Confirm, Publish] {
            for two in [Disconnect, Expire].into_iter().filter(|two| fits(begin, one) && fits(begin, *two)) {
                runs += explore(&[one, two], &prepared, begin, weather, bound(2));
            }
        }
    }
    println!("{runs} orders with a late write");
}

/// At Google, for one, a person's further consents give no refresh token: the one there is goes on, and whatever waited
/// meanwhile must not bring an older one back.
#[test]
fn a_refresh_token_that_comes_once_survives_every_order() {
    let mut runs = 0;
    for begin in [Begin::Connected, Begin::Reverifying] {
        for (early, refuses_once) in [(false, false), (true, false), (true, true)] {
            let weather = Weather { early, refuses_once, one_refresh_token: true, ..Weather::default() };
            let prepared = pollster::block_on(prepare(begin, weather));
            let acts =
                [ConnectJo, Refresh, Disconnect, Confirm, Expire].map(|act| Some(act).filter(|act| fits(begin, *act)));
            let acts: Vec<Act> = acts.into_iter().flatten().collect();
            for (number, one) in acts.iter().enumerate() {
                for two in acts.iter().skip(number + 1) {
                    runs += explore(&[*one, *two], &prepared, begin, weather, bound(2));
                }
            }
            // What was connected while a renewal was under way is renewed for whoever asks after that.
            runs += explore(&[Refresh, ConnectJo, Refresh], &prepared, begin, weather, bound(1));
        }
    }
    println!("{runs} orders with one refresh token");
    assert!(runs > 100, "{runs}: nothing was interleaved");
}

/// Tokens that are imported may belong to the grant that is being revoked.
#[test]
fn an_import_of_the_same_application_waits_for_a_revocation() {
    let mut runs = 0;
    for begin in [Begin::Connected, Begin::Disconnected] {
        let weather = Weather { same_application: true, ..Weather::default() };
        let prepared = pollster::block_on(prepare(begin, weather));
        for two in [Disconnect, ConnectJo, Publish] {
            runs += explore(&[Act::Import, two], &prepared, begin, weather, usize::MAX);
        }
    }
    println!("{runs} orders with an import");
    assert!(runs > 20, "{runs}: nothing was interleaved");
}

/// The alarm ends at the provider what was not kept, while the next one comes.
#[test]
fn what_is_not_kept_is_ended_beside_whoever_comes() {
    let mut runs = 0;
    for begin in BEGINS {
        for same_application in [false, true] {
            let weather = Weather { same_application, ..Weather::default() };
            let prepared = pollster::block_on(prepare(begin, weather));
            for one in [ConnectMallory, Disconnect, Expire] {
                for two in [ConnectJo, Act::Import, Confirm].into_iter().filter(|two| fits(begin, *two)) {
                    runs += explore(&[one, Publish, two], &prepared, begin, weather, bound(1));
                }
            }
        }
    }
    println!("{runs} orders with the alarm");
    assert!(runs > 500, "{runs}: nothing was interleaved");
}

/// How often one is interrupted by another while it could go on. `VALETKEY_INTERRUPTIONS=1` adds one to each bound, which
/// takes minutes: for whoever changes what this tests.
fn bound(usual: usize) -> usize {
    let more = std::env::var("VALETKEY_INTERRUPTIONS").ok().and_then(|text| text.parse().ok());
    usual + more.unwrap_or(0)
}

/// With three at once the orders are too many to try all. One interruption, and all orders of what goes on where another
/// waits, find what the pairs do not. More are tried on request (`bound`).
#[test]
fn three_things_at_once_with_an_interruption() {
    let mut runs = 0;
    for begin in BEGINS {
        let prepared = pollster::block_on(prepare(begin, Weather::default()));
        // What differs little from another of these is left to the pairs.
        let alike = [ConnectJoAgain, Withdraw, Publish];
        let acts: Vec<Act> = ACTS.into_iter().filter(|act| fits(begin, *act) && !alike.contains(act)).collect();
        for (number, one) in acts.iter().enumerate() {
            for (further, two) in acts.iter().enumerate().skip(number + 1) {
                for three in acts.iter().skip(further + 1) {
                    runs += explore(&[*one, *two, *three], &prepared, begin, Weather::default(), bound(1));
                }
            }
        }
    }
    println!("{runs} orders of three");
    assert!(runs > 1_000, "{runs}: nothing was interleaved");
}
