use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn values_are_read_as_go_reads_them() {
    for (text, value) in [
        ("", json!({})),
        ("a = 1", json!({"a": 1})),
        (
            "a = 1\nb = \"x\" c = true",
            json!({"a": 1, "b": "x", "c": true}),
        ),
        (
            "\"quoted key\" = [1, 2.5, \"x\",]",
            json!({"quoted key": [1, 2.5, "x"]}),
        ),
        (
            "a = 0x1F b = 0644 c = -5 d = 1e3",
            json!({"a": 31, "b": 420, "c": -5, "d": 1000.0}),
        ),
        ("a { b = 1 }", json!({"a": {"b": 1}})),
        (
            "a { b = 1 }\na { b = 2 }\na { b = 3 }",
            json!({"a": [{"b": 1}, {"b": 2}, {"b": 3}]}),
        ),
        ("a = { b = 1, c = 2 }", json!({"a": {"b": 1, "c": 2}})),
        (
            "key_prefix \"app/\" { policy = \"write\" }\nkey_prefix \"\" { policy = \"read\" }",
            json!({"key_prefix": {"app/": {"policy": "write"}, "": {"policy": "read"}}}),
        ),
        (
            "key_prefix = { \"a/\" = { policy = \"deny\" } }",
            json!({"key_prefix": {"a/": {"policy": "deny"}}}),
        ),
        (
            "key_prefix { \"a/\" { policy = \"deny\" } }",
            json!({"key_prefix": {"a/": {"policy": "deny"}}}),
        ),
        (
            "a = 1 # one\n// two\n/* three\n */ b = 2",
            json!({"a": 1, "b": 2}),
        ),
        (
            "a = \"x\\n\\\"\\u00e4\\x41\\101\"",
            json!({"a": "x\n\"\u{e4}AA"}),
        ),
        (
            "a = \"${node.name == \"x\"} y\"",
            json!({"a": "${node.name == \"x\"} y"}),
        ),
        (
            "a = <<EOF\n  one\n two\nEOF\nb = 1",
            json!({"a": "  one\n two\n", "b": 1}),
        ),
        (
            "a = <<-EOF\n    one\n      two\n    EOF\n",
            json!({"a": "one\n  two\n"}),
        ),
        ("a.b-c = 1", json!({"a.b-c": 1})),
        ("a = 1 a = 2", json!({"a": 2})),
        ("a = [{ b = 1 }, [true]]", json!({"a": [{"b": 1}, [true]]})),
        (" {\"a\": [1]} ", json!({"a": [1]})),
    ] {
        assert_eq!(parse(text), Ok(value), "{text}");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (text, message) in [
        (
            "a",
            "line 1, column 2: the end after \"a\", where '=' or '{' should be",
        ),
        ("\n  = 1", "line 2, column 3: '=' where a name should be"),
        ("a = ", "line 1, column 5: the end where a value should be"),
        ("a = b", "line 1, column 5: \"b\" where a value should be"),
        (
            "a \"b\" = 1",
            "line 1, column 7: '=' after \"b\", where '{' should be",
        ),
        ("a { b = 1", "line 1, column 5: an object that does not end"),
        (
            "a = [1 2]",
            "line 1, column 8: 2 where ',' or ']' should be",
        ),
        ("a = [1,", "line 1, column 5: a list that does not end"),
        ("a = \"x", "line 1, column 5: a text that does not end"),
        ("a = \"x\n\"", "line 1, column 5: a text that does not end"),
        (
            "a = \"\\q\"",
            "line 1, column 8: an escape that has no meaning",
        ),
        ("a = 12abc", "line 1, column 10: \"12abc\" is not a number"),
        (
            "a = 99999999999999999999",
            "line 1, column 25: \"99999999999999999999\" is not a number",
        ),
        (
            "a = <<EOF\nx",
            "line 1, column 5: a here-document that does not end",
        ),
        ("/* x", "line 1, column 1: a comment that does not end"),
        (
            "a = 1\na \"b\" { }",
            "line 2, column 1: \"a\" is a value already, and here has a label",
        ),
        ("{\"a\": }", "line 1, column 7: expected value"),
        ("a = ;", "line 1, column 5: ';' has no meaning here"),
    ] {
        assert_eq!(parse(text).unwrap_err().to_string(), message, "{text}");
    }
}

#[test]
fn depth_and_size_are_bounded() {
    let nested = |depth: usize| format!("{}{}", "a { ".repeat(depth), "}".repeat(depth));
    assert!(parse(&nested(60)).is_ok());
    assert!(
        parse(&nested(MOST_DEPTH + 1))
            .unwrap_err()
            .what
            .contains("64 levels")
    );
    let labels = format!("a {} {{ }}", "\"b\" ".repeat(100_000));
    assert!(parse(&labels).unwrap_err().what.contains("64 levels"));
    let list = format!("a = {}", "[".repeat(100_000));
    assert!(parse(&list).unwrap_err().what.contains("64 levels"));
    let json = format!("{}1{}", "{\"a\":".repeat(100), "}".repeat(100));
    assert!(parse(&json).unwrap_err().what.contains("64 levels"));
    assert!(parse(&" ".repeat(MOST_BYTES + 1)).is_err());
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,64}") {
        drop(parse(&text));
    }

    #[test]
    fn nothing_made_of_its_signs_panics(words in prop::collection::vec(
        prop::sample::select(vec!["a", "\"b\"", "=", "{", "}", "[", "]", ",", "1", "-", ".", "<<E\n", "E\n", "\"${", "\\", "\n", "/*", "#", "0x"]), 0..40,
    )) {
        drop(parse(&words.concat()));
        drop(parse(&words.join(" ")));
    }
}
