//! GraphQL's schema language (<https://spec.graphql.org/October2021/#sec-Type-System>): whether a text is a schema, and
//! what it defines. Operations and fragments are not schemas.

use std::collections::BTreeMap;

use regorus::Value;

use super::error::MaterialError;
use super::kind::MaterialKind;

/// The maximum nesting depth of lists and objects of values, and of list types.
const MAX_DEPTH: usize = 64;

/// The definitions of a schema.
pub struct Schema {
    /// Kind and name of each type, in the order of the text; extensions are not counted.
    pub definitions: Vec<(String, String)>,
    /// The directives that it defines, sorted.
    pub directives: Vec<String>,
}

impl Schema {
    /// What policies see.
    pub fn value(&self) -> Value {
        let definitions = self.definitions.iter().map(|(kind, name)| {
            Value::from(BTreeMap::from([
                (Value::from("kind"), Value::from(kind.as_str())),
                (Value::from("name"), Value::from(name.as_str())),
            ]))
        });
        let directives = self.directives.iter().map(|name| Value::from(name.as_str()));
        Value::from(BTreeMap::from([
            (Value::from("definitions"), Value::from(definitions.collect::<Vec<Value>>())),
            (Value::from("directives"), Value::from(directives.collect::<Vec<Value>>())),
        ]))
    }
}

/// Reads a schema.
pub fn read(bytes: &[u8]) -> Result<Schema, MaterialError> {
    let refuse = |line: usize, expected: &str, found: &str| {
        MaterialError::mismatch(MaterialKind::GraphqlSpec, format!("line {line}"), expected, found)
    };
    let text = std::str::from_utf8(bytes).map_err(|_| refuse(1, "UTF-8", "other bytes"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut parser = Parser { rest: text, line: 1, token: Token::End, depth: 0 };
    let schema = parser.advance().and_then(|()| parser.document());
    schema.map_err(|expected| {
        let found: String = parser.token.text().chars().take(40).collect();
        refuse(parser.line, &expected, &format!("{found:?}"))
    })
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Token<'a> {
    Name(&'a str),
    Punctuator(&'a str),
    Number(&'a str),
    Text(&'a str),
    End,
}

impl<'a> Token<'a> {
    fn text(self) -> &'a str {
        match self {
            Token::Name(text) | Token::Punctuator(text) | Token::Number(text) | Token::Text(text) => text,
            Token::End => "the end",
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
    line: usize,
    token: Token<'a>,
    depth: usize,
}

/// On failure, what was expected.
type Parsed<T = ()> = Result<T, String>;

impl<'a> Parser<'a> {
    /// Reads the next token.
    fn advance(&mut self) -> Parsed {
        loop {
            let blank = |c: char| c == ' ' || c == '\t' || c == ',' || c == '\n' || c == '\r' || c == '\u{feff}';
            let skipped = self.rest.len() - self.rest.trim_start_matches(blank).len();
            self.take(skipped);
            if !self.rest.starts_with('#') {
                break;
            }
            let comment = self.rest.find(['\n', '\r']).unwrap_or(self.rest.len());
            self.take(comment);
        }
        let Some(first) = self.rest.chars().next() else {
            self.token = Token::End;
            return Ok(());
        };
        self.token = match first {
            '!' | '$' | '&' | '(' | ')' | ':' | '=' | '@' | '[' | ']' | '{' | '|' | '}' => {
                Token::Punctuator(self.take(1))
            }
            '"' => Token::Text(self.string()?),
            '_' | 'a'..='z' | 'A'..='Z' => {
                let end = self.rest.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(self.rest.len());
                Token::Name(self.take(end))
            }
            '-' | '0'..='9' => {
                let part = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
                let end = self.rest.find(|c| !part(c)).unwrap_or(self.rest.len());
                Token::Number(self.take(end))
            }
            other => {
                self.token = Token::Punctuator(&self.rest[..other.len_utf8()]);
                return Err("GraphQL".to_owned());
            }
        };
        Ok(())
    }

    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length);
        self.line += taken.bytes().filter(|byte| *byte == b'\n').count();
        self.rest = rest;
        taken
    }

    fn string(&mut self) -> Parsed<&'a str> {
        let (quote, start) = if self.rest.starts_with("\"\"\"") { ("\"\"\"", 3) } else { ("\"", 1) };
        let mut at = start;
        loop {
            let rest = &self.rest[at..];
            if rest.starts_with(quote) {
                return Ok(self.take(at + quote.len()));
            }
            at += match rest.chars().next() {
                None => return Err("the end of a string".to_owned()),
                Some('\n' | '\r') if start == 1 => return Err("the end of a string on its line".to_owned()),
                Some('\\') if rest.starts_with("\\\"\"\"") && start == 3 => 4,
                Some('\\') if start == 1 => 1 + rest.chars().nth(1).map_or(0, char::len_utf8),
                Some(other) => other.len_utf8(),
            };
        }
    }

    fn is(&self, punctuator: &str) -> bool {
        self.token == Token::Punctuator(punctuator)
    }

    /// Consumes a punctuator or a keyword, if it comes next.
    fn eat(&mut self, text: &str) -> Parsed<bool> {
        let found = matches!(self.token, Token::Name(next) | Token::Punctuator(next) if next == text);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn expect(&mut self, text: &str) -> Parsed {
        if self.eat(text)? { Ok(()) } else { Err(format!("{text:?}")) }
    }

    fn name(&mut self) -> Parsed<&'a str> {
        let Token::Name(name) = self.token else { return Err("a name".to_owned()) };
        self.advance()?;
        Ok(name)
    }

    fn description(&mut self) -> Parsed {
        if matches!(self.token, Token::Text(_)) { self.advance() } else { Ok(()) }
    }

    fn document(&mut self) -> Parsed<Schema> {
        let mut schema = Schema { definitions: Vec::new(), directives: Vec::new() };
        let mut count = 0;
        while self.token != Token::End {
            self.definition(&mut schema)?;
            count += 1;
        }
        if count == 0 {
            return Err("at least one definition".to_owned());
        }
        schema.directives.sort();
        Ok(schema)
    }

    fn definition(&mut self, schema: &mut Schema) -> Parsed {
        const EXPECTED: &str = "a definition: schema, scalar, type, interface, union, enum, input or directive";
        self.description()?;
        let is_extension = self.eat("extend")?;
        let Token::Name(keyword) = self.token else { return Err(EXPECTED.to_owned()) };
        let known = ["schema", "scalar", "type", "interface", "union", "enum", "input", "directive"];
        if !known.contains(&keyword) || (is_extension && keyword == "directive") {
            return Err(EXPECTED.to_owned());
        }
        self.advance()?;
        if keyword == "directive" {
            self.expect("@")?;
            schema.directives.push(self.name()?.to_owned());
            self.arguments_definition()?;
            self.eat("repeatable")?;
            self.expect("on")?;
            return self.separated("|", |parser| parser.name().map(drop));
        }
        if keyword == "schema" {
            self.directives()?;
            if is_extension && !self.is("{") {
                return Ok(());
            }
            return self.block(|parser| {
                parser.description()?;
                parser.name()?;
                parser.expect(":")?;
                parser.name().map(drop)
            });
        }
        let name = self.name()?;
        if !is_extension {
            schema.definitions.push((keyword.to_owned(), name.to_owned()));
        }
        if matches!(keyword, "type" | "interface") && self.eat("implements")? {
            self.separated("&", |parser| parser.name().map(drop))?;
        }
        self.directives()?;
        match keyword {
            "union" if self.eat("=")? => self.separated("|", |parser| parser.name().map(drop)),
            "type" | "interface" if self.is("{") => self.block(|parser| {
                parser.description()?;
                parser.name()?;
                parser.arguments_definition()?;
                parser.expect(":")?;
                parser.type_reference()?;
                parser.directives()
            }),
            "enum" if self.is("{") => self.block(|parser| {
                parser.description()?;
                parser.name()?;
                parser.directives()
            }),
            "input" if self.is("{") => self.block(Parser::input_value),
            _ => Ok(()),
        }
    }

    /// Items in braces, at least one.
    fn block(&mut self, mut item: impl FnMut(&mut Parser<'a>) -> Parsed) -> Parsed {
        self.expect("{")?;
        loop {
            item(self)?;
            if self.eat("}")? {
                return Ok(());
            }
        }
    }

    /// A list with a separator, which may also come first.
    fn separated(&mut self, separator: &str, mut item: impl FnMut(&mut Parser<'a>) -> Parsed) -> Parsed {
        self.eat(separator)?;
        item(self)?;
        while self.eat(separator)? {
            item(self)?;
        }
        Ok(())
    }

    fn arguments_definition(&mut self) -> Parsed {
        if !self.eat("(")? {
            return Ok(());
        }
        while !self.eat(")")? {
            self.input_value()?;
        }
        Ok(())
    }

    fn input_value(&mut self) -> Parsed {
        self.description()?;
        self.name()?;
        self.expect(":")?;
        self.type_reference()?;
        if self.eat("=")? {
            self.value()?;
        }
        self.directives()
    }

    fn type_reference(&mut self) -> Parsed {
        self.nested(|parser| {
            if parser.eat("[")? {
                parser.type_reference()?;
                parser.expect("]")?;
            } else {
                parser.name()?;
            }
            parser.eat("!").map(drop)
        })
    }

    fn directives(&mut self) -> Parsed {
        while self.eat("@")? {
            self.name()?;
            if self.eat("(")? {
                while !self.eat(")")? {
                    self.name()?;
                    self.expect(":")?;
                    self.value()?;
                }
            }
        }
        Ok(())
    }

    fn value(&mut self) -> Parsed {
        self.nested(|parser| {
            if parser.eat("[")? {
                while !parser.eat("]")? {
                    parser.value()?;
                }
                return Ok(());
            }
            if parser.eat("{")? {
                while !parser.eat("}")? {
                    parser.name()?;
                    parser.expect(":")?;
                    parser.value()?;
                }
                return Ok(());
            }
            match parser.token {
                Token::Name(_) | Token::Number(_) | Token::Text(_) => parser.advance(),
                _ => Err("a value".to_owned()),
            }
        })
    }

    fn nested(&mut self, inner: impl FnOnce(&mut Parser<'a>) -> Parsed) -> Parsed {
        if self.depth >= MAX_DEPTH {
            return Err(format!("at most {MAX_DEPTH} levels"));
        }
        self.depth += 1;
        inner(self)?;
        self.depth -= 1;
        Ok(())
    }
}
