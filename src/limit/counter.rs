//! The counters of one scope, as their Durable Object keeps them.

use super::window::Window;
use super::{Answer, Question, Want};
use crate::ports::{Clock, Millis, Storage};
use serde::{Deserialize, Serialize};
use std::rc::Rc;

const BLOCK: &str = "block";
/// Records forgotten at a time; the alarm comes again for the others.
const AT_A_TIME: u32 = 500;

#[derive(Serialize, Deserialize)]
struct Counter {
    window: Window,
    empty_at: Millis,
}

#[derive(Serialize, Deserialize)]
struct Block {
    limit: String,
    until: Millis,
}

/// A lease is at most this part of a limit: so much may lie unused in one isolate while another is refused. Small limits
/// are not leased at all, and so are exact.
const LEASED_SHARE: u32 = 50;

/// The counters over their storage.
pub struct Counters {
    clock: Rc<dyn Clock>,
    storage: Rc<dyn Storage>,
}

impl Counters {
    /// The counters over their storage.
    pub fn new(clock: Rc<dyn Clock>, storage: Rc<dyn Storage>) -> Self {
        Self { clock, storage }
    }

    /// Answers a question. Nothing is awaited, so it happens as a whole.
    pub fn handle(&self, question: Question) -> Answer {
        match question {
            Question::Take(wants) => self.take(&wants),
            Question::Block { limit, until } => self.block(limit, until),
        }
    }

    fn take(&self, wants: &[Want]) -> Answer {
        let now = self.clock.now();
        if let Some(block) = self.get::<Block>(BLOCK).filter(|block| now < block.until) {
            return Answer::Refused { limit: block.limit, until: block.until, learnt: true };
        }
        let mut windows: Vec<Window> = Vec::new();
        for want in wants {
            let mut window = self.get::<Counter>(&key(&want.counter)).map(|counter| counter.window).unwrap_or_default();
            window.give_back(want.unused);
            windows.push(window);
        }
        let refused = wants
            .iter()
            .zip(&mut windows)
            .position(|(want, window)| window.free(now, want.units, want.per) < want.need);
        if let Some(index) = refused {
            let (want, window) = (&wants[index], &mut windows[index]);
            let until = window.free_at(now, want.units, want.per, want.need);
            let answer = Answer::Refused { limit: want.limit.clone(), until, learnt: false };
            self.store(wants, windows);
            return answer;
        }
        let mut taken = Vec::new();
        for (want, window) in wants.iter().zip(&mut windows) {
            // Near the end of the limit leases shrink, so that isolates share what is left.
            let free = window.free(now, want.units, want.per);
            let units = want.lease.min(free / 4).min(want.units / LEASED_SHARE).max(want.need);
            window.take(now, want.per, units);
            taken.push(units);
        }
        self.store(wants, windows);
        Answer::Taken(taken)
    }

    fn store(&self, wants: &[Want], windows: Vec<Window>) {
        for (want, window) in wants.iter().zip(windows) {
            let counter = Counter { empty_at: window.empty_at(want.per), window };
            self.put(&key(&want.counter), &counter, counter.empty_at);
        }
    }

    fn block(&self, limit: String, until: Millis) -> Answer {
        let known = self.get::<Block>(BLOCK).map_or(0, |block| block.until);
        if until > known {
            self.put(BLOCK, &Block { limit, until }, until);
        }
        Answer::Blocked
    }

    /// Forgets what no longer counts. The alarm calls it.
    pub fn wake(&self) {
        for key in self.storage.due(self.clock.now(), AT_A_TIME) {
            self.storage.delete(&key);
        }
    }

    /// When there will be something to forget. All at once, at the end, so that a busy counter is not woken for each slice.
    pub fn next_wake(&self) -> Option<Millis> {
        self.storage.last_due()
    }

    fn get<T: serde::de::DeserializeOwned>(&self, key: &str) -> Option<T> {
        serde_json::from_str(&self.storage.get(key)?).ok()
    }

    fn put<T: Serialize>(&self, key: &str, value: &T, due_at: Millis) {
        self.storage.put_until(key, &serde_json::to_string(value).expect("records are plain data"), due_at);
    }
}

fn key(counter: &str) -> String {
    format!("counter:{counter}")
}
