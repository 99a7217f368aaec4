//! Removes the imports that select the version of the language. Every script is read as Rego v1, which includes all of
//! `future.keywords`; the engine refuses a script that imports both, which OPA accepts.

use regorus::unstable::{Lexer, TokenKind};

use super::guard;
use super::text::place;

/// The script without `import rego.v1` and `import future.keywords…`; all other lines stay where they are.
pub fn settle(text: &str) -> String {
    let mut settled = text.to_owned();
    for (start, end) in imports(text) {
        // Replaced by spaces, so that line and column numbers stay the same.
        settled.replace_range(start..end, &" ".repeat(end - start));
    }
    settled
}

/// The start and the end of each such import, in bytes. The parser reports a text that the lexer refuses.
fn imports(text: &str) -> Vec<(usize, usize)> {
    let Ok(source) = guard::source(text) else { return Vec::new() };
    let mut lexer = Lexer::new(&source);
    lexer.set_max_col(guard::lengths().max_col);
    let mut found = Vec::new();
    // The current import: its start and end, and the names and dots that follow it on its line.
    let mut open: Option<(usize, usize, u32, String)> = None;
    let keep = |open: Option<(usize, usize, u32, String)>, found: &mut Vec<(usize, usize)>| {
        if let Some((start, end, _, path)) = open
            && (path == "rego.v1" || path == "future.keywords" || path.starts_with("future.keywords."))
        {
            found.push((start, end));
        }
    };
    while let Ok(token) = lexer.next_token() {
        let (start, end) = (place(token.1.start), place(token.1.end));
        match (token.0, &mut open) {
            (TokenKind::Eof, _) => {
                keep(open, &mut found);
                return found;
            }
            (TokenKind::Ident, _) if token.1.text() == "import" => {
                keep(open.take(), &mut found);
                open = Some((start, end, token.1.line, String::new()));
            }
            (TokenKind::Ident | TokenKind::Symbol, Some((_, until, line, path))) if token.1.line == *line => {
                path.push_str(token.1.text());
                *until = end;
            }
            _ => keep(open.take(), &mut found),
        }
    }
    Vec::new()
}
