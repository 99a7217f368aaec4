//! Regular expressions in the syntax of RE2 as Go reads it, translated into the syntax of the crate [`regex`].
//!
//! The two differ in what they accept and in what `\w`, `\d`, `\s` and `\b` mean: in RE2 these are ASCII. What remains
//! (the choice among alternatives, how letters match without regard to case, what groups capture) is the same. Every
//! literal is written as an escape or a letter, so that nothing in the translation has a meaning only in the crate.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use regex::{Regex, RegexBuilder};

use super::Refused;

/// The maximum size of a compiled expression, in bytes.
const MAX_BYTES: usize = 1 << 20;
/// The maximum number of repetitions, also of nested ones together, as in Go.
const MAX_REPETITIONS: u32 = 1000;
/// The maximum number of expressions that are kept compiled.
const MAX_KEPT: usize = 100;
/// A class that nothing matches.
const NOTHING: &str = r"[^\x{0}-\x{10FFFF}]";

const DIGIT: &str = "0-9";
const SPACE: &str = r"\t\n\x{C}\r\x{20}";
const WORD: &str = "0-9A-Za-z_";
/// The classes within brackets, as in `[[:alpha:]]`.
const POSIX: &[(&str, &str)] = &[
    ("alnum", "0-9A-Za-z"),
    ("alpha", "A-Za-z"),
    ("ascii", r"\x{0}-\x{7F}"),
    ("blank", r"\t\x{20}"),
    ("cntrl", r"\x{0}-\x{1F}\x{7F}"),
    ("digit", DIGIT),
    ("graph", r"\x{21}-\x{7E}"),
    ("lower", "a-z"),
    ("print", r"\x{20}-\x{7E}"),
    ("punct", r"\x{21}-\x{2F}\x{3A}-\x{40}\x{5B}-\x{60}\x{7B}-\x{7E}"),
    ("space", r"\t\n\x{B}\x{C}\r\x{20}"),
    ("upper", "A-Z"),
    ("word", WORD),
    ("xdigit", "0-9A-Fa-f"),
];

/// A compiled expression.
pub struct Pattern {
    pub regex: Regex,
    /// The names of the groups; the first group is the whole match, which has the empty name, as have unnamed groups.
    pub names: Vec<String>,
}

type Kept = HashMap<String, Arc<Pattern>>;

/// The expressions that are kept compiled, for all runs: each run has a thread of its own.
fn kept() -> MutexGuard<'static, Kept> {
    static KEPT: LazyLock<Mutex<Kept>> = LazyLock::new(Mutex::default);
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Compiles an expression, or returns it if it was compiled before.
pub fn compile(pattern: &str) -> Result<Arc<Pattern>, Refused> {
    if let Some(known) = kept().get(pattern) {
        return Ok(Arc::clone(known));
    }
    let wrong = |what: &str| Refused::new(format!("the regular expression {pattern:?}: {what}"));
    let (translated, names) = Translation::of(pattern).map_err(wrong)?;
    let regex = RegexBuilder::new(&translated).size_limit(MAX_BYTES).build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => wrong("it is too large"),
        _ => wrong("it nests too deep"),
    })?;
    let compiled = Arc::new(Pattern { regex, names });
    let mut kept = kept();
    if kept.len() >= MAX_KEPT {
        kept.clear();
    }
    kept.insert(pattern.to_owned(), Arc::clone(&compiled));
    Ok(compiled)
}

/// Whether an expression can be compiled; an error if it is too large.
pub fn is_valid(pattern: &str) -> Result<bool, Refused> {
    if Translation::of(pattern).is_err() { Ok(false) } else { compile(pattern).map(|_| true) }
}

/// The flags that are set at a place in an expression.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Flags {
    /// `i`, `m`, `s` and `U`.
    set: [bool; 4],
}

impl Flags {
    const LETTERS: [char; 4] = ['i', 'm', 's', 'U'];

    /// All of them, as they are written between `(?` and `)` or `:`.
    fn write(self) -> String {
        let of =
            |set: bool| Flags::LETTERS.iter().zip(self.set).filter(move |(_, is)| *is == set).map(|(flag, _)| flag);
        let (on, off): (String, String) = (of(true).collect(), of(false).collect());
        if off.is_empty() { on } else { format!("{on}-{off}") }
    }
}

/// A group that is not closed yet.
struct Group {
    /// The flags after its end.
    flags: Flags,
    /// The largest number of copies of a part within it.
    copies: u32,
}

/// An expression that is being translated.
struct Translation<'p> {
    rest: &'p str,
    out: String,
    names: Vec<String>,
    flags: Flags,
    /// The outermost is the expression itself.
    groups: Vec<Group>,
    /// Whether the flags must be written before what comes next.
    is_flagged: bool,
    /// The number of copies that repetitions within the last part make; nothing if there is no part to repeat.
    operand: Option<u32>,
    /// Whether the last part is repeated already.
    is_repeated: bool,
}

type Wrong = &'static str;

const UNCLOSED: Wrong = "a bracket is not closed";
const ESCAPE: Wrong = "there is no such escape";
const CLASS: Wrong = "there is no such class of characters";
const SYNTAX: Wrong = "there is no such syntax after (?";

impl<'p> Translation<'p> {
    /// The translation of an expression, and the names of its groups.
    fn of(pattern: &'p str) -> Result<(String, Vec<String>), Wrong> {
        let flags = Flags::default();
        let mut translation = Translation {
            rest: pattern,
            out: String::new(),
            names: vec![String::new()],
            flags,
            groups: vec![Group { flags, copies: 1 }],
            is_flagged: false,
            operand: None,
            is_repeated: false,
        };
        while let Some(character) = translation.take() {
            match character {
                '(' => translation.open()?,
                ')' => translation.close()?,
                '|' => translation.branch(),
                '^' | '$' | '.' => translation.atom(character.to_string().as_str()),
                '[' => translation.class()?,
                '*' | '+' | '?' => translation.repeat(character.to_string().as_str(), 1)?,
                '{' => match bounds(translation.rest) {
                    Some(bounds) => translation.repeat_between(&bounds)?,
                    None => translation.literal(u32::from('{')),
                },
                '\\' => translation.escape()?,
                other => translation.literal(u32::from(other)),
            }
        }
        if translation.groups.len() > 1 {
            return Err("a parenthesis is not closed");
        }
        Ok((translation.out, translation.names))
    }

    fn take(&mut self) -> Option<char> {
        let mut characters = self.rest.chars();
        let next = characters.next();
        self.rest = characters.as_str();
        next
    }

    fn skip(&mut self, text: &str) -> bool {
        let after = self.rest.strip_prefix(text);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    /// Writes something that can be repeated.
    fn atom(&mut self, text: &str) {
        self.write_flags();
        self.out.push_str(text);
        self.set_operand(Some(1));
    }

    fn set_operand(&mut self, operand: Option<u32>) {
        self.operand = operand;
        self.is_repeated = false;
    }

    fn literal(&mut self, code: u32) {
        let text = range(code, code);
        self.atom(text.as_deref().unwrap_or(NOTHING));
    }

    fn branch(&mut self) {
        self.out.push('|');
        self.is_flagged = true;
        self.set_operand(None);
    }

    fn write_flags(&mut self) {
        if std::mem::take(&mut self.is_flagged) {
            self.out.push_str(&format!("(?{})", self.flags.write()));
        }
    }

    /// Writes the beginning of a group; `after` are the flags after its end.
    fn push_group(&mut self, opening: &str, after: Flags) {
        self.out.push_str(opening);
        self.groups.push(Group { flags: after, copies: 1 });
        self.set_operand(None);
    }

    /// Reads what comes after an opening parenthesis.
    fn open(&mut self) -> Result<(), Wrong> {
        let before = self.flags;
        if !self.skip("?") {
            self.capture(String::new());
            return Ok(());
        }
        if self.skip("P<") || self.skip("<") {
            let (name, rest) = self.rest.split_once('>').ok_or("the name of a group does not end")?;
            if name.is_empty() || !name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_') {
                return Err("the name of a group must consist of letters, digits and underscores");
            }
            self.rest = rest;
            self.capture(name.to_owned());
            return Ok(());
        }
        // The value that a flag gets: after a minus sign it is cleared.
        let (mut value, mut any) = (true, true);
        loop {
            let character = self.take().ok_or(SYNTAX)?;
            match (character, Flags::LETTERS.iter().position(|flag| *flag == character)) {
                (_, Some(flag)) => {
                    self.flags.set[flag] = value;
                    any = true;
                }
                ('-', _) if value => (value, any) = (false, false),
                (':', _) if any => {
                    self.is_flagged = false;
                    self.push_group(&format!("(?{}:", self.flags.write()), before);
                    return Ok(());
                }
                (')', _) if any => {
                    self.is_flagged = true;
                    return Ok(());
                }
                _ => return Err(SYNTAX),
            }
        }
    }

    fn capture(&mut self, name: String) {
        self.names.push(name);
        self.write_flags();
        self.push_group("(", self.flags);
    }

    fn close(&mut self) -> Result<(), Wrong> {
        let group = self.groups.pop().filter(|_| !self.groups.is_empty()).ok_or("a parenthesis is not opened")?;
        self.flags = group.flags;
        // They may not have been written before the group.
        self.is_flagged = true;
        self.out.push(')');
        self.set_operand(Some(group.copies));
        self.copied(group.copies);
        Ok(())
    }

    /// Notes how many copies there are of a part of the innermost group.
    fn copied(&mut self, copies: u32) {
        let group = self.groups.last_mut().expect("the outermost is never closed");
        group.copies = group.copies.max(copies);
    }

    fn repeat_between(&mut self, bounds: &Bounds<'p>) -> Result<(), Wrong> {
        const SIZE: Wrong = "a number of repetitions is too large or ends before it begins";
        let (least, most) = (bounds.least, bounds.most);
        if least > MAX_REPETITIONS || most.is_some_and(|most| most > MAX_REPETITIONS || most < least) {
            return Err(SIZE);
        }
        self.rest = bounds.rest;
        let text = match most {
            None => format!("{{{least},}}"),
            Some(most) => format!("{{{least},{most}}}"),
        };
        let times = most.unwrap_or(least);
        self.repeat(&text, times)?;
        if times >= 2 && self.operand > Some(MAX_REPETITIONS) { Err(SIZE) } else { Ok(()) }
    }

    /// Writes a repetition; `times` is how many copies it makes.
    fn repeat(&mut self, text: &str, times: u32) -> Result<(), Wrong> {
        // With something empty between them, RE2 accepts two. The translation would have another meaning.
        if self.is_repeated {
            return Err("a repetition follows another one");
        }
        let copies = self.operand.ok_or("a repetition has nothing before it")?.saturating_mul(times);
        self.out.push_str(text);
        if self.skip("?") {
            self.out.push('?');
        }
        self.copied(copies);
        self.operand = Some(copies);
        self.is_repeated = true;
        Ok(())
    }

    /// Reads what comes after a backslash that is not within brackets.
    fn escape(&mut self) -> Result<(), Wrong> {
        if self.skip("A") {
            self.atom(r"\A");
        } else if self.skip("z") {
            self.atom(r"\z");
        } else if self.skip("b") {
            self.atom(r"(?-u:\b)");
        } else if self.skip("B") {
            self.atom(r"(?-u:\B)");
        } else if self.skip("Q") {
            let (literal, rest) = self.rest.split_once(r"\E").unwrap_or((self.rest, ""));
            self.rest = rest;
            literal.chars().for_each(|character| self.literal(u32::from(character)));
        } else if let Some(class) = self.escaped_class()? {
            self.atom(&format!("[{class}]"));
        } else {
            let code = self.escaped_character()?;
            self.literal(code);
        }
        Ok(())
    }

    /// Reads the class of characters that comes after a backslash, if one does.
    fn escaped_class(&mut self) -> Result<Option<String>, Wrong> {
        for (letter, negated, class) in [("d", "D", DIGIT), ("s", "S", SPACE), ("w", "W", WORD)] {
            if self.skip(letter) {
                return Ok(Some(class.to_owned()));
            } else if self.skip(negated) {
                return Ok(Some(format!("[^{class}]")));
            }
        }
        let mut is_negated = self.rest.starts_with('P');
        if !self.skip("P") && !self.skip("p") {
            return Ok(None);
        }
        let mut name = if self.skip("{") {
            let (name, rest) = self.rest.split_once('}').ok_or(CLASS)?;
            self.rest = rest;
            name.to_owned()
        } else {
            self.take().ok_or(CLASS)?.to_string()
        };
        if let Some(positive) = name.strip_prefix('^') {
            is_negated = !is_negated;
            name = positive.to_owned();
        }
        let is_name = name.chars().all(|character| character.is_ascii_alphanumeric() || "_- ".contains(character));
        let letter = if is_negated { 'P' } else { 'p' };
        // A name is that of a category or of a script, and not of another property of Unicode.
        let mut classes = ["gc", "sc"].into_iter().map(|property| format!("\\{letter}{{{property}={name}}}"));
        classes.find(|class| is_name && Regex::new(class).is_ok()).map(Some).ok_or(CLASS)
    }

    /// Reads the single character that comes after a backslash.
    fn escaped_character(&mut self) -> Result<u32, Wrong> {
        let character = self.take().ok_or("a backslash at the end")?;
        let octal = |rest: &str| rest.chars().next().and_then(|next| next.to_digit(8));
        match character {
            // A single digit other than zero would refer to a group.
            '0'..='7' if character == '0' || octal(self.rest).is_some() => {
                let mut code = u32::from(character) - u32::from('0');
                for _ in 0..2 {
                    let Some(digit) = octal(self.rest) else { break };
                    code = code * 8 + digit;
                    self.take();
                }
                Ok(code)
            }
            'x' if self.skip("{") => {
                let (digits, rest) = self.rest.split_once('}').ok_or(ESCAPE)?;
                let is_hex = digits.chars().all(|digit| digit.is_ascii_hexdigit());
                let code = u32::from_str_radix(digits, 16).ok().filter(|code| is_hex && *code <= u32::from(char::MAX));
                self.rest = rest;
                code.ok_or(ESCAPE)
            }
            'x' => {
                let mut digit = || self.take().and_then(|digit| digit.to_digit(16)).ok_or(ESCAPE);
                Ok(digit()? * 16 + digit()?)
            }
            'a' => Ok(0x07),
            'f' => Ok(0x0C),
            'n' => Ok(0x0A),
            'r' => Ok(0x0D),
            't' => Ok(0x09),
            'v' => Ok(0x0B),
            other if other.is_ascii() && !other.is_ascii_alphanumeric() => Ok(u32::from(other)),
            _ => Err(ESCAPE),
        }
    }

    /// Reads what comes after an opening bracket.
    fn class(&mut self) -> Result<(), Wrong> {
        let negation = if self.skip("^") { "^" } else { "" };
        let mut members = String::new();
        let mut is_first = true;
        while is_first || !self.rest.starts_with(']') {
            is_first = false;
            if let Some((name, rest)) = self.rest.strip_prefix("[:").and_then(|rest| rest.split_once(":]")) {
                let (name, is_negated) = name.strip_prefix('^').map_or((name, false), |name| (name, true));
                let (_, class) = POSIX.iter().find(|(posix, _)| *posix == name).ok_or(CLASS)?;
                members.push_str(&if is_negated { format!("[^{class}]") } else { (*class).to_owned() });
                self.rest = rest;
                continue;
            }
            if let Some(escaped) = self.rest.strip_prefix('\\') {
                let before = std::mem::replace(&mut self.rest, escaped);
                if let Some(class) = self.escaped_class()? {
                    members.push_str(&class);
                    continue;
                }
                self.rest = before;
            }
            let low = self.member()?;
            let mut high = low;
            // A minus sign at the end stands for itself.
            if self.rest.starts_with('-') && !self.rest.starts_with("-]") && self.rest.len() > 1 {
                self.skip("-");
                high = self.member()?;
            }
            if high < low {
                return Err("a range of characters ends before it begins");
            }
            members.extend(range(low, high));
        }
        self.skip("]");
        if members.is_empty() {
            members.push_str(NOTHING);
        }
        self.atom(&format!("[{negation}{members}]"));
        Ok(())
    }

    /// Reads a character within brackets.
    fn member(&mut self) -> Result<u32, Wrong> {
        match self.take() {
            None => Err(UNCLOSED),
            Some('\\') => self.escaped_character(),
            Some(other) => Ok(u32::from(other)),
        }
    }
}

/// The characters between two codes, as they are written within and outside brackets. There may be none, since a code
/// may be that of half a character in UTF-16.
fn range(low: u32, high: u32) -> Option<String> {
    let is_half = |code: u32| (0xD800..=0xDFFF).contains(&code);
    let (low, high) = (if is_half(low) { 0xE000 } else { low }, if is_half(high) { 0xD7FF } else { high });
    let write = |code: u32| match char::from_u32(code) {
        Some(letter) if letter.is_ascii_alphanumeric() => letter.to_string(),
        _ => format!("\\x{{{code:X}}}"),
    };
    match low.cmp(&high) {
        std::cmp::Ordering::Less => Some(format!("{}-{}", write(low), write(high))),
        std::cmp::Ordering::Equal => Some(write(low)),
        std::cmp::Ordering::Greater => None,
    }
}

/// How often something is repeated, as in `{2,3}`, and what comes after that.
struct Bounds<'p> {
    least: u32,
    most: Option<u32>,
    rest: &'p str,
}

/// Reads bounds after the opening brace. If there are none, the brace stands for itself.
fn bounds(text: &str) -> Option<Bounds<'_>> {
    let number = |text: &'_ str| -> Option<u32> {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty();
        let has_zeros = text.len() > 1 && text.starts_with('0');
        (is_number && !has_zeros).then(|| text.parse().unwrap_or(u32::MAX))
    };
    let (inside, rest) = text.split_once('}')?;
    match inside.split_once(',') {
        None => number(inside).map(|times| Bounds { least: times, most: Some(times), rest }),
        Some((least, "")) => Some(Bounds { least: number(least)?, most: None, rest }),
        Some((least, most)) => Some(Bounds { least: number(least)?, most: Some(number(most)?), rest }),
    }
}
