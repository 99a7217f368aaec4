//! The query of `GET /v1/operations`, read strictly: a misspelt or doubled filter is refused and never widens the list.
//!
//! Both proto3 JSON spellings of a name are taken (`resource_id`, `resourceId`), but not both at once. Every violation
//! is told, not only the first.

use std::borrow::Cow;

use operations::{Filter, PageRequest, Resource, Status, Violation, check_text};
use percent_encoding::percent_decode;
use store::{HistoryPlace, InvalidHistoryPlace};

use crate::services::{ApiSettings, FirstPage};

/// A parameter, in both spellings.
type Parameter = (&'static str, &'static str);

/// Those of a list.
const LIST: &[Parameter] = &[
    ("pagination.page", "pagination.page"),
    ("pagination.page_size", "pagination.pageSize"),
    ("resource_id", "resourceId"),
    ("resource_type", "resourceType"),
    ("status", "status"),
    ("kind", "kind"),
];
/// Those of a watch.
const WATCH: &[Parameter] = &[
    ("resource_id", "resourceId"),
    ("resource_type", "resourceType"),
    ("status", "status"),
    ("kind", "kind"),
    (LAST_EVENT_ID, "lastEventId"),
];
const LAST_EVENT_ID: &str = "last_event_id";
/// Those of a history.
const HISTORY: &[Parameter] = &[("page_size", "pageSize"), ("page_token", "pageToken")];
/// That of a wait.
const WAIT: &[Parameter] = &[("timeout", "timeout")];
/// Names and values of a refused request are quoted up to this length.
const QUOTED_CHARS: usize = 64;

/// What a list call asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ListQuery {
    pub filter: Filter,
    pub page: PageRequest,
}

impl ListQuery {
    /// Reads the part of the URL after `?`, or everything that is wrong with it.
    pub fn parse(query: &str, settings: &ApiSettings) -> Result<ListQuery, Vec<Violation>> {
        let mut found = Vec::new();
        let given = Given::parse(query, LIST, &mut found);
        let page = given.page(settings, &mut found);
        let filter = given.filter(&mut found);
        if found.is_empty() { Ok(ListQuery { filter, page }) } else { Err(found) }
    }
}

/// What a watch asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct WatchQuery {
    pub filter: Filter,
    /// The event to resume after, for clients that cannot send the header.
    pub last_event_id: Option<String>,
}

impl WatchQuery {
    /// Reads the part of the URL after `?`, or everything that is wrong with it.
    pub fn parse(query: &str) -> Result<WatchQuery, Vec<Violation>> {
        let mut found = Vec::new();
        let given = Given::parse(query, WATCH, &mut found);
        let filter = given.filter(&mut found);
        let last_event_id = given.get(LAST_EVENT_ID).map(|(_, id)| id.to_owned()).filter(|id| !id.is_empty());
        if found.is_empty() { Ok(WatchQuery { filter, last_event_id }) } else { Err(found) }
    }
}

/// What a wait asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct WaitQuery {
    /// As it was given.
    pub timeout: Option<String>,
}

impl WaitQuery {
    /// Reads the part of the URL after `?`, or everything that is wrong with it.
    pub fn parse(query: &str) -> Result<WaitQuery, Vec<Violation>> {
        let mut found = Vec::new();
        let given = Given::parse(query, WAIT, &mut found);
        let timeout = given.get("timeout").map(|(_, text)| text.to_owned()).filter(|text| !text.is_empty());
        if found.is_empty() { Ok(WaitQuery { timeout }) } else { Err(found) }
    }
}

/// Events of a page of a history when the client does not say.
const HISTORY_PAGE: u32 = 100;
/// The most events of such a page; larger wishes get this many.
const MAX_HISTORY_PAGE: u32 = 1_000;

/// What the reader of a history asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HistoryQuery {
    /// Events at most.
    pub size: u32,
    pub after: Option<HistoryPlace>,
}

impl HistoryQuery {
    /// Reads the part of the URL after `?`, or everything that is wrong with it.
    pub fn parse(query: &str) -> Result<HistoryQuery, Vec<Violation>> {
        let mut found = Vec::new();
        let given = Given::parse(query, HISTORY, &mut found);
        let size = given.integer("page_size", &mut found).filter(|size| *size > 0).unwrap_or(HISTORY_PAGE);
        let token = given.get("page_token").filter(|(_, token)| !token.is_empty());
        let after = token.and_then(|(spelling, token)| {
            token
                .parse()
                .map_err(|error: InvalidHistoryPlace| found.push(Violation::new(spelling, error.to_string())))
                .ok()
        });
        if found.is_empty() { Ok(HistoryQuery { size: size.min(MAX_HISTORY_PAGE), after }) } else { Err(found) }
    }
}

/// The parameters as they were given: each at most once, decoded.
struct Given<'a> {
    parameters: &'static [Parameter],
    values: Vec<Option<(&'static str, Cow<'a, str>)>>,
}

impl<'a> Given<'a> {
    fn parse(query: &'a str, parameters: &'static [Parameter], found: &mut Vec<Violation>) -> Given<'a> {
        let mut given = Given { parameters, values: vec![None; parameters.len()] };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let Some(name) = decode(name) else {
                found.push(Violation::new(quoted(name), "is not percent-encoded UTF-8"));
                continue;
            };
            let Some(index) = parameters.iter().position(|(snake, camel)| name == *snake || name == *camel) else {
                found.push(Violation::new(quoted(&name), unknown(parameters)));
                continue;
            };
            let (snake, camel) = parameters[index];
            let spelling = if name == snake { snake } else { camel };
            let Some(value) = decode(value) else {
                found.push(Violation::new(spelling, "is not percent-encoded UTF-8"));
                continue;
            };
            match &given.values[index] {
                Some((first, _)) if *first == spelling => {
                    found.push(Violation::new(spelling, "is given more than once"));
                }
                Some((first, _)) => {
                    found.push(Violation::new(spelling, format!("is given as {first} too; use one spelling")));
                }
                None => given.values[index] = Some((spelling, value)),
            }
        }
        given
    }

    fn get(&self, name: &str) -> Option<(&'static str, &str)> {
        let index = self.parameters.iter().position(|(snake, _)| *snake == name)?;
        self.values[index].as_ref().map(|(spelling, value)| (*spelling, value.as_ref()))
    }

    fn integer(&self, name: &str, found: &mut Vec<Violation>) -> Option<u32> {
        let (spelling, value) = self.get(name)?;
        match value.parse::<i32>() {
            Ok(number) if number >= 0 && !value.starts_with('+') => u32::try_from(number).ok(),
            _ => {
                found.push(Violation::new(spelling, "must be an integer between 0 and 2147483647"));
                None
            }
        }
    }

    fn page(&self, settings: &ApiSettings, found: &mut Vec<Violation>) -> PageRequest {
        let page = self.integer("pagination.page", found).unwrap_or(0);
        let size = self.integer("pagination.page_size", found).filter(|size| *size > 0);
        let size = size.unwrap_or(settings.default_page_size);
        let page = match settings.first_page {
            FirstPage::Zero => page,
            FirstPage::One => page.saturating_sub(1),
        };
        PageRequest { page, page_size: size.min(settings.max_page_size) }
    }

    fn filter(&self, found: &mut Vec<Violation>) -> Filter {
        let mut text = |name: &str| {
            let (spelling, value) = self.get(name)?;
            found.extend(check_text(spelling, value).err());
            Some(value).filter(|value| !value.is_empty())
        };
        let kind = text("kind").map(str::to_owned);
        let resource = match (text("resource_type"), text("resource_id")) {
            (None, None) => None,
            (Some(resource_type), Some(resource_id)) => {
                Some(Resource { resource_type: resource_type.to_owned(), resource_id: resource_id.to_owned() })
            }
            (given, _) => {
                let (missing, present) =
                    if given.is_some() { ("resource_id", "resource_type") } else { ("resource_type", "resource_id") };
                let description = format!(
                    "is missing or empty although {present} is given; resource_type and resource_id must come together"
                );
                found.push(Violation::new(missing, description));
                None
            }
        };
        Filter { status: self.status(found), kind, resource }
    }

    fn status(&self, found: &mut Vec<Violation>) -> Option<Status> {
        let (spelling, value) = self.get("status").filter(|(_, value)| !value.is_empty())?;
        let by_number = value.parse::<i32>().ok().filter(|_| !value.starts_with('+'));
        if value == Status::UNSPECIFIED_NAME || by_number == Some(0) {
            return None;
        }
        let status = Status::from_wire_name(value).or_else(|| Status::from_number(by_number?.into()));
        if status.is_none() {
            let names = Status::ALL.map(Status::wire_name).join(", ");
            let description =
                format!("{} is none of {}, {names} or their numbers 0 to 4", quoted(value), Status::UNSPECIFIED_NAME);
            found.push(Violation::new(spelling, description));
        }
        status
    }
}

/// Decodes `%41` and `+` (a space, as in HTML forms); `None` when it is not valid percent-encoding of UTF-8.
fn decode(text: &str) -> Option<Cow<'_, str>> {
    let bytes = text.as_bytes();
    let escapes_are_whole = bytes
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'%')
        .all(|(at, _)| bytes.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)));
    if !escapes_are_whole {
        return None;
    }
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        return percent_decode(spaced.as_bytes()).decode_utf8().ok().map(|text| Cow::Owned(text.into_owned()));
    }
    percent_decode(bytes).decode_utf8().ok()
}

/// The client's own text, safe to repeat: short, control characters escaped.
fn quoted(text: &str) -> String {
    let short: String = text.chars().take(QUOTED_CHARS).collect();
    let dots = if short.len() < text.len() { "…" } else { "" };
    format!("{}{dots}", short.escape_debug())
}

fn unknown(parameters: &[Parameter]) -> String {
    let names: Vec<&str> = parameters.iter().map(|(snake, _)| *snake).collect();
    match names.as_slice() {
        [] => "unknown parameter; there are none here".to_owned(),
        [name] => format!("unknown parameter; the parameter is {name}"),
        names => format!("unknown parameter; the parameters are {}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(query: &str) -> Result<ListQuery, Vec<Violation>> {
        ListQuery::parse(query, &ApiSettings::default())
    }

    fn fields(query: &str) -> Vec<String> {
        parse(query).unwrap_err().into_iter().map(|v| v.field).collect()
    }

    #[test]
    fn an_empty_query_is_the_first_page_of_everything() {
        for query in ["", "&", "kind=", "kind", "status=&kind=", "resource_id=&resource_type="] {
            assert_eq!(parse(query).unwrap(), ListQuery::default(), "{query}");
        }
    }

    #[test]
    fn every_parameter_is_read_in_both_spellings() {
        let snake = "pagination.page=2&pagination.page_size=7&resource_id=i&resource_type=t&status=4&kind=k";
        let camel = "pagination.page=2&pagination.pageSize=7&resourceId=i&resourceType=t&status=4&kind=k";
        let query = parse(snake).unwrap();
        assert_eq!(query, parse(camel).unwrap());
        assert_eq!(query.page, PageRequest { page: 2, page_size: 7 });
        assert_eq!(query.filter.status, Some(Status::Failed));
        assert_eq!(query.filter.kind.as_deref(), Some("k"));
        let resource = Resource { resource_type: "t".to_owned(), resource_id: "i".to_owned() };
        assert_eq!(query.filter.resource, Some(resource));
    }

    #[test]
    fn plus_is_a_space_and_escapes_are_decoded() {
        assert_eq!(parse("kind=a+b%2Bc%C3%A9").unwrap().filter.kind.unwrap(), "a b+cé");
    }

    #[test]
    fn every_violation_is_told() {
        let query = "pagination.page=-1&pagination.pageSize=x&kind=%00&status=5&nope=1&resource_id=a&kind=b";
        assert_eq!(
            fields(query),
            ["nope", "kind", "pagination.page", "pagination.pageSize", "kind", "resource_type", "status"]
        );
    }

    #[test]
    fn integers_have_one_spelling() {
        for bad in ["1.0", "1e1", "%2B1", "+1", "", "0x1", "2147483648", "-1", "１"] {
            assert_eq!(fields(&format!("pagination.page={bad}")), ["pagination.page"], "{bad}");
        }
    }

    #[test]
    fn what_is_repeated_to_the_client_is_short_and_printable() {
        let violations = parse(&format!("%0d%0a{}=1", "x".repeat(1000))).unwrap_err();
        assert!(violations[0].field.starts_with("\\r\\nxxx"), "{violations:?}");
        assert!(violations[0].field.len() < 80);
    }

    #[test]
    fn counting_from_one_takes_zero_and_one_for_the_first_page() {
        let settings = ApiSettings { first_page: FirstPage::One, ..ApiSettings::default() };
        let page = |query| ListQuery::parse(query, &settings).unwrap().page.page;
        assert_eq!(["", "pagination.page=0", "pagination.page=1", "pagination.page=2"].map(page), [0, 0, 0, 1]);
    }
}
