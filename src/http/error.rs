//! The one mapping from an error to HTTP.

use crate::error::Error;
use crate::ports::Response;

/// The answer for an error. A link inside it becomes absolute here.
pub fn respond(error: &Error, base_url: &str) -> Response {
    let mut error = error.clone();
    if let Some(link) = error.details.reauthorize_url.take() {
        error.details.reauthorize_url = Some(if link.starts_with('/') { format!("{base_url}{link}") } else { link });
    }
    let status = error.code.status();
    let body = error.to_json();
    let mut response =
        Response::new(status, "application/json", body.to_string()).with_header("x-valetkey-error", "true");
    if let Some(seconds) = error.details.retry_after {
        response = response.with_header("retry-after", &seconds.to_string());
    }
    if status == 401 && error.code == crate::code::Code::Unauthenticated {
        // RFC 6750 section 3.
        response = response.with_header("www-authenticate", "Bearer realm=\"valetkey\"");
    }
    response
}
