//! Durations as Go reads and prints them, in nanoseconds.

/// The parts of a nanosecond count.
const UNITS: [(&str, i64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads `1.5h`, `2h45m`, `300ms`, `-1s`, `0`.
///
/// # Errors
/// The sentence Go prints.
pub(crate) fn parse_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {}", quote(text));
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let whole_end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (whole, after) = rest.split_at(whole_end);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(
                after
                    .find(|c: char| !c.is_ascii_digit())
                    .unwrap_or(after.len()),
            ),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let unit_end = after
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {}", quote(text)));
        }
        let Some((_, nanos)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!(
                "time: unknown unit {} in duration {}",
                quote(unit),
                quote(text)
            ));
        };
        let whole: i64 = if whole.is_empty() {
            0
        } else {
            whole.parse().map_err(|_| invalid())?
        };
        let mut part = whole.checked_mul(*nanos).ok_or_else(invalid)?;
        let (mut scaled, mut divisor): (i128, i128) = (0, 1);
        for digit in fraction.bytes().take(18) {
            scaled = scaled * 10 + i128::from(digit - b'0');
            divisor *= 10;
        }
        let fraction =
            i64::try_from(scaled * i128::from(*nanos) / divisor).map_err(|_| invalid())?;
        part = part.checked_add(fraction).ok_or_else(invalid)?;
        total = total.checked_add(part).ok_or_else(invalid)?;
        rest = next;
    }
    Ok(if negative { -total } else { total })
}

/// Prints as Go does: `1h0m0s`, `1.5s`, `300ms`, `0s`.
pub(crate) fn print_duration(nanos: i64) -> String {
    if nanos == 0 {
        return "0s".to_owned();
    }
    let sign = if nanos < 0 { "-" } else { "" };
    let total = nanos.unsigned_abs();
    let small = |unit: u64, name: &str| {
        format!("{sign}{}{name}", decimal(total / unit, total % unit, unit))
    };
    if total < 1_000 {
        return format!("{sign}{total}ns");
    }
    if total < 1_000_000 {
        return small(1_000, "\u{b5}s");
    }
    if total < 1_000_000_000 {
        return small(1_000_000, "ms");
    }
    let seconds = total / 1_000_000_000;
    let tail = decimal(seconds % 60, total % 1_000_000_000, 1_000_000_000);
    let minutes = seconds / 60;
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{tail}s"),
        (0, minutes) => format!("{sign}{minutes}m{tail}s"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{tail}s"),
    }
}

/// `whole` and `rest / unit` without trailing zeroes.
fn decimal(whole: u64, rest: u64, unit: u64) -> String {
    if rest == 0 {
        return whole.to_string();
    }
    let width = unit.ilog10() as usize;
    let digits = format!("{rest:0width$}");
    format!("{whole}.{}", digits.trim_end_matches('0'))
}

/// Milliseconds as Go prints them; the model keeps time in milliseconds.
pub(crate) fn print_millis(millis: u64) -> String {
    print_duration(
        i64::try_from(millis)
            .unwrap_or(i64::MAX)
            .saturating_mul(1_000_000),
    )
}

/// Go's `%q` for the texts that occur here.
fn quote(text: &str) -> String {
    format!("{text:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints_as_go_does() {
        let table = [
            ("0", 0, "0s"),
            ("300ms", 300_000_000, "300ms"),
            ("1.5h", 5_400_000_000_000, "1h30m0s"),
            ("10s", 10_000_000_000, "10s"),
            ("2h45m", 9_900_000_000_000, "2h45m0s"),
            ("1us", 1_000, "\u{b5}s"),
            ("-1.5s", -1_500_000_000, "-1.5s"),
            (".5s", 500_000_000, "500ms"),
            ("1.000000001s", 1_000_000_001, "1.000000001s"),
            ("72h", 259_200_000_000_000, "72h0m0s"),
            ("90s", 90_000_000_000, "1m30s"),
            ("17ns", 17, "17ns"),
        ];
        for (text, nanos, printed) in table {
            assert_eq!(parse_duration(text), Ok(nanos), "{text}");
            let expected = if printed == "\u{b5}s" {
                "1\u{b5}s"
            } else {
                printed
            };
            assert_eq!(print_duration(nanos), expected);
        }
    }

    #[test]
    fn refuses_with_gos_words() {
        let table = [
            ("nope", r#"time: invalid duration "nope""#),
            ("", r#"time: invalid duration """#),
            ("10", r#"time: missing unit in duration "10""#),
            ("1x", r#"time: unknown unit "x" in duration "1x""#),
            (".s", r#"time: invalid duration ".s""#),
            (
                "99999999999999999999h",
                r#"time: invalid duration "99999999999999999999h""#,
            ),
            ("9999999999h", r#"time: invalid duration "9999999999h""#),
        ];
        for (text, error) in table {
            assert_eq!(parse_duration(text), Err(error.to_owned()));
        }
    }
}
