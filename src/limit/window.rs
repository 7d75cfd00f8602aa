//! The arithmetic of one limit: never more than so many units in any period of that length.
//!
//! What was taken within the same sixtieth of a period is remembered together, with the time of the last of it, and counts
//! until a period after that time. So the limit is never exceeded, and a unit comes back at most a sixtieth of a period late.

use crate::ports::Millis;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

const SLICES: Millis = 60;

/// What was taken in the last period: when the first and the last of a slice were, and its units; oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window(VecDeque<(Millis, Millis, u32)>);

impl Window {
    /// Units free now.
    pub fn free(&mut self, now: Millis, units: u32, per: Millis) -> u32 {
        while self.0.front().is_some_and(|(_, last, _)| last + per <= now) {
            self.0.pop_front();
        }
        let used: u64 = self.0.iter().map(|(.., used)| u64::from(*used)).sum();
        units.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX))
    }

    /// Takes units that are free.
    pub fn take(&mut self, now: Millis, per: Millis, units: u32) {
        if units == 0 {
            return;
        }
        match self.0.back_mut() {
            Some((first, last, used)) if now < *first + (per / SLICES).max(1) => {
                *last = now.max(*last);
                *used += units;
            }
            _ => self.0.push_back((now, now, units)),
        }
    }

    /// Gives back units that were taken at that time and not used. They come off what was taken then and off nothing else:
    /// what others took later stays counted. Where nothing is remembered of that time, they have come back by themselves.
    pub fn give_back(&mut self, units: u32, taken_at: Millis) {
        let slice = self.0.iter_mut().find(|(first, last, _)| (*first..=*last).contains(&taken_at));
        if let Some((.., used)) = slice {
            *used = used.saturating_sub(units);
        }
    }

    /// When `need` units will be free.
    pub fn free_at(&mut self, now: Millis, units: u32, per: Millis, need: u32) -> Millis {
        let mut free = self.free(now, units, per);
        for (_, last, used) in &self.0 {
            if free >= need {
                break;
            }
            free += used;
            if free >= need {
                return last + per;
            }
        }
        now
    }

    /// When nothing is left to remember.
    pub fn empty_at(&self, per: Millis) -> Millis {
        self.0.back().map_or(0, |(_, last, _)| last + per)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PER: Millis = 60_000;

    #[test]
    fn never_more_than_the_limit_in_any_period() {
        let mut window = Window::default();
        let mut taken: Vec<Millis> = Vec::new();
        let mut now = 1_000_000;
        for step in 0..4000u64 {
            now += (step * 7919) % 311;
            if window.free(now, 10, PER) >= 1 {
                window.take(now, PER, 1);
                taken.push(now);
            }
        }
        for (i, first) in taken.iter().enumerate() {
            let within = taken[i..].iter().take_while(|at| **at < first + PER).count();
            assert!(within <= 10, "{within} within one period from {first}");
        }
        assert!(taken.len() > 80, "the limit is also reached: {}", taken.len());
    }

    #[test]
    fn the_time_it_names_is_the_time_it_works() {
        let mut window = Window::default();
        for at in [0, 500, 20_000] {
            window.take(at, PER, 1);
        }
        let at = window.free_at(30_000, 3, PER, 1);
        assert_eq!(window.clone().free(at - 1, 3, PER), 0);
        assert!(window.clone().free(at, 3, PER) >= 1);
    }

    #[test]
    fn what_comes_back_comes_off_its_own_time() {
        let mut window = Window::default();
        window.take(0, PER, 5);
        window.take(30_000, PER, 5);
        window.give_back(2, 0);
        assert_eq!(window.free(30_001, 10, PER), 2);
        assert_eq!(window.free(PER, 10, PER), 5, "what was taken later is all still there");
        window.give_back(2, 0);
        assert_eq!(window.free(PER, 10, PER), 5, "what is over has come back already");
        window.give_back(9, 30_000);
        assert_eq!(window.free(PER, 10, PER), 10);
    }
}
