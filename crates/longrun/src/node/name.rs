//! The name of a server process.

/// The maximum number of characters taken from a machine's name.
const MACHINE_CHARS: usize = 64;

/// A name for this process: that of the machine, so that people find it, and a short id that is new each time, so that
/// no two processes of a store have the same name.
pub(super) fn of_this_process() -> String {
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let id = uuid::Uuid::new_v4().simple().to_string();
    format!("{}-{}", plain(&machine), &id[..6])
}

/// The name with only those characters that need no quoting anywhere.
fn plain(machine: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = machine.chars().take(MACHINE_CHARS).map(plain).collect();
    if name.is_empty() { "longrun".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_called_by_its_machine_and_a_short_id() {
        assert_eq!(plain("web-1.example.com"), "web-1.example.com");
        assert_eq!((plain("a b\u{e9}"), plain("")), ("a-b-".to_owned(), "longrun".to_owned()));
        let (one, other) = (of_this_process(), of_this_process());
        assert_ne!(one, other);
        assert_eq!(one.rsplit_once('-').expect("an id").1.len(), 6);
    }
}
