//! Time, randomness and signatures.

use crate::ports::{Clock, Millis, Random, Signer};
use async_trait::async_trait;
use js_sys::{Array, Object, Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{CryptoKey, SubtleCrypto, WorkerGlobalScope};

/// The Worker's clock. In production it stands still between two awaits.
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Millis {
        worker::Date::now().as_millis()
    }
}

/// Web Crypto's randomness.
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).expect("Web Crypto is there in every handler");
    }
}

/// Web Crypto's signatures: the platform's own RSA, in constant time and without a byte of ours.
pub struct WebCrypto;

#[async_trait(?Send)]
impl Signer for WebCrypto {
    async fn rs256(&self, pkcs8: &[u8], message: &[u8]) -> Option<Vec<u8>> {
        sign(pkcs8, message).await.ok()
    }
}

async fn sign(pkcs8: &[u8], message: &[u8]) -> Result<Vec<u8>, JsValue> {
    let scope: WorkerGlobalScope = js_sys::global().unchecked_into();
    let subtle: SubtleCrypto = scope.crypto()?.subtle();
    let algorithm = Object::new();
    Reflect::set(&algorithm, &"name".into(), &"RSASSA-PKCS1-v1_5".into())?;
    Reflect::set(&algorithm, &"hash".into(), &"SHA-256".into())?;
    let usages = Array::of1(&"sign".into());
    let key = subtle.import_key_with_object("pkcs8", &Uint8Array::from(pkcs8), &algorithm, false, &usages)?;
    let key: CryptoKey = JsFuture::from(key).await?.dyn_into()?;
    let signed = JsFuture::from(subtle.sign_with_object_and_u8_array(&algorithm, &key, message)?).await?;
    Ok(Uint8Array::new(&signed).to_vec())
}
