//! Text to expression, by winnow. Chains (`and`, `or`, `not`) are loops, so only parentheses nest.

use regex::Regex;
use winnow::ascii::{multispace0, multispace1};
use winnow::combinator::{
    alt, cut_err, delimited, eof, opt, peek, preceded, repeat, separated, terminated,
};
use winnow::error::{ContextError, ErrMode};
use winnow::prelude::*;
use winnow::token::{any, one_of, take_while};

/// The largest compiled regular expression, in bytes.
const REGEX_BYTES: usize = 256 * 1024;

#[derive(Debug)]
pub(super) enum Expression {
    Any(Vec<Expression>),
    All(Vec<Expression>),
    Not(Box<Expression>),
    Test(Test),
}

/// One comparison: the field, what is asked of it, and whether the answer is turned round.
#[derive(Debug)]
pub(super) struct Test {
    pub(super) path: Vec<String>,
    pub(super) request: Request,
    pub(super) negated: bool,
}

#[derive(Debug)]
pub(super) enum Request {
    Equals(String),
    Contains(String),
    Matches(Regex),
    IsEmpty,
}

impl Expression {
    /// The first name of every selector.
    pub(super) fn selectors(&self) -> Vec<&str> {
        match self {
            Self::Any(parts) | Self::All(parts) => parts.iter().flat_map(Self::selectors).collect(),
            Self::Not(inner) => inner.selectors(),
            Self::Test(test) => test.path.first().map(String::as_str).into_iter().collect(),
        }
    }
}

/// Reads a whole text as one expression.
pub(super) fn expression(text: &str) -> Result<Expression, String> {
    delimited(multispace0, any_of, (multispace0, eof))
        .parse(text)
        .map_err(|error| {
            let at = error.offset().min(text.len());
            let mut end = at;
            while end < text.len() && (end - at < 20 || !text.is_char_boundary(end)) {
                end += 1;
            }
            if at >= text.len() {
                format!(
                    "1:{} ({at}): no match found, the expression ends too early",
                    at + 1
                )
            } else {
                format!(
                    "1:{} ({at}): no match found at {:?}",
                    at + 1,
                    text.get(at..end).unwrap_or_default()
                )
            }
        })
}

fn any_of(input: &mut &str) -> ModalResult<Expression> {
    let mut parts: Vec<Expression> = separated(1.., all_of, between("or")).parse_next(input)?;
    Ok(if parts.len() == 1 {
        parts.swap_remove(0)
    } else {
        Expression::Any(parts)
    })
}

fn all_of(input: &mut &str) -> ModalResult<Expression> {
    let mut parts: Vec<Expression> = separated(1.., negation, between("and")).parse_next(input)?;
    Ok(if parts.len() == 1 {
        parts.swap_remove(0)
    } else {
        Expression::All(parts)
    })
}

/// A joining word with space around it.
fn between<'a>(word: &'static str) -> impl Parser<&'a str, (), ErrMode<ContextError>> {
    (multispace1, word, multispace1).void()
}

fn negation(input: &mut &str) -> ModalResult<Expression> {
    let nots: usize = repeat(0.., ("not", multispace1)).parse_next(input)?;
    let inner = alt((
        delimited(
            ('(', multispace0),
            cut_err(any_of),
            cut_err((multispace0, ')')),
        ),
        test.map(Expression::Test),
    ))
    .parse_next(input)?;
    Ok(if nots % 2 == 1 {
        Expression::Not(Box::new(inner))
    } else {
        inner
    })
}

fn test(input: &mut &str) -> ModalResult<Test> {
    alt((field_first, value_first)).parse_next(input)
}

#[derive(Clone, Copy)]
enum Operator {
    Equal,
    Contains,
    Matches,
    Empty,
}

fn field_first(input: &mut &str) -> ModalResult<Test> {
    let path = selector.parse_next(input)?;
    let (negated, operator) = alt((
        delimited(multispace0, "==", multispace0).value((false, Operator::Equal)),
        delimited(multispace0, "!=", multispace0).value((true, Operator::Equal)),
        preceded(
            (multispace1, "is", multispace1),
            (opt(("not", multispace1)), "empty"),
        )
        .map(|(not, _)| (not.is_some(), Operator::Empty)),
        delimited(
            multispace1,
            (opt(("not", multispace1)), alt(("contains", "matches"))),
            multispace1,
        )
        .map(|(not, word)| {
            (
                not.is_some(),
                if word == "contains" {
                    Operator::Contains
                } else {
                    Operator::Matches
                },
            )
        }),
    ))
    .parse_next(input)?;
    let request = match operator {
        Operator::Empty => Request::IsEmpty,
        Operator::Equal => Request::Equals(cut_err(value).parse_next(input)?),
        Operator::Contains => Request::Contains(cut_err(value).parse_next(input)?),
        Operator::Matches => {
            let pattern = cut_err(value).parse_next(input)?;
            match regex::RegexBuilder::new(&pattern)
                .size_limit(REGEX_BYTES)
                .build()
            {
                Ok(regex) => Request::Matches(regex),
                Err(_) => return Err(ErrMode::Cut(ContextError::new())),
            }
        }
    };
    Ok(Test {
        path,
        request,
        negated,
    })
}

fn value_first(input: &mut &str) -> ModalResult<Test> {
    let literal = value.parse_next(input)?;
    let not = delimited(
        multispace1,
        terminated(opt(("not", multispace1)), "in"),
        multispace1,
    )
    .parse_next(input)?;
    let path = cut_err(selector).parse_next(input)?;
    Ok(Test {
        path,
        request: Request::Contains(literal),
        negated: not.is_some(),
    })
}

fn name<'a>(input: &mut &'a str) -> ModalResult<&'a str> {
    (
        one_of(|c: char| c.is_ascii_alphabetic()),
        take_while(0.., |c: char| {
            c.is_ascii_alphanumeric() || c == '_' || c == '/'
        }),
    )
        .take()
        .parse_next(input)
}

fn selector(input: &mut &str) -> ModalResult<Vec<String>> {
    let first = name.parse_next(input)?;
    let rest: Vec<String> = repeat(
        0..,
        alt((
            preceded(
                '.',
                alt((name, take_while(1.., |c: char| c.is_ascii_digit()))),
            )
            .map(str::to_owned),
            delimited(('[', multispace0), cut_err(quoted), (multispace0, ']')),
        )),
    )
    .parse_next(input)?;
    Ok(std::iter::once(first.to_owned()).chain(rest).collect())
}

/// A value ends where a word can end, so that `foo-bar` without quotes is not read as `foo`.
fn value(input: &mut &str) -> ModalResult<String> {
    terminated(
        alt((quoted, number, selector.take().map(str::to_owned))),
        peek(alt((eof.void(), multispace1.void(), ')'.void()))),
    )
    .parse_next(input)
}

fn number(input: &mut &str) -> ModalResult<String> {
    let digits = || take_while(1.., |c: char| c.is_ascii_digit());
    (opt('-'), digits(), opt(('.', digits())))
        .take()
        .map(str::to_owned)
        .parse_next(input)
}

fn quoted(input: &mut &str) -> ModalResult<String> {
    alt((
        delimited('`', take_while(0.., |c: char| c != '`'), '`').map(str::to_owned),
        delimited(
            '"',
            repeat(0.., character).fold(String::new, |mut text, c: char| {
                text.push(c);
                text
            }),
            '"',
        ),
    ))
    .parse_next(input)
}

fn character(input: &mut &str) -> ModalResult<char> {
    match any
        .verify(|c: &char| *c != '"' && *c != '\n')
        .parse_next(input)?
    {
        '\\' => escape.parse_next(input),
        plain => Ok(plain),
    }
}

fn escape(input: &mut &str) -> ModalResult<char> {
    let width = match any.parse_next(input)? {
        'a' => return Ok('\u{7}'),
        'b' => return Ok('\u{8}'),
        'f' => return Ok('\u{c}'),
        'n' => return Ok('\n'),
        'r' => return Ok('\r'),
        't' => return Ok('\t'),
        'v' => return Ok('\u{b}'),
        c @ ('\\' | '"' | '\'') => return Ok(c),
        'x' => 2,
        'u' => 4,
        'U' => 8,
        _ => return Err(ErrMode::Cut(ContextError::new())),
    };
    let digits = take_while(width..=width, |c: char| c.is_ascii_hexdigit()).parse_next(input)?;
    u32::from_str_radix(digits, 16)
        .ok()
        .and_then(char::from_u32)
        .ok_or_else(|| ErrMode::Cut(ContextError::new()))
}
