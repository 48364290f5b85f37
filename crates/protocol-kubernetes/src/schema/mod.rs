//! What fields objects have: read once from one list, which checks bodies, joins patches and describes the API.

mod check;

use std::collections::BTreeMap;
use std::sync::LazyLock;

pub(crate) use check::check;

/// The type of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Text,
    Int,
    Bool,
    Time,
    /// A time to the microsecond.
    MicroTime,
    /// Base64 in JSON.
    Bytes,
    Quantity,
    IntOrText,
    /// Anything; nobody looks inside.
    Any,
    /// Text to something.
    Map(Box<Type>),
    /// An object of the list, by its name.
    Object(&'static str),
    /// A list, and how strategic merge patches join it.
    List(Box<Type>, Join),
}

/// How strategic merge patches join a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Join {
    /// The new list replaces the old one.
    Replace,
    /// Values that are not there yet are added.
    Values,
    /// Items with the same value of this key are merged.
    By(&'static str),
}

type Fields = BTreeMap<&'static str, Type>;

/// A type of the list.
#[derive(Debug, Default)]
struct Definition {
    fields: Fields,
    /// Fields by their numbers in protobuf bodies.
    numbers: BTreeMap<u64, &'static str>,
}

static TYPES: LazyLock<BTreeMap<&'static str, Definition>> =
    LazyLock::new(|| read(include_str!("types.txt")));

fn read(text: &'static str) -> BTreeMap<&'static str, Definition> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let name = words.next()?;
            let mut definition = Definition::default();
            for (field, of) in words.filter_map(|word| word.split_once(':')) {
                let (field, number) = field.split_once('=').unwrap_or((field, ""));
                definition.fields.insert(field, Type::of(of));
                if let Ok(number) = number.parse() {
                    definition.numbers.insert(number, field);
                }
            }
            Some((name, definition))
        })
        .collect()
}

impl Type {
    fn of(text: &'static str) -> Type {
        if let Some((inner, join)) = text.strip_prefix('[').and_then(|t| t.rsplit_once(']')) {
            let join = match join.strip_prefix('/') {
                None => Join::Replace,
                Some("") => Join::Values,
                Some(key) => Join::By(key),
            };
            return Type::List(Box::new(Type::of(inner)), join);
        }
        if let Some(inner) = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) {
            return Type::Map(Box::new(Type::of(inner)));
        }
        match text {
            "string" => Type::Text,
            "int" => Type::Int,
            "bool" => Type::Bool,
            "time" => Type::Time,
            "microtime" => Type::MicroTime,
            "bytes" => Type::Bytes,
            "quantity" => Type::Quantity,
            "intorstring" => Type::IntOrText,
            "any" => Type::Any,
            "map" => Type::Map(Box::new(Type::Text)),
            name => Type::Object(name),
        }
    }
}

/// The fields of the type called `name`; none for one that is not in the list.
pub(crate) fn fields(name: &str) -> Option<&'static Fields> {
    TYPES.get(name).map(|definition| &definition.fields)
}

/// The field of a number in protobuf bodies.
pub(crate) fn numbered(name: &str, number: u64) -> Option<(&'static str, &'static Type)> {
    let definition = TYPES.get(name)?;
    let field = *definition.numbers.get(&number)?;
    Some((field, definition.fields.get(field)?))
}

/// All types.
pub(crate) fn types() -> impl Iterator<Item = (&'static str, &'static Fields)> {
    TYPES
        .iter()
        .map(|(name, definition)| (*name, &definition.fields))
}

/// The type of a field of the object type `of`.
pub(crate) fn field(of: Option<&Type>, name: &str) -> Option<&'static Type> {
    match of? {
        Type::Object(of) => fields(of)?.get(name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_that_is_named_is_in_the_list() {
        fn named(of: &Type) {
            match of {
                Type::Object(name) => assert!(fields(name).is_some(), "{name}"),
                Type::List(inner, _) | Type::Map(inner) => named(inner),
                _ => {}
            }
        }
        types().for_each(|(_, fields)| fields.values().for_each(named));
        assert!(types().count() > 40);
        assert_eq!(
            field(Some(&Type::Object("ServiceSpec")), "ports"),
            Some(&Type::List(
                Box::new(Type::Object("ServicePort")),
                Join::By("port")
            ))
        );
    }
}
