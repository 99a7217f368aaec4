//! What browsers are allowed to do: the table `[http]`.

use reqwest::Url;
use serde::{Deserialize, Serialize};

/// What browsers are allowed to do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Pages of other origins that call the API.
    pub cors: Cors,
}

/// Pages of other origins that call the API.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cors {
    /// Their origins; empty: none.
    pub origins: Vec<String>,
}

impl Cors {
    /// The problem, if there is one. An origin is compared with what a browser sends, so it has to be spelled in the
    /// same way.
    pub fn complaint(&self) -> Option<String> {
        let wrong = self.origins.iter().find(|origin| !is_origin(origin))?;
        Some(format!(
            "{wrong:?} is not the origin of a page as browsers send it: https://host or https://host:port, in lower case, \
             without a path; each one has to be named, there is no *"
        ))
    }
}

fn is_origin(text: &str) -> bool {
    let is_web = text.starts_with("https://") || text.starts_with("http://");
    // A browser never sends a star in a host, although the URL standard allows it.
    is_web && !text.contains('*') && Url::parse(text).is_ok_and(|url| url.origin().ascii_serialization() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_spelt_as_browsers_send_them() {
        for good in
            ["https://app.example.com", "http://localhost:3000", "https://[::1]:8443", "https://app.example.com:80"]
        {
            assert!(is_origin(good), "{good}");
        }
        for bad in [
            "*",
            "",
            "null",
            "app.example.com",
            "https://",
            "https://*.example.com",
            "https://app.example.com/",
            "https://App.example.com",
            "https://app.example.com:443",
            "http://localhost:80",
            "https://me@app.example.com",
            "ftp://app.example.com",
            "https://app.example.com:",
            "https://app.example.com:99999",
            "https://a b",
        ] {
            let told = Cors { origins: vec!["https://good.example".to_owned(), bad.to_owned()] }.complaint();
            assert!(told.is_some_and(|told| told.contains(&format!("{bad:?}"))), "{bad}");
        }
    }
}
