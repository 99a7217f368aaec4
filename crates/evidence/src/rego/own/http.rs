//! `http.send`, which makes no calls itself: it returns known answers, and records missing ones.
//!
//! The caller of an evaluation makes the recorded calls, supplies the answers, and runs the evaluation again
//! ([`HttpCalls`]). So a script stays in a process without network access, and its requests are checked by a process
//! that has it. An evaluation that lacks an answer has no outcome, whatever it returns.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use regorus::Value;
use serde::{Deserialize, Serialize};

use super::{Outcome, Refused, encoding, term};

/// The maximum number of different calls in an evaluation.
const MAX_CALLS: usize = 32;
/// The maximum duration of a call, unless the policy sets a shorter one, in milliseconds; as in OPA.
const TIMEOUT_MS: u64 = 5_000;
/// The maximum size of a call in bytes: its address, its headers and its body.
const MAX_BYTES: usize = 64 * 1024;

/// A call that a policy requests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HttpRequest {
    /// In upper case.
    pub method: String,
    /// As in the policy; it has not been checked.
    pub url: String,
    /// By their names as in the policy.
    pub headers: BTreeMap<String, String>,
    /// The body; `None` for none.
    pub body: Option<String>,
    /// How long the call may take, in milliseconds.
    pub timeout_ms: u64,
}

/// The result of a call.
pub type HttpAnswer = Result<HttpResponse, HttpFailure>;

/// An answer, whatever its status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpResponse {
    /// Such as 200.
    pub status_code: u16,
    /// With the reason phrase, such as `200 OK`.
    pub status: String,
    /// By their names in lower case.
    pub headers: BTreeMap<String, Vec<String>>,
    /// Bytes that are not UTF-8 are replaced.
    pub body: String,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpFailure {
    /// What is wrong.
    pub message: String,
    /// Whether another attempt may succeed.
    pub is_transient: bool,
}

/// The calls of one evaluation. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct HttpCalls(Arc<Mutex<Calls>>);

#[derive(Debug, Default)]
struct Calls {
    answers: BTreeMap<HttpRequest, HttpAnswer>,
    asked: BTreeSet<HttpRequest>,
    failed_for_now: bool,
}

impl HttpCalls {
    /// The calls that were requested since the last time and have no answer yet.
    pub fn take_asked(&self) -> Vec<HttpRequest> {
        std::mem::take(&mut self.lock().asked).into_iter().collect()
    }

    /// Supplies the results of calls.
    pub fn tell(&self, answers: impl IntoIterator<Item = (HttpRequest, HttpAnswer)>) {
        self.lock().answers.extend(answers);
    }

    /// Whether a script has ended because of a call that may succeed later.
    pub fn failed_for_now(&self) -> bool {
        self.lock().failed_for_now
    }

    fn lock(&self) -> MutexGuard<'_, Calls> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, request: HttpRequest) -> Result<HttpAnswer, Refused> {
        let mut calls = self.lock();
        if let Some(answer) = calls.answers.get(&request) {
            return Ok(answer.clone());
        }
        if calls.answers.len() + calls.asked.len() >= MAX_CALLS && !calls.asked.contains(&request) {
            return Err(Refused::new(format!("an evaluation may make {MAX_CALLS} different calls")));
        }
        calls.asked.insert(request);
        Err(Refused::new("the call has not been made yet"))
    }
}

thread_local! {
    /// The calls of the evaluation that runs on this thread.
    static CALLS: RefCell<Option<HttpCalls>> = const { RefCell::new(None) };
}

/// Makes evaluations on this thread use these calls from now on.
pub(in crate::rego) fn attach(calls: Option<HttpCalls>) {
    CALLS.set(calls);
}

/// A request of a policy, and how it wants the answer.
struct Wanted {
    request: HttpRequest,
    /// Whether a call without an answer ends the evaluation.
    raise_error: bool,
    /// Whether the body is parsed as JSON whatever its content type.
    is_json: bool,
}

/// `http.send(request)`.
pub fn send(args: &[Value]) -> Outcome {
    let failed = |error: Refused| Refused::new(format!("http.send: {error}"));
    let calls = CALLS.with_borrow(Clone::clone).ok_or_else(|| failed(Refused::new("calls are not made here")))?;
    let wanted = read(&args[0]).map_err(failed)?;
    match calls.answer(wanted.request).map_err(failed)? {
        Ok(response) => response_value(response, wanted.is_json).map_err(failed),
        Err(HttpFailure { message, is_transient }) if wanted.raise_error => {
            calls.lock().failed_for_now |= is_transient;
            Err(failed(Refused::new(message)))
        }
        Err(HttpFailure { message, .. }) => Ok(object([
            ("status_code", Value::from(0_u64)),
            (
                "error",
                object([
                    ("code", Value::from("eval_http_send_network_error")),
                    ("message", Value::from(message.as_str())),
                ]),
            ),
        ])),
    }
}

fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::from(members.map(|(name, value)| (Value::from(name), value)).into_iter().collect::<BTreeMap<_, _>>())
}

/// Reads the request, whose members are named as in OPA. Members that only control OPA's cache are accepted: within an
/// evaluation a call is made once, and afterwards nothing is cached.
fn read(request: &Value) -> Result<Wanted, Refused> {
    const CACHING: &[&str] = &[
        "cache",
        "caching_mode",
        "force_cache",
        "force_cache_duration_seconds",
        "cache_ignored_headers",
        "max_retry_attempts",
    ];
    let Value::Object(members) = request else {
        return Err(Refused::new(format!("operand 1 must be an object, not {}", term::kind(request))));
    };
    let (mut method, mut url, mut headers) = (None, None, BTreeMap::new());
    let (mut body, mut raw_body, mut timeout_ms) = (None, None, TIMEOUT_MS);
    let (mut raise_error, mut is_json) = (true, false);
    for (name, value) in members.iter() {
        let name = text("a name", name)?;
        match name {
            "method" => method = Some(text(name, value)?.to_ascii_uppercase()),
            "url" => url = Some(text(name, value)?.to_owned()),
            "body" => body = Some(encoding::json(value)?),
            "raw_body" => raw_body = Some(text(name, value)?.to_owned()),
            "headers" => {
                let Value::Object(given) = value else { return Err(Refused::new("headers must be an object")) };
                for (name, value) in given.iter() {
                    headers.insert(text("a header", name)?.to_owned(), text("a header", value)?.to_owned());
                }
            }
            "timeout" => timeout_ms = timeout(value)?,
            "raise_error" => raise_error = flag(name, value)?,
            "force_json_decode" => is_json = flag(name, value)?,
            "enable_redirect" if !flag(name, value)? => {}
            name if CACHING.contains(&name) => {}
            other => return Err(Refused::new(format!("{other} is not supported here"))),
        }
    }
    let missing = |name| Refused::new(format!("the request lacks {name}"));
    let method = method.ok_or_else(|| missing("method"))?;
    let url = url.ok_or_else(|| missing("url"))?;
    let body = raw_body.or(body);
    let size = url.len()
        + body.as_ref().map_or(0, String::len)
        + headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    if size > MAX_BYTES {
        return Err(Refused::new(format!("the request is longer than {MAX_BYTES} bytes")));
    }
    Ok(Wanted { request: HttpRequest { method, url, headers, body, timeout_ms }, raise_error, is_json })
}

fn text<'v>(name: &str, value: &'v Value) -> Result<&'v str, Refused> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(Refused::new(format!("{name} must be a string, not {}", term::kind(other)))),
    }
}

fn flag(name: &str, value: &Value) -> Result<bool, Refused> {
    match value {
        Value::Bool(flag) => Ok(*flag),
        other => Err(Refused::new(format!("{name} must be a boolean, not {}", term::kind(other)))),
    }
}

/// A number of nanoseconds, or a text such as `500ms` or `2s`; never more than the default.
fn timeout(value: &Value) -> Result<u64, Refused> {
    let millis = match value {
        Value::String(text) => {
            let number = |unit: &str| text.strip_suffix(unit).and_then(|number| number.parse::<u64>().ok());
            number("ms").or_else(|| number("s").map(|seconds| seconds.saturating_mul(1_000)))
        }
        value => value.as_u64().ok().map(|nanos| nanos / 1_000_000),
    };
    let millis = millis.filter(|millis| *millis > 0);
    let millis = millis.ok_or_else(|| Refused::new("timeout must be nanoseconds, or a text such as 500ms or 2s"))?;
    Ok(millis.min(TIMEOUT_MS))
}

fn response_value(response: HttpResponse, is_json: bool) -> Outcome {
    let said = response.headers.get("content-type").and_then(|types| types.first());
    let says_json = said.is_some_and(|said| said.split(';').next().unwrap_or_default().trim().ends_with("json"));
    // A body that claims to be JSON and is not is ignored, as in OPA; if the policy forces JSON, it is an error.
    let parsed = (is_json || says_json).then(|| crate::material::json::read(response.body.as_bytes()));
    let body = match parsed {
        Some(Ok(body)) => body,
        Some(Err(error)) if is_json => return Err(Refused::new(format!("the answer is not JSON: {error}"))),
        _ => Value::Null,
    };
    let headers: BTreeMap<Value, Value> = response
        .headers
        .into_iter()
        .map(|(name, values)| {
            let values: Vec<Value> = values.iter().map(|value| Value::from(value.as_str())).collect();
            (Value::from(name.as_str()), Value::from(values))
        })
        .collect();
    Ok(object([
        ("status", Value::from(response.status.as_str())),
        ("status_code", Value::from(u64::from(response.status_code))),
        ("headers", Value::from(headers)),
        ("body", body),
        ("raw_body", Value::from(response.body.as_str())),
    ]))
}
