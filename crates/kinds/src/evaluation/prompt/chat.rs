//! The protocol: [chat completions](https://platform.openai.com/docs/api-reference/chat), which OpenAI and most model
//! servers support, hosted or local.

use std::fmt;
use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::Failure;
use reqwest::{Client, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::verdict;
use crate::webhook::{EndpointSettings, InvalidEndpoint, read_answer, unreached};

/// The maximum length of a provider's answer, in bytes: a verdict has a few hundred.
const MAX_ANSWER: usize = 1024 * 1024;
/// The maximum number of tokens in a model's answer.
const MAX_TOKENS: u32 = 4096;
/// The same for models that reason before they answer: their reasoning counts, too.
const MAX_REASONING_TOKENS: u32 = 16_384;

/// A provider of models, and how it is called.
#[derive(Clone)]
pub struct ProviderSettings {
    /// The whole URL at which chat completions are requested, and which hosts and addresses may be reached.
    pub endpoint: EndpointSettings,
    /// The name of the model, as the provider knows it.
    pub model: String,
    /// The key for the header `Authorization: Bearer`; local servers need none.
    pub key: Option<SecretString>,
    /// How the model is required to return the form of a verdict.
    pub response_format: ResponseFormat,
    /// The maximum number of bytes of evidence that are sent.
    pub evidence_limit: usize,
    /// How long one answer may take.
    pub timeout: Duration,
}

/// The field `response_format` of a request: not every provider supports every value. Whichever is requested, every
/// answer is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResponseFormat {
    /// The JSON schema of a verdict.
    #[default]
    JsonSchema,
    /// Any JSON object.
    JsonObject,
    /// The field is left out of the request.
    Text,
}

/// A provider of models. Cheap to clone.
#[derive(Clone)]
pub struct Provider {
    client: Client,
    url: reqwest::Url,
    settings: ProviderSettings,
    /// Whether the model has refused the parameters `max_tokens` and `temperature`, as models that reason do.
    reasons: Arc<AtomicBool>,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Shows neither the URL, which may contain a key in its query, nor the key itself.
        f.debug_struct("Provider").field("model", &self.settings.model).finish_non_exhaustive()
    }
}

/// A message of a conversation.
#[derive(Debug, Serialize)]
pub(super) struct Message {
    role: &'static str,
    content: String,
}

impl Message {
    pub(super) fn system(content: String) -> Message {
        Message { role: "system", content }
    }

    pub(super) fn user(content: String) -> Message {
        Message { role: "user", content }
    }

    pub(super) fn assistant(content: String) -> Message {
        Message { role: "assistant", content }
    }
}

/// The answer of a provider.
#[derive(Debug)]
pub(super) struct Completion {
    pub(super) answer: Answer,
    pub(super) used: Tokens,
}

/// The answer of a model.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Its text.
    Text(String),
    /// A text that is not complete, because it is as long as an answer may be.
    Cut(String),
    /// A refusal, with its reason.
    Refused(String),
}

/// The token usage of a conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Tokens {
    /// The number of tokens that were read.
    #[serde(rename = "prompt_tokens", default)]
    pub(super) prompt: u64,
    /// The number of tokens that were written.
    #[serde(rename = "completion_tokens", default)]
    pub(super) completion: u64,
}

impl AddAssign for Tokens {
    fn add_assign(&mut self, other: Tokens) {
        self.prompt = self.prompt.saturating_add(other.prompt);
        self.completion = self.completion.saturating_add(other.completion);
    }
}

#[derive(Deserialize)]
struct Answered {
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Tokens>,
}

#[derive(Deserialize)]
struct Choice {
    message: Said,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    content: Option<Content>,
    #[serde(default)]
    refusal: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

/// A part of a content. Only those of the type `text` belong to the answer; others contain the reasoning, for instance.
#[derive(Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    text: Option<String>,
}

impl Content {
    fn text(self) -> String {
        match self {
            Content::Text(text) => text,
            Content::Parts(parts) => {
                parts.into_iter().filter(|part| part.kind == "text").filter_map(|part| part.text).collect()
            }
        }
    }
}

impl Provider {
    /// A provider whose settings have been checked; no call is made yet.
    ///
    /// # Errors
    /// [`InvalidEndpoint`], as [`Endpoint::new`](crate::webhook::Endpoint::new).
    pub fn new(settings: ProviderSettings) -> Result<Provider, InvalidEndpoint> {
        let (client, url) = settings.endpoint.client()?;
        Ok(Provider { client, url, settings, reasons: Arc::default() })
    }

    /// The name of the model.
    pub fn model(&self) -> &str {
        &self.settings.model
    }

    /// The maximum number of bytes of evidence that are sent.
    pub(crate) fn evidence_limit(&self) -> usize {
        self.settings.evidence_limit
    }

    /// Requests one answer to a conversation.
    ///
    /// # Errors
    /// [`Failure`], permanent where another attempt would fail as well.
    pub(super) async fn complete(&self, messages: &[Message]) -> Result<Completion, Failure> {
        let prefixed = |failure: Failure| Failure { message: format!("prompt: {}", failure.message), ..failure };
        let limit = self.settings.timeout;
        match tokio::time::timeout(limit, self.call(messages)).await {
            Ok(completion) => completion.map_err(prefixed),
            Err(_) => {
                let message = format!("the AI provider gave no answer within {} s", limit.as_secs_f64());
                Err(prefixed(Failure::transient(message)))
            }
        }
    }

    async fn call(&self, messages: &[Message]) -> Result<Completion, Failure> {
        let reasons = self.reasons.load(Ordering::Relaxed);
        let (status, answer) = self.send(&self.body(messages, reasons)).await?;
        let answer = match answer {
            Err(failure) if !reasons && status == StatusCode::BAD_REQUEST && names_a_parameter(&failure) => {
                let (_, answer) = self.send(&self.body(messages, true)).await?;
                self.reasons.fetch_or(answer.is_ok(), Ordering::Relaxed);
                answer
            }
            answer => answer,
        };
        completion(&answer?)
    }

    fn body(&self, messages: &[Message], reasons: bool) -> Value {
        let mut body = json!({ "model": self.settings.model, "messages": messages });
        if reasons {
            body["max_completion_tokens"] = MAX_REASONING_TOKENS.into();
        } else {
            body["max_tokens"] = MAX_TOKENS.into();
            body["temperature"] = 0.into();
        }
        match self.settings.response_format {
            ResponseFormat::JsonSchema => {
                let schema = json!({ "name": "verdict", "strict": true, "schema": verdict::schema() });
                body["response_format"] = json!({ "type": "json_schema", "json_schema": schema });
            }
            ResponseFormat::JsonObject => body["response_format"] = json!({ "type": "json_object" }),
            ResponseFormat::Text => {}
        }
        body
    }

    async fn send(&self, body: &Value) -> Result<(StatusCode, Result<String, Failure>), Failure> {
        let mut call = self.client.post(self.url.clone()).json(body);
        if let Some(key) = &self.settings.key {
            call = call.bearer_auth(key.expose_secret());
        }
        let response = call.send().await.map_err(|error| unreached(&self.url, &error))?;
        Ok((response.status(), read_answer(response, MAX_ANSWER, "").await))
    }
}

/// Whether a refusal of a call names a parameter that models without reasoning have.
fn names_a_parameter(refusal: &Failure) -> bool {
    ["max_tokens", "temperature"].iter().any(|name| refusal.message.contains(name))
}

/// Reads the answer of a provider.
fn completion(text: &str) -> Result<Completion, Failure> {
    let answered: Answered = serde_json::from_str(text).map_err(|error| {
        // A retry costs money, and would get the same answer from a server with another protocol.
        Failure::permanent(format!("the AI provider's answer is not a chat completion: {error}"))
    })?;
    let used = answered.usage.unwrap_or_default();
    let Some(Choice { message, finish_reason }) = answered.choices.into_iter().next() else {
        return Err(Failure::permanent("the AI provider's answer has no choices"));
    };
    let answer = match message {
        Said { refusal: Some(reason), .. } if !reason.trim().is_empty() => {
            Answer::Refused(format!("the model refused: {}", crate::text::one_line(reason.as_bytes())))
        }
        Said { content, .. } => {
            let text = content.map(Content::text).unwrap_or_default();
            match finish_reason.as_deref() {
                Some("content_filter") => {
                    Answer::Refused("the AI provider's content filter stopped the answer".to_owned())
                }
                Some("length") => Answer::Cut(text),
                _ => Answer::Text(text),
            }
        }
    };
    Ok(Completion { answer, used })
}
