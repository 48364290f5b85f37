//! Where one JSON value ends in a stream of bytes, and what is wrong with it in the words of Go's `encoding/json`, which etcd's gateway
//! reads with.
//!
//! Nothing is built and nothing is looked at twice; what is open is kept on a stack of one byte for each level, at most [`DEPTH`].

/// Levels of nesting at most, as in Go.
pub(super) const DEPTH: usize = 10_000;

/// What a scanner makes of the bytes so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scanned {
    /// The value goes on.
    More,
    /// The value is `start..end` of all bytes that the scanner was given.
    Value { start: usize, end: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Before a value; `first` says that an array has just begun, which may end at once.
    Value {
        first: bool,
    },
    /// Before a key; `first` says that an object has just begun.
    Key {
        first: bool,
    },
    AfterKey,
    /// Between the parts of whatever is open.
    AfterValue,
    Text {
        key: bool,
    },
    Escape {
        key: bool,
    },
    Hex {
        key: bool,
        left: u8,
    },
    Minus,
    Zero,
    Digits,
    Dot,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
    /// The rest of `true`, `false` or `null`.
    Word {
        word: &'static str,
        at: usize,
    },
    Done,
}

/// Finds one value. Bytes are given in pieces, in order.
#[derive(Debug)]
pub(super) struct Scanner {
    step: Step,
    /// `{` and `[` that are open.
    open: Vec<u8>,
    seen: usize,
    start: Option<usize>,
}

impl Scanner {
    pub(super) fn new() -> Scanner {
        Scanner {
            step: Step::Value { first: false },
            open: Vec::new(),
            seen: 0,
            start: None,
        }
    }

    /// Takes further bytes, up to the end of the value.
    ///
    /// # Errors
    /// What Go says of bytes that are no JSON.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Scanned, String> {
        for byte in bytes {
            // A number ends before the byte that tells so.
            if self.open.is_empty() && self.is_number_so_far() && !self.continues(*byte) {
                return Ok(self.value(self.seen));
            }
            self.take(*byte)?;
            self.seen += 1;
            if self.step == Step::Done {
                return Ok(self.value(self.seen));
            }
        }
        Ok(Scanned::More)
    }

    /// Says that nothing more comes: `None` when there was nothing but white space.
    ///
    /// # Errors
    /// `unexpected EOF` in the middle of a value.
    pub(super) fn end(&self) -> Result<Option<Scanned>, String> {
        if self.start.is_none() {
            return Ok(None);
        }
        if self.open.is_empty() && self.is_number_so_far() {
            return Ok(Some(self.value(self.seen)));
        }
        Err("unexpected EOF".to_owned())
    }

    fn value(&self, end: usize) -> Scanned {
        Scanned::Value {
            start: self.start.unwrap_or(end),
            end,
        }
    }

    fn is_number_so_far(&self) -> bool {
        matches!(
            self.step,
            Step::Zero | Step::Digits | Step::Fraction | Step::ExponentDigits
        )
    }

    /// Whether a byte belongs to the number that could end here.
    fn continues(&self, byte: u8) -> bool {
        match byte {
            b'0'..=b'9' => self.step != Step::Zero,
            b'.' => matches!(self.step, Step::Zero | Step::Digits),
            b'e' | b'E' => self.step != Step::ExponentDigits,
            _ => false,
        }
    }

    fn take(&mut self, byte: u8) -> Result<(), String> {
        let space = matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        self.step = match self.step {
            Step::Value { .. } | Step::Key { .. } | Step::AfterKey | Step::AfterValue if space => {
                return Ok(());
            }
            Step::Value { first: true } if byte == b']' => return self.close(),
            Step::Value { .. } => self.begin(byte)?,
            Step::Key { first: true } if byte == b'}' => return self.close(),
            Step::Key { .. } if byte == b'"' => Step::Text { key: true },
            Step::Key { .. } => {
                return Err(wrong(byte, "looking for beginning of object key string"));
            }
            Step::AfterKey if byte == b':' => Step::Value { first: false },
            Step::AfterKey => return Err(wrong(byte, "after object key")),
            Step::AfterValue => return self.between(byte),
            Step::Text { key } => match byte {
                b'"' if key => Step::AfterKey,
                b'"' => return self.ended(),
                b'\\' => Step::Escape { key },
                0..0x20 => return Err(wrong(byte, "in string literal")),
                _ => return Ok(()),
            },
            Step::Escape { key } => match byte {
                b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => Step::Text { key },
                b'u' => Step::Hex { key, left: 4 },
                _ => return Err(wrong(byte, "in string escape code")),
            },
            Step::Hex { key, left } if byte.is_ascii_hexdigit() => match left {
                1 => Step::Text { key },
                left => Step::Hex {
                    key,
                    left: left - 1,
                },
            },
            Step::Hex { .. } => return Err(wrong(byte, "in \\u hexadecimal character escape")),
            Step::Minus => match byte {
                b'0' => Step::Zero,
                b'1'..=b'9' => Step::Digits,
                _ => return Err(wrong(byte, "in numeric literal")),
            },
            Step::Digits if byte.is_ascii_digit() => Step::Digits,
            Step::Zero | Step::Digits => match byte {
                b'.' => Step::Dot,
                b'e' | b'E' => Step::Exponent,
                _ => return self.after_number(byte),
            },
            Step::Dot if byte.is_ascii_digit() => Step::Fraction,
            Step::Dot => return Err(wrong(byte, "after decimal point in numeric literal")),
            Step::Fraction => match byte {
                b'0'..=b'9' => Step::Fraction,
                b'e' | b'E' => Step::Exponent,
                _ => return self.after_number(byte),
            },
            Step::Exponent if matches!(byte, b'+' | b'-') => Step::ExponentSign,
            Step::Exponent | Step::ExponentSign if byte.is_ascii_digit() => Step::ExponentDigits,
            Step::Exponent | Step::ExponentSign => {
                return Err(wrong(byte, "in exponent of numeric literal"));
            }
            Step::ExponentDigits if byte.is_ascii_digit() => Step::ExponentDigits,
            Step::ExponentDigits => return self.after_number(byte),
            Step::Word { word, at } => {
                let expected = word.as_bytes().get(at).copied().unwrap_or_default();
                if byte != expected {
                    let expected = char::from(expected);
                    return Err(wrong(
                        byte,
                        &format!("in literal {word} (expecting '{expected}')"),
                    ));
                }
                if at + 1 == word.len() {
                    return self.ended();
                }
                Step::Word { word, at: at + 1 }
            }
            Step::Done => Step::Done,
        };
        Ok(())
    }

    fn begin(&mut self, byte: u8) -> Result<Step, String> {
        self.start.get_or_insert(self.seen);
        let word = |word| Step::Word { word, at: 1 };
        Ok(match byte {
            b'{' | b'[' => {
                if self.open.len() >= DEPTH {
                    return Err("exceeded max depth".to_owned());
                }
                self.open.push(byte);
                match byte {
                    b'{' => Step::Key { first: true },
                    _ => Step::Value { first: true },
                }
            }
            b'"' => Step::Text { key: false },
            b'-' => Step::Minus,
            b'0' => Step::Zero,
            b'1'..=b'9' => Step::Digits,
            b't' => word("true"),
            b'f' => word("false"),
            b'n' => word("null"),
            _ => return Err(wrong(byte, "looking for beginning of value")),
        })
    }

    fn after_number(&mut self, byte: u8) -> Result<(), String> {
        self.step = Step::AfterValue;
        self.take(byte)
    }

    fn between(&mut self, byte: u8) -> Result<(), String> {
        let object = self.open.last() == Some(&b'{');
        match byte {
            b',' if object => self.step = Step::Key { first: false },
            b',' => self.step = Step::Value { first: false },
            b'}' if object => return self.close(),
            b']' if !object => return self.close(),
            _ if object => return Err(wrong(byte, "after object key:value pair")),
            _ => return Err(wrong(byte, "after array element")),
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), String> {
        self.open.pop();
        self.ended()
    }

    fn ended(&mut self) -> Result<(), String> {
        self.step = match self.open.is_empty() {
            true => Step::Done,
            false => Step::AfterValue,
        };
        Ok(())
    }
}

/// A byte that does not belong where it is. Go prints it as the character of that number, not of the text's encoding.
fn wrong(byte: u8, context: &str) -> String {
    let shown = match byte {
        b'\'' => "\\'".to_owned(),
        b'"' => "\"".to_owned(),
        b'\\' => "\\\\".to_owned(),
        0x07 => "\\a".to_owned(),
        0x08 => "\\b".to_owned(),
        0x0c => "\\f".to_owned(),
        b'\n' => "\\n".to_owned(),
        b'\r' => "\\r".to_owned(),
        b'\t' => "\\t".to_owned(),
        0x0b => "\\v".to_owned(),
        0..0x20 | 0x7f => format!("\\x{byte:02x}"),
        0x80..=0xa0 | 0xad => format!("\\u{byte:04x}"),
        _ => char::from(byte).to_string(),
    };
    format!("invalid character '{shown}' {context}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &[u8], piece: usize) -> Result<Option<(usize, usize)>, String> {
        let mut scanner = Scanner::new();
        for piece in text.chunks(piece) {
            if let Scanned::Value { start, end } = scanner.push(piece)? {
                return Ok(Some((start, end)));
            }
        }
        Ok(scanner.end()?.map(|scanned| match scanned {
            Scanned::Value { start, end } => (start, end),
            Scanned::More => unreachable!(),
        }))
    }

    #[test]
    fn values_end_where_they_end_however_they_are_cut() {
        let rows: [(&str, Option<(usize, usize)>); 13] = [
            ("", None),
            (" \n\t ", None),
            ("{}", Some((0, 2))),
            (" { } x", Some((1, 4))),
            ("[1,[2,{\"a\":\"}\"}]] ", Some((0, 17))),
            ("\"a\\\"b\" ", Some((0, 6))),
            ("12 ", Some((0, 2))),
            ("12", Some((0, 2))),
            ("01", Some((0, 1))),
            ("-0.5e+10{", Some((0, 8))),
            ("null", Some((0, 4))),
            ("true{}", Some((0, 4))),
            ("{\"a\":1}{\"b\":2}", Some((0, 7))),
        ];
        for (text, expected) in rows {
            for piece in 1..4 {
                assert_eq!(scan(text.as_bytes(), piece), Ok(expected), "{text:?}");
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said_as_go_says_it() {
        let rows: [(&[u8], &str); 21] = [
            (b"x", "invalid character 'x' looking for beginning of value"),
            (
                b"\xc3\xa9",
                "invalid character '\u{c3}' looking for beginning of value",
            ),
            (
                b"\x01",
                "invalid character '\\x01' looking for beginning of value",
            ),
            (
                b"'",
                "invalid character '\\'' looking for beginning of value",
            ),
            (
                b"{x",
                "invalid character 'x' looking for beginning of object key string",
            ),
            (
                b"{\"a\":1,}",
                "invalid character '}' looking for beginning of object key string",
            ),
            (b"{\"a\"x", "invalid character 'x' after object key"),
            (
                b"{\"a\":1x",
                "invalid character 'x' after object key:value pair",
            ),
            (b"[1x", "invalid character 'x' after array element"),
            (
                b"[1,]",
                "invalid character ']' looking for beginning of value",
            ),
            (b"\"\n\"", "invalid character '\\n' in string literal"),
            (b"\"\\q", "invalid character 'q' in string escape code"),
            (
                b"\"\\u12g",
                "invalid character 'g' in \\u hexadecimal character escape",
            ),
            (b"-x", "invalid character 'x' in numeric literal"),
            (
                b"1.x",
                "invalid character 'x' after decimal point in numeric literal",
            ),
            (
                b"1ex",
                "invalid character 'x' in exponent of numeric literal",
            ),
            (
                b"trux",
                "invalid character 'x' in literal true (expecting 'e')",
            ),
            (
                b"nil",
                "invalid character 'i' in literal null (expecting 'u')",
            ),
            (b"{\"key\":", "unexpected EOF"),
            (b"1.", "unexpected EOF"),
            (b"\"a", "unexpected EOF"),
        ];
        for (text, expected) in rows {
            assert_eq!(
                scan(text, 1),
                Err(expected.to_owned()),
                "{}",
                String::from_utf8_lossy(text)
            );
        }
        let deep = vec![b'['; DEPTH + 1];
        assert_eq!(scan(&deep, 7), Err("exceeded max depth".to_owned()));
    }
}
