//! Traefik's rules: `Host(`a`) && (PathPrefix(`/x`) || PathPrefix(`/y`))`, read into alternatives of conditions that all must hold.

/// `Name(`value`, `value`)`. With several values of `Host`, `Path`, `PathPrefix` or `Method` one of them must match: these become alternatives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Term {
    pub(super) name: String,
    pub(super) values: Vec<String>,
}

/// Parentheses in each other.
const DEPTH: usize = 16;
/// Alternatives of one rule.
const ALTERNATIVES: usize = 64;

type Alternatives = Vec<Vec<Term>>;

/// Reads a rule.
pub(super) fn read(text: &str) -> Result<Alternatives, String> {
    let mut reader = Reader { rest: text.trim() };
    let found = reader.either(0)?;
    match reader.rest {
        "" => Ok(found),
        rest => Err(format!("{rest:?} is not understood")),
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn take(&mut self, word: &str) -> bool {
        let rest = self.rest.trim_start();
        let found = rest.strip_prefix(word);
        self.rest = found.unwrap_or(rest).trim_start();
        found.is_some()
    }

    fn either(&mut self, depth: usize) -> Result<Alternatives, String> {
        let mut all = self.both(depth)?;
        while self.take("||") {
            all.extend(self.both(depth)?);
        }
        within(all)
    }

    fn both(&mut self, depth: usize) -> Result<Alternatives, String> {
        let mut all = self.one(depth)?;
        while self.take("&&") {
            let more = self.one(depth)?;
            if all.len() * more.len() > ALTERNATIVES {
                return within(vec![Vec::new(); ALTERNATIVES + 1]);
            }
            let joined = all.iter().flat_map(|left| {
                let joined = more
                    .iter()
                    .map(move |right| [&left[..], &right[..]].concat());
                joined.collect::<Vec<_>>()
            });
            all = joined.collect();
        }
        Ok(all)
    }

    fn one(&mut self, depth: usize) -> Result<Alternatives, String> {
        if depth > DEPTH {
            return Err("there are too many parentheses".into());
        }
        if self.take("(") {
            let inner = self.either(depth + 1)?;
            return match self.take(")") {
                true => Ok(inner),
                false => Err("a parenthesis is not closed".into()),
            };
        }
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric());
        let (name, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        if name.is_empty() {
            return Err(format!("{:?} is not understood", self.rest));
        }
        self.rest = rest;
        if !self.take("(") {
            return Err(format!("{name} has no value"));
        }
        let mut values = Vec::new();
        loop {
            values.push(self.value()?);
            if self.take(")") {
                break;
            }
            if !self.take(",") {
                return Err(format!("the values of {name} do not end"));
            }
        }
        let alternatives = matches!(name, "Host" | "Path" | "PathPrefix" | "Method");
        let term = |values| Term {
            name: name.to_owned(),
            values,
        };
        Ok(match alternatives {
            true => values
                .into_iter()
                .map(|one| vec![term(vec![one])])
                .collect(),
            false => vec![vec![term(values)]],
        })
    }

    fn value(&mut self) -> Result<String, String> {
        let mut characters = self.rest.chars();
        let quote = characters.next().filter(|c| matches!(c, '`' | '"'));
        let quote = quote.ok_or("a value does not stand in quotes")?;
        let inner = characters.as_str();
        let end = inner.find(quote).ok_or("a quote is not closed")?;
        self.rest = inner[end + 1..].trim_start();
        Ok(inner[..end].to_owned())
    }
}

fn within(all: Alternatives) -> Result<Alternatives, String> {
    match all.len() > ALTERNATIVES {
        true => Err(format!(
            "the rule has more than {ALTERNATIVES} alternatives"
        )),
        false => Ok(all),
    }
}
