//! Coverage reports, as policies see them.
//!
//! JaCoCo: `{"name": …, "counters": [{"type": "LINE", "missed": 10, "covered": 90}, …]}`, the counters of the whole
//! report. Cobertura, whole:
//!
//! ```json
//! {"line-rate": 0.9, "branch-rate": 0, "lines-covered": 90, "lines-valid": 100, "branches-covered": 0,
//!  "branches-valid": 0, "complexity": 0, "version": "", "timestamp": 0, "sources": ["src"],
//!  "packages": [{"name": "store", "line-rate": 0.8, "branch-rate": 0, "complexity": 0, "classes": [
//!    {"name": "A", "filename": "a.py", "line-rate": 0.8, "branch-rate": 0, "complexity": 0,
//!     "methods": [{"name": "f", "signature": "", "line-rate": 1, "branch-rate": 0, "complexity": 0, "lines": []}],
//!     "lines": [{"number": 1, "hits": 0, "branch": true, "condition-coverage": "50% (1/2)"}]}]}]}
//! ```
//!
//! What the report omits is 0 or empty, except for the total counts of lines and branches: a count that is not reported
//! is absent, since 0 would mean that there was nothing to cover. A rate of `NaN`, when nothing could be covered,
//! becomes null. Unknown attributes are kept as text.

use std::collections::BTreeMap;

use regorus::Value;

use super::error::MaterialError;
use super::kind::MaterialKind;
use super::xml::Element;

const COUNTERS: [&str; 6] = ["INSTRUCTION", "BRANCH", "LINE", "COMPLEXITY", "METHOD", "CLASS"];

fn mismatch(kind: MaterialKind, at: &Element, expected: &str, found: &str) -> MaterialError {
    MaterialError::mismatch(kind, format!("line {}", at.line), expected, found)
}

/// Checks a JaCoCo report.
pub fn jacoco(root: &Element) -> Result<Value, MaterialError> {
    const KIND: MaterialKind = MaterialKind::JacocoXml;
    if root.name != "report" {
        return Err(mismatch(KIND, root, "<report>", &format!("<{}>", root.name)));
    }
    let mut counters = Vec::new();
    for counter in root.children("counter") {
        let kind = counter.attribute("type").unwrap_or_default();
        if !COUNTERS.contains(&kind) {
            return Err(mismatch(KIND, counter, &format!("a type of {}", COUNTERS.join(", ")), &format!("{kind:?}")));
        }
        let count = |name: &str| {
            let text = counter.attribute(name).unwrap_or_default();
            text.parse::<u64>()
                .map_err(|_| mismatch(KIND, counter, &format!("a count in the attribute {name}"), &format!("{text:?}")))
        };
        counters.push(Value::from(BTreeMap::from([
            (Value::from("type"), Value::from(kind)),
            (Value::from("missed"), Value::from(count("missed")?)),
            (Value::from("covered"), Value::from(count("covered")?)),
        ])));
    }
    if counters.is_empty() {
        return Err(mismatch(KIND, root, "at least one <counter> of the whole report", "none"));
    }
    Ok(Value::from(BTreeMap::from([
        (Value::from("name"), Value::from(root.attribute("name").unwrap_or_default())),
        (Value::from("counters"), Value::from(counters)),
    ])))
}

type Fields = BTreeMap<Value, Value>;
type Checked<T> = Result<T, MaterialError>;

/// How an attribute of Cobertura is read.
#[derive(Clone, Copy)]
enum Read {
    /// From 0 to 1; `NaN` is null.
    Rate,
    /// Any number; `NaN` is null.
    Number,
    /// An integer of at least 0.
    Count,
    /// As a count, but absent if the attribute is absent.
    Total,
    /// `true` or `false`, in any case.
    Flag,
    Text,
}

const RATES: [(&str, Read); 3] = [("line-rate", Read::Rate), ("branch-rate", Read::Rate), ("complexity", Read::Number)];
const TOTALS: [(&str, Read); 6] = [
    ("lines-covered", Read::Total),
    ("lines-valid", Read::Total),
    ("branches-covered", Read::Total),
    ("branches-valid", Read::Total),
    ("version", Read::Text),
    ("timestamp", Read::Count),
];
const LINE: [(&str, Read); 3] = [("number", Read::Count), ("hits", Read::Count), ("branch", Read::Flag)];

/// Checks a report in Cobertura format.
pub fn cobertura(root: &Element) -> Checked<Value> {
    if root.name != "coverage" {
        return Err(wrong(root, "<coverage>", &format!("<{}>", root.name)));
    }
    needed(root, "line-rate")?;
    let mut report = attributes(root, &[&RATES[..], &TOTALS].concat())?;
    let sources = items(root, "sources", "source").map(|source| Value::from(source.text.trim()));
    report.insert(Value::from("sources"), Value::from(sources.collect::<Vec<Value>>()));
    let packages = items(root, "packages", "package").map(|package| {
        needed(package, "name")?;
        let mut fields = attributes(package, &RATES)?;
        list(&mut fields, package, "classes", "class", class)?;
        Ok(Value::from(fields))
    });
    report.insert(Value::from("packages"), Value::from(packages.collect::<Checked<Vec<Value>>>()?));
    Ok(Value::from(report))
}

fn class(element: &Element) -> Checked<Value> {
    let mut fields = attributes(element, &[&RATES[..], &[("name", Read::Text), ("filename", Read::Text)]].concat())?;
    list(&mut fields, element, "methods", "method", |method| {
        let known = [&RATES[..], &[("name", Read::Text), ("signature", Read::Text)]].concat();
        let mut fields = attributes(method, &known)?;
        list(&mut fields, method, "lines", "line", |line| Ok(Value::from(attributes(line, &LINE)?)))?;
        Ok(Value::from(fields))
    })?;
    list(&mut fields, element, "lines", "line", |line| Ok(Value::from(attributes(line, &LINE)?)))?;
    Ok(Value::from(fields))
}

fn wrong(at: &Element, expected: &str, found: &str) -> MaterialError {
    mismatch(MaterialKind::CoberturaXml, at, expected, found)
}

fn needed(element: &Element, name: &str) -> Checked<()> {
    match element.attribute(name) {
        Some(_) => Ok(()),
        None => Err(wrong(element, &format!("an attribute {name} of <{}>", element.name), "none")),
    }
}

fn items<'a>(element: &'a Element, list: &'a str, item: &'a str) -> impl Iterator<Item = &'a Element> {
    element.children(list).flat_map(move |list| list.children(item))
}

fn list(
    fields: &mut Fields,
    element: &Element,
    name: &str,
    item: &str,
    read: impl Fn(&Element) -> Checked<Value>,
) -> Checked<()> {
    let values = items(element, name, item).map(read).collect::<Checked<Vec<Value>>>()?;
    fields.insert(Value::from(name), Value::from(values));
    Ok(())
}

/// The attributes of an element: known ones by their type, 0 or empty if they are absent (totals are then omitted), the
/// others as text.
fn attributes(element: &Element, known: &[(&str, Read)]) -> Checked<Fields> {
    let text = |(name, text): &(String, String)| (Value::from(name.as_str()), Value::from(text.as_str()));
    let mut fields: Fields = element.attributes.iter().map(text).collect();
    for (name, read) in known {
        let text = element.attribute(name).map(str::trim).filter(|text| !text.is_empty());
        if text.is_none() && matches!(read, Read::Total) {
            fields.remove(&Value::from(*name));
            continue;
        }
        let wrong = || {
            let expected = format!("{} in the attribute {name} of <{}>", read.expected(), element.name);
            wrong(element, &expected, &format!("{:?}", text.unwrap_or_default()))
        };
        let value = read.value(text).ok_or_else(wrong)?;
        fields.insert(Value::from(*name), value);
    }
    Ok(fields)
}

impl Read {
    fn expected(self) -> &'static str {
        match self {
            Read::Rate => "a number from 0 to 1",
            Read::Number => "a number",
            Read::Count | Read::Total => "a count",
            Read::Flag => "true or false",
            Read::Text => "text",
        }
    }

    /// The value of an attribute, `None` if it is not of this type; an absent attribute is 0, false or empty.
    fn value(self, text: Option<&str>) -> Option<Value> {
        let number = |text: &str| text.parse::<f64>().ok();
        Some(match (self, text) {
            (Read::Text, text) => Value::from(text.unwrap_or_default()),
            (Read::Flag, text) => Value::from(match text.unwrap_or("false").to_ascii_lowercase().as_str() {
                "true" | "1" => true,
                "false" | "0" => false,
                _ => return None,
            }),
            (_, None) => Value::from(0),
            (Read::Count | Read::Total, Some(text)) => Value::from(text.parse::<u64>().ok()?),
            (Read::Rate | Read::Number, Some(text)) => {
                let number = number(text)?;
                match self {
                    _ if number.is_nan() => Value::Null,
                    Read::Rate if !(0.0..=1.0).contains(&number) => return None,
                    _ if number.is_infinite() => Value::Null,
                    _ => Value::from(number),
                }
            }
        })
    }
}
