//! `sprintf`, with the results of Go's `fmt.Sprintf`: a mismatch is written into the text (`%!d(string=x)`,
//! `%!s(MISSING)`) and is not an error.

use std::fmt::Write as _;

use regorus::Value;

use super::{Outcome, Refused, term, text};

/// The maximum width of a directive.
const MAX_WIDTH: usize = 100_000;

/// An argument as a Go value.
enum Arg {
    Int(i64),
    /// The digits of an integer of any size.
    Big(String),
    Float(f64),
    Text(String),
}

impl Arg {
    fn of(value: &Value) -> Arg {
        let text = || {
            let mut text = String::new();
            term::write(value, &mut text);
            text
        };
        match value {
            Value::String(text) => Arg::Text(text.to_string()),
            Value::Number(number) if number.is_integer() => match number.as_i64() {
                Some(number) => Arg::Int(number),
                None => Arg::Big(number.format_decimal()),
            },
            Value::Number(number) => number.as_f64().map_or_else(|| Arg::Text(text()), Arg::Float),
            _ => Arg::Text(text()),
        }
    }

    /// The name of the type in Go.
    fn kind(&self) -> &'static str {
        match self {
            Arg::Int(_) => "int64",
            Arg::Big(_) => "*big.Int",
            Arg::Float(_) => "float64",
            Arg::Text(_) => "string",
        }
    }
}

/// `%[flags][width][.precision]verb`.
#[derive(Clone, Default)]
struct Spec {
    plus: bool,
    minus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

pub fn sprintf(args: &[Value]) -> Outcome {
    let format = text(args, 1)?;
    let Value::Array(values) = &args[1] else {
        return Err(Refused::new(format!("operand 2 must be an array, not {}", term::kind(&args[1]))));
    };
    let values: Vec<Arg> = values.iter().map(Arg::of).collect();
    Printer { format, values: &values, next: 0, reordered: false, out: String::new() }.print().map(Value::from)
}

struct Printer<'a> {
    format: &'a str,
    values: &'a [Arg],
    /// The index of the next argument.
    next: usize,
    /// Whether an argument was selected by its number.
    reordered: bool,
    out: String,
}

impl Printer<'_> {
    fn print(mut self) -> Result<String, Refused> {
        let characters: Vec<char> = self.format.chars().collect();
        let mut at = 0;
        while at < characters.len() {
            if characters[at] != '%' {
                self.out.push(characters[at]);
                at += 1;
                continue;
            }
            at = self.directive(&characters, at + 1)?;
        }
        if !self.reordered && self.next < self.values.len() {
            self.out.push_str("%!(EXTRA ");
            for (index, value) in self.values[self.next..].iter().enumerate() {
                if index > 0 {
                    self.out.push_str(", ");
                }
                let _ = write!(self.out, "{}=", value.kind());
                value.write('v', &Spec::default(), &mut self.out);
            }
            self.out.push(')');
        }
        Ok(self.out)
    }

    /// Writes the result of a directive, and returns the position after it.
    fn directive(&mut self, format: &[char], mut at: usize) -> Result<usize, Refused> {
        let mut spec = Spec::default();
        while let Some(flag) = format.get(at) {
            match flag {
                '#' => spec.sharp = true,
                '0' => spec.zero = true,
                '+' => spec.plus = true,
                '-' => spec.minus = true,
                ' ' => spec.space = true,
                _ => break,
            }
            at += 1;
        }
        let mut is_good = true;
        let mut by_number = self.argument_number(format, &mut at, &mut is_good);
        if format.get(at) == Some(&'*') {
            at += 1;
            match self.star() {
                Some(width) => {
                    spec.minus |= width < 0;
                    spec.width = Some(usize::try_from(width.unsigned_abs()).unwrap_or(usize::MAX));
                }
                None => self.out.push_str("%!(BADWIDTH)"),
            }
            by_number = false;
        } else {
            spec.width = number(format, &mut at);
            if by_number && spec.width.is_some() {
                is_good = false;
            }
        }
        if format.get(at) == Some(&'.') {
            at += 1;
            if by_number {
                is_good = false;
            }
            by_number = self.argument_number(format, &mut at, &mut is_good);
            if format.get(at) == Some(&'*') {
                at += 1;
                match self.star() {
                    Some(precision) if precision >= 0 => spec.precision = usize::try_from(precision).ok(),
                    Some(_) => {}
                    None => self.out.push_str("%!(BADPREC)"),
                }
                by_number = false;
            } else {
                spec.precision = Some(number(format, &mut at).unwrap_or(0));
            }
        }
        if !by_number {
            self.argument_number(format, &mut at, &mut is_good);
        }
        if spec.width.max(spec.precision).is_some_and(|wide| wide > MAX_WIDTH) {
            return Err(Refused::new(format!("a width of more than {MAX_WIDTH}")));
        }
        let Some(verb) = format.get(at).copied() else {
            self.out.push_str("%!(NOVERB)");
            return Ok(at);
        };
        if verb == '%' {
            self.out.push('%');
        } else if !is_good {
            let _ = write!(self.out, "%!{verb}(BADINDEX)");
        } else if let Some(value) = self.values.get(self.next) {
            self.next += 1;
            value.write(verb, &spec, &mut self.out);
        } else {
            let _ = write!(self.out, "%!{verb}(MISSING)");
        }
        Ok(at + 1)
    }

    /// Reads `[3]`: the next argument is the third. Returns whether there was such a number.
    fn argument_number(&mut self, format: &[char], at: &mut usize, is_good: &mut bool) -> bool {
        if format.get(*at) != Some(&'[') {
            return false;
        }
        self.reordered = true;
        let Some(close) = format[*at..].iter().position(|character| *character == ']') else {
            *is_good = false;
            *at += 1;
            return false;
        };
        let mut inside = *at + 1;
        let found = number(&format[..*at + close], &mut inside).filter(|_| inside == *at + close);
        *at += close + 1;
        match found.filter(|number| (1..=self.values.len()).contains(number)) {
            Some(number) => {
                self.next = number - 1;
                true
            }
            None => {
                *is_good = false;
                found.is_some()
            }
        }
    }

    /// The integer argument that a `*` refers to.
    fn star(&mut self) -> Option<i64> {
        let value = self.values.get(self.next);
        self.next += usize::from(value.is_some());
        match value {
            Some(Arg::Int(number)) if number.unsigned_abs() <= 1_000_000 => Some(*number),
            _ => None,
        }
    }
}

/// Reads digits.
fn number(format: &[char], at: &mut usize) -> Option<usize> {
    let mut number: Option<usize> = None;
    while let Some(digit) = format.get(*at).and_then(|character| character.to_digit(10)) {
        number = Some(number.unwrap_or(0).saturating_mul(10).saturating_add(digit as usize));
        *at += 1;
    }
    number
}

impl Arg {
    fn write(&self, verb: char, spec: &Spec, out: &mut String) {
        let plain;
        let mut spec = spec;
        let is_quoted = verb == 'v' && spec.sharp;
        if verb == 'v' {
            plain = Spec { sharp: false, plus: false, ..spec.clone() };
            spec = &plain;
        }
        match (self, verb) {
            (_, 'T') => spec.text(self.kind(), out),
            (Arg::Text(text), 'v') if is_quoted => spec.quoted(text, out),
            (Arg::Text(text), 's' | 'v') => spec.text(text, out),
            (Arg::Text(text), 'q') => spec.quoted(text, out),
            (Arg::Text(text), 'x' | 'X') => spec.hex(text, verb == 'X', out),
            (Arg::Int(number), 'd' | 'v' | 'b' | 'o' | 'O' | 'x' | 'X') => {
                spec.integer(&u128::from(number.unsigned_abs()), *number < 0, verb, out);
            }
            (Arg::Int(number), 'c') => spec.text(&character(*number).to_string(), out),
            (Arg::Int(number), 'q') => {
                let mut quoted = String::new();
                term::quote(&character(*number).to_string(), &mut quoted);
                let inside = &quoted[1..quoted.len() - 1];
                spec.text(&format!("'{}'", if inside == "\\\"" { "\"" } else { inside }), out);
            }
            (Arg::Int(number), 'U') => spec.text(&format!("U+{number:04X}"), out),
            (Arg::Big(digits), 'd' | 'v' | 's') => {
                spec.digits(digits.trim_start_matches('-'), digits.starts_with('-'), out)
            }
            (Arg::Float(number), 'v' | 'g' | 'G' | 'e' | 'E' | 'f' | 'F') => spec.float(*number, verb, out),
            _ => {
                let _ = write!(out, "%!{verb}({}=", self.kind());
                // Only %v itself ignores the plus flag.
                match self {
                    Arg::Text(text) => spec.text(text, out),
                    Arg::Int(number) => {
                        Spec { sharp: false, ..spec.clone() }.integer(
                            &u128::from(number.unsigned_abs()),
                            *number < 0,
                            'd',
                            out,
                        );
                    }
                    Arg::Big(digits) => spec.digits(digits.trim_start_matches('-'), digits.starts_with('-'), out),
                    Arg::Float(number) => spec.float(*number, 'g', out),
                }
                out.push(')');
            }
        }
    }
}

fn character(number: i64) -> char {
    u32::try_from(number).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER)
}

impl Spec {
    /// Pads to the width.
    fn pad(&self, text: &str, with_zeros: bool, out: &mut String) {
        let missing = self.width.unwrap_or(0).saturating_sub(text.chars().count());
        let fill = |with: char| std::iter::repeat_n(with, missing);
        if self.minus {
            out.push_str(text);
            out.extend(fill(' '));
        } else {
            out.extend(fill(if with_zeros && self.zero { '0' } else { ' ' }));
            out.push_str(text);
        }
    }

    fn cut<'t>(&self, text: &'t str) -> &'t str {
        let Some(most) = self.precision else { return text };
        text.char_indices().nth(most).map_or(text, |(end, _)| &text[..end])
    }

    fn text(&self, text: &str, out: &mut String) {
        self.pad(self.cut(text), true, out);
    }

    fn quoted(&self, text: &str, out: &mut String) {
        let text = self.cut(text);
        let mut quoted = String::new();
        let is_plain = text.chars().all(|character| character != '`' && (!character.is_control() || character == '\t'));
        if self.sharp && is_plain {
            quoted = format!("`{text}`");
        } else {
            term::quote(text, &mut quoted);
        }
        self.pad(&quoted, true, out);
    }

    fn hex(&self, text: &str, upper: bool, out: &mut String) {
        let bytes = &text.as_bytes()[..text.len().min(self.precision.unwrap_or(usize::MAX))];
        let prefix = if upper { "0X" } else { "0x" };
        let mut hex = String::new();
        for (index, byte) in bytes.iter().enumerate() {
            if index > 0 && self.space {
                hex.push(' ');
            }
            if self.sharp && (index == 0 || self.space) {
                hex.push_str(prefix);
            }
            let _ = if upper { write!(hex, "{byte:02X}") } else { write!(hex, "{byte:02x}") };
        }
        self.pad(&hex, true, out);
    }

    fn integer(&self, number: &u128, negative: bool, verb: char, out: &mut String) {
        if self.precision == Some(0) && *number == 0 {
            return Spec { zero: false, ..self.clone() }.pad("", false, out);
        }
        let digits = match verb {
            'b' => format!("{number:b}"),
            'o' | 'O' => format!("{number:o}"),
            'x' => format!("{number:x}"),
            'X' => format!("{number:X}"),
            _ => number.to_string(),
        };
        let prefix = match verb {
            'O' => "0o",
            'b' if self.sharp => "0b",
            'x' if self.sharp => "0x",
            'X' if self.sharp => "0X",
            'o' if self.sharp && *number != 0 => "0",
            _ => "",
        };
        self.signed(prefix, &digits, negative, out);
    }

    fn digits(&self, digits: &str, negative: bool, out: &mut String) {
        self.signed("", digits, negative, out);
    }

    fn sign(&self, negative: bool) -> &'static str {
        match negative {
            true => "-",
            false if self.plus => "+",
            false if self.space => " ",
            false => "",
        }
    }

    /// Writes the sign, the prefix and the digits, with zeros between them up to the precision or, with the zero flag,
    /// the width.
    fn signed(&self, prefix: &str, digits: &str, negative: bool, out: &mut String) {
        let sign = self.sign(negative);
        let fill = self.zero && !self.minus && self.precision.is_none();
        let wanted = match (self.precision, self.width) {
            (Some(precision), _) => precision,
            (None, Some(width)) if fill => width.saturating_sub(sign.len()),
            _ => 0,
        };
        let zeros = "0".repeat(wanted.saturating_sub(digits.len()));
        self.pad(&format!("{sign}{prefix}{zeros}{digits}"), false, out);
    }

    fn float(&self, number: f64, verb: char, out: &mut String) {
        let text = match verb {
            'f' | 'F' => format!("{:.*}", self.precision.unwrap_or(6), number.abs()),
            'e' | 'E' => exponent(&format!("{:.*e}", self.precision.unwrap_or(6), number.abs())),
            _ => general(number.abs(), self.precision),
        };
        let text = if matches!(verb, 'E' | 'G') { text.to_uppercase() } else { text };
        let sign = self.sign(number.is_sign_negative());
        let wanted = if self.zero && !self.minus { self.width.unwrap_or(0).saturating_sub(sign.len()) } else { 0 };
        let zeros = "0".repeat(wanted.saturating_sub(text.len()));
        self.pad(&format!("{sign}{zeros}{text}"), false, out);
    }
}

/// Rust's `1.5e9` as Go writes it: with a sign and at least two digits of the exponent.
fn exponent(text: &str) -> String {
    let (digits, power) = text.split_once('e').unwrap_or((text, "0"));
    let (sign, power) = power.strip_prefix('-').map_or(('+', power), |power| ('-', power));
    format!("{digits}e{sign}{power:0>2}")
}

/// A number with as many digits as tell it from others.
pub fn shortest(number: f64) -> String {
    format!("{}{}", if number.is_sign_negative() { "-" } else { "" }, general(number.abs(), None))
}

/// The shorter of both forms, as `%g` requires.
fn general(number: f64, precision: Option<usize>) -> String {
    let scientific = match precision {
        Some(precision) => format!("{:.*e}", precision.max(1) - 1, number),
        None => format!("{number:e}"),
    };
    let (digits, power) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let power: i32 = power.parse().unwrap_or(0);
    let digits: String = digits.chars().filter(char::is_ascii_digit).collect();
    let digits = match digits.trim_end_matches('0') {
        "" => "0",
        trimmed => trimmed,
    };
    // Without a precision the threshold for the exponent is as if it were 6, however many digits there are.
    let threshold = precision.map_or(6, |precision| i32::try_from(precision.max(1)).unwrap_or(i32::MAX));
    if power < -4 || power >= threshold {
        let (first, rest) = digits.split_at(1);
        let mantissa = if rest.is_empty() { first.to_owned() } else { format!("{first}.{rest}") };
        return exponent(&format!("{mantissa}e{power}"));
    }
    if power < 0 {
        return format!("0.{}{digits}", "0".repeat(usize::try_from(-power - 1).unwrap_or(0)));
    }
    let whole = usize::try_from(power).unwrap_or(0) + 1;
    if digits.len() <= whole {
        format!("{digits}{}", "0".repeat(whole - digits.len()))
    } else {
        format!("{}.{}", &digits[..whole], &digits[whole..])
    }
}
