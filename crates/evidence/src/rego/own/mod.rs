//! Builtins that longrun implements: those that the engine lacks or implements differently from OPA, and those whose
//! cost depends on a number in the policy. Functions of the host take precedence over builtins of the same name.

mod bounded;
mod chainloop;
mod encoding;
mod glob;
mod http;
mod jwt;
mod keys;
mod layout;
mod net;
mod paths;
mod patterns;
mod re2;
mod rewritten;
mod schema;
mod semver;
mod sprintf;
mod strings;
mod term;
mod time;
mod units;
mod urlquery;
mod yaml;
mod yaml_text;

use regorus::{Engine, Value};

use super::error::RegoError;
use super::membership::{MEMBER, MEMBER_AT};
use super::rewrite::ITEMS;

pub(super) use http::attach;
pub use http::{HttpAnswer, HttpCalls, HttpFailure, HttpRequest, HttpResponse};

/// Why a builtin returns no value.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(String);

impl Refused {
    fn new(message: impl Into<String>) -> Refused {
        Refused(message.into())
    }
}

type Outcome = Result<Value, Refused>;
type Builtin = fn(&[Value]) -> Outcome;

/// Available only if the caller makes the calls.
pub const HTTP_SEND: &str = "http.send";

/// Each with the number of its arguments.
const OWN: &[(&str, u8, Builtin)] = &[
    ("array.flatten", 1, encoding::array_flatten),
    ("base64.decode", 1, encoding::base64_decode),
    ("base64.is_valid", 1, encoding::base64_is_valid),
    ("base64url.decode", 1, encoding::base64url_decode),
    ("bits.lsh", 2, bounded::shift_left),
    ("chainloop.vulnerability", 4, chainloop::vulnerability),
    ("count", 1, strings::count_items),
    ("crypto.hmac.equal", 2, encoding::hmac_equal),
    ("crypto.hmac.md5", 2, encoding::hmac_md5),
    ("crypto.hmac.sha1", 2, encoding::hmac_sha1),
    ("crypto.hmac.sha256", 2, encoding::hmac_sha256),
    ("crypto.hmac.sha512", 2, encoding::hmac_sha512),
    ("crypto.md5", 1, encoding::md5),
    ("crypto.sha1", 1, encoding::sha1),
    ("crypto.sha256", 1, encoding::sha256),
    ("glob.match", 3, glob::matches),
    ("glob.quote_meta", 1, glob::quote_meta),
    (HTTP_SEND, 1, http::send),
    ("indexof", 2, strings::indexof),
    ("indexof_n", 2, strings::indexof_n),
    ("io.jwt.decode", 1, jwt::decode),
    ("io.jwt.decode_verify", 2, jwt::decode_verify),
    ("io.jwt.verify_eddsa", 2, jwt::verify_eddsa),
    ("io.jwt.verify_es256", 2, jwt::verify_es256),
    ("io.jwt.verify_es384", 2, jwt::verify_es384),
    ("io.jwt.verify_hs256", 2, jwt::verify_hs256),
    ("io.jwt.verify_hs384", 2, jwt::verify_hs384),
    ("io.jwt.verify_hs512", 2, jwt::verify_hs512),
    ("io.jwt.verify_ps256", 2, jwt::verify_ps256),
    ("io.jwt.verify_ps384", 2, jwt::verify_ps384),
    ("io.jwt.verify_ps512", 2, jwt::verify_ps512),
    ("io.jwt.verify_rs256", 2, jwt::verify_rs256),
    ("io.jwt.verify_rs384", 2, jwt::verify_rs384),
    ("io.jwt.verify_rs512", 2, jwt::verify_rs512),
    ("json.filter", 2, paths::filter),
    ("json.marshal", 1, encoding::json_marshal),
    ("json.marshal_with_options", 2, encoding::json_marshal_with_options),
    ("json.match_schema", 2, schema::match_schema),
    ("json.remove", 2, paths::remove),
    ("json.verify_schema", 1, schema::verify_schema),
    ("lower", 1, strings::lower),
    ("net.cidr_contains", 2, net::cidr_contains),
    ("net.cidr_contains_matches", 2, net::cidr_contains_matches),
    ("net.cidr_expand", 1, bounded::cidr_expand),
    ("net.cidr_intersects", 2, net::cidr_intersects),
    ("net.cidr_merge", 1, net::cidr_merge),
    ("numbers.range", 2, bounded::range),
    ("numbers.range_step", 3, bounded::range),
    ("regex.find_all_string_submatch_n", 3, patterns::find_all_string_submatch_n),
    ("regex.find_n", 3, patterns::find_n),
    ("regex.globs_match", 2, patterns::globs_match),
    ("regex.is_valid", 1, patterns::is_valid),
    ("regex.match", 2, patterns::matches),
    ("regex.replace", 3, patterns::replace),
    ("regex.split", 2, patterns::split),
    ("regex.template_match", 4, patterns::template_match),
    ("semver.compare", 2, semver::compare),
    ("semver.is_valid", 1, semver::is_valid),
    ("sprintf", 2, sprintf::sprintf),
    ("strings.count", 2, strings::count),
    ("strings.replace_n", 2, strings::replace_n),
    ("substring", 3, strings::substring),
    ("time.add_date", 4, time::add_date),
    ("time.format", 1, time::format),
    ("time.parse_duration_ns", 1, time::parse_duration_ns),
    ("time.parse_ns", 2, time::parse_ns),
    ("time.parse_rfc3339_ns", 1, time::parse_rfc3339_ns),
    ("to_number", 1, encoding::to_number),
    ("units.parse", 1, units::parse),
    ("units.parse_bytes", 1, units::parse_bytes),
    ("upper", 1, strings::upper),
    ("urlquery.decode", 1, urlquery::decode),
    ("urlquery.decode_object", 1, urlquery::decode_object),
    ("urlquery.encode", 1, urlquery::encode),
    ("urlquery.encode_object", 1, urlquery::encode_object),
    ("yaml.is_valid", 1, yaml::is_valid),
    ("yaml.marshal", 1, yaml_text::marshal),
    ("yaml.unmarshal", 1, yaml::unmarshal),
    (ITEMS, 1, rewritten::items),
    (MEMBER, 2, rewritten::member),
    (MEMBER_AT, 3, rewritten::member),
];

/// The number of arguments of one of these builtins.
pub fn arity(name: &str) -> Option<usize> {
    let own = OWN.iter().find(|(own, _, _)| *own == name && ![ITEMS, MEMBER, MEMBER_AT].contains(&name));
    own.map(|(_, arity, _)| usize::from(*arity))
}

/// Adds them to the engine.
pub fn add(engine: &mut Engine) -> Result<(), RegoError> {
    for (name, arity, builtin) in OWN {
        let extension = Box::new(|args: Vec<Value>| Ok(builtin(&args)?));
        let added = engine.add_extension((*name).to_owned(), *arity, extension);
        added.map_err(|error| RegoError::Engine(error.to_string()))?;
    }
    Ok(())
}

/// The string argument at this position, counted from 1; an error if it is not a string.
fn text(args: &[Value], at: usize) -> Result<&str, Refused> {
    match &args[at - 1] {
        Value::String(text) => Ok(text),
        other => Err(Refused::new(format!("operand {at} must be a string, not {}", term::kind(other)))),
    }
}

/// The integer argument at this position, counted from 1; an error if it is not an integer.
fn integer(args: &[Value], at: usize) -> Result<i64, Refused> {
    let integer = args[at - 1].as_number().ok().filter(|number| number.is_integer()).and_then(|number| number.as_i64());
    integer.ok_or_else(|| Refused::new(format!("operand {at} must be an integer")))
}
