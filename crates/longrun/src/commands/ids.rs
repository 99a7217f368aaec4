//! Ids of operations by their first digits, as in git.
//!
//! An id begins with the millisecond of the operation's creation, which takes 12 hexadecimal digits. So a prefix of 8
//! digits or more is a range of a minute or less, which a search by creation time finds without reading anything else.
//! It reads at most [`LOOKED_AT`] operations.

use anyhow::Result;
use longrun_client::{Client, Error, SearchRequest};
use operations::Timestamp;

use crate::exit::{failure, missing};
use crate::render::printable;

/// The number of digits of a whole id.
const WHOLE: usize = 32;
/// The minimum length of a prefix: the digits that determine the minute.
const FEWEST: usize = 8;
/// The digits that determine the millisecond.
const OF_TIME: usize = 12;
/// How many operations are read at most.
const LOOKED_AT: usize = 1_000;
/// How many candidates are listed for an ambiguous prefix.
const LISTED: usize = 5;
/// How many milliseconds the time in an id and the time of creation may differ.
const SLACK: i64 = 1_000;

/// The hexadecimal digits of an id prefix, if the text is one: not a whole id, and long enough.
fn beginning(text: &str) -> Option<String> {
    let is_in_place = |(at, c): (usize, char)| match c {
        '-' => matches!(at, 8 | 13 | 18 | 23),
        c => c.is_ascii_hexdigit() && !matches!(at, 8 | 13 | 18 | 23),
    };
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let is_one = text.char_indices().all(is_in_place) && (FEWEST..WHOLE).contains(&digits.len());
    is_one.then(|| digits.to_lowercase())
}

/// The range of creation times of operations whose ids begin with these digits.
fn times(digits: &str) -> (Timestamp, Timestamp) {
    let of_time = &digits[..digits.len().min(OF_TIME)];
    // How many milliseconds have an id that begins like this: each missing digit has four bits.
    let length = 1_i64 << (4 * (OF_TIME - of_time.len()));
    let first = i64::from_str_radix(of_time, 16).expect("at most twelve hexadecimal digits") * length;
    (Timestamp::from_millis(first - SLACK), Timestamp::from_millis(first + length + SLACK))
}

/// The whole id: the text itself, unless it is a prefix of one.
///
/// # Errors
/// When no operation, or more than one, has an id that begins with it, or the call fails.
pub async fn whole(client: &Client, text: &str) -> Result<String> {
    let Some(digits) = beginning(text) else { return Ok(text.to_owned()) };
    let (from, to) = times(&digits);
    let filter = format!("created_at >= \"{from}\" AND created_at < \"{to}\"");
    let mut request = SearchRequest { filter, page_size: Some(100), ..SearchRequest::default() };
    let (mut found, mut looked_at) = (Vec::new(), 0);
    loop {
        let page = match client.search(&request).await {
            Ok(answer) => answer.value,
            // A caller that has no permission to search must give ids in full.
            Err(Error::Refused(refusal)) if refusal.http_status == 403 => return Ok(text.to_owned()),
            Err(error) => return Err(error.into()),
        };
        looked_at += page.operations.len();
        let ids = page.operations.into_iter().map(|found| (found.operation.id, found.operation.kind));
        found.extend(ids.filter(|(id, _)| id.replace('-', "").starts_with(&digits)));
        if page.next_page_token.is_empty() {
            break;
        }
        if looked_at >= LOOKED_AT {
            let hint = format!(
                "more than {LOOKED_AT} operations were created at that time: give more digits, or the whole id"
            );
            return Err(failure(format!("the id {text}… is too short"), hint));
        }
        request.page_token = page.next_page_token;
    }
    match &found[..] {
        [] => {
            let hint = "`longrun operations list` shows ids; a notice must be given by its whole id";
            Err(missing(format!("no operation has an id that begins with {text}"), hint))
        }
        [(id, _)] => Ok(id.clone()),
        several => {
            let listed: Vec<String> =
                several.iter().take(LISTED).map(|(id, kind)| format!("{id} ({})", printable(kind))).collect();
            let more = several.len().saturating_sub(LISTED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let hint = "give more digits, or the whole id";
            Err(failure(
                format!("{} operations have ids that begin with {text}: {}{more}", several.len(), listed.join(", ")),
                hint,
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_has_eight_digits_and_its_hyphens_in_place() {
        assert_eq!(beginning("0199F0D1-00").as_deref(), Some("0199f0d100"));
        assert_eq!(beginning("0199f0d1").as_deref(), Some("0199f0d1"));
        for other in
            ["0199f0d", "0199f0d1000", "0199-f0d1", "0199f0dx", "0199f0d1-0000-7000-8000-000000000000", "", "é"]
        {
            assert_eq!(beginning(other), None, "{other:?}");
        }
    }

    #[test]
    fn the_digits_tell_when() {
        let (from, to) = times("0199f0d1");
        assert_eq!(to.as_millis() - from.as_millis(), 65_536 + 2 * SLACK);
        let (from, to) = times("0199f0d10000700");
        assert_eq!((from.as_millis(), to.as_millis()), (0x0199_f0d1_0000 - SLACK, 0x0199_f0d1_0001 + SLACK));
    }
}
