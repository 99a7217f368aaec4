//! Digests, Base64 and JSON, with the same results as OPA.

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use md5::Md5;
use regorus::Value;
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use super::{Outcome, Refused, term, text};
use crate::material::json;

/// The length of a block of SHA-256 and of SHA-512, in bytes.
const BLOCK_256: usize = 64;
const BLOCK_512: usize = 128;

pub fn sha256(args: &[Value]) -> Outcome {
    Ok(Value::from(hex(&Sha256::digest(text(args, 1)?))))
}

/// MD5 is weak, as is SHA-1: both are for content that others have identified by such a digest.
pub fn md5(args: &[Value]) -> Outcome {
    Ok(Value::from(hex(&Md5::digest(text(args, 1)?))))
}

pub fn sha1(args: &[Value]) -> Outcome {
    Ok(Value::from(hex(&Sha1::digest(text(args, 1)?))))
}

pub fn hmac_sha256(args: &[Value]) -> Outcome {
    Ok(Value::from(hex(&hmac_of(256, text(args, 1)?, text(args, 2)?))))
}

pub fn hmac_sha512(args: &[Value]) -> Outcome {
    Ok(Value::from(hex(&hmac_of(512, text(args, 1)?, text(args, 2)?))))
}

pub fn hmac_md5(args: &[Value]) -> Outcome {
    Ok(Value::from(hex(&hmac(text(args, 1)?, text(args, 2)?, BLOCK_256, |bytes| Md5::digest(bytes).to_vec()))))
}

pub fn hmac_sha1(args: &[Value]) -> Outcome {
    Ok(Value::from(hex(&hmac(text(args, 1)?, text(args, 2)?, BLOCK_256, |bytes| Sha1::digest(bytes).to_vec()))))
}

/// The code of a message with SHA-2 of this many bits.
pub fn hmac_of(bits: u32, message: &str, key: &str) -> Vec<u8> {
    match bits {
        256 => hmac(message, key, BLOCK_256, |bytes| Sha256::digest(bytes).to_vec()),
        384 => hmac(message, key, BLOCK_512, |bytes| Sha384::digest(bytes).to_vec()),
        _ => hmac(message, key, BLOCK_512, |bytes| Sha512::digest(bytes).to_vec()),
    }
}

pub fn hmac_equal(args: &[Value]) -> Outcome {
    let (own, other) = (text(args, 1)?.as_bytes(), text(args, 2)?.as_bytes());
    let differing = own.iter().zip(other).fold(0, |differing, (a, b)| differing | (a ^ b));
    Ok(Value::Bool(own.len() == other.len() && differing == 0))
}

/// RFC 2104.
fn hmac(message: &str, key: &str, block: usize, digest: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let mut padded = if key.len() > block { digest(key.as_bytes()) } else { key.as_bytes().to_vec() };
    padded.resize(block, 0);
    let with =
        |pad: u8, rest: &[u8]| padded.iter().map(|byte| byte ^ pad).chain(rest.iter().copied()).collect::<Vec<u8>>();
    digest(&with(0x5c, &digest(&with(0x36, message.as_bytes()))))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);

/// Decodes as Go does: line breaks and unused bits do not matter, but the padding does.
fn decode(engine: &GeneralPurpose, encoded: &str) -> Result<String, Refused> {
    let decoded = engine.decode(encoded.replace(['\r', '\n'], ""));
    let decoded = decoded.map_err(|_| Refused::new(format!("{encoded:?} is not Base64")))?;
    Ok(String::from_utf8_lossy(&decoded).into_owned())
}

pub fn base64_decode(args: &[Value]) -> Outcome {
    decode(&BASE64, text(args, 1)?).map(Value::from)
}

pub fn base64_is_valid(args: &[Value]) -> Outcome {
    Ok(Value::Bool(matches!(&args[0], Value::String(encoded) if decode(&BASE64, encoded).is_ok())))
}

/// `base64url.decode`: the padding may be missing.
pub fn base64url_decode(args: &[Value]) -> Outcome {
    let encoded = text(args, 1)?;
    let missing = if encoded.ends_with('=') { 0 } else { encoded.len().wrapping_neg() % 4 };
    decode(&BASE64_URL, &format!("{encoded}{}", "=".repeat(missing))).map(Value::from)
}

/// `json.marshal`, with the characters that are special in HTML written as escapes.
pub fn json_marshal(args: &[Value]) -> Outcome {
    json(&args[0]).map(Value::from)
}

/// `json.marshal_with_options`: with line breaks unless `pretty` is false or there are no options.
pub fn json_marshal_with_options(args: &[Value]) -> Outcome {
    let Value::Object(options) = &args[1] else {
        return Err(Refused::new(format!("operand 2 must be an object, not {}", term::kind(&args[1]))));
    };
    let (mut is_pretty, mut prefix, mut indent) = (!options.is_empty(), "", "\t");
    for (name, value) in options.iter() {
        match (name, value) {
            (Value::String(name), Value::Bool(flag)) if **name == *"pretty" => is_pretty = *flag,
            (Value::String(name), Value::String(text)) if **name == *"prefix" => prefix = text,
            (Value::String(name), Value::String(text)) if **name == *"indent" => indent = text,
            _ => return Err(Refused::new("the options are pretty, a boolean, and prefix and indent, strings")),
        }
    }
    let compact = json(&args[0])?;
    Ok(Value::from(if is_pretty { pretty(&compact, prefix, indent) } else { compact }))
}

/// Breaks JSON without white space into lines.
fn pretty(compact: &str, prefix: &str, indent: &str) -> String {
    let (mut out, mut depth) = (prefix.to_owned(), 0);
    let (mut is_text, mut is_escaped) = (false, false);
    let mut characters = compact.chars().peekable();
    while let Some(character) = characters.next() {
        let line = |depth: usize| format!("\n{prefix}{}", indent.repeat(depth));
        if !is_text && matches!(character, ']' | '}') {
            depth -= 1;
            out.push_str(&line(depth));
        }
        out.push(character);
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => is_text = !is_text,
            _ if is_text => {}
            '[' | '{' => match characters.next_if(|next| matches!(next, ']' | '}')) {
                Some(close) => out.push(close),
                None => {
                    depth += 1;
                    out.push_str(&line(depth));
                }
            },
            ',' => out.push_str(&line(depth)),
            ':' => out.push(' '),
            _ => {}
        }
    }
    out
}

/// A value as JSON.
pub fn json(value: &Value) -> Result<String, Refused> {
    let mut text = String::new();
    marshal(value, &mut text)?;
    Ok(text)
}

fn marshal(value: &Value, out: &mut String) -> Result<(), Refused> {
    let mut list = |items: &mut dyn Iterator<Item = &Value>| {
        out.push('[');
        for (index, item) in items.enumerate() {
            if index > 0 {
                out.push(',');
            }
            marshal(item, out)?;
        }
        out.push(']');
        Ok(())
    };
    match value {
        Value::Array(items) => list(&mut items.iter()),
        Value::Set(items) => list(&mut items.iter()),
        Value::Object(fields) => {
            out.push('{');
            for (index, (key, value)) in fields.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                let mut name = String::new();
                match key {
                    Value::String(key) => name.push_str(key),
                    key => marshal(key, &mut name)?,
                }
                marshal_text(&name, out)?;
                out.push(':');
                marshal(value, out)?;
            }
            out.push('}');
            Ok(())
        }
        Value::String(text) => marshal_text(text, out),
        // All digits, however many there are.
        Value::Number(number) if number.is_integer() => {
            out.push_str(&number.format_decimal());
            Ok(())
        }
        other => {
            out.push_str(&serde_json::to_string(other).map_err(|error| Refused::new(error.to_string()))?);
            Ok(())
        }
    }
}

fn marshal_text(text: &str, out: &mut String) -> Result<(), Refused> {
    let quoted = serde_json::to_string(text).map_err(|error| Refused::new(error.to_string()))?;
    for character in quoted.chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(character))),
            other => out.push(other),
        }
    }
    Ok(())
}

/// `array.flatten`: lists within a list are replaced by their items, one level deep.
pub fn array_flatten(args: &[Value]) -> Outcome {
    let Value::Array(items) = &args[0] else {
        return Err(Refused::new(format!("operand must be an array, not {}", term::kind(&args[0]))));
    };
    let mut flat = Vec::new();
    for item in items.iter() {
        match item {
            Value::Array(inner) => flat.extend(inner.iter().cloned()),
            other => flat.push(other.clone()),
        }
    }
    Ok(Value::from(flat))
}

/// `to_number`: a text is accepted only if it is a number in JSON.
pub fn to_number(args: &[Value]) -> Outcome {
    match &args[0] {
        Value::Null => Ok(Value::from(0)),
        Value::Bool(flag) => Ok(Value::from(i64::from(*flag))),
        number @ Value::Number(_) => Ok(number.clone()),
        Value::String(text) => match json::read(text.as_bytes()) {
            Ok(number @ Value::Number(_)) if !text.contains(char::is_whitespace) => Ok(number),
            _ => Err(Refused::new(format!("{text:?} is not a number"))),
        },
        other => Err(Refused::new(format!(
            "operand must be a number, a string, a boolean or null, not {}",
            term::kind(other)
        ))),
    }
}
