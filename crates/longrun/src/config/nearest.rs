//! The name that was probably meant by a misspelled one.

use strsim::levenshtein;

/// The candidate nearest to `name`, unless even that one is a very different word. Separators do not count; and if only
/// one candidate begins with the name, that one is returned: `maxpage` means `max_page_size`.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = joined(name);
    let candidates: Vec<(String, &str)> = candidates.into_iter().map(|each| (joined(each), each)).collect();
    if name.len() >= SHORTEST_BEGINNING {
        let mut begun = candidates.iter().filter(|(joined, _)| joined.starts_with(&name));
        if let (Some((_, only)), None) = (begun.next(), begun.next()) {
            return Some(only);
        }
    }
    let limit = name.chars().count().div_ceil(3).max(1);
    let distances = candidates.iter().map(|(joined, candidate)| (levenshtein(&name, joined), *candidate));
    distances.filter(|(distance, _)| *distance <= limit).min().map(|(_, candidate)| candidate)
}

/// Too many names begin with fewer letters than these.
const SHORTEST_BEGINNING: usize = 4;

/// The letters and digits of a name.
fn joined(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelling_is_told_apart_from_another_word() {
        assert_eq!(nearest("lisen", ["store", "listen"]), Some("listen"));
        assert_eq!(nearest("api.max_page_sise", ["api.max_page_size", "api.first_page"]), Some("api.max_page_size"));
        assert_eq!(nearest("colour", ["store", "listen"]), None);
        let keys = ["API_FIRST_PAGE", "API_MAX_PAGE_SIZE", "API_MAX_CONNECTIONS", "LISTEN"];
        assert_eq!(nearest("API_MAXPAGE", keys), Some("API_MAX_PAGE_SIZE"));
        assert_eq!(nearest("API_MAX_PAGESIZE", keys), Some("API_MAX_PAGE_SIZE"));
        assert_eq!(nearest("API_MAX", keys), None, "it begins two of them");
        assert_eq!(nearest("LIS", keys), None, "too short to mean anything");
    }
}
