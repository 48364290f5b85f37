//! Flags as Go's `flag` package reads them: `-name value`, `-name=value`, one dash or two, up to the first word that is no flag.

use thiserror::Error;

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// Nothing, or `=true` and `=false`.
    Truth,
    /// One value; of several the last counts.
    Value,
}

/// One flag.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    pub(crate) takes: Takes,
}

/// A flag without a value.
pub(crate) const fn truth(name: &'static str) -> Flag {
    Flag {
        name,
        takes: Takes::Truth,
    }
}

/// A flag with a value.
pub(crate) const fn value(name: &'static str) -> Flag {
    Flag {
        name,
        takes: Takes::Value,
    }
}

/// What is wrong with a line of flags, in Go's words.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum FlagError {
    #[error("flag provided but not defined: -{0}")]
    Unknown(String),
    #[error("flag needs an argument: -{0}")]
    NoValue(String),
    #[error("invalid boolean value {value:?} for -{name}: parse error")]
    NotTruth { name: String, value: String },
    #[error("bad flag syntax: {0}")]
    Syntax(String),
    #[error("flag: help requested")]
    Help,
}

/// What was typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Typed {
    /// Names and values in the order in which they were typed; of a [`Takes::Truth`], `true` or `false`.
    pub(crate) flags: Vec<(String, String)>,
    /// The words after the flags.
    pub(crate) rest: Vec<String>,
}

impl Typed {
    /// The value that counts.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let mut all = self.flags.iter().rev();
        all.find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether a flag is on.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.get(name) == Some("true")
    }

    /// Every value, in order.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let of_name = self.flags.iter().filter(move |(known, _)| known == name);
        of_name.map(|(_, value)| value.as_str())
    }
}

/// Reads the flags of `known` and the words after them.
pub(crate) fn parse(words: &[String], known: &[&[Flag]]) -> Result<Typed, FlagError> {
    let mut typed = Typed::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let name = match word.strip_prefix("--").or_else(|| word.strip_prefix('-')) {
            // A lone dash is a word.
            None | Some("") if word != "--" => {
                typed.rest.push(word.clone());
                break;
            }
            None | Some("") => break,
            Some(name) => name,
        };
        if name.starts_with('-') || name.starts_with('=') {
            return Err(FlagError::Syntax(word.clone()));
        }
        let (name, given) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (name, None),
        };
        let flag = known
            .iter()
            .copied()
            .flatten()
            .find(|flag| flag.name == name);
        let Some(flag) = flag else {
            return Err(match name {
                "h" | "help" => FlagError::Help,
                _ => FlagError::Unknown(name.to_owned()),
            });
        };
        let value = match (flag.takes, given) {
            (Takes::Truth, None) => "true".to_owned(),
            (Takes::Truth, Some(text)) => truth_of(name, &text)?.to_string(),
            (Takes::Value, Some(text)) => text,
            (Takes::Value, None) => match words.next() {
                Some(text) => text.clone(),
                None => return Err(FlagError::NoValue(name.to_owned())),
            },
        };
        typed.flags.push((name.to_owned(), value));
    }
    typed.rest.extend(words.cloned());
    Ok(typed)
}

/// The spellings of `strconv.ParseBool`.
fn truth_of(name: &str, text: &str) -> Result<bool, FlagError> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(FlagError::NotTruth {
            name: name.to_owned(),
            value: text.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Flag] = &[truth("recurse"), value("cas"), value("token")];

    fn of(line: &str) -> Result<Typed, FlagError> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        parse(&words, &[KNOWN])
    }

    #[test]
    fn flags_are_read_as_go_reads_them() {
        let typed = of("-recurse -cas=1 --token x -token y a -b").unwrap();
        assert!(typed.is("recurse"));
        assert_eq!(typed.get("cas"), Some("1"));
        assert_eq!(typed.get("token"), Some("y"));
        assert_eq!(typed.all("token").collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(typed.rest, ["a", "-b"]);
        assert_eq!(of("-recurse=false -").unwrap().rest, ["-"]);
        assert_eq!(of("-recurse -- -cas").unwrap().rest, ["-cas"]);
        assert!(!of("-recurse=0 x").unwrap().is("recurse"));
    }

    #[test]
    fn what_is_wrong_is_said_in_gos_words() {
        for (line, message) in [
            ("-x", "flag provided but not defined: -x"),
            ("-cas", "flag needs an argument: -cas"),
            (
                "-recurse=x",
                "invalid boolean value \"x\" for -recurse: parse error",
            ),
            ("---x", "bad flag syntax: ---x"),
            ("-=x", "bad flag syntax: -=x"),
            ("-help", "flag: help requested"),
        ] {
            assert_eq!(of(line).unwrap_err().to_string(), message);
        }
    }
}
