//! The counters of one scope, as their Durable Object keeps them.

use super::window::Window;
use super::{Answer, LEASED_SHARE, Look, Question, Want};
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

/// What a provider said. It holds until then, or until somebody has looked and found that it does not.
#[derive(Serialize, Deserialize)]
struct Block {
    limit: String,
    until: Millis,
    #[serde(default)]
    made_at: Millis,
    /// From then on one call may look whether it is still so.
    #[serde(default)]
    look_at: Millis,
}

/// How long all others wait for the one call that looks: longer than nearly any call takes. What it found is said then; if
/// it was never sent, another one looks after this time.
pub const LOOKING: Millis = 30_000;

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
            Question::Take { wants, since } => self.take(&wants, since),
            Question::Block { limit, counter, until, believed } => self.block(limit, &counter, until, believed),
            Question::Lift(look) => self.lift(&look),
        }
    }

    fn take(&self, wants: &[Want], since: Millis) -> Answer {
        let now = self.clock.now();
        let mut windows: Vec<Window> = wants.iter().map(|want| self.window(want)).collect();
        let blocks: Vec<_> = self.blocks(wants, since, now);
        // A lease asked for ahead is for nobody, so there is no one that could look.
        let looks = wants.is_empty() || wants.iter().any(|want| want.need > 0);
        if let Some((counter, block)) = blocks.iter().find(|(_, block)| !looks || now < block.look_at) {
            let (counter, limit, until) = ((*counter).to_owned(), block.limit.clone(), block.look_at.max(now + 1));
            self.store(wants, windows);
            return Answer::Refused { limit, counter, until, learnt: true };
        }
        let refused = wants
            .iter()
            .zip(&mut windows)
            .position(|(want, window)| window.free(now, want.units, counted(want)) < want.need);
        if let Some(index) = refused {
            let (want, window) = (&wants[index], &mut windows[index]);
            let until = window.free_at(now, want.units, counted(want), want.need);
            let answer =
                Answer::Refused { limit: want.limit.clone(), counter: want.counter.clone(), until, learnt: false };
            self.store(wants, windows);
            return answer;
        }
        let mut looks = Vec::new();
        for (counter, block) in blocks {
            looks.push(Look { counter: counter.to_owned(), made_at: block.made_at });
            let until = block.until;
            self.put(&block_key(counter), &Block { look_at: until.min(now + LOOKING), ..block }, until);
        }
        let mut units = Vec::new();
        for (want, window) in wants.iter().zip(&mut windows) {
            // Near the end of the limit leases shrink, so that isolates share what is left.
            let free = window.free(now, want.units, counted(want));
            let leased = want.lease.min(free / 4).min(want.units / LEASED_SHARE).max(want.need);
            window.take(now, counted(want), leased);
            units.push(leased);
        }
        self.store(wants, windows);
        Answer::Taken { units, at: now, looks }
    }

    /// The window of a limit, with what is given back.
    fn window(&self, want: &Want) -> Window {
        let counter = self.get::<Counter>(&counter_key(&want.counter));
        let mut window = counter.map(|counter| counter.window).unwrap_or_default();
        for ended in &want.ended {
            window.give_back(ended.units, ended.taken_at);
        }
        window
    }

    /// What the provider said that still holds for these.
    fn blocks<'a>(&self, wants: &'a [Want], since: Millis, now: Millis) -> Vec<(&'a str, Block)> {
        let counters = std::iter::once("").chain(wants.iter().map(|want| want.counter.as_str()));
        let holds = |block: &Block| now < block.until && (block.made_at == 0 || block.made_at >= since);
        counters.filter_map(|counter| Some((counter, self.get::<Block>(&block_key(counter)).filter(holds)?))).collect()
    }

    fn store(&self, wants: &[Want], windows: Vec<Window>) {
        for (want, window) in wants.iter().zip(windows) {
            let counter = Counter { empty_at: window.empty_at(counted(want)), window };
            self.put(&counter_key(&want.counter), &counter, counter.empty_at);
        }
    }

    /// The latest word counts, be it shorter or longer.
    fn block(&self, limit: String, counter: &str, until: Millis, believed: Millis) -> Answer {
        let now = self.clock.now();
        let look_at = until.min(now.saturating_add(believed));
        self.put(&block_key(counter), &Block { limit, until, made_at: now, look_at }, until);
        Answer::Blocked
    }

    fn lift(&self, look: &Look) -> Answer {
        let key = block_key(&look.counter);
        if self.get::<Block>(&key).is_some_and(|block| block.made_at == look.made_at) {
            self.storage.delete(&key);
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

/// How long a unit counts: its period, and the time it may lie in an isolate before it is used.
fn counted(want: &Want) -> Millis {
    want.per + want.lease_time()
}

fn counter_key(counter: &str) -> String {
    format!("counter:{counter}")
}

fn block_key(counter: &str) -> String {
    if counter.is_empty() { BLOCK.to_owned() } else { format!("block:{counter}") }
}
