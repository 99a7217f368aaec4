//! Labels in JSON: an object whose values are strings.

use std::borrow::Cow;
use std::fmt;

use operations::{Labels, MAX_LABELS};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

const WANTED: &str = "must be an object whose values are strings, such as {\"team\": \"search\"}";
/// More members are not read into memory; the domain accepts far fewer.
const MOST: usize = 4 * MAX_LABELS;

/// Reads the field of a body.
pub(super) fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Labels, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?;
    match serde_json::from_str::<Members>(raw.get()) {
        Ok(Members(labels)) => labels.map_err(D::Error::custom),
        Err(_) => Err(D::Error::custom(WANTED)),
    }
}

/// The labels, or what is wrong with them beyond their form.
struct Members(Result<Labels, String>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object whose values are strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let (mut labels, mut wrong) = (Labels::new(), None);
                while let Some((key, value)) = map.next_entry::<String, Cow<'_, str>>()? {
                    if labels.len() == MOST {
                        wrong = Some(format!("are more than {MOST}; at most {MAX_LABELS} are allowed"));
                    } else if labels.insert(key, value.into_owned()).is_some() {
                        wrong = Some("contain a key twice".to_owned());
                    }
                }
                Ok(Members(wrong.map_or(Ok(labels), Err)))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Labels, String> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        given(&mut deserializer).map_err(|error| error.to_string())
    }

    #[test]
    fn labels_are_an_object_of_texts() {
        assert_eq!(
            read(r#"{"a": "1", "b": "\u00e9"}"#),
            Ok([("a", "1"), ("b", "é")].map(|(k, v)| (k.into(), v.into())).into())
        );
        assert_eq!(read("{}"), Ok(Labels::new()));
        for bad in [r#"{"a": 1}"#, r#"{"a": null}"#, "[]", "7", r#""a""#, r#"{"a": {}}"#] {
            assert!(
                read(bad).is_err_and(|error| error.contains("must be an object whose values are strings")),
                "{bad}"
            );
        }
        assert!(read(r#"{"a": "1", "a": "2"}"#).is_err_and(|error| error.contains("twice")));
        let many: Vec<String> = (0..1_000).map(|n| format!("\"k{n}\": \"\"")).collect();
        assert!(read(&format!("{{{}}}", many.join(","))).is_err_and(|error| error.contains("at most 16")));
    }
}
