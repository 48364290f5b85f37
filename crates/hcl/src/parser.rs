//! From words to values.

use serde_json::map::Entry;
use serde_json::{Map, Value};

use crate::lexer::{Lexer, Placed, Token};
use crate::{Error, MOST_DEPTH, too_deep};

/// Reads with one word of foresight.
pub(crate) struct Parser<'a> {
    lexer: Lexer<'a>,
    next: Placed,
    depth: usize,
}

impl<'a> Parser<'a> {
    pub(crate) fn new(text: &'a str) -> Result<Self, Error> {
        let mut lexer = Lexer::new(text);
        let next = lexer.next()?;
        Ok(Parser {
            lexer,
            next,
            depth: 0,
        })
    }

    fn take(&mut self) -> Result<Placed, Error> {
        let following = self.lexer.next()?;
        Ok(std::mem::replace(&mut self.next, following))
    }

    fn takes(&mut self, sign: char) -> Result<bool, Error> {
        let is = self.next.token == Token::Sign(sign);
        if is {
            self.take()?;
        }
        Ok(is)
    }

    fn enter(&mut self) -> Result<(), Error> {
        self.depth += 1;
        match self.depth > MOST_DEPTH {
            true => Err(self.next.error(too_deep())),
            false => Ok(()),
        }
    }

    /// The whole text.
    pub(crate) fn file(mut self) -> Result<Value, Error> {
        let map = self.items(&Token::End)?;
        Ok(Value::Object(map))
    }

    /// Items up to `end`, which stays.
    fn items(&mut self, end: &Token) -> Result<Map<String, Value>, Error> {
        self.enter()?;
        let mut map = Map::new();
        while self.next.token != *end {
            self.item(&mut map)?;
            self.takes(',')?;
        }
        self.depth -= 1;
        Ok(map)
    }

    /// `NAME = VALUE`, or `NAME LABEL... { ITEMS }`.
    fn item(&mut self, map: &mut Map<String, Value>) -> Result<(), Error> {
        let place = self.next.clone();
        let mut keys = Vec::new();
        loop {
            let word = self.take()?;
            match word.token {
                Token::Name(key) | Token::Text(key) => keys.push(key),
                Token::Sign('=') if keys.len() == 1 => {
                    let value = self.value()?;
                    return insert(map, &keys, value, false).map_err(|what| place.error(what));
                }
                Token::Sign('{') if !keys.is_empty() => {
                    if keys.len() + self.depth > MOST_DEPTH {
                        return Err(place.error(too_deep()));
                    }
                    let items = self.object()?;
                    return insert(map, &keys, items, true).map_err(|what| place.error(what));
                }
                ref other if keys.is_empty() => {
                    return Err(word.error(format!("{} where a name should be", other.print())));
                }
                ref other => {
                    let expected = match keys.len() {
                        1 => "'=' or '{'",
                        _ => "'{'",
                    };
                    let after = keys.last().map(String::as_str).unwrap_or_default();
                    return Err(word.error(format!(
                        "{} after {after:?}, where {expected} should be",
                        other.print()
                    )));
                }
            }
        }
    }

    /// What is between braces; the first has been taken.
    fn object(&mut self) -> Result<Value, Error> {
        let place = self.next.clone();
        let end = Token::Sign('}');
        self.enter()?;
        let mut map = Map::new();
        while self.next.token != end {
            if self.next.token == Token::End {
                return Err(place.error("an object that does not end"));
            }
            self.item(&mut map)?;
            self.takes(',')?;
        }
        self.depth -= 1;
        self.take()?;
        Ok(Value::Object(map))
    }

    fn value(&mut self) -> Result<Value, Error> {
        let word = self.take()?;
        match word.token {
            Token::Text(text) => Ok(Value::String(text)),
            Token::Number(number) => Ok(number),
            Token::Name(ref name) if name == "true" => Ok(Value::Bool(true)),
            Token::Name(ref name) if name == "false" => Ok(Value::Bool(false)),
            Token::Sign('{') => self.object(),
            Token::Sign('[') => self.list(&word),
            ref other => Err(word.error(format!("{} where a value should be", other.print()))),
        }
    }

    /// What is between brackets; the first has been taken.
    fn list(&mut self, begin: &Placed) -> Result<Value, Error> {
        self.enter()?;
        let mut items = Vec::new();
        while !self.takes(']')? {
            if self.next.token == Token::End {
                return Err(begin.error("a list that does not end"));
            }
            items.push(self.value()?);
            if !self.takes(',')? && self.next.token != Token::Sign(']') {
                let found = self.next.token.print();
                return Err(self
                    .next
                    .error(format!("{found} where ',' or ']' should be")));
            }
        }
        self.depth -= 1;
        Ok(Value::Array(items))
    }
}

/// Puts a value where its keys say. A block that comes again makes a list; of other values the last counts.
fn insert(
    map: &mut Map<String, Value>,
    keys: &[String],
    value: Value,
    block: bool,
) -> Result<(), String> {
    let [key, labels @ ..] = keys else {
        return Ok(());
    };
    match (map.entry(key.clone()), labels) {
        (Entry::Vacant(place), []) => {
            place.insert(value);
        }
        (Entry::Vacant(place), labels) => {
            let mut inner = Map::new();
            insert(&mut inner, labels, value, block)?;
            place.insert(Value::Object(inner));
        }
        (Entry::Occupied(mut place), []) => match place.get_mut() {
            Value::Array(blocks) if block => blocks.push(value),
            before @ Value::Object(_) if block => {
                let first = before.take();
                *before = Value::Array(vec![first, value]);
            }
            before => *before = value,
        },
        (Entry::Occupied(mut place), labels) => match place.get_mut() {
            Value::Object(inner) => insert(inner, labels, value, block)?,
            _ => return Err(format!("{key:?} is a value already, and here has a label")),
        },
    }
    Ok(())
}
