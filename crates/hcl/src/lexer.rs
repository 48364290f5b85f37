//! From letters to words.

use serde_json::{Number, Value};

use crate::Error;

/// A word of the language.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    /// A bare name.
    Name(String),
    /// A quoted text or the lines of a here-document.
    Text(String),
    /// A number.
    Number(Value),
    /// One of `= { } [ ] ,`.
    Sign(char),
    /// The end.
    End,
}

impl Token {
    /// For error messages.
    pub(crate) fn print(&self) -> String {
        match self {
            Token::Name(name) => format!("{name:?}"),
            Token::Text(_) => "a text".to_owned(),
            Token::Number(number) => format!("{number}"),
            Token::Sign(sign) => format!("{sign:?}"),
            Token::End => "the end".to_owned(),
        }
    }
}

/// A word and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Placed {
    pub(crate) token: Token,
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl Placed {
    /// An error at this word.
    pub(crate) fn error(&self, what: impl Into<String>) -> Error {
        Error {
            line: self.line,
            column: self.column,
            what: what.into(),
        }
    }
}

/// Gives one word after the other.
pub(crate) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    line_begin: usize,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Lexer {
            text,
            at: 0,
            line: 1,
            line_begin: 0,
        }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn step(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.at += letter.len_utf8();
        if letter == '\n' {
            self.line += 1;
            self.line_begin = self.at;
        }
        Some(letter)
    }

    fn error(&self, what: impl Into<String>) -> Error {
        Error {
            line: self.line,
            column: self.column(),
            what: what.into(),
        }
    }

    fn column(&self) -> usize {
        self.text[self.line_begin..self.at].chars().count() + 1
    }

    fn skip_line(&mut self) {
        while self.peek().is_some_and(|letter| letter != '\n') {
            self.step();
        }
    }

    fn skip_blank(&mut self) -> Result<(), Error> {
        loop {
            let rest = self.rest();
            if rest.starts_with('#') || rest.starts_with("//") {
                self.skip_line();
            } else if rest.starts_with("/*") {
                let begun = self.error("a comment that does not end");
                let length = rest.find("*/").ok_or(begun)? + 2;
                let end = self.at + length;
                while self.at < end {
                    self.step();
                }
            } else if rest.starts_with(char::is_whitespace) {
                self.step();
            } else {
                return Ok(());
            }
        }
    }

    /// The next word.
    pub(crate) fn next(&mut self) -> Result<Placed, Error> {
        self.skip_blank()?;
        let (line, column) = (self.line, self.column());
        let token = match self.peek() {
            None => Token::End,
            Some(sign @ ('=' | '{' | '}' | '[' | ']' | ',')) => {
                self.step();
                Token::Sign(sign)
            }
            Some('"') => Token::Text(self.quoted()?),
            Some('<') => Token::Text(self.here_document()?),
            Some(letter) if letter.is_ascii_digit() || letter == '-' || letter == '.' => {
                Token::Number(self.number()?)
            }
            Some(letter) if letter.is_alphabetic() || letter == '_' => Token::Name(self.name()),
            Some(letter) => return Err(self.error(format!("{letter:?} has no meaning here"))),
        };
        Ok(Placed {
            token,
            line,
            column,
        })
    }

    fn name(&mut self) -> String {
        let good = |letter: char| letter.is_alphanumeric() || "_-.".contains(letter);
        let begin = self.at;
        while self.peek().is_some_and(good) {
            self.step();
        }
        self.text[begin..self.at].to_owned()
    }

    fn number(&mut self) -> Result<Value, Error> {
        let good = |letter: char| letter.is_ascii_alphanumeric() || "+-.".contains(letter);
        let begin = self.at;
        while self.peek().is_some_and(good) {
            self.step();
        }
        let text = &self.text[begin..self.at];
        number(text).ok_or_else(|| self.error(format!("{text:?} is not a number")))
    }

    fn quoted(&mut self) -> Result<String, Error> {
        let begun = self.error("a text that does not end");
        self.step();
        let mut text = String::new();
        // Inside `${ }` quotes and escapes are those of the expression, which is kept as it stands.
        let mut braces = 0_usize;
        loop {
            let letter = self.step().ok_or_else(|| begun.clone())?;
            match letter {
                '"' if braces == 0 => return Ok(text),
                '\n' if braces == 0 => return Err(begun),
                '\\' if braces == 0 => text.push(self.escape()?),
                '$' if self.peek() == Some('{') => {
                    self.step();
                    braces += 1;
                    text.push_str("${");
                }
                '{' if braces > 0 => {
                    braces += 1;
                    text.push('{');
                }
                '}' if braces > 0 => {
                    braces -= 1;
                    text.push('}');
                }
                letter => text.push(letter),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Error> {
        let letter = self.step();
        Ok(match letter {
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some('a') => '\u{7}',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('v') => '\u{b}',
            Some(same @ ('"' | '\\')) => same,
            Some('x') => self.code(2, 16)?,
            Some('u') => self.code(4, 16)?,
            Some('U') => self.code(8, 16)?,
            Some(digit @ '0'..='7') => {
                self.at -= digit.len_utf8();
                self.code(3, 8)?
            }
            _ => return Err(self.error("an escape that has no meaning")),
        })
    }

    fn code(&mut self, digits: usize, radix: u32) -> Result<char, Error> {
        let mut code = 0_u32;
        for _ in 0..digits {
            let digit = self.peek().and_then(|letter| letter.to_digit(radix));
            let digit = digit.ok_or_else(|| self.error("an escape with too few digits"))?;
            self.step();
            code = code.wrapping_mul(radix).wrapping_add(digit);
        }
        char::from_u32(code).ok_or_else(|| self.error("an escape that is no character"))
    }

    fn here_document(&mut self) -> Result<String, Error> {
        let begun = self.error("a here-document that does not end");
        let Some(rest) = self.rest().strip_prefix("<<") else {
            return Err(self.error("'<' has no meaning here"));
        };
        let indented = rest.starts_with('-');
        let rest = rest.strip_prefix('-').unwrap_or(rest);
        let (marker, _) = rest.split_once('\n').ok_or_else(|| begun.clone())?;
        let marker = marker.trim_end_matches('\r');
        if marker.is_empty() || !marker.chars().all(|c| c.is_alphanumeric() || c == '_') {
            return Err(self.error("a here-document needs a marker, such as <<EOF"));
        }
        self.skip_line();
        self.step();
        let mut lines = Vec::new();
        loop {
            let begin = self.at;
            self.skip_line();
            let line = &self.text[begin..self.at];
            if line.trim_start_matches([' ', '\t']).trim_end_matches('\r') == marker {
                break;
            }
            self.step().ok_or_else(|| begun.clone())?;
            lines.push(line);
        }
        let blank = |line: &&str| line.len() - line.trim_start_matches([' ', '\t']).len();
        let common = match indented {
            true => lines.iter().map(blank).min().unwrap_or(0),
            false => 0,
        };
        Ok(lines
            .into_iter()
            .map(|line| format!("{}\n", &line[common..]))
            .collect())
    }
}

fn number(text: &str) -> Option<Value> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let octal = lower.len() > 1 && lower.starts_with('0');
    let whole = if let Some(hex) = lower.strip_prefix("0x") {
        unsigned(hex, 16)
    } else if octal && lower.chars().all(|digit| digit.is_ascii_digit()) {
        unsigned(&lower, 8)
    } else {
        unsigned(&lower, 10)
    };
    match whole {
        Some(number) if !negative => i64::try_from(number).ok().map(Value::from),
        Some(number) => 0_i64.checked_sub_unsigned(number).map(Value::from),
        None if lower.starts_with("0x") || !lower.contains(['.', 'e']) => None,
        None => {
            let number: f64 = text.parse().ok()?;
            Number::from_f64(number).map(Value::Number)
        }
    }
}

/// Digits and nothing else, signs included.
fn unsigned(text: &str, radix: u32) -> Option<u64> {
    let digits = !text.is_empty() && text.chars().all(|digit| digit.is_digit(radix));
    digits.then(|| u64::from_str_radix(text, radix).ok())?
}
