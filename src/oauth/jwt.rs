//! JWTs that a private key signs: as a credential of their own, or to be exchanged for an access token (RFC 7519, 7523).

use super::token::{self, Refusal, Refused, Tokens};
use crate::catalog::model::{Jwt, OAuth2};
use crate::digest;
use crate::json;
use crate::ports::{Body, Http, Millis, Request, Response, Signer};
use crate::scrub::Scrub;
use crate::secret::Secret;
use crate::template;
use pkcs1::der::Encode as _;
use serde_json::{Map, Value, json};

/// What a JWT is made of beside the connector's templates.
pub struct Assertion<'a> {
    /// The connector's part.
    pub jwt: &'a Jwt,
    /// Fields by name, public and secret.
    pub fields: &'a dyn Fn(&str) -> Option<String>,
    /// The secret ones among them.
    pub secrets: &'a Scrub,
    /// Scopes to ask for.
    pub scopes: &'a [String],
    /// Now.
    pub now: Millis,
}

/// A fresh access token: the JWT itself, or what the token endpoint at `exchange` gives for it.
pub async fn tokens(
    assertion: &Assertion<'_>,
    exchange: Option<String>,
    oauth2: Option<&OAuth2>,
    signer: &dyn Signer,
    http: &dyn Http,
) -> Result<Tokens, Refused> {
    let jwt = sign(assertion, signer).await?;
    let lifetime = u64::from(assertion.jwt.lifetime);
    let Some(url) = exchange else {
        return Ok(Tokens {
            access: jwt,
            refresh: None,
            expires_in: Some(lifetime),
            scopes: None,
            variables: Vec::new(),
        });
    };
    let answer = http.send(request(url, &jwt)).await?;
    let mut scrub = assertion.secrets.clone();
    scrub.know(&jwt);
    read(oauth2, &answer, &scrub).map(|tokens| Tokens { refresh: None, ..tokens })
}

/// The exchange (RFC 7523 section 2.1).
fn request(url: String, jwt: &Secret) -> Request {
    let mut request = Request { method: "POST".into(), url, timeout_ms: token::TIMEOUT_MS, ..Request::default() };
    request.header("accept", "application/json");
    request.header("content-type", "application/x-www-form-urlencoded");
    let form = [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", jwt.reveal())];
    let text = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    request.body = Body::Bytes(text.into_bytes());
    request
}

fn read(oauth2: Option<&OAuth2>, answer: &Response, scrub: &Scrub) -> Result<Tokens, Refused> {
    match oauth2 {
        Some(oauth2) => token::read(oauth2, answer, scrub),
        None => Err(refused("the connector exchanges a JWT and has no [auth.oauth2] that says how answers look")),
    }
}

/// What is wrong with what the person gave: no provider was asked.
fn refused(words: &str) -> Refused {
    Refused {
        refusal: Refusal::Grant,
        status: None,
        code: None,
        description: Some(words.to_owned()),
        retry_after: None,
    }
}

async fn sign(assertion: &Assertion<'_>, signer: &dyn Signer) -> Result<Secret, Refused> {
    let Assertion { jwt, now, .. } = assertion;
    let pem = template::fill(jwt.private_key, |name| value(assertion, None, name));
    let der = private_key(&pem.ok_or_else(|| refused("the private key is missing in what was given"))?)?;
    let fill = |template: &str| template::fill(template, |name| value(assertion, Some(&der), name));
    let mut header = Map::from_iter([("alg".to_owned(), json!("RS256")), ("typ".to_owned(), json!("JWT"))]);
    header.extend(jwt.header.iter().filter_map(|(name, template)| Some(((*name).to_owned(), json!(fill(template)?)))));
    // A minute back, since clocks differ.
    let issued = now / 1000 - 60;
    let mut claims = Map::from_iter([
        ("iat".to_owned(), json!(issued)),
        ("exp".to_owned(), json!(issued + u64::from(jwt.lifetime))),
    ]);
    claims.extend(jwt.claims.iter().filter_map(|(name, template)| {
        Some(((*name).to_owned(), json!(fill(template).filter(|text| !text.is_empty())?)))
    }));
    let part = |part: Map<String, Value>| digest::base64url(Value::Object(part).to_string().as_bytes());
    let text = format!("{}.{}", part(header), part(claims));
    let signature = signer.rs256(&der, text.as_bytes()).await;
    let signature = signature.ok_or_else(|| refused("the private key cannot be used: it must be an RSA key"))?;
    Ok(Secret::new(format!("{text}.{}", digest::base64url(&signature))))
}

/// A hole of a template: a field, a member of a field that holds JSON, and the few words of our own.
fn value(assertion: &Assertion<'_>, key: Option<&[u8]>, name: &str) -> Option<String> {
    if let Some(name) = name.strip_prefix("upper.") {
        return value(assertion, key, name).map(|text| text.to_uppercase());
    }
    match name {
        "scopes" => return Some(assertion.scopes.join(" ")),
        "fingerprint" => return fingerprint(key?),
        _ => {}
    }
    let name = name.strip_prefix("account.").unwrap_or(name);
    match name.split_once('.') {
        None => (assertion.fields)(name),
        Some((field, member)) => {
            let document: Value = serde_json::from_str(&(assertion.fields)(field)?).ok()?;
            document.get(member).and_then(json::to_text)
        }
    }
}

/// PEM to PKCS#8 DER; PKCS#1 is wrapped.
fn private_key(pem: &str) -> Result<Vec<u8>, Refused> {
    let part = |label: &str| {
        let (_, rest) = pem.split_once(&format!("-----BEGIN {label}-----"))?;
        let (text, _) = rest.split_once(&format!("-----END {label}-----"))?;
        // In JSON and in forms a line break often arrives as two characters.
        digest::from_base64(&text.replace("\\n", ""))
    };
    if pem.contains("ENCRYPTED") {
        return Err(refused(
            "the private key is encrypted; give one without a passphrase (openssl pkcs8 -topk8 -nocrypt -in key.p8)",
        ));
    }
    let wrapped = part("RSA PRIVATE KEY").and_then(|der| {
        let octets = pkcs8::der::asn1::OctetStringRef::new(&der).ok()?;
        pkcs8::PrivateKeyInfoRef::new(pkcs1::ALGORITHM_ID, octets).to_der().ok()
    });
    part("PRIVATE KEY").or(wrapped).ok_or_else(|| {
        refused("that is no private key: it starts with -----BEGIN PRIVATE KEY----- and has to be given whole")
    })
}

/// SHA-256 of the public key (SubjectPublicKeyInfo, RFC 5280 section 4.1), base64.
fn fingerprint(pkcs8: &[u8]) -> Option<String> {
    let info = pkcs8::PrivateKeyInfoRef::try_from(pkcs8).ok()?;
    let key = pkcs1::RsaPrivateKeyRef::try_from(info.private_key.as_bytes()).ok()?;
    let public = key.public_key().to_der().ok()?;
    let bits = spki::der::asn1::BitStringRef::from_bytes(&public).ok()?;
    let spki = spki::SubjectPublicKeyInfoRef { algorithm: pkcs1::ALGORITHM_ID, subject_public_key: bits };
    Some(digest::base64(&digest::sha256(&spki.to_der().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart_and_what_is_wrong_is_said() {
        for (pem, words) in [
            ("hello", "that is no private key"),
            (
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----",
                "without a passphrase",
            ),
            ("-----BEGIN PRIVATE KEY-----\nAAAA", "given whole"),
        ] {
            let refused = private_key(pem).unwrap_err();
            assert!(refused.description.unwrap().contains(words), "{pem}");
        }
        assert_eq!(private_key("-----BEGIN PRIVATE KEY-----\\nAAAA\\n-----END PRIVATE KEY-----").unwrap(), [0, 0, 0]);
    }
}
