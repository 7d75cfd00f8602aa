//! Bodies in parts: `multipart/related` (RFC 2387) and `multipart/form-data` (RFC 7578).

use serde_json::Value;

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

/// What stands between parts: longer by a character for every time it occurs inside one.
fn boundary(contents: &[&[u8]]) -> String {
    let mut boundary = "valetkey".to_owned();
    while contents.iter().any(|content| content.windows(boundary.len()).any(|window| window == boundary.as_bytes())) {
        boundary.push('x');
    }
    boundary
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
}
