//! The figures of runs under faults, which docs/promises.md shows.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::Duration;

/// Prints the figures of a run in which nothing was lost, doubled or stuck, and appends them, as a row of the table in
/// docs/promises.md, to the file that the variable `LONGRUN_FIGURES` names, if it is set.
///
/// # Panics
/// When the row cannot be written.
pub fn report(run: &str, times: usize, acknowledged: usize, available_again: &str) {
    println!(
        "{run}, {times} times: {acknowledged} acknowledged, 0 lost, 0 doubled, 0 stuck; available again after \
         {available_again} (median, maximum)"
    );
    let Some(path) = std::env::var_os("LONGRUN_FIGURES") else { return };
    let mut file = OpenOptions::new().create(true).append(true).open(path).expect("the file of figures can be opened");
    let row = format!("| {run} | {times} | {acknowledged} | 0 | 0 | 0 | {available_again} |\n");
    file.write_all(row.as_bytes()).expect("the file of figures can be written");
}

/// The median and the maximum of some durations.
pub fn spread(durations: &[Duration]) -> String {
    let mut sorted = durations.to_vec();
    sorted.sort_unstable();
    let (median, maximum) = (sorted.get(sorted.len() / 2), sorted.last());
    let millis = |duration: Option<&Duration>| duration.map_or(0, Duration::as_millis);
    format!("{} ms, {} ms", millis(median), millis(maximum))
}
