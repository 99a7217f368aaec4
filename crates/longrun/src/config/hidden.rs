//! A text that may hold a password: shown with asterisks, and gone from memory when it is dropped.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use store::StoreUrl;

/// The address of a store as it was written, which may hold a password.
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

/// As [`StoreUrl::masked`] has it; a text that is no store's address is not shown.
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

/// The defaults are written as a table, which other layers are put over; nothing else writes it.
impl Serialize for Hidden {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}
