//! Refuses scripts whose nesting would overflow the parser's stack, before they are parsed.
//!
//! The engine limits the depth of some expressions but not of others, such as `[[[[…` and `1+1+1+…`. It also parses the
//! content of brackets twice, as a comprehension and then as a list, set or object, so that parsing the content of
//! forty of them would take years. And it writes numbers out: one with ten digits in its exponent would fill the memory.
//! This check reads only tokens, without recursion.

use std::num::{NonZeroU32, NonZeroUsize};

use regorus::Source;
use regorus::unstable::{Lexer, TokenKind};
use regorus::utils::limits::PolicyLengthConfig;

use super::error::{RegoError, engine_error};

/// The maximum size of a script, which is the engine's default.
pub const MAX_BYTES: usize = 1024 * 1024;
/// The maximum length of a line: rewriting makes lines longer than the author wrote them.
const MAX_COLUMNS: u32 = 8 * 1024;
/// The maximum number of lines of a script.
const MAX_LINES: usize = 20_000;
/// The maximum nesting depth of brackets.
const MAX_NESTING: usize = 64;
/// The maximum depth of the tree of one expression: the consecutive operators, references and signs, plus the brackets
/// around them. Everything that walks the tree recurses to this depth.
const MAX_DEPTH: usize = 256;
/// The maximum number of tokens that the parser may read, where a token counts double for each bracket around it that
/// is parsed twice. Each takes a microsecond. The largest script has some hundred thousand tokens, few of them within
/// more than three brackets.
const MAX_READS: u64 = 1 << 22;
/// The maximum exponent of a number, positive or negative. That of a double has three digits.
const MAX_EXPONENT: usize = 1_000;

/// The maximum possible depth of the tree within one pair of brackets.
#[derive(Default)]
struct Level {
    /// Whether the content is parsed twice.
    is_doubled: bool,
    /// The number of chained operators and references in the current expression.
    chain: usize,
    /// The depth of the deepest bracket within the current expression.
    inside: usize,
    /// The depth of the deepest expression before it.
    before: usize,
}

impl Level {
    fn depth(&self) -> usize {
        self.chain + self.inside
    }

    /// Starts another expression.
    fn next(&mut self) {
        *self = Level { is_doubled: self.is_doubled, before: self.deepest(), ..Level::default() };
    }

    fn deepest(&self) -> usize {
        self.before.max(self.depth())
    }
}

/// The source of a script, if it is within the limits on length.
pub fn source(text: &str) -> Result<Source, RegoError> {
    let PolicyLengthConfig { max_file_bytes, max_lines, .. } = lengths();
    Source::from_contents_with_limits("policy".to_owned(), text.to_owned(), max_file_bytes, max_lines)
        .map_err(engine_error)
}

/// The limits that the engine is to enforce on scripts.
pub fn lengths() -> PolicyLengthConfig {
    PolicyLengthConfig {
        max_col: NonZeroU32::new(MAX_COLUMNS).expect("not zero"),
        // The completed script may be slightly larger than the original.
        max_file_bytes: NonZeroUsize::new(2 * MAX_BYTES).expect("not zero"),
        max_lines: NonZeroUsize::new(MAX_LINES).expect("not zero"),
    }
}

/// Checks the tokens of a script.
pub fn check(source: &Source) -> Result<(), RegoError> {
    let mut lexer = Lexer::new(source);
    lexer.set_max_col(lengths().max_col);
    // The open brackets, the outermost first.
    let mut levels = vec![Level::default()];
    let mut after_operand = false;
    let (mut doubled, mut reads) = (0, 0_u64);
    loop {
        let token = lexer.next_token().map_err(engine_error)?;
        let text = match token.0 {
            TokenKind::Eof => return Ok(()),
            TokenKind::Symbol | TokenKind::Ident => token.1.text(),
            TokenKind::String | TokenKind::RawString | TokenKind::Number => "1",
        };
        let too = |what: &str, most: usize| RegoError::Script {
            line: token.1.line,
            column: token.1.col,
            message: format!("{what} (more than {most})"),
        };
        if token.0 == TokenKind::Number && exponent(token.1.text()) > MAX_EXPONENT {
            return Err(too("a number with too large an exponent", MAX_EXPONENT));
        }
        reads += 1 << doubled;
        if reads > MAX_READS {
            return Err(too("too much content in nested brackets: parsing it would take too long", MAX_READS as usize));
        }
        let open = levels.len();
        let level = levels.last_mut().expect("the outermost is never closed");
        match text {
            "(" | "[" | "{" | "set(" => {
                level.chain += usize::from(after_operand);
                if open > MAX_NESTING {
                    return Err(too("nested too deep", MAX_NESTING));
                }
                // A bracket after an operand opens an index or the arguments of a call.
                let is_doubled = !after_operand && matches!(text, "[" | "{");
                doubled += u32::from(is_doubled);
                levels.push(Level { is_doubled, ..Level::default() });
                after_operand = false;
            }
            ")" | "]" | "}" => {
                if open > 1 {
                    let inside = level.deepest() + 1;
                    doubled -= u32::from(level.is_doubled);
                    levels.pop();
                    let around = levels.last_mut().expect("the outermost is never closed");
                    around.inside = around.inside.max(inside);
                }
                after_operand = true;
            }
            "+" | "-" | "*" | "/" | "%" | "&" | "|" | "<" | "<=" | "==" | ">" | ">=" | "!=" | "." | "in" | "not" => {
                if text == "not" && after_operand {
                    level.next();
                }
                level.chain += 1;
                after_operand = false;
            }
            "," | ";" | ":" | ":=" | "=" | "if" | "contains" | "else" | "some" | "every" | "default" | "import"
            | "package" | "as" | "with" => {
                level.next();
                after_operand = false;
            }
            _ => {
                // Two operands in a row belong to two statements, except for a number with its own minus sign.
                let continues = token.0 == TokenKind::Number && token.1.text().starts_with('-');
                if continues {
                    level.chain += 1;
                } else if after_operand {
                    level.next();
                }
                after_operand = true;
            }
        }
        // Everything that is open counts as inside of what surrounds it: a bracket may come before the operators or
        // after them.
        let depth = levels.iter().map(Level::depth).sum::<usize>() + levels.len() - 1;
        if depth > MAX_DEPTH {
            return Err(too("too long an expression", MAX_DEPTH));
        }
    }
}

/// The exponent in the text of a number, without its sign.
fn exponent(number: &str) -> usize {
    let Some((_, exponent)) = number.split_once(['e', 'E']) else { return 0 };
    exponent.trim_start_matches(['+', '-']).parse().unwrap_or(usize::MAX)
}
