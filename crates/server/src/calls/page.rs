//! Which page of a list: the parameters of all calls that page by tokens.

use operations::Violation;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::error::ApiError;
use crate::strict::{self, Found, Read};

/// Entries of a page by default.
const DEFAULT_SIZE: u32 = 100;

/// Which page of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// Entries per page, at most 100 (1000 for the audit log); larger numbers are reduced to that. A page may have
    /// fewer entries although there are more.
    #[param(value_type = Option<i32>, minimum = 0, default = 100, required = false)]
    #[serde(default, rename = "page_size")]
    pub(crate) wanted: Option<u32>,
    /// The next_page_token of the previous page.
    #[param(required = false)]
    #[serde(default, rename = "page_token")]
    pub(crate) token: String,
}

impl PageQuery {
    /// How many entries the page has; `most` is the maximum of the list.
    pub(crate) fn size(&self, most: u32) -> u32 {
        self.wanted.filter(|size| *size > 0).unwrap_or(DEFAULT_SIZE).min(most)
    }

    /// Where the page begins; none for the first page.
    pub(crate) fn place<T>(&self, found: &mut Found, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        if self.token.is_empty() {
            return None;
        }
        let place = parse(&self.token);
        if place.is_none() {
            found.add(Violation::new("page_token", "must be the next_page_token of a previous answer"));
        }
        place
    }
}

/// A request for one page of what `T` asks for.
#[derive(Debug, Default)]
pub(crate) struct Paged<T> {
    pub(crate) page: Read<PageQuery>,
    pub(crate) asked: Read<T>,
}

impl<'q, T: Deserialize<'q>> Paged<T> {
    /// Reads it from the part of a URL after `?`.
    pub(crate) fn from_query(query: &'q str) -> Result<Paged<T>, ApiError> {
        let (page, asked) = strict::query_of_two(query)?;
        Ok(Paged { page, asked })
    }
}

impl<T> Paged<T> {
    /// The page, what is asked for, and the violations found so far.
    pub(crate) fn into_parts(self) -> (PageQuery, T, Found) {
        let Paged { page, asked: Read { value, mut violations } } = self;
        violations.extend(page.violations);
        (page.value, value, Read { value: (), violations }.into_parts().1)
    }
}
