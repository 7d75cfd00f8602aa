//! Names that look like the one asked for.

/// Names of ours have at most so many bytes; what is longer is no typo of one and is compared with none.
pub const LONGEST_NAME: usize = 64;
/// How many are suggested.
const SUGGESTED: usize = 3;
/// Share of pairs of letters, in hundredths, below which two names do not look alike.
const ALIKE: usize = 40;

/// Lower-case letters, digits, and everything else as one.
const LETTERS: usize = 37;

/// A set of pairs of letters.
struct Pairs([u64; (LETTERS * LETTERS).div_ceil(64)]);

impl Pairs {
    fn of(text: &str) -> Self {
        let mut set = Self([0; (LETTERS * LETTERS).div_ceil(64)]);
        for pair in text.as_bytes().windows(2) {
            let at = place(pair);
            set.0[at / 64] |= 1 << (at % 64);
        }
        set
    }

    fn has(&self, pair: &[u8]) -> bool {
        let at = place(pair);
        self.0[at / 64] >> (at % 64) & 1 == 1
    }
}

fn place(pair: &[u8]) -> usize {
    let letter = |byte: u8| match byte.to_ascii_lowercase() {
        letter @ b'a'..=b'z' => usize::from(letter - b'a'),
        digit @ b'0'..=b'9' => usize::from(digit - b'0') + 26,
        _ => 36,
    };
    letter(pair[0]) * LETTERS + letter(pair[1])
}

/// The three names that share most pairs of letters with a word. Each name is walked through once, so the work is the
/// length of all names together, whatever the word is.
pub fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    if word.len() > LONGEST_NAME {
        return Vec::new();
    }
    let wanted = Pairs::of(word);
    let mut scored: Vec<_> = names
        .map(|name| {
            let shared = name.as_bytes().windows(2).filter(|pair| wanted.has(pair)).count();
            let all = name.len().saturating_sub(1) + word.len().saturating_sub(1);
            (2 * shared * 100 / all.max(1), name)
        })
        .filter(|(score, _)| *score >= ALIKE)
        .collect();
    scored.sort_by(|a, b| b.cmp(a));
    scored.into_iter().take(SUGGESTED).map(|(_, name)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_typo_finds_its_tool() {
        let names = ["gmail_send_message", "gmail_list_labels", "slack_send_message"];
        assert_eq!(nearest("gmail_send_mesage", names.into_iter())[0], "gmail_send_message");
        assert_eq!(nearest("GMAIL_SEND_MESSAGE", names.into_iter())[0], "gmail_send_message");
        assert!(nearest("xyz", names.into_iter()).is_empty() && nearest("", names.into_iter()).is_empty());
    }

    #[test]
    fn each_name_is_looked_at_once_and_none_for_a_word_that_is_too_long() {
        let looked = Cell::new(0);
        let names = || std::iter::repeat_n("a_tool_of_ours", 2_000).inspect(|_| looked.set(looked.get() + 1));
        nearest(&"x".repeat(LONGEST_NAME), names());
        assert_eq!(looked.replace(0), 2_000);
        for length in [LONGEST_NAME + 1, 1_000_000] {
            assert!(nearest(&"a".repeat(length), names()).is_empty());
        }
        assert_eq!(looked.get(), 0);
    }

    #[test]
    fn no_name_of_ours_is_longer_than_what_is_compared() {
        for connector in crate::catalog::CONNECTORS {
            assert!(connector.id.len() <= LONGEST_NAME);
            assert!(connector.tools.iter().all(|tool| tool.name.len() <= LONGEST_NAME), "{}", connector.id);
        }
    }
}
