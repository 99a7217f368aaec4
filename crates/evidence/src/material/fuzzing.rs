//! The output of fuzzers: dranzer's report, radamsa's metadata log, and crashing inputs.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;
use regorus::Value;

use super::archive::{self, Format};
use super::error::MaterialError;
use super::kind::MaterialKind;

/// The maximum number of mutations in a report.
const MAX_RECORDS: usize = 1_000_000;

type Fields = BTreeMap<Value, Value>;

fn set(fields: &mut Fields, name: &str, value: impl Into<Value>) {
    fields.insert(Value::from(name), value.into());
}

/// As [`set`], unless the text is empty.
fn set_text(fields: &mut Fields, name: &str, text: &str) {
    if !text.is_empty() {
        set(fields, name, text);
    }
}

struct Patterns {
    object: Regex,
    failure: Regex,
    error: Regex,
    method: Regex,
    violation: Regex,
    exception: Regex,
    metadata: Regex,
    counter: Regex,
    version: Regex,
}

static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| {
    let pattern = |text: &str| Regex::new(text).expect("a fixed pattern");
    Patterns {
        object: pattern(r"^Testing COM Object - (\{[^}]+\}|[0-9A-Fa-f-]+)\s*(.*)$"),
        failure: pattern(r"^(\{[^}]+\})-(.*)$"),
        error: pattern(r"^ERROR - (.*?)\s*\((0x[0-9A-Fa-f]+)\)\s*$"),
        method: pattern(r"^Invok(?:ing|ed) (?:Method|Property Get|Property Put Reference|Property Put)\s+-\s+(.+)$"),
        violation: pattern(r"^(.+?) at (0x[0-9A-Fa-f]+) :Bad (read|write) on (0x[0-9A-Fa-f]+)$"),
        exception: pattern(r"^(.+?) \(code ([0-9A-Fa-f]+)\) at (0x[0-9A-Fa-f]+)$"),
        metadata: pattern(r"^([A-Za-z][A-Za-z .]+?)\s*:\s*(.*)$"),
        counter: pattern(r"^Number of (.+?)\s{2,}([0-9]+)$"),
        version: pattern(r"(?i)Test Engine Version:\s*\$Rev:\s*([0-9]+)"),
    }
});

/// Whether a text contains what every dranzer report contains.
pub fn is_dranzer(text: &str) -> bool {
    ["Testing COM Object -", "Number of COM Objects", "Test Engine Version: $Rev:"]
        .iter()
        .any(|mark| text.contains(mark))
}

/// Reads a dranzer report, which is written for people: the parts that are understood are parsed, and the text is kept.
pub fn dranzer(bytes: &[u8]) -> Result<Value, MaterialError> {
    // The text is in the code page of the machine: bytes that are not UTF-8 are dropped.
    let text: String = bytes.utf8_chunks().map(|chunk| chunk.valid()).collect();
    let mut report = Dranzer::default();
    for line in text.lines() {
        report.line(line.trim());
    }
    if !report.is_one(&text) {
        let expected = "the version of the test engine, a COM object or a finding";
        return Err(MaterialError::mismatch(MaterialKind::CertccDranzer, "the text", expected, "none"));
    }
    Ok(report.value(&text))
}

#[derive(Default)]
struct Dranzer {
    objects: Vec<(String, String, Fields)>,
    findings: Vec<Fields>,
    counters: BTreeMap<String, u64>,
    /// Whether an object is under test.
    in_object: bool,
    /// Whether the error of the last finding is still expected.
    is_pending: bool,
    method: String,
}

impl Dranzer {
    fn line(&mut self, line: &str) {
        let patterns = &*PATTERNS;
        let bare = line.trim_matches(['*', ' ']);
        if bare.is_empty() || bare.eq_ignore_ascii_case("Access Violation") {
            return;
        }
        if let Some(found) = patterns.counter.captures(line) {
            self.counters.insert(key(&found[1]), found[2].parse().unwrap_or(u64::MAX));
        } else if let Some(found) = patterns.object.captures(line) {
            self.objects.push((found[1].to_owned(), found[2].trim().to_owned(), Fields::new()));
            (self.in_object, self.is_pending) = (true, false);
            self.method.clear();
        } else if let Some(found) = patterns.method.captures(line) {
            found[1].trim().clone_into(&mut self.method);
        } else if let Some(found) = patterns.violation.captures(line) {
            self.inline(found[1].trim(), "", &found[2], &found[3]);
        } else if let Some(found) = patterns.exception.captures(line) {
            self.inline(found[1].trim(), &format!("0x{}", &found[2]), &found[3], "");
        } else if let Some(found) = patterns.failure.captures(line) {
            let mut finding = Fields::new();
            set_text(&mut finding, "clsid", &found[1]);
            set_text(&mut finding, "class_name", found[2].trim());
            self.findings.push(finding);
            self.is_pending = true;
        } else if let Some(found) = patterns.error.captures(line) {
            if !self.is_pending {
                let finding = self.finding();
                self.findings.push(finding);
            }
            self.is_pending = false;
            if let Some(finding) = self.findings.last_mut() {
                set_text(finding, "error_message", &found[1]);
                set_text(finding, "error_code", &found[2]);
            }
        } else if line.starts_with("Test Engine Version") {
            // What follows is the summary.
            self.in_object = false;
        } else if self.in_object
            && let Some(found) = patterns.metadata.captures(line)
            && let Some((_, _, metadata)) = self.objects.last_mut()
        {
            set(metadata, &key(&found[1]), found[2].trim());
        }
    }

    /// A new finding of the object under test.
    fn finding(&self) -> Fields {
        let mut finding = Fields::new();
        if let Some((clsid, description, _)) = self.objects.last().filter(|_| self.in_object) {
            set_text(&mut finding, "clsid", clsid);
            set_text(&mut finding, "class_name", description);
        }
        finding
    }

    fn inline(&mut self, message: &str, code: &str, address: &str, access: &str) {
        let mut finding = self.finding();
        for (name, text) in [
            ("method", self.method.as_str()),
            ("error_message", message),
            ("error_code", code),
            ("address", address),
            ("access_type", access),
        ] {
            set_text(&mut finding, name, text);
        }
        self.findings.push(finding);
    }

    fn is_one(&self, text: &str) -> bool {
        !self.objects.is_empty() || !self.findings.is_empty() || is_dranzer(text)
    }

    fn value(self, text: &str) -> Value {
        let mut tool = Fields::new();
        set(&mut tool, "name", "dranzer");
        if let Some(found) = PATTERNS.version.captures(text) {
            set(&mut tool, "version", &found[1]);
        }
        let objects = self.objects.into_iter().map(|(clsid, description, metadata)| {
            let mut object = Fields::new();
            set_text(&mut object, "clsid", &clsid);
            set_text(&mut object, "description", &description);
            if !metadata.is_empty() {
                set(&mut object, "metadata", metadata);
            }
            Value::from(object)
        });
        let mut summary = Fields::new();
        for (name, counter) in [
            ("object_count", "com_objects"),
            ("kill_bit_count", "com_objects_with_kill_bit"),
            ("passed_count", "com_objects_passed_test"),
            ("failed_count", "com_objects_failed_test"),
            ("hung_count", "com_objects_hung_during_test"),
        ] {
            set(&mut summary, name, self.counters.get(counter).copied().unwrap_or(0));
        }
        let counters = self.counters.into_iter().map(|(name, count)| (Value::from(name), Value::from(count)));
        set(&mut summary, "counters", counters.collect::<Fields>());
        let mut report = Fields::new();
        set(&mut report, "tool", tool);
        set(&mut report, "objects", objects.collect::<Vec<Value>>());
        set(&mut report, "findings", self.findings.into_iter().map(Value::from).collect::<Vec<Value>>());
        set(&mut report, "summary", summary);
        set(&mut report, "raw", text);
        Value::from(report)
    }
}

/// Converts a label to a name: `COM Object Filename` becomes `com_object_filename`.
fn key(label: &str) -> String {
    label.to_lowercase().replace('.', "").split_whitespace().collect::<Vec<_>>().join("_")
}

/// Whether a text begins like a radamsa metadata log.
pub fn is_radamsa(text: &str) -> bool {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let is_record =
        |line: &str| line.contains("generator: ") && (line.contains("nth: ") || line.contains("muta-num: "));
    match lines.next() {
        Some(first) if first.starts_with("seed: ") => lines.next().is_none_or(is_record),
        Some(first) => is_record(first),
        None => false,
    }
}

/// A radamsa metadata log, or an archive of such logs, whose records are ordered by the names of the files.
pub fn radamsa(bytes: &[u8]) -> Result<Value, MaterialError> {
    let mut records = Vec::new();
    match Format::of(bytes) {
        None => log(bytes, "", &mut records)?,
        Some(Format::Gzip) => {
            let inner = archive::gunzip(bytes)?;
            if Format::of(&inner) == Some(Format::Tar) {
                logs(&inner, &mut records)?;
            } else {
                log(&inner, "", &mut records)?;
            }
        }
        Some(_) => logs(bytes, &mut records)?,
    }
    Ok(Value::from(records))
}

fn logs(archived: &[u8], records: &mut Vec<Value>) -> Result<(), MaterialError> {
    let mut entries = archive::entries(archived, |_| true)?;
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries.iter().try_for_each(|entry| log(&entry.content, &format!("{}, ", entry.name), records))
}

fn log(bytes: &[u8], file: &str, records: &mut Vec<Value>) -> Result<(), MaterialError> {
    const KIND: MaterialKind = MaterialKind::RadamsaReport;
    let text = std::str::from_utf8(bytes)
        .map_err(|_| MaterialError::mismatch(KIND, format!("{file}line 1"), "UTF-8", "other bytes"))?;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let at = format!("{file}line {}", index + 1);
        // Each line names its generator, except the one that begins a run.
        let is_one = |record: &Fields| ["generator", "seed"].iter().any(|key| record.contains_key(&Value::from(*key)));
        let record = record(line).filter(is_one).ok_or_else(|| {
            let found: String = line.chars().take(60).collect();
            MaterialError::mismatch(KIND, &at, "pairs such as generator: file, nth: 1", format!("{found:?}"))
        })?;
        // A line with the seed is not a mutation.
        if record.contains_key(&Value::from("seed")) {
            continue;
        }
        if records.len() >= MAX_RECORDS {
            return Err(MaterialError::mismatch(KIND, &at, format!("at most {MAX_RECORDS} records"), "more"));
        }
        records.push(Value::from(record));
    }
    Ok(())
}

/// `key: value, key: "value"`; `None` if a part is not a pair.
fn record(line: &str) -> Option<Fields> {
    let mut record = Fields::new();
    for pair in pairs(line) {
        let pair = pair.trim();
        if pair.is_empty() {
            continue;
        }
        let (key, value) = match pair.split_once(": ") {
            Some(found) => found,
            None => (pair.strip_suffix(':')?, ""),
        };
        let value = value.trim();
        let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let value = match (inner, value.parse::<i64>()) {
            (Some(inner), _) => Value::from(unescape(inner)),
            (None, Ok(number)) => Value::from(number),
            (None, Err(_)) => Value::from(value),
        };
        set(&mut record, key.trim(), value);
    }
    if record.is_empty() { None } else { Some(record) }
}

/// Splits at `, ` outside of quotes.
fn pairs(line: &str) -> Vec<String> {
    let (mut parts, mut part, mut quoted) = (Vec::new(), String::new(), false);
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' => {
                part.push(character);
                part.extend(characters.next());
            }
            ',' if !quoted && characters.peek() == Some(&' ') => {
                characters.next();
                parts.push(std::mem::take(&mut part));
            }
            other => {
                quoted ^= other == '"';
                part.push(other);
            }
        }
    }
    parts.push(part);
    parts
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        match characters.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            other => out.extend(other),
        }
    }
    out
}

/// The number of crashing inputs: the files of an archive, otherwise this one.
pub fn crashes(bytes: &[u8]) -> Result<usize, MaterialError> {
    if bytes.is_empty() {
        return Err(MaterialError::mismatch(
            MaterialKind::RadamsaCrashes,
            "the content",
            "an input that crashes",
            "nothing",
        ));
    }
    // An input that happens to begin like an archive, but is not one, counts as one input.
    Ok(match Format::of(bytes) {
        Some(Format::Zip) => archive::zip_names(bytes).map_or(1, |names| names.len()),
        Some(_) => archive::entries(bytes, |_| false).map_or(1, |entries| entries.len()),
        None => 1,
    })
}
