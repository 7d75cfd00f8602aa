//! Idempotency keys: the same key with the same request gets the first answer again.

use super::command::Reply;
use super::object::Object;
use crate::code::Code;
use crate::digest;
use crate::error::{Error, Result};
use crate::ports::Millis;
use crate::secret::Secret;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An answer is kept for a day.
const KEEP: Millis = 24 * 3_600_000;
/// A call that never settled (its Worker died) gives its key free after this time: longer than any call may take.
const UNDER_WAY: Millis = 5 * 60_000;
/// A longer answer is not kept; a repetition is refused instead of sent twice. A row holds 2 MB.
const LONGEST: usize = 1_000_000;

#[derive(Serialize, Deserialize)]
struct Record {
    request: String,
    /// Sealed: it holds what the provider said of the user.
    answer: Option<String>,
    expires_at: Millis,
}

impl Object {
    pub(super) fn claim(&self, key: &str, request: &str) -> Result<Reply> {
        let account = self.load()?;
        let place = format!("idempotency:{}", digest::hash(key));
        let known = self.get::<Record>(&place).filter(|record| self.now() < record.expires_at);
        let Some(record) = known else {
            self.put(&place, &Record { request: request.to_owned(), answer: None, expires_at: self.now() + UNDER_WAY });
            return Ok(Reply::Claimed);
        };
        if record.request != request {
            return Err(Error::new(Code::Conflict, "this Idempotency-Key was used for another request"));
        }
        let Some(sealed) = record.answer else {
            let message = "the first call with this Idempotency-Key still runs; try again in a moment";
            return Err(Error::new(Code::Conflict, message).with(|details| {
                details.retryable = Some(true);
                details.retry_after = Some(1);
            }));
        };
        let answer = self.open_sealed(&account, "idempotency", &sealed)?;
        let answer =
            serde_json::from_str(answer.reveal()).map_err(|_| Error::internal("a kept answer cannot be read"))?;
        Ok(Reply::Settled { answer })
    }

    pub(super) fn settle(&self, key: &str, answer: Option<Value>) -> Result<Reply> {
        let account = self.load()?;
        let place = format!("idempotency:{}", digest::hash(key));
        let Some(mut record) = self.get::<Record>(&place) else { return Ok(Reply::Done) };
        let Some(answer) = answer else {
            self.storage.delete(&place);
            return Ok(Reply::Done);
        };
        let mut text = answer.to_string();
        if text.len() > LONGEST {
            let message = "the first call with this Idempotency-Key worked, but its answer was too long to keep";
            text = Error::new(Code::Conflict, message).to_json().to_string();
        }
        record.answer = Some(self.seal(&account, "idempotency", &Secret::new(text)));
        record.expires_at = self.now() + KEEP;
        self.put(&place, &record);
        Ok(Reply::Done)
    }
}
