//! What is found wrong with an input, in bounded time and room: a place becomes text only where something is wrong, and
//! after so many problems nobody reads on.

use crate::error::{MOST_PROBLEMS, Problem, short};
use regex_lite::Regex;
use std::collections::HashMap;
use std::fmt::{Display, Write as _};

/// Names above this many bytes are shortened in a place.
const LONGEST_NAME: usize = 80;

/// Problems, and where the check stands.
#[derive(Default)]
pub(super) struct Findings<'s> {
    place: String,
    problems: Vec<Problem>,
    patterns: HashMap<&'s str, Option<Regex>>,
}

impl<'s> Findings<'s> {
    /// Checks what stands under a name, or a number, at the place where the check is.
    pub(super) fn within(&mut self, name: impl Display, check: impl FnOnce(&mut Self)) {
        let length = self.place.len();
        // Writing to a text does not fail.
        let _ = write!(self.place, "/{name}");
        // A name with such signs in it is rare (RFC 6901 section 3), and a long one is none that anybody knows.
        if self.place[length + 1..].contains(['~', '/']) || self.place.len() > length + LONGEST_NAME {
            let name = short(&self.place[length + 1..]).replace('~', "~0").replace('/', "~1");
            self.place.truncate(length + 1);
            self.place.push_str(&name);
        }
        check(self);
        self.place.truncate(length);
    }

    /// Something is wrong here. Past the bound nothing is noted any more.
    pub(super) fn add(&mut self, message: impl Into<String>) {
        if !self.is_full() {
            self.problems.push(Problem { path: self.place.clone(), message: message.into() });
        }
    }

    /// What others found.
    pub(super) fn extend(&mut self, problems: Vec<Problem>) {
        let room = MOST_PROBLEMS.saturating_sub(self.problems.len());
        self.problems.extend(problems.into_iter().take(room));
    }

    /// Whether there is no use in looking any further.
    pub(super) fn is_full(&self) -> bool {
        self.problems.len() >= MOST_PROBLEMS
    }

    /// Whether a text has the form of a pattern, which is read once. One that cannot be read fits everything.
    pub(super) fn fits(&mut self, pattern: &'s str, text: &str) -> bool {
        let regex = self.patterns.entry(pattern).or_insert_with(|| Regex::new(pattern).ok());
        regex.as_ref().is_none_or(|regex| regex.is_match(text))
    }

    /// All that was found.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}
