//! How answers are shown: tables for people, JSON exactly as the API answers, YAML, or ids for scripts.
//!
//! Guarantees: only the answer goes to standard output; text from elsewhere (a component's name, an error message)
//! cannot control the terminal, because control characters are escaped.

pub mod age;
pub mod description;
pub mod operations;
pub mod report;
pub mod schedules;
mod style;
mod table;
pub mod verdict;

use std::io::{self, Write};

use clap::ValueEnum;

pub use style::{Style, count, pieces, printable};
pub use table::{Column, table};

/// The format of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Readable tables
    #[default]
    Table,
    /// JSON in the format of the API
    Json,
    /// The same, as YAML
    Yaml,
    /// Only the ids, one per line
    Id,
}

/// An answer that can be printed in every format.
pub trait Answer {
    /// The JSON text, without a line break at the end.
    fn json(&self) -> io::Result<Vec<u8>>;
    /// The readable form; ends with a line break.
    fn table(&self, style: Style) -> String;
    /// The ids of the objects.
    fn ids(&self) -> Vec<String>;
}

/// Writes an answer to standard output. Several answers of one command are written one after the other: JSON as one
/// document per line, YAML as documents.
///
/// # Errors
/// When standard output cannot be written.
pub fn print(format: Format, answer: &impl Answer) -> io::Result<()> {
    write(rendered(format, answer)?)
}

/// What [`print()`] prints.
///
/// # Errors
/// When the answer cannot be converted.
pub fn rendered(format: Format, answer: &impl Answer) -> io::Result<Vec<u8>> {
    Ok(match format {
        Format::Table => answer.table(Style::of_stdout()).into_bytes(),
        Format::Json => {
            let mut text = answer.json()?;
            if !text.ends_with(b"\n") {
                text.push(b'\n');
            }
            text
        }
        Format::Yaml => yaml(&answer.json()?)?.into_bytes(),
        Format::Id => answer.ids().iter().map(|id| format!("{}\n", printable(id))).collect::<String>().into_bytes(),
    })
}

/// Writes to standard output. If its reader has seen enough (`| head`), the command continues and ends with the exit
/// code that it would have had: it may say that something has failed.
///
/// # Errors
/// When standard output cannot be written.
pub fn write(text: impl AsRef<[u8]>) -> io::Result<()> {
    match stream(text) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Writes to standard output a part of what a command shows on and on. Here a closed pipe is an error, with which the
/// command ends as if it were done.
///
/// # Errors
/// When standard output cannot be written.
pub fn stream(text: impl AsRef<[u8]>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_ref())?;
    out.flush()
}

/// A JSON text as a YAML document, with the members in the same order.
///
/// # Errors
/// When the text is not JSON.
pub fn yaml(json: &[u8]) -> io::Result<String> {
    let value: yaml_serde::Value = serde_json::from_slice(json)?;
    Ok(format!("---\n{}", yaml_serde::to_string(&value).map_err(io::Error::other)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_keeps_order_and_strange_texts() {
        let json = r#"{"z":1,"a":"\ud83d\ude00 yes: no\n","n":null,"l":[true,1.5,"0x1f"]}"#;
        let text = yaml(json.as_bytes()).expect("is YAML");
        assert!(text.find("z:") < text.find("a:"), "{text}");
        let back: serde_json::Value = yaml_serde::from_str(&text).expect("is read back");
        let original: serde_json::Value = serde_json::from_str(json).expect("is JSON");
        assert_eq!(back, original);
    }
}
