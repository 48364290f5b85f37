//! The file: TOML, flat or in tables. `[dns]` with `domain` in it is `dns-domain`; `[listen]` with `consul` in it is `listen = ["consul=..."]`.

use toml::de::{DeTable, DeValue};

use super::entry::{Entry, Source};
use super::key::{Key, Shape, Takes};
use super::keys;
use super::suggest::nearest;

/// Reads the text of a file; `name` is for messages.
pub(crate) fn read(name: &str, text: &str) -> Result<Vec<Entry>, String> {
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        format!("{} in {name} line {line}", error.message())
    })?;
    let mut reader = Reader {
        name,
        text,
        entries: Vec::new(),
    };
    reader.table("", table.get_ref())?;
    Ok(reader.entries)
}

struct Reader<'a> {
    name: &'a str,
    text: &'a str,
    entries: Vec<Entry>,
}

impl Reader<'_> {
    fn table(&mut self, prefix: &str, table: &DeTable<'_>) -> Result<(), String> {
        for (key, value) in table {
            let name = format!("{prefix}{}", key.get_ref());
            let line = line_of(self.text, key.span().start);
            self.entry(&name, line, value.get_ref())?;
        }
        Ok(())
    }

    fn entry(&mut self, name: &str, line: usize, value: &DeValue<'_>) -> Result<(), String> {
        let Some(key) = keys::find(name) else {
            return match value {
                DeValue::Table(inner)
                    if keys::all().any(|key| {
                        key.name
                            .strip_prefix(name)
                            .is_some_and(|rest| rest.starts_with('-'))
                    }) =>
                {
                    self.table(&format!("{name}-"), inner)
                }
                _ => Err(self.unknown(name, line)),
            };
        };
        match value {
            DeValue::Array(items) if matches!(key.shape, Shape::Many | Shape::Named) => {
                for item in items.iter() {
                    let line = line_of(self.text, item.span().start);
                    self.scalar(key, line, item.get_ref(), "")?;
                }
                Ok(())
            }
            DeValue::Table(inner) if key.shape == Shape::Named => {
                for (part, item) in inner {
                    let line = line_of(self.text, part.span().start);
                    self.scalar(key, line, item.get_ref(), &format!("{}=", part.get_ref()))?;
                }
                Ok(())
            }
            value => self.scalar(key, line, value, ""),
        }
    }

    fn scalar(
        &mut self,
        key: &'static Key,
        line: usize,
        value: &DeValue<'_>,
        prefix: &str,
    ) -> Result<(), String> {
        let named = !prefix.is_empty();
        let text = match value {
            DeValue::String(text) => Some(text.to_string()),
            DeValue::Integer(number) if named || key.takes() == Takes::Number => {
                Some(number.to_string())
            }
            DeValue::Boolean(truth) if key.takes() == Takes::Truth => Some(truth.to_string()),
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => None,
        };
        let text = text.ok_or_else(|| {
            let wanted = match key.takes() {
                Takes::Text => "a text in quotes",
                Takes::Number => "a whole number, or a text such as \"64KiB\"",
                Takes::Truth => "true or false",
            };
            format!(
                "key \"{}\" in {} line {line} takes {wanted}",
                key.name, self.name
            )
        })?;
        self.entries.push(Entry {
            key,
            value: format!("{prefix}{text}"),
            source: Source::File {
                name: self.name.to_owned(),
                line,
            },
        });
        Ok(())
    }

    fn unknown(&self, name: &str, line: usize) -> String {
        let meant = nearest(name, keys::all().map(|key| key.name))
            .map(|near| format!("; did you mean \"{near}\"?"))
            .unwrap_or_default();
        format!("unknown key \"{name}\" in {} line {line}{meant}", self.name)
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset.min(text.len())]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
}
