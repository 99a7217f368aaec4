//! Refuses scripts whose nesting would overflow the stack of the parser, before they reach it.
//!
//! The engine bounds the depth of some expressions and forgets others, such as `[[[[…` and `1+1+1+…`. It also reads the
//! content of brackets twice, as a comprehension and then as a list, set or object, so that the content of forty of
//! them would be read for years. Only tokens are looked at here, without recursion.

use std::num::{NonZeroU32, NonZeroUsize};

use regorus::Source;
use regorus::unstable::{Lexer, TokenKind};
use regorus::utils::limits::PolicyLengthConfig;

use super::error::{RegoError, engine_error};

/// The largest script, as the engine has it by default.
pub const MAX_BYTES: usize = 1024 * 1024;
/// Rewriting makes lines longer than the author wrote them.
const MAX_COLUMNS: u32 = 8 * 1024;
/// The most lines of a script.
const MAX_LINES: usize = 20_000;
/// How deep brackets may nest.
const MAX_NESTING: usize = 64;
/// How deep the tree of one expression may be: the operators, references and signs that follow one another and the
/// brackets around them, added up. Whatever walks the tree recurses that deep.
const MAX_DEPTH: usize = 256;
/// How many tokens the parser may read, each once more for each time that the brackets around it double it. A microsecond
/// each. The largest script has some hundred thousand tokens, few of them within more than three brackets.
const MAX_READS: u64 = 1 << 22;

/// How deep the tree within one pair of brackets can be, at most.
#[derive(Default)]
struct Level {
    /// Whether the content is read twice.
    is_doubled: bool,
    /// The operators and references that are chained in the expression in hand.
    chain: usize,
    /// The deepest bracket within the expression in hand.
    inside: usize,
    /// The deepest expression before it.
    before: usize,
}

impl Level {
    fn depth(&self) -> usize {
        self.chain + self.inside
    }

    /// Another expression begins.
    fn next(&mut self) {
        *self = Level { is_doubled: self.is_doubled, before: self.deepest(), ..Level::default() };
    }

    fn deepest(&self) -> usize {
        self.before.max(self.depth())
    }
}

/// A script within these lengths.
pub fn source(text: &str) -> Result<Source, RegoError> {
    let PolicyLengthConfig { max_file_bytes, max_lines, .. } = lengths();
    Source::from_contents_with_limits("policy".to_owned(), text.to_owned(), max_file_bytes, max_lines)
        .map_err(engine_error)
}

/// The limits that the engine is to enforce on scripts.
pub fn lengths() -> PolicyLengthConfig {
    PolicyLengthConfig {
        max_col: NonZeroU32::new(MAX_COLUMNS).expect("not zero"),
        // The completed script may be a little larger than the one that was let through.
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
        reads += 1 << doubled;
        if reads > MAX_READS {
            return Err(too("too much in brackets within brackets: it would be read too often", MAX_READS as usize));
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
                // Two operands in a row belong to two statements, but for a number that brings its own minus.
                let continues = token.0 == TokenKind::Number && token.1.text().starts_with('-');
                if continues {
                    level.chain += 1;
                } else if after_operand {
                    level.next();
                }
                after_operand = true;
            }
        }
        // What is open counts as inside of what is around it: a bracket may come before the operators or after them.
        let depth = levels.iter().map(Level::depth).sum::<usize>() + levels.len() - 1;
        if depth > MAX_DEPTH {
            return Err(too("too long an expression", MAX_DEPTH));
        }
    }
}
