//! Refuses scripts whose nesting would overflow the stack of the parser, before they reach it.
//!
//! The engine bounds the depth of some expressions and forgets others, such as `[[[[…` and `1+1+1+…`. Only tokens are
//! looked at here, without recursion.

use regorus::Source;
use regorus::unstable::{Lexer, TokenKind};

use super::{RegoError, engine_error};

/// How deep brackets may nest.
const MAX_NESTING: usize = 64;
/// How many operators and references one expression may chain, and how many signs may stand before a number.
const MAX_CHAIN: usize = 256;

/// Checks the tokens of a script.
pub fn check(source: &Source) -> Result<(), RegoError> {
    let mut lexer = Lexer::new(source);
    lexer.set_max_col(super::lengths().max_col);
    // The chain of each open bracket, the outermost first.
    let mut chains = vec![0usize];
    let mut after_operand = false;
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
        let chain = chains.last_mut().expect("the outermost is never closed");
        match text {
            "(" | "[" | "{" | "set(" => {
                *chain += usize::from(after_operand);
                if *chain > MAX_CHAIN {
                    return Err(too("too long an expression", MAX_CHAIN));
                }
                if chains.len() > MAX_NESTING {
                    return Err(too("nested too deep", MAX_NESTING));
                }
                chains.push(0);
                after_operand = false;
            }
            ")" | "]" | "}" => {
                if chains.len() > 1 {
                    chains.pop();
                }
                after_operand = true;
            }
            "+" | "-" | "*" | "/" | "%" | "&" | "|" | "<" | "<=" | "==" | ">" | ">=" | "!=" | "." | "in" | "not" => {
                let begins = text == "not" && after_operand;
                *chain = if begins { 1 } else { *chain + 1 };
                if *chain > MAX_CHAIN {
                    return Err(too("too long an expression", MAX_CHAIN));
                }
                after_operand = false;
            }
            "," | ";" | ":" | ":=" | "=" | "if" | "contains" | "else" | "some" | "every" | "default" | "import"
            | "package" | "as" | "with" => {
                *chain = 0;
                after_operand = false;
            }
            _ => {
                // Two operands in a row belong to two statements, but for a number that brings its own minus.
                let continues = token.0 == TokenKind::Number && token.1.text().starts_with('-');
                if after_operand && !continues {
                    *chain = 0;
                } else if continues {
                    *chain += 1;
                }
                if *chain > MAX_CHAIN {
                    return Err(too("too long an expression", MAX_CHAIN));
                }
                after_operand = true;
            }
        }
    }
}
