//! The natural-language check of an evaluation, `prompt`: a model reads the evidence and returns a verdict.
//!
//! What it promises: the verdict has the form that [`verdict`] describes, or there is none. Evidence is data: the model
//! receives it as a string inside a JSON document, in a message of its own, and whatever the evidence makes the model
//! do, an answer of another form is refused and never counts as passed. The evidence can still deceive the model, so a
//! prompt check is an aid for people and not a gate against the authors of the evidence; the documentation says so.

mod chat;
mod verdict;

use std::mem;
use std::time::{Duration, Instant};

use engine::Failure;
use evidence::{AiOutput, PolicyOutput, Status, ViolationOutput, whole_characters};
use store::Digest;

use chat::{Answer, Completion, Message, Tokens};
pub use chat::{Provider, ProviderSettings, ResponseFormat};
use verdict::Verdict;

/// The name of this check among the policies of an output.
const NAME: &str = "prompt";
/// How often a model is asked at most when its answers are not verdicts. Each repetition includes what was wrong.
const MAX_ANSWERS: u32 = 3;

/// A prompt and the evidence to which it applies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    /// What to check, as the caller wrote it.
    pub(super) prompt: &'a str,
    /// The kind of the evidence, such as `SARIF`.
    pub(super) kind: &'a str,
    /// The evidence.
    pub(super) content: &'a [u8],
    /// The total size of the evidence in bytes; `content` may be only its first part.
    pub(super) size: u64,
}

impl Provider {
    /// Requests a verdict.
    ///
    /// # Errors
    /// [`Failure`] when there is no verdict: permanent when the provider refuses the call or the model never answers in
    /// the form of a verdict, transient when the provider cannot be reached, is overloaded or takes too long.
    pub(super) async fn check(&self, question: Question<'_>) -> Result<PolicyOutput, Failure> {
        let start = Instant::now();
        let mut output = PolicyOutput {
            name: NAME.to_owned(),
            reference: NAME.to_owned(),
            digest: Digest::of(question.prompt.as_bytes()).to_string(),
            content_digest: None,
            kind: None,
            group: None,
            status: Status::Skipped,
            violations: Vec::new(),
            suppressed: Vec::new(),
            skipped: true,
            skip_reasons: Vec::new(),
            not_evaluated: Vec::new(),
            ignored: false,
            arguments: [("prompt".to_owned(), question.prompt.to_owned())].into(),
            warnings: Vec::new(),
            duration_ms: 0,
            ai: None,
        };
        let Some(text) = readable(question.content, question.size) else {
            let reason = "the evidence is not text, so no model can read it";
            return Ok(PolicyOutput { skip_reasons: vec![reason.to_owned()], ..output });
        };
        let is_cut = (text.len() as u64) < question.size;
        if is_cut {
            let (sent, size) = (text.len(), question.size);
            output.skip_reasons.push(format!("the model saw only the first {sent} of {size} bytes of the evidence"));
        }
        let (verdict, tokens, answers) = self.ask(question, text).await?;
        output.ai = Some(AiOutput {
            model: self.model().to_owned(),
            evidence_bytes: text.len() as u64,
            answers,
            prompt_tokens: tokens.prompt,
            completion_tokens: tokens.completion,
        });
        match verdict {
            // The rest of the evidence may have what the check is about.
            Verdict::Passed if is_cut => {}
            Verdict::Passed => (output.status, output.skipped) = (Status::Passed, false),
            Verdict::Failed(messages) => {
                (output.status, output.skipped) = (Status::Failed, false);
                output.not_evaluated = mem::take(&mut output.skip_reasons);
                let violation =
                    |message| ViolationOutput { subject: NAME.to_owned(), message, finding: None, waived: None };
                output.violations = messages.into_iter().map(violation).collect();
            }
            Verdict::Skipped(reason) => output.skip_reasons.push(reason),
        }
        output.duration_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(output)
    }

    /// Asks until there is a verdict, and also returns the token usage and the number of answers.
    async fn ask(&self, question: Question<'_>, text: &str) -> Result<(Verdict, Tokens, u32), Failure> {
        let mut asked =
            serde_json::json!({ "check": question.prompt, "material_type": question.kind, "evidence": text });
        if (text.len() as u64) < question.size {
            asked["cut"] = format!("the first {} of {} bytes", text.len(), question.size).into();
        }
        let mut messages = vec![Message::system(verdict::INSTRUCTIONS.to_owned()), Message::user(asked.to_string())];
        let mut tokens = Tokens::default();
        let mut problem = String::new();
        for answers in 1..=MAX_ANSWERS {
            let Completion { answer, used } = self.complete(&messages).await?;
            tokens += used;
            let (answer, wrong) = match answer {
                Answer::Text(text) => match verdict::read(&text) {
                    Ok(verdict) => return Ok((verdict, tokens, answers)),
                    Err(wrong) => (text, wrong),
                },
                Answer::Cut(text) => (text, "ends at the maximum number of tokens, before its own end".to_owned()),
                Answer::Refused(reason) => return Ok((Verdict::Skipped(reason), tokens, answers)),
            };
            messages.truncate(2);
            messages.push(Message::assistant(answer));
            messages.push(Message::user(format!(
                "This answer is not the JSON document that was asked for: it {wrong}. Answer with that document alone."
            )));
            problem = wrong;
        }
        Err(Failure::permanent(format!(
            "prompt: the model {} gave no verdict in {MAX_ANSWERS} answers; the last one {problem}",
            self.model()
        )))
    }
}

/// The evidence, or its first part, as text; `None` when it is not text.
fn readable(content: &[u8], size: u64) -> Option<&str> {
    let is_cut = (content.len() as u64) < size;
    whole_characters(content, is_cut).filter(|text| !text.contains('\0'))
}

/// The default limit of the duration of a call.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
/// The default limit of the evidence that is sent to a model, in bytes.
pub const DEFAULT_EVIDENCE_LIMIT: usize = 128 * 1024;

#[cfg(test)]
mod tests {
    use super::readable;

    #[test]
    fn only_text_is_sent_and_never_half_a_character() {
        let text = "añb".as_bytes();
        assert_eq!(readable(text, 4), Some("añb"));
        assert_eq!(readable(&text[..2], 4), Some("a"), "ñ has two bytes");
        assert_eq!(readable(&text[..3], 4), Some("añ"));
        assert_eq!(readable(&text[..2], 2), None, "half a character at the end is not text");
        assert_eq!(readable(b"PK\x03\x04\xff", 5), None);
        assert_eq!(readable(b"a\0b", 3), None);
        assert_eq!(readable(b"", 0), Some(""));
    }
}
