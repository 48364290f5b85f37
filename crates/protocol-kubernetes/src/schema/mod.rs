//! What fields objects have: read once from one list, which checks bodies, joins patches, tells who owns what, turns JSON into protobuf and
//! back, and describes the API.

mod check;

use std::collections::BTreeMap;
use std::sync::LazyLock;

pub(crate) use check::{check, kind_of};

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
    /// A set of fields, as managers have it: any JSON.
    Fields,
    /// Text to something.
    Map(Box<Type>),
    /// An object of the list, by its name.
    Object(&'static str),
    /// A list, how strategic merge patches join it, and how server-side apply does.
    List(Box<Type>, Join, Keys),
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

/// How server-side apply tells the items of a list apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    /// Not at all: the list has one owner.
    Whole,
    /// By themselves.
    Values,
    /// By these of their fields.
    By(Vec<&'static str>),
}

/// One field of a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) of: Type,
    /// Its number in protobuf.
    pub(crate) number: Option<u64>,
    /// The number of the field inside which it stands in protobuf, and not in JSON.
    pub(crate) inside: Option<u64>,
    /// Nothing is not the same as false, zero or empty.
    pub(crate) optional: bool,
    /// A map with one owner.
    pub(crate) whole: bool,
    /// It is written even when empty.
    pub(crate) always: bool,
    /// What is meant where it is not said.
    pub(crate) default: Option<&'static str>,
}

impl Field {
    /// What it means, as a key of a list's items, when it is not said.
    pub(crate) fn implied(&self) -> Option<serde_json::Value> {
        match (&self.of, self.default) {
            (_, Some(default)) => Some(default.into()),
            _ if self.optional => None,
            (Type::Int, None) => Some(0.into()),
            (Type::Text, None) => Some("".into()),
            _ => None,
        }
    }
}

type Fields = BTreeMap<&'static str, Field>;

/// A type of the list.
#[derive(Debug, Default)]
pub(crate) struct Definition {
    pub(crate) fields: Fields,
    /// Server-side apply takes it as one value.
    pub(crate) whole: bool,
    /// Fields by their numbers in protobuf.
    numbers: BTreeMap<u64, &'static str>,
    /// Types whose fields stand among its own in JSON, by their numbers in protobuf.
    inlined: BTreeMap<u64, &'static str>,
}

static TYPES: LazyLock<BTreeMap<&'static str, Definition>> =
    LazyLock::new(|| read(include_str!("types.txt")));

fn read(text: &'static str) -> BTreeMap<&'static str, Definition> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let mut types: BTreeMap<&'static str, Definition> = lines.filter_map(line).collect();
    let own: BTreeMap<&'static str, Fields> = types
        .iter()
        .map(|(name, definition)| (*name, definition.fields.clone()))
        .collect();
    for definition in types.values_mut() {
        for (number, name) in definition.inlined.clone() {
            for (field, of) in own.get(name).into_iter().flatten() {
                let inside = Field {
                    inside: Some(number),
                    ..of.clone()
                };
                definition.fields.entry(field).or_insert(inside);
            }
        }
    }
    types
}

fn line(line: &'static str) -> Option<(&'static str, Definition)> {
    let mut words = line.split_whitespace();
    let name = words.next()?;
    let mut definition = Definition {
        whole: name.ends_with('!'),
        ..Definition::default()
    };
    for (field, of) in words.filter_map(|word| word.split_once(':')) {
        let (field, number) = field.split_once('=').unwrap_or((field, ""));
        let number = number.parse().ok();
        if field.starts_with('~') {
            definition.inlined.extend(number.map(|number| (number, of)));
            continue;
        }
        definition.fields.insert(field, Field::of(of, number));
        definition
            .numbers
            .extend(number.map(|number| (number, field)));
    }
    Some((name.trim_end_matches('!'), definition))
}

/// Takes a mark from the end of a word, if it is there.
fn marked(word: &mut &'static str, mark: char) -> bool {
    let rest = word.strip_suffix(mark);
    *word = rest.unwrap_or(word);
    rest.is_some()
}

impl Field {
    fn of(text: &'static str, number: Option<u64>) -> Field {
        let (mut text, default) = match text.split_once('=') {
            Some((text, default)) => (text, Some(default)),
            None => (text, None),
        };
        let optional = marked(&mut text, '?');
        let always = marked(&mut text, '*');
        let whole = marked(&mut text, '!');
        Field {
            of: Type::of(text),
            number,
            inside: None,
            optional,
            whole,
            always,
            default,
        }
    }
}

impl Type {
    fn of(text: &'static str) -> Type {
        if let Some((inner, marks)) = text.strip_prefix('[').and_then(|t| t.rsplit_once(']')) {
            let (join, keys) = match marks.split_once('@') {
                None => (marks, Keys::Whole),
                Some((join, "")) => (join, Keys::Values),
                Some((join, keys)) => (join, Keys::By(keys.split(',').collect())),
            };
            let join = match join.strip_prefix('/') {
                None => Join::Replace,
                Some("") => Join::Values,
                Some(key) => Join::By(key),
            };
            return Type::List(Box::new(Type::of(inner)), join, keys);
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
            "fields" => Type::Fields,
            "map" => Type::Map(Box::new(Type::Text)),
            name => Type::Object(name),
        }
    }
}

/// The type called `name`; none for one that is not in the list.
pub(crate) fn definition(name: &str) -> Option<&'static Definition> {
    TYPES.get(name)
}

/// The type of lists of the type called `name`; `name` where there is none.
pub(crate) fn list_of(name: &'static str) -> &'static str {
    let list = TYPES.get_key_value(format!("{name}List").as_str());
    list.map_or(name, |(name, _)| name)
}

/// The fields of the type called `name`.
pub(crate) fn fields(name: &str) -> Option<&'static Fields> {
    TYPES.get(name).map(|definition| &definition.fields)
}

/// What stands under a number in protobuf.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Numbered {
    Field(&'static str, &'static Field),
    /// Fields of this type, which stand among the others in JSON.
    Inlined(&'static str),
}

/// The field of a number in protobuf.
pub(crate) fn numbered(name: &str, number: u64) -> Option<Numbered> {
    let definition = TYPES.get(name)?;
    if let Some(inlined) = definition.inlined.get(&number) {
        return Some(Numbered::Inlined(inlined));
    }
    let field = *definition.numbers.get(&number)?;
    Some(Numbered::Field(field, definition.fields.get(field)?))
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
        Type::Object(of) => fields(of)?.get(name).map(|field| &field.of),
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
                Type::List(inner, ..) | Type::Map(inner) => named(inner),
                _ => {}
            }
        }
        for (name, fields) in types() {
            for (field, of) in fields {
                named(&of.of);
                let outside = matches!(*field, "apiVersion" | "kind" | "extra");
                assert!(of.number.is_some() || outside, "{name}.{field}");
            }
        }
        assert!(types().count() > 200);
        assert_eq!(
            field(Some(&Type::Object("ServiceSpec")), "ports"),
            Some(&Type::List(
                Box::new(Type::Object("ServicePort")),
                Join::By("port"),
                Keys::By(vec!["port", "protocol"])
            ))
        );
        let volume = &fields("Volume").unwrap()["emptyDir"];
        assert_eq!((volume.inside, volume.number), (Some(2), Some(2)));
        assert!(fields("EndpointConditions").unwrap()["ready"].optional);
        assert!(definition("ObjectReference").unwrap().whole);
    }
}
