//! YAML bodies and answers: another spelling of the same JSON.

mod read;
mod write;

pub(crate) use read::read;
pub(crate) use write::write;

/// What a plain scalar means: YAML 1.1 as Go's reader has it, whose truth values have more words than two.
fn truth(text: &str) -> Option<bool> {
    Some(match text {
        "true" | "True" | "TRUE" | "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => true,
        "false" | "False" | "FALSE" | "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
            false
        }
        _ => return None,
    })
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_written_is_read_as_it_was() {
        let value = json!({
            "n": 1, "t": "true", "y": "yes", "one": "1", "oct": "0644", "none": null, "nul": "null", "empty": "", "many": "a\nb\n",
            "tilde": "~", "date": "2023-11-14", "colon": "a: b", "list": [1, [], {}, [[2]], {"a": [true, "no"], "b": {"c": {}}}], "hash": "# x", "f": 1.5,
            "float": "1e3", "on": "off", "hex": "0x1F", "uni": "äß\u{1F600}", "ctl": "\u{7}\t\u{7f}\u{85}\u{feff}", "- a": "-", "negative": -3,
            "path": "/a/b.c", "big": u64::MAX, "quote": "\"'\\", "<<": "merge",
        });
        assert_eq!(
            read(write(&value).as_bytes()).unwrap(),
            value,
            "{}",
            write(&value)
        );
    }
}
