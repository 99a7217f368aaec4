//! A flag's value that is not repeated when it is invalid: it may contain a password.

use std::ffi::OsStr;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Command, Error};

/// Reads a value with this function; its error says what is wrong without the value.
#[derive(Clone)]
pub struct Unseen<T>(pub fn(&str) -> Result<T, String>);

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Unseen<T> {
    type Value = T;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<T, Error> {
        let read = value.to_str().ok_or_else(|| "is not Unicode".to_owned()).and_then(self.0);
        read.map_err(|message| {
            let name = arg.map_or_else(String::new, |arg| format!("{arg} "));
            Error::raw(ErrorKind::ValueValidation, format!("{name}{message}\n")).with_cmd(command)
        })
    }
}
