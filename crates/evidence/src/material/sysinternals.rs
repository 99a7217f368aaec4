//! The output of the Sysinternals tools sigcheck and AccessChk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;
use regorus::Value;

use super::error::MaterialError;
use super::kind::MaterialKind;

/// The maximum size of AccessChk output whose text policies see in addition to what is parsed from it, in bytes.
const RAW: usize = 10 * 1024 * 1024;

/// The text, in UTF-8, or in UTF-16 if it has a byte order mark.
pub fn decode(bytes: &[u8]) -> Option<String> {
    let wide = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
        bytes.len().is_multiple_of(2).then(|| String::from_utf16_lossy(&units))
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => std::str::from_utf8(rest).ok().map(str::to_owned),
        _ => std::str::from_utf8(bytes).ok().map(str::to_owned),
    }
}

/// The names of the columns, if a text begins with a header line that sigcheck would write.
pub fn is_sigcheck(text: &str) -> bool {
    let line = text.lines().next().unwrap_or_default();
    let header = records(line, delimiter(line)).unwrap_or_default().into_iter().next().unwrap_or_default();
    ["Path", "Verified"].iter().all(|column| header.iter().any(|name| name.trim() == *column))
}

/// The output of sigcheck: a list with one object per row, its members named by the columns.
pub fn sigcheck(bytes: &[u8]) -> Result<Value, MaterialError> {
    const KIND: MaterialKind = MaterialKind::SysinternalsSigcheck;
    let text =
        decode(bytes).ok_or_else(|| MaterialError::mismatch(KIND, "the text", "UTF-8 or UTF-16", "other bytes"))?;
    let text = text.trim_start();
    if !is_sigcheck(text) {
        let first: String = text.lines().next().unwrap_or_default().chars().take(60).collect();
        return Err(MaterialError::mismatch(KIND, "line 1", "the columns Path and Verified", format!("{first:?}")));
    }
    let records = records(text, delimiter(text.lines().next().unwrap_or_default())).map_err(|line| {
        MaterialError::mismatch(KIND, format!("line {line}"), "the end of the text that begins with a quote", "none")
    })?;
    let mut records = records.into_iter();
    let header = records.next().unwrap_or_default();
    let header: Vec<&str> = header.iter().map(|name| name.trim()).collect();
    // If two columns had the same name, policies would see only one of them.
    let mut seen = BTreeSet::new();
    if let Some(name) = header.iter().find(|name| !name.is_empty() && !seen.insert(**name)) {
        return Err(MaterialError::mismatch(KIND, "line 1", "each column once", format!("{name:?} twice")));
    }
    let names: Vec<Value> = header.iter().map(|name| Value::from(*name)).collect();
    // A comma may end the rows, and not the header.
    let ends_with_name = header.last().is_some_and(|name| !name.is_empty());
    let rows = records.enumerate().map(|(index, record)| {
        // With fewer or more cells, a cell may not belong to the column at its position, and filling up many short rows
        // would take far more memory than the text.
        let further = record.get(names.len()..);
        let is_blank = further.is_some_and(|further| further.iter().all(String::is_empty) && ends_with_name);
        if record.len() != names.len() && !is_blank {
            let (expected, found) = (format!("{} cells, as in the header", names.len()), record.len().to_string());
            return Err(MaterialError::mismatch(KIND, format!("row {}", index + 1), expected, found));
        }
        let cells = record.iter().map(|cell| Value::from(cell.as_str()));
        Ok(Value::from(names.iter().cloned().zip(cells).collect::<BTreeMap<Value, Value>>()))
    });
    Ok(Value::from(rows.collect::<Result<Vec<Value>, MaterialError>>()?))
}

/// A comma, unless the header has more tabs outside of quotes.
fn delimiter(line: &str) -> char {
    let (mut commas, mut tabs, mut quoted) = (0, 0, false);
    for character in line.chars() {
        match character {
            '"' => quoted = !quoted,
            ',' if !quoted => commas += 1,
            '\t' if !quoted => tabs += 1,
            _ => {}
        }
    }
    if tabs > commas { '\t' } else { ',' }
}

/// The records of a CSV, without its empty lines. A quote in an unexpected position is taken literally. The error is
/// the number of the line in which a quoted text begins that does not end: it would hide all rows after it.
fn records(text: &str, delimiter: char) -> Result<Vec<Vec<String>>, usize> {
    let (mut records, mut record, mut field) = (Vec::new(), Vec::new(), String::new());
    let (mut line, mut quote) = (1, 1);
    let mut characters = text.chars().peekable();
    let (mut quoted, mut starts) = (false, true);
    while let Some(character) = characters.next() {
        line += usize::from(character == '\n');
        match character {
            '"' if starts => {
                (quoted, starts, quote) = (true, false, line);
            }
            '"' if quoted && characters.next_if_eq(&'"').is_some() => field.push('"'),
            '"' if quoted && characters.peek().is_none_or(|next| *next == delimiter || matches!(next, '\n' | '\r')) => {
                quoted = false;
            }
            '\r' if !quoted && characters.peek() == Some(&'\n') => {}
            '\n' if !quoted => {
                record.push(std::mem::take(&mut field));
                if record.len() > 1 || !record[0].is_empty() {
                    records.push(std::mem::take(&mut record));
                }
                record.clear();
                starts = true;
            }
            other if other == delimiter && !quoted => {
                record.push(std::mem::take(&mut field));
                starts = true;
            }
            other => {
                field.push(other);
                starts = false;
            }
        }
    }
    if quoted {
        return Err(quote);
    }
    if !field.is_empty() || !record.is_empty() {
        record.push(field);
        records.push(record);
    }
    Ok(records)
}

static VERSION: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?i)^accesschk v([0-9][0-9.]*)").expect("a fixed pattern"));
static ENTRY: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^(RW|R|W)\s+(\S.*)$").expect("a fixed pattern"));
static ACE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^\[([0-9]+)\]\s*(.*?):\s*(.*)$").expect("a fixed pattern"));

/// Whether a text begins with AccessChk's banner.
pub fn is_accesschk(text: &str) -> bool {
    text.lines().take(20).any(|line| VERSION.is_match(line.trim()))
}

fn texts(items: &[String]) -> Value {
    Value::from(items.iter().map(|item| Value::from(item.as_str())).collect::<Vec<Value>>())
}

fn fields<const N: usize>(fields: [(&str, Value); N]) -> BTreeMap<Value, Value> {
    fields.into_iter().map(|(name, value)| (Value::from(name), value)).collect()
}

/// An entry of an access list, with the details below it.
#[derive(Default)]
struct Ace {
    index: u64,
    kind: String,
    principal: String,
    flags: Vec<String>,
    rights: Vec<String>,
}

impl Ace {
    fn value(&self) -> Value {
        let mut ace = fields([
            ("index", Value::from(self.index)),
            ("principal", Value::from(self.principal.as_str())),
            ("ace_flags", texts(&self.flags)),
            ("rights", texts(&self.rights)),
        ]);
        if !self.kind.is_empty() {
            ace.insert(Value::from("ace_type"), Value::from(self.kind.as_str()));
        }
        Value::from(ace)
    }
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Section {
    #[default]
    None,
    Flags,
    Dacl,
    Sacl,
}

/// An object and who may do what with it.
#[derive(Default)]
struct Object {
    name: String,
    flags: Vec<String>,
    owner: String,
    dacl: Vec<Ace>,
    sacl: Vec<Ace>,
    /// The access, who has it, and the rights that it consists of.
    entries: Vec<(String, String, Vec<String>)>,
    lines: Vec<String>,
    /// The state of the reader: the section, whether an entry of it is open, and the indentation of the last entry.
    section: Section,
    in_ace: bool,
    indent: Option<usize>,
}

impl Object {
    fn line(&mut self, line: &str) {
        let trimmed = line.trim();
        let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
        self.lines.push(line.to_owned());
        if let Some(found) = ENTRY.captures(trimmed) {
            self.entries.push((found[1].to_owned(), found[2].to_owned(), Vec::new()));
            (self.indent, self.in_ace) = (Some(indent), false);
            return;
        }
        let section = [("DESCRIPTOR FLAGS", Section::Flags), ("DACL", Section::Dacl), ("SACL", Section::Sacl)];
        if let Some((_, section)) = section.into_iter().find(|(head, _)| trimmed.starts_with(head)) {
            (self.section, self.in_ace) = (section, false);
        } else if let Some(owner) = trimmed.strip_prefix("OWNER:") {
            owner.trim().clone_into(&mut self.owner);
            self.in_ace = false;
        } else if let Some(found) = ACE.captures(trimmed) {
            let ace = Ace {
                index: found[1].parse().unwrap_or(0),
                kind: found[2].trim().to_owned(),
                principal: found[3].trim().to_owned(),
                ..Ace::default()
            };
            if self.section != Section::Sacl {
                self.section = Section::Dacl;
            }
            self.list().push(ace);
            self.in_ace = true;
        } else {
            self.detail(trimmed, indent);
        }
    }

    fn list(&mut self) -> &mut Vec<Ace> {
        if self.section == Section::Sacl { &mut self.sacl } else { &mut self.dacl }
    }

    /// A word in brackets is a flag, any other word is a right.
    fn detail(&mut self, trimmed: &str, indent: usize) {
        let flag = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if self.in_ace {
            if let Some(ace) = self.list().last_mut() {
                match flag {
                    Some(flag) => ace.flags.push(flag.to_owned()),
                    None => ace.rights.push(trimmed.to_owned()),
                }
            }
        } else if self.section == Section::Flags {
            self.flags.push(flag.unwrap_or(trimmed).to_owned());
        } else if self.indent.is_some_and(|entry| indent > entry)
            && let Some((_, _, rights)) = self.entries.last_mut()
        {
            rights.push(trimmed.to_owned());
        }
    }

    fn says_anything(&self) -> bool {
        !(self.entries.is_empty()
            && self.dacl.is_empty()
            && self.sacl.is_empty()
            && self.flags.is_empty()
            && self.owner.is_empty())
    }

    /// The part that many objects may share.
    fn descriptor(&self) -> Value {
        let entries = self.entries.iter().map(|(access, principal, rights)| {
            Value::from(fields([
                ("access", Value::from(access.as_str())),
                ("principal", Value::from(principal.as_str())),
                ("rights", texts(rights)),
            ]))
        });
        let mut descriptor = fields([("access_entries", Value::from(entries.collect::<Vec<Value>>()))]);
        let mut add = |name: &str, value: Value| descriptor.insert(Value::from(name), value);
        if !self.flags.is_empty() {
            add("descriptor_flags", texts(&self.flags));
        }
        if !self.owner.is_empty() {
            add("owner", Value::from(self.owner.as_str()));
        }
        for (name, list) in [("dacl", &self.dacl), ("sacl", &self.sacl)] {
            if !list.is_empty() {
                add(name, Value::from(list.iter().map(Ace::value).collect::<Vec<Value>>()));
            }
        }
        Value::from(descriptor)
    }
}

/// The output of AccessChk. It has no machine-readable form: lines that are not understood are kept as they are.
pub fn accesschk(bytes: &[u8]) -> Result<Value, MaterialError> {
    const KIND: MaterialKind = MaterialKind::SysinternalsAccesschk;
    let text =
        decode(bytes).ok_or_else(|| MaterialError::mismatch(KIND, "the text", "UTF-8 or UTF-16", "other bytes"))?;
    let keeps_text = text.len() <= RAW;
    let mut version = None;
    let mut objects: Vec<Object> = Vec::new();
    for line in text.lines() {
        let trimmed = line.trim();
        let lower = trimmed.to_ascii_lowercase();
        if let Some(found) = VERSION.captures(trimmed) {
            version.get_or_insert(found[1].to_owned());
            continue;
        }
        let is_banner = lower.starts_with("accesschk v")
            || lower.starts_with("copyright")
            || lower.contains("sysinternals - www.sysinternals.com");
        if trimmed.is_empty() || is_banner {
            continue;
        }
        if line.starts_with([' ', '\t']) {
            if let Some(object) = objects.last_mut() {
                object.line(line);
            }
        } else {
            objects.push(Object { name: trimmed.to_owned(), ..Object::default() });
        }
    }
    if version.is_none() && !objects.iter().any(Object::says_anything) {
        return Err(MaterialError::mismatch(
            KIND,
            "the text",
            "the banner of AccessChk, or an object with who has access",
            "neither",
        ));
    }
    let mut tool = fields([("name", Value::from("AccessChk"))]);
    if let Some(version) = version {
        tool.insert(Value::from("version"), Value::from(version));
    }
    // Thousands of objects may have the same descriptor.
    let mut numbers: BTreeMap<Value, usize> = BTreeMap::new();
    let mut descriptors = Vec::new();
    let mut listed = Vec::new();
    for object in &objects {
        let descriptor = object.descriptor();
        let number = *numbers.entry(descriptor.clone()).or_insert_with(|| {
            descriptors.push(descriptor);
            descriptors.len() - 1
        });
        let mut entry = fields([("name", Value::from(object.name.as_str())), ("descriptor", Value::from(number))]);
        if keeps_text && !object.lines.is_empty() {
            entry.insert(Value::from("raw_lines"), texts(&object.lines));
        }
        listed.push(Value::from(entry));
    }
    Ok(Value::from(fields([
        ("tool", Value::from(tool)),
        ("descriptors", Value::from(descriptors)),
        ("objects", Value::from(listed)),
        ("raw", Value::from(if keeps_text { text.as_str() } else { "" })),
    ])))
}
