//! Seeded chance, and the values that decoders trip over.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value, json};

/// A seeded generator.
pub(super) struct Dice(StdRng);

/// Names that meet each other often, and names that are odd: letters whose lower case is another length or letter, separators of the
/// stored keys and of paths, text that goes backwards, nothing at all.
const NAMES: [&str; 30] = [
    "web",
    "Web",
    "WEB",
    "db",
    "db-1",
    "api.v1",
    "a_b",
    "shop",
    "x",
    "n1",
    "tn",
    "ext",
    "a/b",
    "a//b",
    "/",
    "ü",
    "Ü",
    "İ",
    "ı",
    "ß",
    "ﬁ",
    "\u{212a}",
    "日本",
    "🦀",
    "a\u{0}b",
    "\u{202e}abc",
    "\u{feff}",
    " ",
    "",
    "..",
];

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(StdRng::seed_from_u64(seed))
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0.random_range(0..bound)
    }

    /// Holds once in so many times.
    pub(super) fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(super) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    /// A name: mostly one that is met again, sometimes an odd one, rarely one at a limit.
    pub(super) fn name(&mut self) -> String {
        match self.below(40) {
            0 => self.pick(&NAMES).to_owned(),
            1 => "n".repeat(self.pick(&[63, 64, 128, 253, 254, 255, 256, 512, 513])),
            2 => "ü".repeat(self.pick(&[32, 63, 127, 128])),
            3 => self.pick(&NAMES[12..]).to_owned(),
            _ => self.pick(&NAMES[..12]).to_owned(),
        }
    }

    /// A text of any kind.
    pub(super) fn text(&mut self) -> String {
        match self.below(12) {
            0 => String::new(),
            1 => self
                .pick(&["\r\n\t", "\"\\", "<&>'", "]]>", "%00", "\u{1f}", "\u{fffd}"])
                .to_owned(),
            2 => "t".repeat(self.pick(&[128, 255, 256, 4095, 4096, 4097])),
            3 => self
                .pick(&["0", "-1", "1e400", "null", "true", "NaN", "{}", "[]"])
                .to_owned(),
            _ => self.name(),
        }
    }

    /// Bytes: mostly few, rarely as many as a limit and one more.
    pub(super) fn bytes(&mut self, limit: usize) -> Vec<u8> {
        match self.below(4000) {
            0 => vec![b'v'; limit],
            1 => vec![b'v'; limit + 1],
            2..400 => Vec::new(),
            400..800 => vec![0, 0xff, 0xfe, b'"', 0],
            800..1200 => self.record(),
            _ => {
                let length = self.below(200);
                (0..length).map(|_| self.below(256) as u8).collect()
            }
        }
    }

    /// What a framework writes as its record.
    pub(super) fn record(&mut self) -> Vec<u8> {
        let host = self.host();
        let port = self.below(70_000);
        let tags = self.texts();
        match self.below(5) {
            0 => return format!("{host}:{port}").into_bytes(),
            1 => json!({ "network": "tcp", "address": format!("{host}:{port}"), "weight": self.below(300), "tags": self.map() }),
            2 => json!({ "id": self.text(), "name": self.name(), "version": self.text(), "metadata": self.map(),
                "endpoints": [format!("grpc://{host}:{port}"), format!("http://{host}:{port}?isSecure=true")] }),
            3 => json!({ "Op": self.below(3), "Addr": format!("{host}:{port}"), "Metadata": tags }),
            _ => json!({ "address": format!("{host}:{port}") }),
        }
        .to_string()
        .into_bytes()
    }

    pub(super) fn host(&mut self) -> String {
        self.pick(&[
            "10.0.0.1",
            "10.0.0.2",
            "10.0.0.2",
            "::1",
            "2001:db8::1",
            "host.example",
            "HOST.example",
            "ü.example",
            "0.0.0.0",
            "",
            "10.0.0.300",
            "::ffff:10.0.0.1",
            "n1",
        ])
        .to_owned()
    }

    pub(super) fn port(&mut self) -> i64 {
        self.pick(&[80, 80, 443, 8080, 0, 1, 65_535, 65_536, -1])
    }

    pub(super) fn texts(&mut self) -> Vec<String> {
        let count = self.pick(&[0, 0, 1, 1, 2, 3, 5, 64]);
        (0..count).map(|_| self.text()).collect()
    }

    pub(super) fn map(&mut self) -> Value {
        let count = self.pick(&[0, 0, 1, 1, 2, 3, 128]);
        let pairs: Map<String, Value> = (0..count)
            .map(|_| (self.text(), Value::String(self.text())))
            .collect();
        Value::Object(pairs)
    }

    /// A revision near the present one.
    pub(super) fn revision(&mut self, now: u64) -> u64 {
        let near = now.saturating_sub(self.below(20) as u64);
        self.pick(&[0, 1, now, now + 1, near, near, near, u64::MAX])
    }

    /// A duration as Go writes it.
    pub(super) fn duration(&mut self) -> String {
        self.pick(&[
            "60s", "10m", "1h", "24h", "15s", "0s", "-1s", "9999999h", "1.5h", "", "x",
        ])
        .to_owned()
    }
}

/// A text as a piece of a path or query.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
