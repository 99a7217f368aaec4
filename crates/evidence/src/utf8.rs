//! Text of which only the beginning is there.

/// Bytes as text. If something that followed them was cut off, half a character at their end is left out. `None` if
/// they are not UTF-8.
pub fn whole_characters(bytes: &[u8], is_cut: bool) -> Option<&str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) if is_cut && error.error_len().is_none() => std::str::from_utf8(&bytes[..error.valid_up_to()]).ok(),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::whole_characters;

    #[test]
    fn half_a_character_is_left_out_only_where_something_was_cut_off() {
        let text = "añ".as_bytes();
        assert_eq!(whole_characters(text, true), Some("añ"));
        assert_eq!(whole_characters(&text[..2], true), Some("a"));
        assert_eq!(whole_characters(&text[..2], false), None);
        assert_eq!(whole_characters(b"a\xffb", true), None, "not UTF-8 in the middle");
        assert_eq!(whole_characters(b"", true), Some(""));
    }
}
