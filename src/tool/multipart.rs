//! Bodies in parts: `multipart/related` (RFC 2387) and `multipart/form-data` (RFC 7578).

use crate::digest;
use serde_json::Value;

const WORD: &str = "valetkey";
/// A boundary has at most 70 characters (RFC 2046 section 5.1.1).
const LONGEST: usize = 70;

/// The bytes a request carries, and what they are.
pub struct Bytes {
    /// Media type.
    pub media_type: String,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Form field.
    pub field: String,
    /// File name.
    pub file_name: String,
}

/// JSON first, then the bytes. Answers content type and body.
pub fn related(json: &Value, bytes: &Bytes) -> (String, Vec<u8>) {
    let boundary = boundary(&[json.to_string().as_bytes(), &bytes.bytes]);
    let mut body =
        format!("--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{json}\r\n").into_bytes();
    body.extend(format!("--{boundary}\r\nContent-Type: {}\r\n\r\n", header(&bytes.media_type)).into_bytes());
    body.extend(&bytes.bytes);
    body.extend(format!("\r\n--{boundary}--\r\n").into_bytes());
    (format!("multipart/related; boundary={boundary}"), body)
}

/// Fields first, then the bytes as a file. Answers content type and body.
pub fn form_data(fields: &[(String, String)], bytes: Option<&Bytes>) -> (String, Vec<u8>) {
    let mut contents: Vec<&[u8]> = fields.iter().map(|(_, value)| value.as_bytes()).collect();
    contents.extend(bytes.map(|file| file.bytes.as_slice()));
    let boundary = boundary(&contents);
    let mut body = Vec::new();
    for (name, value) in fields {
        let head = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"\r\n\r\n", quoted(name));
        body.extend(head.into_bytes());
        body.extend(value.as_bytes());
        body.extend(b"\r\n");
    }
    if let Some(file) = bytes {
        let (field, name, kind) = (quoted(&file.field), quoted(&file.file_name), header(&file.media_type));
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{name}\"\r\nContent-Type: {kind}\r\n\r\n"
        );
        body.extend(head.into_bytes());
        body.extend(&file.bytes);
        body.extend(b"\r\n");
    }
    body.extend(format!("--{boundary}--\r\n").into_bytes());
    (format!("multipart/form-data; boundary={boundary}"), body)
}

/// What stands between parts: `valetkey`, and one `x` more than follow on any `valetkey` inside one. Found in one pass, so it
/// costs what is sent, whatever that is; and a boundary never ends in another.
fn boundary(contents: &[&[u8]]) -> String {
    let longest = contents.iter().filter_map(|content| longest(content)).max();
    let more = longest.map_or(0, |longest| longest + 1);
    if WORD.len() + more <= LONGEST {
        return format!("{WORD}{}", "x".repeat(more));
    }
    // Nobody can write a text that holds its own hash.
    let hashes: String = contents.iter().map(|content| digest::base64url(&digest::sha256(content))).collect();
    format!("{WORD}-{}", digest::hash(&hashes))
}

/// The most `x` that follow on the word; none when it does not occur.
fn longest(content: &[u8]) -> Option<usize> {
    let word = WORD.as_bytes();
    let (mut longest, mut at) = (None, 0);
    while at + word.len() <= content.len() {
        if content[at..].starts_with(word) {
            let follow = content[at + word.len()..].iter().take_while(|byte| **byte == b'x').count();
            longest = longest.max(Some(follow));
            at += word.len() + follow;
        } else {
            at += 1;
        }
    }
    longest
}

/// What browsers do to names (WHATWG, multipart/form-data encoding).
fn quoted(text: &str) -> String {
    text.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

fn header(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_boundary_never_occurs_in_what_it_separates() {
        let file = Bytes {
            media_type: "text/plain".into(),
            bytes: b"a valetkey and valetkeyx".to_vec(),
            field: "file".into(),
            file_name: "a\"b".into(),
        };
        let (kind, body) = related(&json!({ "name": "n" }), &file);
        assert_eq!(kind, "multipart/related; boundary=valetkeyxx");
        let text = String::from_utf8(body).unwrap();
        assert!(text.contains("{\"name\":\"n\"}\r\n--valetkeyxx\r\n") && text.ends_with("\r\n--valetkeyxx--\r\n"));
        let (_, body) = form_data(&[("k".into(), "v".into())], Some(&file));
        assert!(String::from_utf8(body).unwrap().contains("name=\"file\"; filename=\"a%22b\""));
    }

    #[test]
    fn a_boundary_is_short_whatever_it_separates() {
        let long = format!("valetkey{}", "x".repeat(60_000));
        let file = |text: &str| Bytes {
            media_type: "text/plain".into(),
            bytes: text.as_bytes().to_vec(),
            field: "file".into(),
            file_name: "a".into(),
        };
        let (kind, body) = related(&json!({}), &file(&long));
        let boundary = kind.split_once("boundary=").unwrap().1;
        assert!(boundary.len() <= LONGEST, "{boundary}");
        assert_eq!(String::from_utf8(body).unwrap().matches(boundary).count(), 3);
        let (other, _) = related(&json!({}), &file(&format!("{long}x")));
        assert_ne!(kind, other, "it is made of what it separates");
    }
}
