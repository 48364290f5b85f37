//! A bound on nesting, checked before a parser recurses.

/// Whether JSON `text` nests at most `depth` arrays and objects. A scan over the bytes, without recursion or allocation.
/// Says nothing about whether the text is JSON.
pub fn json_depth_within(text: &[u8], depth: usize) -> bool {
    let mut open = 0usize;
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => skip_string(&mut bytes),
            b'[' | b'{' => {
                open += 1;
                if open > depth {
                    return false;
                }
            }
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
    }
    true
}

fn skip_string(bytes: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            b'"' => return,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_brackets_outside_strings_nest() {
        let rows: [(&str, usize, bool); 7] = [
            ("", 0, true),
            ("[]", 0, false),
            ("[[1],[2]]", 2, true),
            ("[[[1]]]", 2, false),
            (r#"{"a":"[[[[","b":{}}"#, 2, true),
            (r#"["\"[[[["]"#, 1, true),
            (r#"["unended [[["#, 1, true),
        ];
        for (text, depth, fits) in rows {
            assert_eq!(
                json_depth_within(text.as_bytes(), depth),
                fits,
                "{text} in {depth}"
            );
        }
        assert!(!json_depth_within("[".repeat(100_000).as_bytes(), 64));
    }
}
