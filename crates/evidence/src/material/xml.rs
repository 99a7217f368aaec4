//! Reads XML into a small tree, safely: no DTD subset, no entities but the five predefined ones, bounded depth.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::error::MaterialError;
use crate::whole_characters;

/// The maximum nesting depth of elements; dropping the tree recurses.
const MAX_DEPTH: usize = 128;

/// An element with its text and children.
#[derive(Debug, Default)]
pub struct Element {
    /// The local name, without a namespace prefix.
    pub name: String,
    /// In document order.
    pub attributes: Vec<(String, String)>,
    /// In document order.
    pub children: Vec<Element>,
    /// The text of the element itself, references resolved.
    pub text: String,
    /// The line in which its start tag ends, counted from 1.
    pub line: usize,
}

impl Element {
    /// The value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The children with a name.
    pub fn children<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> + 'a {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The first child with a name.
    pub fn child<'a>(&'a self, name: &'a str) -> Option<&'a Element> {
        self.children(name).next()
    }
}

/// The name of the root element, if the bytes begin like XML.
pub fn root_name(bytes: &[u8]) -> Option<String> {
    // A prolog longer than this is not a report.
    const PROLOG: usize = 64 * 1024;
    let head = &bytes[..bytes.len().min(PROLOG)];
    let mut reader = Reader::from_str(whole_characters(head, bytes.len() > PROLOG)?);
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) | Event::Empty(start) => return Some(local_name(&start)),
            Event::Eof => return None,
            _ => {}
        }
    }
}

/// Reads a document into its root element.
pub fn read(bytes: &[u8]) -> Result<Element, MaterialError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = newlines(&bytes[..error.valid_up_to()]) + 1;
        MaterialError::Xml { line, reason: "bytes that are not UTF-8".to_owned() }
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder { open: Vec::new(), root: None };
    let mut reader = Reader::from_str(text);
    // Lines are counted as the reader advances, so that the whole stays linear.
    let (mut seen, mut line) = (0, 1);
    loop {
        let event = reader.read_event();
        let at = usize::try_from(reader.buffer_position()).unwrap_or(text.len()).min(text.len());
        if at > seen {
            line += newlines(&text.as_bytes()[seen..at]);
            seen = at;
        }
        let fail = |reason: String| MaterialError::Xml { line, reason };
        match event.map_err(|error| fail(error.to_string()))? {
            Event::Eof => return builder.finish().map_err(fail),
            event => builder.take(event, line).map_err(fail)?,
        }
    }
}

fn newlines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

fn local_name(start: &BytesStart<'_>) -> String {
    let name: &str = start.name().into_inner();
    name.rsplit(':').next().unwrap_or(name).to_owned()
}

struct Builder {
    open: Vec<Element>,
    root: Option<Element>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, line: usize) -> Result<(), String> {
        match event {
            Event::Start(start) => {
                if self.open.len() >= MAX_DEPTH {
                    return Err(format!("elements nested deeper than {MAX_DEPTH}"));
                }
                self.open.push(element(&start, line)?);
            }
            Event::Empty(start) => self.close(element(&start, line)?)?,
            Event::End(_) => {
                let done = self.open.pop().ok_or("an end tag without its start")?;
                self.close(done)?;
            }
            Event::Text(text) => self.text(&text.xml10_content()),
            Event::CData(text) => self.text(&text.xml10_content()),
            Event::GeneralRef(reference) => {
                let character = reference.resolve_char_ref().map_err(|error| error.to_string())?;
                let name: &str = &reference;
                let text = match (character, name) {
                    (Some(character), _) => character.to_string(),
                    (None, "amp") => "&".to_owned(),
                    (None, "lt") => "<".to_owned(),
                    (None, "gt") => ">".to_owned(),
                    (None, "quot") => "\"".to_owned(),
                    (None, "apos") => "'".to_owned(),
                    (None, other) => {
                        return Err(format!("the entity {other:?}; only the five predefined entities are supported"));
                    }
                };
                self.text(&text);
            }
            // An external subset is never fetched; an internal one could only declare what is refused anyway.
            Event::DocType(declaration) if declaration.contains('[') => {
                return Err("a document type with declarations of its own".to_owned());
            }
            Event::DocType(_) | Event::Comment(_) | Event::PI(_) | Event::Decl(_) | Event::Eof => {}
        }
        Ok(())
    }

    fn text(&mut self, text: &str) {
        if let Some(element) = self.open.last_mut() {
            element.text.push_str(text);
        }
    }

    fn close(&mut self, element: Element) -> Result<(), String> {
        if let Some(parent) = self.open.last_mut() {
            parent.children.push(element);
        } else if self.root.is_none() {
            self.root = Some(element);
        } else {
            return Err("a second root element".to_owned());
        }
        Ok(())
    }

    fn finish(self) -> Result<Element, String> {
        if let Some(open) = self.open.last() {
            return Err(format!("the document ends before </{}>", open.name));
        }
        self.root.ok_or_else(|| "no element".to_owned())
    }
}

fn element(start: &BytesStart<'_>, line: usize) -> Result<Element, String> {
    let mut attributes = Vec::new();
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| error.to_string())?;
        let key: &str = attribute.key.into_inner();
        let value =
            attribute.normalized_value(quick_xml::XmlVersion::Implicit1_0).map_err(|error| error.to_string())?;
        attributes.push((key.to_owned(), value.into_owned()));
    }
    Ok(Element { name: local_name(start), attributes, line, ..Element::default() })
}
