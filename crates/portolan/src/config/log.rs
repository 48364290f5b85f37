//! What is logged and how.

use super::suggest::nearest;
use super::value::Setting;

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Human,
    /// One JSON object per line.
    Json,
}

/// Which events are logged: a level, and others per crate. Only what was read is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Level(String);

impl Level {
    /// As a filter of `tracing`. What the Raft library says of itself is for whoever asks for it by name (`openraft=info`): what matters of it
    /// this server says in its own words.
    pub(crate) fn filter(&self) -> String {
        let quiet = ["OFF", "ERROR", "WARN"].contains(&&*self.consul_level());
        match quiet || self.0.contains("openraft") {
            true => self.0.clone(),
            false => format!("{},openraft=warn", self.0),
        }
    }

    /// The level of everything that no other is named for, as Consul spells it; `ERROR` when nothing is logged.
    pub(crate) fn consul_level(&self) -> String {
        let mut plain = self.0.split(',').filter(|part| !part.contains('='));
        match plain
            .next_back()
            .map(|level| level.trim().to_ascii_uppercase())
        {
            Some(level) if level != "OFF" => level,
            Some(_) | None => "ERROR".to_owned(),
        }
    }
}

/// Levels, the quietest first.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

impl Setting for Level {
    fn parse(text: &str) -> Result<Self, String> {
        // A filter would take a word that is no level for a crate, and be silent about everything else.
        for part in text.split(',') {
            let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
            let level = level.trim().to_ascii_lowercase();
            if !LEVELS.contains(&&*level) {
                let meant = nearest(&level, LEVELS)
                    .map(|near| format!("; did you mean {near:?}?"))
                    .unwrap_or_default();
                return Err(format!(
                    "{part:?} is no level, there is {}, and CRATE=LEVEL{meant}",
                    LEVELS.join(", ")
                ));
            }
        }
        let filter: Result<tracing_subscriber::EnvFilter, _> = text.parse();
        filter.map_err(|error| format!("{text:?} cannot be read: {error}"))?;
        Ok(Level(text.to_owned()))
    }

    fn print(&self) -> String {
        self.0.clone()
    }
}

/// Settings of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) format: Format,
    pub(crate) level: Level,
    pub(crate) queue: usize,
}

impl Default for Log {
    fn default() -> Self {
        Log {
            format: Format::Human,
            level: Level("info".into()),
            queue: 8192,
        }
    }
}

impl Setting for Format {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "human" => Ok(Format::Human),
            "json" => Ok(Format::Json),
            _ => Err(format!("{text:?} is neither human nor json")),
        }
    }

    fn print(&self) -> String {
        match self {
            Format::Human => "human".into(),
            Format::Json => "json".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_level_does_not_silence_the_log() {
        for good in [
            "warn",
            "INFO",
            "info,portolan_replica=debug",
            "a::b=off,trace",
        ] {
            assert!(Level::parse(good).is_ok(), "{good}");
        }
        let shown = |text| Level::parse(text).unwrap().consul_level();
        assert_eq!(shown("warn"), "WARN");
        assert_eq!(shown("debug,openraft=warn"), "DEBUG");
        assert_eq!(
            (shown("a=info").as_str(), shown("off").as_str()),
            ("ERROR", "ERROR")
        );
        let filter = |text| Level::parse(text).unwrap().filter();
        assert_eq!(filter("debug"), "debug,openraft=warn");
        assert_eq!(filter("warn"), "warn");
        assert_eq!(filter("info,openraft=debug"), "info,openraft=debug");
        let rows = [
            ("debgu", "did you mean \"debug\"?"),
            ("portolan_replica", "is no level"),
            ("info,x=loud", "\"x=loud\" is no level"),
            ("", "is no level"),
        ];
        for (text, words) in rows {
            let said = Level::parse(text).unwrap_err();
            assert!(said.contains(words), "{said}");
        }
    }
}
