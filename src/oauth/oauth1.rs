//! OAuth 1.0a as a client (RFC 5849): signed with HMAC-SHA1, parameters in the Authorization header.

use super::Client;
use super::token::{TIMEOUT_MS, UNRESERVED};
use crate::digest;
use crate::ports::{Random, Request, Response, random};
use crate::scrub::Scrub;
use crate::secret::Secret;
use percent_encoding::utf8_percent_encode;
use url::Url;

/// A token and its secret, temporary or final.
pub struct Pair {
    /// `oauth_token`
    pub token: Secret,
    /// `oauth_token_secret`
    pub secret: Secret,
}

/// What is signed beside the client's credentials.
pub struct Signed<'a> {
    /// The token, once there is one.
    pub token: Option<&'a Pair>,
    /// `oauth_callback` or `oauth_verifier`, name and value.
    pub more: (&'static str, &'a str),
    /// Seconds since 1970.
    pub timestamp: u64,
}

/// A signed request without a body.
pub fn request(url: String, client: &Client, signed: &Signed<'_>, source: &dyn Random) -> Request {
    let nonce = digest::base32(&random::<15>(source));
    let authorization = authorization("POST", &url, client, signed, &nonce);
    let mut request = Request { method: "POST".into(), url, timeout_ms: TIMEOUT_MS, ..Request::default() };
    request.set_header("authorization", &authorization).expect("a percent-encoded text can stand in a header");
    request.header("content-length", "0");
    request
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

/// The Authorization header (section 3.5.1), its signature over all parameters (section 3.4).
fn authorization(method: &str, url: &str, client: &Client, signed: &Signed<'_>, nonce: &str) -> String {
    let mut parameters = vec![
        ("oauth_consumer_key".to_owned(), client.id.clone()),
        ("oauth_nonce".to_owned(), nonce.to_owned()),
        ("oauth_signature_method".to_owned(), "HMAC-SHA1".to_owned()),
        ("oauth_timestamp".to_owned(), signed.timestamp.to_string()),
        ("oauth_version".to_owned(), "1.0".to_owned()),
        (signed.more.0.to_owned(), signed.more.1.to_owned()),
    ];
    if let Some(pair) = signed.token {
        parameters.push(("oauth_token".into(), pair.token.reveal().to_owned()));
    }
    let own = parameters.clone();
    let (base, query) = Url::parse(url).map_or_else(
        |_| (url.to_owned(), Vec::new()),
        |parsed| {
            let query = parsed.query_pairs().into_owned().collect();
            (format!("{}{}", parsed.origin().ascii_serialization(), parsed.path()), query)
        },
    );
    parameters.extend(query);
    let mut pairs: Vec<_> = parameters.iter().map(|(name, value)| (encode(name), encode(value))).collect();
    pairs.sort();
    let joined = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
    let text = format!("{method}&{}&{}", encode(&base), encode(&joined));
    let token_secret = signed.token.map_or("", |pair| pair.secret.reveal());
    let key = format!("{}&{}", encode(client.secret.reveal()), encode(token_secret));
    let signature = digest::base64(&digest::hmac_sha1(key.as_bytes(), text.as_bytes()));
    let own = own.into_iter().chain([("oauth_signature".to_owned(), signature)]);
    let own = own.map(|(name, value)| format!("{}=\"{}\"", encode(&name), encode(&value))).collect::<Vec<_>>();
    format!("OAuth {}", own.join(", "))
}

/// Reads a form-encoded answer with a token (sections 2.1 and 2.3), or the provider's words without the secrets of the
/// request, which they may repeat.
pub fn read(answer: &Response, scrub: &Scrub) -> Result<Pair, String> {
    let bytes = answer.body.bytes();
    let field = |wanted: &str| {
        let mut pairs = form_urlencoded::parse(bytes);
        pairs.find(|(name, value)| name == wanted && !value.is_empty()).map(|(_, value)| value.into_owned())
    };
    match (answer.status, field("oauth_token"), field("oauth_token_secret")) {
        (200..=299, Some(token), Some(secret)) => Ok(Pair { token: Secret::new(token), secret: Secret::new(secret) }),
        (status, ..) => {
            let words = scrub.beginning(&String::from_utf8_lossy(bytes), 200);
            let words: String = words.chars().filter(|c| !c.is_control()).collect();
            Err(format!("{status} {words}").trim_end().to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 5849 section 1.2, with our version parameter left in, computed with an independent
    /// implementation (Python's hmac) over the same base string.
    #[test]
    fn a_request_is_signed_as_the_standard_says() {
        let client = Client { id: "dpf43f3p2l4k3l03".into(), secret: Secret::new("kd94hf93k423kf44") };
        let signed = Signed {
            token: None,
            more: ("oauth_callback", "http://printer.example.com/ready?state=a.b"),
            timestamp: 137_131_200,
        };
        let header =
            authorization("POST", "https://photos.example.net/initiate?a=b%20c", &client, &signed, "wIjqoxSZG");
        assert!(
            header.contains("oauth_callback=\"http%3A%2F%2Fprinter.example.com%2Fready%3Fstate%3Da.b\""),
            "{header}"
        );
        assert!(header.ends_with("oauth_signature=\"fwTud521YV3NC0RvQJXkCi1v2lc%3D\""), "{header}");
    }

    #[test]
    fn an_answer_is_a_token_or_words() {
        let answer = |status, body: &str| read(&Response::new(status, "text/plain", body), &Scrub::default());
        assert_eq!(answer(200, "oauth_token=t&oauth_token_secret=s&x=y").ok().unwrap().token.reveal(), "t");
        assert_eq!(answer(401, "invalid key").err().unwrap(), "401 invalid key");
        assert!(answer(200, "<html>").is_err());
        let secret = Secret::new("temporary-secret-0123456789");
        for before in 0..220 {
            let said = Response::new(401, "text/plain", format!("{}{}", "x".repeat(before), secret.reveal()));
            let words = read(&said, &Scrub::of([&secret])).err().unwrap();
            assert!(!words.contains("temp"), "{words}");
        }
    }
}
