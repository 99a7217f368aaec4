//! Reads zip, tar and gzip within limits: on the number of entries, on their total size, and on the ratio of that size
//! to the size of the archive.
//!
//! A zip is read by its directory, entry by entry; entries that are not requested are not unpacked. In a tar only
//! regular files are read. Links are not followed, and names are only compared, never used as paths.

use std::io::Read as _;
use std::ops::Range;

use flate2::Crc;
use flate2::read::{DeflateDecoder, MultiGzDecoder};

use super::error::MaterialError;

/// The maximum number of entries of an archive.
const MAX_ENTRIES: usize = 50_000;
/// The maximum total size of its entries, in bytes.
const MAX_TOTAL: u64 = 100 * 1024 * 1024;
/// How many times larger than the archive its entries may be in total; a small total size is always allowed.
const MAX_RATIO: u64 = 200;
const SMALL: u64 = 1024 * 1024;

/// The format of an archive, recognized by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A zip.
    Zip,
    /// A gzip; its content is not known yet.
    Gzip,
    /// A tar.
    Tar,
}

impl Format {
    /// The format that the bytes appear to have; `None` if they are not an archive.
    pub fn of(bytes: &[u8]) -> Option<Format> {
        match bytes {
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] | [b'P', b'K', 7, 8, ..] => Some(Format::Zip),
            [0x1f, 0x8b, ..] => Some(Format::Gzip),
            _ if bytes.get(257..262) == Some(b"ustar") => Some(Format::Tar),
            _ => None,
        }
    }
}

/// A file in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its path in the archive.
    pub name: String,
    /// Its content; empty if it was not requested.
    pub content: Vec<u8>,
}

/// The last part of a path in an archive.
pub fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

type Checked<T> = Result<T, MaterialError>;

fn refuse<T>(what: impl Into<String>) -> Checked<T> {
    Err(MaterialError::Archive(what.into()))
}

/// How much more may be unpacked.
struct Budget {
    left: u64,
    most: u64,
}

impl Budget {
    fn of(archive: &[u8]) -> Budget {
        let size = u64::try_from(archive.len()).unwrap_or(u64::MAX);
        let most = size.saturating_mul(MAX_RATIO).clamp(SMALL, MAX_TOTAL);
        Budget { left: most, most }
    }

    /// Reads to the end, or refuses what exceeds the budget.
    fn read(&mut self, from: impl std::io::Read) -> Checked<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = from.take(self.left + 1).read_to_end(&mut bytes);
        let read = read.map_err(|error| MaterialError::Archive(error.to_string()))?;
        match self.left.checked_sub(u64::try_from(read).unwrap_or(u64::MAX)) {
            Some(left) => {
                self.left = left;
                Ok(bytes)
            }
            None => refuse(format!("it contains more than {} bytes", self.most)),
        }
    }
}

/// The files of a zip, a tar or a tar.gz, in their order in the archive, with the content of those whose path is
/// `wanted`.
pub fn entries(bytes: &[u8], wanted: impl Fn(&str) -> bool) -> Checked<Vec<Entry>> {
    let mut budget = Budget::of(bytes);
    match Format::of(bytes) {
        Some(Format::Zip) => zip(bytes, &wanted, &mut budget),
        Some(Format::Gzip) => {
            let inner = budget.read(MultiGzDecoder::new(bytes))?;
            match Format::of(&inner) {
                Some(Format::Tar) => tar(&inner, &wanted),
                // An empty tar consists of blocks of zeros.
                _ if inner.len() >= BLOCK && inner.iter().all(|byte| *byte == 0) => Ok(Vec::new()),
                _ => refuse("the gzip does not contain a tar"),
            }
        }
        Some(Format::Tar) => tar(bytes, &wanted),
        None => refuse("expected a zip, a tar or a tar.gz"),
    }
}

/// The content of a gzip.
pub fn gunzip(bytes: &[u8]) -> Checked<Vec<u8>> {
    Budget::of(bytes).read(MultiGzDecoder::new(bytes))
}

/// The paths of a zip's entries, without unpacking any.
pub fn zip_names(bytes: &[u8]) -> Checked<Vec<String>> {
    let entries = zip(bytes, &|_| false, &mut Budget::of(bytes))?;
    Ok(entries.into_iter().map(|entry| entry.name).collect())
}

/// Little-endian numbers within bounds.
fn number(bytes: &[u8], at: usize, size: usize) -> Option<usize> {
    let digits = bytes.get(at..at.checked_add(size)?)?;
    let number = digits.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    usize::try_from(number).ok()
}

fn zip(bytes: &[u8], wanted: &dyn Fn(&str) -> bool, budget: &mut Budget) -> Checked<Vec<Entry>> {
    const END: &[u8] = b"PK\x05\x06";
    const FILE: &[u8] = b"PK\x01\x02";
    const COMMENT: usize = 65_535;
    let broken = || MaterialError::Archive("the directory of the zip is broken".to_owned());
    // The end record of the directory is at the end of the file, before a comment.
    let from = bytes.len().saturating_sub(COMMENT + 22);
    let end = bytes[from..].windows(4).rposition(|window| window == END).map(|at| from + at).ok_or_else(broken)?;
    let count = number(bytes, end + 10, 2).ok_or_else(broken)?;
    let mut at = number(bytes, end + 16, 4).ok_or_else(broken)?;
    if count == 0xffff || at == 0xffff_ffff {
        return refuse("a zip of more than 65,534 entries or 4 GiB");
    }
    if count > MAX_ENTRIES {
        return refuse(format!("it has more than {MAX_ENTRIES} entries"));
    }
    let mut entries = Vec::new();
    for _ in 0..count {
        if bytes.get(at..at + 4) != Some(FILE) {
            return Err(broken());
        }
        let entry = at;
        let field = |offset: usize, size: usize| number(bytes, entry + offset, size).ok_or_else(broken);
        let (flags, method, packed) = (field(8, 2)?, field(10, 2)?, field(20, 4)?);
        let (name, extra, comment, header) = (field(28, 2)?, field(30, 2)?, field(32, 2)?, field(42, 4)?);
        let path = bytes.get(at + 46..at + 46 + name).ok_or_else(broken)?;
        let path = String::from_utf8_lossy(path).into_owned();
        at += 46 + name + extra + comment;
        if path.ends_with('/') {
            continue;
        }
        let mut content = Vec::new();
        if wanted(&path) {
            if flags & 1 != 0 {
                return refuse(format!("{path} is encrypted"));
            }
            // The name and extra fields of the file's own header may differ from those of the directory.
            let skip = |offset: usize| number(bytes, header + offset, 2).ok_or_else(broken);
            let start = header + 30 + skip(26)? + skip(28)?;
            let data = start.checked_add(packed).and_then(|end| bytes.get(start..end)).ok_or_else(broken)?;
            content = match method {
                0 => budget.read(data)?,
                8 => budget.read(DeflateDecoder::new(data))?,
                other => return refuse(format!("{path} is compressed with method {other}; supported are 0 and 8")),
            };
            let mut sum = Crc::new();
            sum.update(&content);
            if content.len() != field(24, 4)? || number(&sum.sum().to_le_bytes(), 0, 4) != Some(field(16, 4)?) {
                return refuse(format!(
                    "the size or the checksum of {path} is not the one in the directory of the zip"
                ));
            }
        }
        entries.push(Entry { name: path, content });
    }
    Ok(entries)
}

const BLOCK: usize = 512;

/// What is wanted must be there as a file: a link would name content that is not read, and a tar that was cut or that
/// another one was appended to has files that other programs find or do not find. Headers that programs read in
/// different ways are refused, since others would find other files.
fn tar(bytes: &[u8], wanted: &dyn Fn(&str) -> bool) -> Checked<Vec<Entry>> {
    let mut entries = Vec::new();
    // Whether there is a header for the next entry that may name it, and the path in that header.
    let mut named: Option<Option<String>> = None;
    let (mut at, mut headers) = (0, 0);
    while let Some(header) = bytes.get(at..at + BLOCK) {
        if header.iter().all(|byte| *byte == 0) {
            if bytes[at..].iter().any(|byte| *byte != 0) {
                return refuse("something follows the end of the tar");
            }
            return Ok(entries);
        }
        headers += 1;
        if headers > 2 * MAX_ENTRIES {
            return refuse(format!("it has more than {MAX_ENTRIES} entries"));
        }
        if octal(&header[CHECKSUM]) != Some(checksum(header)) {
            return refuse("a checksum in the tar is not valid");
        }
        let size = octal(&header[124..136])
            .ok_or_else(|| MaterialError::Archive("a size in the tar is not valid".to_owned()))?;
        let start = at + BLOCK;
        let content = start.checked_add(size).and_then(|end| bytes.get(start..end));
        let content = content.ok_or_else(|| MaterialError::Archive("the tar ends too early".to_owned()))?;
        at = start + size.div_ceil(BLOCK) * BLOCK;
        match header[156] {
            // The path of the next entry, in the forms in which GNU and POSIX write long paths.
            kind @ (b'L' | b'x') => {
                let path = if kind == b'L' { Some(text(content)) } else { pax_path(content)? };
                if path.as_deref() == Some("") || named.replace(path).is_some() {
                    return refuse("an entry of the tar has no path, or two headers with its path");
                }
            }
            // The target of the next entry, which is a link.
            b'K' => {}
            // What holds for all entries, such as a comment.
            b'g' => {
                if pax_path(content)?.is_some() {
                    return refuse("a header of the tar gives all entries the same path");
                }
            }
            // A sparse file, and extensions of Solaris: some programs read more headers after these.
            kind @ (b'S' | b'X') => {
                return refuse(format!("an entry of the tar is of the kind {}, which is not read", char::from(kind)));
            }
            kind => {
                let name = named.take().flatten().unwrap_or_else(|| {
                    let prefix = if header[257..263] == *b"ustar\0" { text(&header[345..500]) } else { String::new() };
                    let name = text(&header[..100]);
                    if prefix.is_empty() { name } else { format!("{prefix}/{name}") }
                });
                let is_folder = kind == b'5' || name.ends_with('/');
                if size > 0 && (is_folder || matches!(kind, b'1'..=b'6')) {
                    // Some programs take this content for the next header.
                    return refuse(format!("{name} has content, but is not a file"));
                }
                if is_folder {
                    continue;
                }
                if !matches!(kind, b'0' | b'7' | 0) {
                    if wanted(&name) {
                        return refuse(format!("{name} is a link, or of another kind that is not read"));
                    }
                    continue;
                }
                if entries.len() >= MAX_ENTRIES {
                    return refuse(format!("it has more than {MAX_ENTRIES} entries"));
                }
                let content = if wanted(&name) { content.to_vec() } else { Vec::new() };
                entries.push(Entry { name, content });
            }
        }
    }
    refuse("the tar has no end: it was cut")
}

fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

/// The field of a header with the sum of its bytes.
const CHECKSUM: Range<usize> = 148..156;

/// The sum of a header's bytes, where those of the sum itself count as blanks.
fn checksum(header: &[u8]) -> usize {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| usize::from(*byte)).sum::<usize>();
    sum(header) - sum(&header[CHECKSUM]) + CHECKSUM.len() * usize::from(b' ')
}

/// A number in octal digits, before which there may be blanks, and after which nothing but blanks and zero bytes.
fn octal(field: &[u8]) -> Option<usize> {
    let field = field.trim_ascii_start();
    let digits = field.iter().take_while(|byte| matches!(byte, b'0'..=b'7')).count();
    let (digits, rest) = field.split_at(digits);
    if !rest.iter().all(|byte| matches!(byte, 0 | b' ')) {
        return None;
    }
    digits.iter().try_fold(0_usize, |number, digit| number.checked_mul(8)?.checked_add(usize::from(digit - b'0')))
}

/// The path in a POSIX header, which consists of records; the last one counts.
fn pax_path(content: &[u8]) -> Checked<Option<String>> {
    let (mut rest, mut path) = (content, None);
    while !rest.is_empty() {
        let (key, value, after) = pax_record(rest)
            .ok_or_else(|| MaterialError::Archive("a POSIX header of the tar is not valid".to_owned()))?;
        rest = after;
        if key == b"path" {
            if value.is_empty() || value.contains(&0) {
                return refuse("a path in a POSIX header of the tar is not valid");
            }
            path = Some(String::from_utf8_lossy(value).into_owned());
        } else if key == b"size" {
            // Only a file of more than 8 GiB needs it, and no content that is read is that large.
            return refuse("a POSIX header of the tar gives a size that replaces the one in the entry itself");
        } else if key.starts_with(b"GNU.sparse.") {
            return refuse("a file in the tar is sparse: its content is not written out");
        }
    }
    Ok(path)
}

/// The key and the value of the first record, and what follows it. A record is `LENGTH KEY=VALUE\n`, where the length
/// is that of the whole record: a value may contain line breaks.
fn pax_record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let length: usize = std::str::from_utf8(&bytes[..digits]).ok()?.parse().ok()?;
    let (record, after) = bytes.split_at_checked(length)?;
    let pair = record.get(digits..)?.strip_prefix(b" ")?.strip_suffix(b"\n")?;
    let equals = pair.iter().position(|byte| *byte == b'=')?;
    Some((&pair[..equals], &pair[equals + 1..], after))
}
