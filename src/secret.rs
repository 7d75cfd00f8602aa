//! Text that must not be seen: prints as `***`, is wiped from memory when dropped.

use serde::{Deserialize, Serialize};
use std::fmt;
use zeroize::Zeroize;

/// The most bytes of a token that is taken in. Headers together may have 128 kB at most, and vendors' tokens a few.
pub const LONGEST_TOKEN: usize = 16 * 1024;

/// A credential. Only [`Secret::reveal`] shows it, so that every place that does can be found.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether it can be a token or key that is sent in a header: 1 to 16,384 visible ASCII characters (VSCHAR of RFC 6749
    /// appendix A), the first and last no space.
    pub fn is_sendable(&self) -> bool {
        let visible = self.0.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        visible && (1..=LONGEST_TOKEN).contains(&self.0.len()) && self.0.trim().len() == self.0.len()
    }

    /// A short mark that two equal secrets share and that tells nothing else.
    pub fn fingerprint(&self) -> String {
        crate::digest::short(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::{LONGEST_TOKEN, Secret};

    #[test]
    fn a_secret_prints_as_stars() {
        let secret = Secret::new("s3cret");
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
        assert_eq!(secret.reveal(), "s3cret");
    }

    #[test]
    fn what_cannot_stand_in_a_header_is_no_token() {
        for fine in ["t", "ya29.a0-_~+/=", "with space"] {
            assert!(Secret::new(fine).is_sendable(), "{fine}");
        }
        let long = "x".repeat(LONGEST_TOKEN + 1);
        for wrong in ["", " t", "t ", "a\nb", "a\0b", "tök en", "\u{7f}", long.as_str()] {
            assert!(!Secret::new(wrong).is_sendable(), "{wrong:?}");
        }
    }
}
