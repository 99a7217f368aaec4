//! `io.jwt.*`: tokens are decoded and verified as in OPA.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use regorus::Value;

use super::encoding::{hex, hmac_of};
use super::keys::{self, Algorithm};
use super::{Outcome, Refused, term, text};
use crate::material::json;

/// As in Go: unused bits of the last character may have any value.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A token, split into its parts.
struct Token<'a> {
    /// The signed part.
    signed: &'a str,
    header: Value,
    payload: Value,
    signature: Vec<u8>,
}

/// A number of any size, as a double.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.format_decimal().parse().ok(),
        _ => None,
    }
}

fn wrong(what: &str) -> Refused {
    Refused::new(format!("the token {what}"))
}

impl Token<'_> {
    fn read(text: &str) -> Result<Token<'_>, Refused> {
        let parts: Vec<&str> = text.split('.').collect();
        let [header, payload, signature] = parts[..] else { return Err(wrong("does not have three parts")) };
        let decode = |part: &str| BASE64.decode(part).map_err(|_| wrong("is not base64url"));
        let object = |part: &str| {
            let value = json::read(&decode(part)?).map_err(|error| wrong(&format!("contains text that is {error}")))?;
            if value.as_object().is_ok() { Ok(value) } else { Err(wrong("contains text that is not an object")) }
        };
        Ok(Token {
            signed: &text[..header.len() + 1 + payload.len()],
            header: object(header)?,
            payload: object(payload)?,
            signature: decode(signature)?,
        })
    }

    fn of_header(&self, name: &str) -> Option<&str> {
        self.header[name].as_string().ok().map(AsRef::as_ref)
    }

    /// Whether one of the keys signed it: the key with the token's `kid` if there is one, otherwise any key that is not
    /// meant for another algorithm.
    fn is_signed(&self, algorithm: Algorithm, keys: &str) -> Result<bool, Refused> {
        let keys = keys::read(keys)?;
        let by = |key: &keys::Key| key.verifies(algorithm, self.signed.as_bytes(), &self.signature);
        let id = self.of_header("kid");
        if let Some(key) = keys.iter().find(|key| id.is_some() && key.id.as_deref() == id) {
            return Ok(by(key));
        }
        let named = self.of_header("alg");
        let is_meant = |key: &&keys::Key| key.algorithm.is_none() || key.algorithm.as_deref() == named;
        Ok(keys.iter().filter(is_meant).any(by))
    }

    fn has_code(&self, bits: u32, secret: &str) -> bool {
        let expected = hmac_of(bits, self.signed, secret);
        let differing = expected.iter().zip(&self.signature).fold(0, |differing, (a, b)| differing | (a ^ b));
        expected.len() == self.signature.len() && differing == 0
    }
}

/// `io.jwt.decode`: header, payload and signature of a token, without verification.
pub fn decode(args: &[Value]) -> Outcome {
    let Token { header, payload, signature, .. } = Token::read(text(args, 1)?)?;
    Ok(Value::from(vec![header, payload, Value::from(hex(&signature))]))
}

fn verify(args: &[Value], algorithm: Algorithm) -> Outcome {
    let keys = text(args, 2)?;
    Ok(Value::Bool(Token::read(text(args, 1)?)?.is_signed(algorithm, keys)?))
}

fn verify_code(args: &[Value], bits: u32) -> Outcome {
    let secret = text(args, 2)?;
    Ok(Value::Bool(Token::read(text(args, 1)?)?.has_code(bits, secret)))
}

macro_rules! verifiers {
    ($($name:ident: $algorithm:ident),*; $($code:ident: $bits:literal),*) => {
        $(pub fn $name(args: &[Value]) -> Outcome { verify(args, Algorithm::$algorithm) })*
        $(pub fn $code(args: &[Value]) -> Outcome { verify_code(args, $bits) })*
    };
}

verifiers! {
    verify_rs256: Rs256, verify_rs384: Rs384, verify_rs512: Rs512, verify_ps256: Ps256, verify_ps384: Ps384,
    verify_ps512: Ps512, verify_es256: Es256, verify_es384: Es384, verify_eddsa: EdDsa;
    verify_hs256: 256, verify_hs384: 384, verify_hs512: 512
}

/// The constraints that `io.jwt.decode_verify` applies to a token.
#[derive(Default)]
struct Constraints<'a> {
    keys: Option<&'a str>,
    secret: Option<&'a str>,
    algorithm: Option<&'a str>,
    issuer: Option<&'a str>,
    audience: Option<&'a str>,
    /// In nanoseconds since 1970.
    time: Option<f64>,
}

impl Constraints<'_> {
    fn read(value: &Value) -> Result<Constraints<'_>, Refused> {
        let wrong = |name: &str, what: &str| Refused::new(format!("the constraint {name} must be {what}"));
        let object = value
            .as_object()
            .map_err(|_| Refused::new(format!("operand 2 must be an object, not {}", term::kind(value))))?;
        let mut constraints = Constraints::default();
        for (name, value) in object.iter() {
            let name = name.as_string().map_err(|_| Refused::new("the name of a constraint must be a string"))?;
            let text = || value.as_string().map(AsRef::as_ref).map_err(|_| wrong(name, "a string"));
            match name.as_ref() {
                "cert" => constraints.keys = Some(text()?),
                "secret" => constraints.secret = Some(text()?),
                "alg" => constraints.algorithm = Some(text()?),
                "iss" => constraints.issuer = Some(text()?),
                "aud" => constraints.audience = Some(text()?),
                "time" => constraints.time = Some(number(value).ok_or_else(|| wrong(name, "a number"))?),
                other => return Err(Refused::new(format!("there is no constraint {other}"))),
            }
        }
        if constraints.keys.is_some() == constraints.secret.is_some() {
            return Err(Refused::new("expected exactly one of the constraints cert and secret"));
        }
        Ok(constraints)
    }

    fn is_signed(&self, token: &Token<'_>) -> Result<bool, Refused> {
        let Some(named) = token.of_header("alg") else { return Ok(false) };
        if self.algorithm.is_some_and(|algorithm| algorithm != named) {
            return Ok(false);
        }
        let bits = match named {
            "HS256" => 256,
            "HS384" => 384,
            "HS512" => 512,
            _ => {
                let (Some(algorithm), Some(keys)) = (Algorithm::named(named), self.keys) else { return Ok(false) };
                return token.is_signed(algorithm, keys);
            }
        };
        Ok(self.secret.is_some_and(|secret| token.has_code(bits, secret)))
    }

    fn holds(&self, payload: &Value) -> Result<bool, Refused> {
        let is = |name: &str, wanted: &str| payload[name].as_string().is_ok_and(|text| text.as_ref() == wanted);
        if self.issuer.is_some_and(|issuer| !is("iss", issuer)) {
            return Ok(false);
        }
        let is_for_us = match (self.audience, &payload["aud"]) {
            (None, Value::Undefined) => true,
            // A token with an audience is not valid for anyone else.
            (None, _) => false,
            (Some(own), Value::Array(all)) => all.iter().any(|one| *one == Value::from(own)),
            (Some(own), one) => *one == Value::from(own),
        };
        let now = self
            .time
            .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() * 1e9);
        let at = |name: &str| match &payload[name] {
            Value::Undefined => Ok(None),
            value => {
                let seconds = number(value).ok_or_else(|| wrong(&format!("has no number as {name}")))?;
                Ok(Some(seconds * 1e9))
            }
        };
        let ends = at("exp")?;
        let begins = at("nbf")?;
        Ok(is_for_us && ends.is_none_or(|end| now < end) && begins.is_none_or(|begin| now >= begin))
    }
}

/// `io.jwt.decode_verify`: whether a token is valid, and its header and payload if it is.
pub fn decode_verify(args: &[Value]) -> Outcome {
    let constraints = Constraints::read(&args[1])?;
    let token = Token::read(text(args, 1)?)?;
    let is_critical = token.header["crit"] != Value::Undefined;
    if is_critical || !constraints.is_signed(&token)? || !constraints.holds(&token.payload)? {
        let nothing = || Value::from(BTreeMap::<Value, Value>::new());
        return Ok(Value::from(vec![Value::Bool(false), nothing(), nothing()]));
    }
    Ok(Value::from(vec![Value::Bool(true), token.header, token.payload]))
}
