//! What an answer means: an output, or a failure for which another attempt may or may not help.

use std::time::{Duration, SystemTime};

use engine::Failure;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};

use super::endpoint::innermost;
use crate::text::one_line;

/// The number of bytes of an error answer's body that are repeated.
const EXCERPT_BYTES: usize = 512;

/// Reads an answer: returns the body of a success, and a failure otherwise. `advice` follows the error about an answer
/// that is too long.
pub(crate) async fn read(mut response: Response, limit: usize, advice: &str) -> Result<String, Failure> {
    let status = response.status();
    if status.is_success() {
        let (body, is_whole) = body(&mut response, limit).await?;
        if !is_whole {
            return Err(Failure::permanent(format!(
                "the answer is longer than the {limit} bytes that are allowed{advice}"
            )));
        }
        return String::from_utf8(body).map_err(|error| {
            Failure::permanent(format!("the answer is not UTF-8 at byte {}", error.utf8_error().valid_up_to()))
        });
    }
    if status.is_redirection() {
        return Err(Failure::permanent(format!(
            "the answer is {status}; redirects are not followed, so give the final URL"
        )));
    }
    let retry_after = retry_after(response.headers(), SystemTime::now());
    // A body that breaks off does not change that the call was refused.
    let excerpt = body(&mut response, EXCERPT_BYTES).await.map(|(body, _)| one_line(&body)).unwrap_or_default();
    let message = if excerpt.is_empty() {
        format!("the answer is {status}")
    } else {
        format!("the answer is {status}: {excerpt}")
    };
    Err(if may_pass(status) {
        Failure { retry_after, ..Failure::transient(message) }
    } else {
        Failure::permanent(message)
    })
}

/// Whether the same call may succeed later.
pub(crate) fn may_pass(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS)
}

/// Up to `limit` bytes of a body, and whether this is the whole body.
pub(crate) async fn body(response: &mut Response, limit: usize) -> Result<(Vec<u8>, bool), Failure> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                let space = limit - body.len();
                if chunk.len() > space {
                    body.extend_from_slice(&chunk[..space]);
                    return Ok((body, false));
                }
                body.extend_from_slice(&chunk);
            }
            Ok(None) => return Ok((body, true)),
            Err(error) => return Err(Failure::transient(format!("the answer broke off: {}", innermost(&error)))),
        }
    }
}

/// The header `Retry-After`: seconds or a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    httpdate::parse_http_date(text).ok()?.duration_since(now).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_server_may_say_when_to_come_again() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_445_412_400);
        let asked = |text: &str| retry_after(&HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]), now);
        assert_eq!(asked("120"), Some(Duration::from_secs(120)));
        assert_eq!(asked("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::from_secs(80)));
        assert_eq!(asked("Wed, 21 Oct 2014 07:28:00 GMT"), None, "in the past");
        assert_eq!(asked("Wednesday, 21-Oct-15 07:28:00 GMT"), Some(Duration::from_secs(80)), "an obsolete form");
        assert_eq!(asked("soon"), None);
        assert_eq!(asked("-1"), None);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        let passes = |code: u16| may_pass(StatusCode::from_u16(code).unwrap());
        assert!([408, 425, 429, 500, 502, 503, 504, 599].into_iter().all(passes));
        assert!(![400, 401, 403, 404, 409, 410, 413, 422].into_iter().any(passes));
    }
}
