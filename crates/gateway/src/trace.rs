//! W3C trace context: passed on where it is good, made where it is missing.

use http::HeaderValue;

/// Where it stands.
pub(crate) const FIELD: &str = "traceparent";

/// The trace that a request belongs to, if its field is good: version, 32 hexadecimal digits, 16, and flags.
pub(crate) fn trace_id(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?;
    let lower = |part: &str| {
        part.bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let nought = |part: &str| part.bytes().all(|byte| byte == b'0');
    let (version, rest) = text.split_at_checked(2)?;
    let (trace, rest) = rest.strip_prefix('-')?.split_at_checked(32)?;
    let (span, rest) = rest.strip_prefix('-')?.split_at_checked(16)?;
    let (flags, rest) = rest.strip_prefix('-')?.split_at_checked(2)?;
    let good = [version, trace, span, flags].into_iter().all(lower);
    let whole = rest.is_empty() || (version != "00" && rest.starts_with('-'));
    (good && whole && version != "ff" && !nought(trace) && !nought(span)).then_some(trace)
}

/// A new one, not sampled: whoever samples decides for itself.
pub(crate) fn fresh(high: u64, low: u64, span: u64) -> Option<HeaderValue> {
    let text = format!("00-{high:016x}{low:016x}-{:016x}-00", span.max(1));
    HeaderValue::try_from(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_good_ones_are_known() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(trace_id(good.as_bytes()), Some(&good[3..35]));
        let later = format!("01{}-what-comes", &good[2..]);
        assert!(trace_id(later.as_bytes()).is_some());
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "\u{fc}0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
        ] {
            assert_eq!(trace_id(bad.as_bytes()), None, "{bad}");
        }
        let made = fresh(1, 2, 0).unwrap();
        assert!(trace_id(made.as_bytes()).is_some());
    }
}
