//! Time and randomness.

use crate::ports::{Clock, Millis, Random};

/// The Worker's clock. In production it stands still between two awaits.
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Millis {
        worker::Date::now().as_millis()
    }
}

/// Web Crypto's randomness.
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).expect("Web Crypto is there in every handler");
    }
}
