//! A text that may contain a password: shown with asterisks, and erased from memory when it is dropped.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use store::StoreUrl;

/// The address of a store as it was written, which may contain a password.
#[derive(Clone, Default, Deserialize)]
#[serde(from = "String")]
pub struct Hidden(SecretString);

impl Hidden {
    /// The text itself.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.expose().is_empty()
    }
}

impl From<String> for Hidden {
    fn from(text: String) -> Hidden {
        Hidden(text.into())
    }
}

impl FromStr for Hidden {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Hidden, Infallible> {
        Ok(Hidden(text.into()))
    }
}

impl PartialEq for Hidden {
    fn eq(&self, other: &Hidden) -> bool {
        self.expose() == other.expose()
    }
}

/// In the format of [`StoreUrl::masked`]; a text that is not a store's address is not shown.
impl fmt::Display for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.expose() {
            "" => Ok(()),
            text => f.write_str(&text.parse().map_or_else(|_| "****".to_owned(), |url: StoreUrl| url.masked())),
        }
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// The defaults are serialized as a table, over which other layers are merged; nothing else serializes it.
impl Serialize for Hidden {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}
