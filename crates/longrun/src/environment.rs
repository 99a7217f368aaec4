//! Variables of the environment. One that is empty counts as not set: scripts cannot always remove a variable.

use std::path::PathBuf;

/// The text of a variable; what is not Unicode in it is replaced, and then refused like any other invalid text.
pub fn variable(name: &str) -> Option<String> {
    file_variable(name).map(|text| text.to_string_lossy().into_owned())
}

/// A variable that names a file, whose name need not be Unicode.
pub fn file_variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|text| !text.is_empty()).map(PathBuf::from)
}
