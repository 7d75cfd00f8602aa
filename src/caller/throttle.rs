//! Failures at the token endpoint are counted, so that guessing is slow and costs nothing but memory that is bounded.

use crate::ports::Millis;
use std::cell::RefCell;
use std::collections::HashMap;

/// Wrong secrets for one client from one address within [`PERIOD`]; further ones are refused without a look-up.
pub const MOST_FAILURES: u32 = 10;
/// How long failures are counted for.
pub const PERIOD: Millis = 60_000;
/// Pairs of client and address that are counted at a time. More than these, and the counting begins anew.
pub const MOST_COUNTED: usize = 2_000;

/// What one isolate has counted.
#[derive(Default)]
pub struct Throttle(RefCell<HashMap<String, (Millis, u32)>>);

/// Whom a failure is counted for. Others' failures, for another client or from another address, are not theirs.
pub fn key(address: &str, client_id: &str) -> String {
    // Whatever is sent as an id takes no more memory than its hash.
    crate::digest::hash(&format!("{address}\n{client_id}"))
}

impl Throttle {
    /// Seconds until the next attempt is looked at; none if it is looked at now.
    pub fn wait(&self, key: &str, now: Millis) -> Option<u64> {
        let counted = self.0.borrow();
        let (since, failures) = counted.get(key)?;
        let until = since + PERIOD;
        (*failures >= MOST_FAILURES && now < until).then(|| (until - now).div_ceil(1000))
    }

    /// Counts a failure.
    pub fn failed(&self, key: String, now: Millis) {
        let mut counted = self.0.borrow_mut();
        if counted.len() >= MOST_COUNTED {
            counted.retain(|_, (since, _)| now < *since + PERIOD);
        }
        if counted.len() >= MOST_COUNTED {
            counted.clear();
        }
        let entry = counted.entry(key).or_insert((now, 0));
        if now >= entry.0 + PERIOD {
            *entry = (now, 0);
        }
        entry.1 += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_failures_a_minute_and_only_ones_own() {
        let throttle = Throttle::default();
        for n in 0..MOST_FAILURES {
            assert_eq!(throttle.wait("a", 1_000), None, "{n}");
            throttle.failed("a".into(), 1_000);
        }
        assert_eq!((throttle.wait("a", 1_000), throttle.wait("a", 60_999)), (Some(60), Some(1)));
        assert_eq!((throttle.wait("b", 1_000), throttle.wait("a", 61_000)), (None, None));
        throttle.failed("a".into(), 61_000);
        assert_eq!(throttle.wait("a", 61_000), None, "a new minute counts anew");
        assert_ne!(key("1.1.1.1", "a"), key("1.1.1.2", "a"));
    }

    #[test]
    fn it_remembers_no_more_than_so_many() {
        let throttle = Throttle::default();
        for n in 0..3 * MOST_COUNTED {
            throttle.failed(format!("{n}"), 0);
            assert!(throttle.0.borrow().len() <= MOST_COUNTED);
        }
    }
}
