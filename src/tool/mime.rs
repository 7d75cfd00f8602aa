//! Writing e-mail: RFC 5322 messages with MIME bodies (RFC 2045 to 2047, 2231).

use crate::code::Code;
use crate::digest;
use crate::error::{Error, Result};
use serde_json::Value;

/// What stands between parts. All of them are base64, which has no `-`, so this never occurs inside one.
const BOUNDARY: &str = "valetkey";

/// The longest header text that stands in one line as it is.
const LONGEST: usize = 900;

/// Writes a message from its parts (`connectors/README.md`).
pub fn write(parts: &Value) -> Result<String> {
    let mut out = String::new();
    for (name, key) in [("From", "from"), ("To", "to"), ("Cc", "cc"), ("Bcc", "bcc"), ("Reply-To", "reply_to")] {
        if let Some(addresses) = addresses(&parts[key])? {
            out.push_str(&format!("{name}: {addresses}\r\n"));
        }
    }
    if let Some(subject) = text(parts, "subject") {
        out.push_str(&format!("Subject: {}\r\n", words("subject", &subject)?));
    }
    if let Some(id) = text(parts, "in_reply_to") {
        out.push_str(&format!("In-Reply-To: {}\r\n", folded("in_reply_to", "In-Reply-To: ".len(), &id)?));
    }
    if let Some(ids) = text(parts, "references").map(|ids| references(&ids)).filter(|ids| !ids.is_empty()) {
        out.push_str(&format!("References: {ids}\r\n"));
    }
    out.push_str("MIME-Version: 1.0\r\n");
    out.push_str(&body(parts)?);
    Ok(out)
}

fn text(parts: &Value, key: &str) -> Option<String> {
    parts[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// The ids of a thread, one a line: together they grow longer than a line may be (RFC 5322 sections 2.1.1 and 3.6.4). What
/// else stands there came out of somebody's mail and is left out.
fn references(ids: &str) -> String {
    let mut known: Vec<&str> = Vec::new();
    for id in ids.split_whitespace() {
        let is_id = id.starts_with('<') && id.ends_with('>') && id.len() < 990;
        if is_id && id.bytes().all(|byte| byte.is_ascii_graphic()) && known.last() != Some(&id) {
            known.push(id);
        }
    }
    known.join("\r\n ")
}

fn body(parts: &Value) -> Result<String> {
    let is_html = parts["content_type"].as_str().is_some_and(|kind| kind.contains("html"));
    let whole = text(parts, "body");
    let (plain, html) = if is_html {
        (text(parts, "text"), text(parts, "html").or(whole))
    } else {
        (text(parts, "text").or(whole), text(parts, "html"))
    };
    let content = match (plain, html) {
        (Some(plain), Some(html)) => {
            // A boundary must not begin like the one around it (RFC 2046 section 5.1.1).
            let inner = format!("alternative-{BOUNDARY}");
            let pieces = [leaf("text/plain; charset=UTF-8", &plain), leaf("text/html; charset=UTF-8", &html)];
            multi("alternative", &inner, &pieces)
        }
        (None, Some(html)) => leaf("text/html; charset=UTF-8", &html),
        (plain, None) => leaf("text/plain; charset=UTF-8", &plain.unwrap_or_default()),
    };
    let Some(attachments) = parts["attachments"].as_array().filter(|list| !list.is_empty()) else { return Ok(content) };
    let mut pieces = vec![content];
    for attachment in attachments {
        pieces.push(attach(attachment)?);
    }
    Ok(multi("mixed", BOUNDARY, &pieces))
}

fn leaf(kind: &str, text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\n', "\r\n");
    format!(
        "Content-Type: {kind}\r\nContent-Transfer-Encoding: base64\r\n\r\n{}",
        lines(&digest::base64(text.as_bytes()))
    )
}

fn multi(kind: &str, boundary: &str, pieces: &[String]) -> String {
    let mut out = format!("Content-Type: multipart/{kind}; boundary=\"{boundary}\"\r\n\r\n");
    for piece in pieces {
        out.push_str(&format!("--{boundary}\r\n{piece}\r\n"));
    }
    out.push_str(&format!("--{boundary}--\r\n"));
    out
}

fn attach(attachment: &Value) -> Result<String> {
    let name = attachment["file_name"].as_str().unwrap_or("attachment");
    let kind = attachment["mime_type"].as_str().unwrap_or("application/octet-stream");
    let content = attachment["content_base64"].as_str().and_then(digest::from_base64);
    let content = content.ok_or_else(|| wrong("attachments", "content_base64 must be base64"))?;
    let kind = printable("attachments", kind)?;
    let name = file_name(name)?;
    let head = format!(
        "Content-Type: {kind}\r\nContent-Disposition: attachment; {name}\r\nContent-Transfer-Encoding: base64\r\n"
    );
    Ok(format!("{head}\r\n{}", lines(&digest::base64(&content))))
}

/// `filename="a.txt"`, or RFC 2231 where it is not plain ASCII.
fn file_name(name: &str) -> Result<String> {
    let name = plain("attachments", name)?;
    if name.len() <= 200 && !name.contains(['"', '\\']) && name.bytes().all(|b| matches!(b, b' '..=b'~')) {
        return Ok(format!("filename=\"{name}\""));
    }
    // Encoded, it is up to three times as long, and a line may have 998 characters.
    if name.len() > 300 {
        return Err(wrong("attachments", "file_name must have at most 300 bytes"));
    }
    let encoded = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
    Ok(format!("filename*=UTF-8''{encoded}"))
}

/// Base64 in lines of 76 characters (RFC 2045 section 6.8).
fn lines(base64: &str) -> String {
    let bytes: Vec<_> = base64.as_bytes().chunks(76).map(|line| String::from_utf8_lossy(line)).collect();
    bytes.join("\r\n")
}

/// One address or many, as text or list, with names in any language.
fn addresses(value: &Value) -> Result<Option<String>> {
    let list: Vec<String> = match value {
        Value::String(text) => split(text),
        Value::Array(items) => items.iter().filter_map(Value::as_str).flat_map(split).collect(),
        _ => return Ok(None),
    };
    let list: Result<Vec<_>> =
        list.iter().map(|address| address.trim()).filter(|address| !address.is_empty()).map(address).collect();
    let list = list?;
    Ok((!list.is_empty()).then(|| list.join(",\r\n ")))
}

/// Splits at commas outside of quotes and angle brackets.
fn split(text: &str) -> Vec<String> {
    let (mut parts, mut current, mut quoted, mut angled) = (Vec::new(), String::new(), false, false);
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            '<' if !quoted => angled = true,
            '>' if !quoted => angled = false,
            ',' if !quoted && !angled => {
                parts.push(std::mem::take(&mut current));
                continue;
            }
            _ => {}
        }
        current.push(c);
    }
    parts.push(current);
    parts
}

fn address(text: &str) -> Result<String> {
    let text = plain("address", text)?;
    let (name, address) = match text.rsplit_once('<') {
        Some((name, address)) => (name.trim().trim_matches('"'), address.trim_end_matches('>').trim()),
        None => ("", text),
    };
    let fine =
        address.is_ascii() && address.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty());
    // RFC 5321 section 4.5.3.1: 64 for the user, 255 for the host.
    if !fine || address.len() > 320 || address.bytes().any(|b| !matches!(b, b'!'..=b'~') || b",;<>".contains(&b)) {
        return Err(wrong("address", &format!("`{address}` is not an e-mail address")));
    }
    if name.is_empty() {
        return Ok(address.to_owned());
    }
    let plain = name.len() <= 500 && name.bytes().all(|b| matches!(b, b' '..=b'~'));
    let name = if plain { format!("\"{}\"", name.replace(['\\', '"'], "")) } else { words("address", name)? };
    Ok(format!("{name} <{address}>"))
}

/// Header text: as it is when ASCII, else encoded words of at most 75 characters (RFC 2047).
fn words(what: &str, text: &str) -> Result<String> {
    let text = plain(what, text)?;
    // 998 is the most a line may have (RFC 5322 section 2.1.1), with its name and what follows the words.
    if text.len() <= LONGEST && text.bytes().all(|b| matches!(b, b' '..=b'~')) {
        return Ok(text.to_owned());
    }
    let mut encoded: Vec<String> = Vec::new();
    let mut piece = String::new();
    for c in text.chars() {
        // 45 bytes become 60 characters; `=?UTF-8?B?` and `?=` are 12 more.
        if piece.len() + c.len_utf8() > 45 {
            encoded.push(std::mem::take(&mut piece));
        }
        piece.push(c);
    }
    encoded.push(piece);
    let encoded: Vec<_> =
        encoded.iter().map(|piece| format!("=?UTF-8?B?{}?=", digest::base64(piece.as_bytes()))).collect();
    Ok(encoded.join("\r\n "))
}

/// Ids, over as many lines as they need.
fn folded(what: &str, begins_at: usize, text: &str) -> Result<String> {
    let mut out = String::new();
    let mut column = begins_at;
    for word in plain(what, text.trim())?.split_ascii_whitespace() {
        let word = printable(what, word)?;
        if !out.is_empty() {
            // Lines stay as they are while they are short enough to be one.
            let separator = if column + 1 + word.len() > LONGEST { "\r\n " } else { " " };
            column = if separator == " " { column + 1 } else { 1 };
            out.push_str(separator);
        }
        out.push_str(word);
        column += word.len();
    }
    Ok(out)
}

/// Refuses what is no printable ASCII, or too long for a line: it could not be read in a header.
fn printable<'a>(what: &str, text: &'a str) -> Result<&'a str> {
    if text.len() <= LONGEST && text.bytes().all(|b| matches!(b, b' '..=b'~')) {
        return Ok(text);
    }
    Err(wrong(what, &format!("must be printable ASCII, at most {LONGEST} bytes")))
}

/// Refuses line breaks: they would start another header.
fn plain<'a>(what: &str, text: &'a str) -> Result<&'a str> {
    if text.contains(['\r', '\n', '\0']) {
        return Err(wrong(what, "must not contain line breaks"));
    }
    Ok(text)
}

fn wrong(what: &str, why: &str) -> Error {
    Error::new(Code::InvalidToolInput, format!("{what}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_plain_message() {
        let message =
            write(&json!({ "to": "Jo <jo@example.com>, al@example.com", "subject": "Hi", "body": "Hello\nthere" }))
                .unwrap();
        assert_eq!(
            message,
            "To: \"Jo\" <jo@example.com>,\r\n al@example.com\r\nSubject: Hi\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=UTF-8\r\nContent-Transfer-Encoding: base64\r\n\r\nSGVsbG8NCnRoZXJl"
        );
    }

    #[test]
    fn other_languages_threads_html_and_attachments() {
        let parts = json!({ "to": ["Zoë <zoe@example.com>"], "subject": "Grüße", "body": "<b>hi</b>", "text": "hi",
            "content_type": "text/html", "in_reply_to": "<1@x>", "references": "<0@x> (a comment)\t<1@x>\r\nBcc: a@x <1@x>",
            "attachments": [{ "file_name": "é.txt", "mime_type": "text/plain", "content_base64": "aGk=" }] });
        let message = write(&parts).unwrap();
        for wanted in [
            "To: =?UTF-8?B?Wm/Dqw==?= <zoe@example.com>\r\n",
            "Subject: =?UTF-8?B?R3LDvMOfZQ==?=\r\n",
            "In-Reply-To: <1@x>\r\nReferences: <0@x>\r\n <1@x>\r\n",
            "Content-Type: multipart/mixed; boundary=\"valetkey\"",
            "Content-Type: multipart/alternative; boundary=\"alternative-valetkey\"",
            "filename*=UTF-8''%C3%A9%2Etxt",
            "\r\n--valetkey--\r\n",
        ] {
            assert!(message.contains(wanted), "{wanted} in\n{message}");
        }
    }

    #[test]
    fn nobody_adds_a_header() {
        for parts in [
            json!({ "to": "a@example.com\r\nBcc: b@example.com" }),
            json!({ "to": "a@example.com", "subject": "x\nBcc: b@example.com" }),
            json!({ "to": "nonsense" }),
            json!({ "to": "a@example.com", "attachments": [{ "content_base64": "%" }] }),
        ] {
            assert!(write(&parts).is_err());
        }
    }

    #[test]
    fn a_line_of_a_message_is_never_too_long() {
        let ids: Vec<_> = (0..200).map(|n| format!("<{n}.aaaaaaaaaaaaaaaa@mail.example.com>")).collect();
        let parts = json!({ "to": "a@example.com", "subject": "word ".repeat(400), "references": ids.join(" "), "body": "x",
            "attachments": [{ "file_name": "é".repeat(100), "content_base64": "aGk=" }] });
        let message = write(&parts).unwrap();
        assert!(message.split("\r\n").all(|line| line.len() <= 998), "{message}");
        let unfolded = message.replace("\r\n ", " ");
        assert!(unfolded.contains(&format!("References: {}\r\n", ids.join(" "))), "{unfolded}");
        for wrong in [
            json!({ "to": "a@example.com", "in_reply_to": "<é@x>" }),
            json!({ "to": format!("{}@example.com", "a".repeat(400)) }),
            json!({ "to": "a@example.com", "attachments": [{ "mime_type": "text/\u{1}", "content_base64": "aGk=" }] }),
            json!({ "to": "a@example.com", "attachments": [{ "file_name": "é".repeat(400), "content_base64": "aGk=" }] }),
        ] {
            assert!(write(&wrong).is_err(), "{wrong}");
        }
    }
}
