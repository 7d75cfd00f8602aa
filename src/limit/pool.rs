//! The permits of one limit that an isolate holds: leased, used, and given back when they were not used in their time.

use super::Ended;
use crate::ports::Millis;
use std::collections::VecDeque;

/// The most units leased at once.
const LARGEST_LEASE: u32 = 256;
/// Fewer units than this in a second are not worth asking ahead.
const WORTH_IT: u32 = 4;
/// How long one question keeps others from asking for more.
const PATIENCE: Millis = 5_000;

/// Units that may be used for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Units {
    /// How many.
    pub units: u32,
    /// Until when, by the isolate's clock.
    pub until: Millis,
    /// When they were taken, by the counter's clock.
    pub taken_at: Millis,
}

/// The permits of one limit.
#[derive(Default)]
pub struct Pool {
    /// What may be used, soonest over first.
    units: VecDeque<Units>,
    /// What was over before it was used.
    ended: Vec<Ended>,
    /// Units used since `asked`.
    used: u32,
    /// When more than the need of one call was last asked for.
    asked: Millis,
    /// Until when the answer to that is waited for.
    asking: Millis,
    /// The size of the last lease.
    size: u32,
}

impl Pool {
    /// Units that can be used now.
    pub fn left(&mut self, now: Millis) -> u32 {
        while let Some(over) = self.units.front().copied().filter(|units| now >= units.until) {
            self.ended.push(Ended { units: over.units, taken_at: over.taken_at });
            self.units.pop_front();
        }
        self.units.iter().map(|units| units.units).sum()
    }

    /// Takes what is left, the soonest over first. Answers what was taken, to be put back if it is not used after all.
    pub fn take(&mut self, mut need: u32) -> Vec<Units> {
        self.used += need;
        let mut taken = Vec::new();
        while let Some(first) = self.units.front_mut().filter(|_| need > 0) {
            let units = need.min(first.units);
            taken.push(Units { units, ..*first });
            (first.units, need) = (first.units - units, need - units);
            if first.units == 0 {
                self.units.pop_front();
            }
        }
        taken
    }

    /// Keeps units for calls to come.
    pub fn put(&mut self, units: Units) {
        if units.units > 0 {
            let at = self.units.partition_point(|known| known.until <= units.until);
            self.units.insert(at, units);
        }
    }

    /// Keeps a lease that was asked for.
    pub fn lease(&mut self, size: u32, units: Units) {
        self.put(units);
        self.size = size;
    }

    /// What is to be given back.
    pub fn ended(&mut self, now: Millis) -> Vec<Ended> {
        self.left(now);
        std::mem::take(&mut self.ended)
    }

    /// Whether the next lease should be asked for ahead: little is left, or what is left is soon over, and it is used.
    pub fn is_low(&mut self, now: Millis, time: Millis) -> bool {
        let left = self.left(now);
        let until = self.units.back().map_or(0, |units| units.until);
        let is_used = now >= self.asking && self.used >= WORTH_IT && time > 0;
        is_used && (left * 4 < self.size || now + time / 2 > until)
    }

    /// How much to ask for: what a second takes at the speed of lately, unless somebody is asking already.
    pub fn ask(&mut self, now: Millis, time: Millis, need: u32) -> u32 {
        if now < self.asking || time == 0 {
            return need;
        }
        if now >= self.asked + 2 * super::LONGEST_LEASE {
            self.used = 0;
        }
        self.asked = now;
        let lease = (self.used * 2).min(LARGEST_LEASE).max(need);
        if lease > need {
            (self.used, self.asking) = (0, now + PATIENCE);
        }
        lease
    }

    /// The need of one call was asked for.
    pub fn use_up(&mut self, need: u32) {
        self.used += need;
    }

    /// The question for more is answered.
    pub fn answered(&mut self) {
        self.asking = 0;
    }

    /// Whether nothing would be lost if it were forgotten.
    pub fn is_over(&mut self, now: Millis) -> bool {
        self.left(now) == 0 && self.ended.is_empty() && now >= self.asking.max(self.asked + 2 * super::LONGEST_LEASE)
    }
}
