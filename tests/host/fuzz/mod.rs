//! Whatever others send: each target takes any bytes and holds what it promises. Texts that are nearly right find more than
//! noise, so inputs are made by changing good ones: the seeds beside each target and what lies in `tests/host/corpus/`.
//!
//! The same in every run. `FUZZ_RUNS=100 cargo test fuzz` tries a hundred times as many, `FUZZ_SEED=2` others; `fuzz/` runs the
//! same targets with coverage for as long as one likes.

mod targets;

use std::cell::RefCell;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use targets::{TARGETS, Target};

/// What means something to one parser or another.
const WORDS: &[&str] = &[
    "\"",
    "'",
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    "<",
    ">",
    "/",
    "\\",
    "%",
    "%2e",
    "%00",
    "..",
    "://",
    "?",
    "&",
    "=",
    "#",
    ";",
    ",",
    ":",
    "|",
    "*",
    "**",
    "_",
    "~",
    "~0",
    "~1",
    "`",
    "```",
    "- ",
    "1. ",
    "> ",
    "| ",
    "|-|\n",
    "\n",
    "\r\n",
    "\r\n\r\n",
    "\0",
    "\t",
    " ",
    "-",
    "--",
    "@",
    "é",
    "\u{feff}",
    "\u{202e}",
    "😀",
    "null",
    "true",
    "0",
    "-1",
    "1e999",
    "18446744073709551615",
    "18446744073709551616",
    "0.5",
    "[~accountid:",
    "=?UTF-8?B?",
    "--valetkey",
    "x",
    "https://",
    "http://169.254.169.254/",
    "@api.github.com",
    "javascript:",
    "rel=\"next\"",
    "error",
    "ok",
];

/// Small and fast, and the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides.max(1)
    }

    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let from = self.below(length + 1);
        let most = if self.below(4) == 0 { length - from } else { (length - from).min(12) };
        from..from + self.below(most + 1)
    }

    /// One of the seeds, changed a few times.
    fn input(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut input = seeds[self.below(seeds.len())].clone();
        for _ in 0..self.below(6) {
            let range = self.range(input.len());
            match self.below(7) {
                0 => drop(input.drain(range)),
                1 => {
                    let copy = input[range.clone()].repeat(1 + self.below(20));
                    input.splice(range.start..range.start, copy);
                }
                2 if !input.is_empty() => {
                    let at = self.below(input.len());
                    input[at] = u8::try_from(self.below(256)).unwrap();
                }
                3 => {
                    let other = &seeds[self.below(seeds.len())];
                    let part = other[self.range(other.len())].to_vec();
                    input.splice(range, part);
                }
                4 => input.truncate(range.end),
                _ => {
                    let word = WORDS[self.below(WORDS.len())];
                    input.splice(range.start..range.start, word.bytes());
                }
            }
        }
        input.truncate(20_000);
        input
    }
}

fn seeds(target: &Target) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/host/corpus").join(target.name);
    let mut files: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    let kept = files.into_iter().map(|path| fs::read(path).unwrap());
    target.seeds.iter().map(|seed| seed.as_bytes().to_vec()).chain(kept).collect()
}

thread_local! {
    /// What the last panic of this thread said, while panics are expected.
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Panics of targets are kept and told once, for the shortest input; those of other tests are told as ever.
fn keep_panics() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let kept = SAID.with_borrow_mut(|said| said.as_mut().map(|said| *said = info.to_string()));
        if kept.is_none() {
            usual(info);
        }
    }));
}

/// What went wrong; none when nothing did.
fn failure(target: &Target, input: &[u8]) -> Option<String> {
    SAID.set(Some(String::new()));
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let said = SAID.take().unwrap_or_default();
    outcome.is_err().then_some(said)
}

/// A shorter input that fails as well.
fn shorter(target: &Target, mut input: Vec<u8>) -> Vec<u8> {
    let mut step = input.len() / 2;
    while step > 0 {
        let mut at = 0;
        while at + step <= input.len() {
            let mut less = input.clone();
            less.drain(at..at + step);
            if failure(target, &less).is_some() { input = less } else { at += step }
        }
        step /= 2;
    }
    input
}

fn number(name: &str) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Tries a target; what went wrong, and with what.
fn run(target: &Target) -> Option<String> {
    let seeds = seeds(target);
    let name =
        target.name.bytes().fold(number("FUZZ_SEED"), |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let mut dice = Dice(name);
    let made = (0..target.runs * number("FUZZ_RUNS")).map(|_| dice.input(&seeds));
    let failed = seeds.iter().cloned().chain(made).find(|input| failure(target, input).is_some())?;
    let input = shorter(target, failed);
    let said = failure(target, &input).unwrap_or_default();
    let (name, input) = (target.name, input.escape_ascii());
    Some(format!("{name}: {said}\nwith this, to be kept in tests/host/corpus/{name}/: \"{input}\""))
}

#[test]
fn what_others_send_breaks_nothing() {
    keep_panics();
    let wanted = std::env::var("FUZZ_TARGET").ok();
    let targets = TARGETS.iter().filter(|target| wanted.as_ref().is_none_or(|wanted| wanted == target.name));
    let failures: Vec<_> = targets.filter_map(run).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
