//! What is logged and how.

use super::value::Setting;

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Human,
    /// One JSON object per line.
    Json,
}

/// Settings of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) format: Format,
    pub(crate) level: String,
    pub(crate) queue: usize,
}

impl Default for Log {
    fn default() -> Self {
        Log {
            format: Format::Human,
            level: "info,openraft=warn".into(),
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
