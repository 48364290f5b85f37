//! Values as people write them: durations with a unit, sizes with or without one, `true` and `false`.

use std::time::Duration;

/// A value of the configuration: read from text, printed as its default.
pub(crate) trait Setting: Sized {
    /// Reads it; the error says what was expected.
    fn parse(text: &str) -> Result<Self, String>;
    /// Prints it so that [`Setting::parse`] reads it back.
    fn print(&self) -> String;
}

/// Bytes per unit, largest first.
const SIZES: [(&str, u64); 6] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
];

/// Milliseconds per unit.
const TIMES: [(&str, f64); 5] = [
    ("ms", 1.0),
    ("s", 1e3),
    ("m", 6e4),
    ("h", 3.6e6),
    ("d", 8.64e7),
];

fn count(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a number; write 4096, 64KiB or 1.5MiB");
    let plain = text.replace('_', "");
    if let Ok(number) = plain.parse() {
        return Ok(number);
    }
    let (unit, factor) = SIZES
        .iter()
        .find(|(unit, _)| plain.ends_with(unit))
        .ok_or_else(wrong)?;
    let number: f64 = plain[..plain.len() - unit.len()]
        .trim()
        .parse()
        .map_err(|_| wrong())?;
    if !(0.0..1e9).contains(&number) {
        return Err(wrong());
    }
    Ok((number * *factor as f64).round() as u64)
}

/// A size as it is read most easily.
pub(crate) fn print_bytes(bytes: u64) -> String {
    let unit = SIZES[..3]
        .iter()
        .find(|(_, factor)| bytes >= *factor && (bytes * 2).is_multiple_of(*factor));
    match unit {
        Some((unit, factor)) => format!("{}{unit}", bytes as f64 / *factor as f64),
        None => bytes.to_string(),
    }
}

macro_rules! numbers {
    ($($kind:ty),*) => {$(
        impl Setting for $kind {
            fn parse(text: &str) -> Result<Self, String> {
                <$kind>::try_from(count(text)?)
                    .map_err(|_| format!("{text:?} is too large; the most is {}", <$kind>::MAX))
            }
            fn print(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

numbers!(u16, u32, u64, usize);

impl Setting for bool {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "true" | "yes" | "on" | "1" => Ok(true),
            "false" | "no" | "off" | "0" => Ok(false),
            _ => Err(format!("{text:?} is not true or false")),
        }
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl Setting for Duration {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a duration; write 500ms, 10s, 5m, 1h or 2d");
        if text == "0" {
            return Ok(Duration::ZERO);
        }
        let split = text
            .find(|c: char| c.is_ascii_alphabetic())
            .ok_or_else(wrong)?;
        let (number, unit) = text.split_at(split);
        let (_, factor) = TIMES
            .iter()
            .find(|(known, _)| *known == unit)
            .ok_or_else(wrong)?;
        let number: f64 = number.trim().parse().map_err(|_| wrong())?;
        let ms = number * factor;
        if !(0.0..1e15).contains(&ms) {
            return Err(wrong());
        }
        Ok(Duration::from_millis(ms.round() as u64))
    }

    fn print(&self) -> String {
        let ms = self.as_millis();
        let largest = [
            ("d", 86_400_000),
            ("h", 3_600_000),
            ("m", 60_000),
            ("s", 1000),
        ]
        .into_iter()
        .find(|(_, factor)| ms >= *factor && ms.is_multiple_of(*factor));
        match largest {
            _ if ms == 0 => "0".into(),
            Some((unit, factor)) => format!("{}{unit}", ms / factor),
            None => format!("{ms}ms"),
        }
    }
}

impl Setting for String {
    fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Err("the value is empty".into());
        }
        Ok(text.trim().to_owned())
    }

    fn print(&self) -> String {
        self.clone()
    }
}

impl Setting for std::net::IpAddr {
    fn parse(text: &str) -> Result<Self, String> {
        text.trim()
            .parse()
            .map_err(|_| format!("{text:?} is not an IP address"))
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl Setting for portolan_protocol_kubernetes::ServiceRange {
    fn parse(text: &str) -> Result<Self, String> {
        text.trim().parse()
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl Setting for portolan_protocol_kubernetes::PortRange {
    fn parse(text: &str) -> Result<Self, String> {
        text.trim().parse()
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl<T: Setting> Setting for Option<T> {
    fn parse(text: &str) -> Result<Self, String> {
        T::parse(text).map(Some)
    }

    fn print(&self) -> String {
        self.as_ref().map(T::print).unwrap_or_default()
    }
}

impl Setting for std::path::PathBuf {
    fn parse(text: &str) -> Result<Self, String> {
        String::parse(text).map(Into::into)
    }

    fn print(&self) -> String {
        self.display().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_printed() {
        let rows = [
            ("500ms", 500, "500ms"),
            ("10s", 10_000, "10s"),
            ("1.5m", 90_000, "90s"),
            ("1h", 3_600_000, "1h"),
            ("2d", 172_800_000, "2d"),
            ("0", 0, "0"),
        ];
        for (text, ms, printed) in rows {
            let duration = Duration::parse(text).unwrap();
            assert_eq!(duration, Duration::from_millis(ms), "{text}");
            assert_eq!(duration.print(), printed);
            assert_eq!(Duration::parse(printed).unwrap(), duration);
        }
        for wrong in ["10", "s", "-1s", "1w", "", "1e300h", "NaNs"] {
            assert!(Duration::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_read_and_printed() {
        let rows = [
            ("4096", 4096, "4KiB"),
            ("64KiB", 65_536, "64KiB"),
            ("1.5MiB", 3 << 19, "1.5MiB"),
            ("20_000", 20_000, "20000"),
            ("2MB", 2_000_000, "2000000"),
        ];
        for (text, bytes, printed) in rows {
            assert_eq!(u64::parse(text).unwrap(), bytes, "{text}");
            assert_eq!(print_bytes(bytes), printed);
            assert_eq!(u64::parse(printed).unwrap(), bytes);
        }
        assert!(u16::parse("70000").is_err());
        assert!(u64::parse("many").is_err());
        assert!(usize::parse("-1").is_err());
    }
}
