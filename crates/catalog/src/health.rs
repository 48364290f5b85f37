//! Health: four values, from best to worst.

/// Health of an instance, a check or an endpoint; ordered from best to worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// Working.
    #[default]
    Passing,
    /// Working, with something to look at.
    Warning,
    /// Not working.
    Critical,
    /// Taken out on purpose.
    Maintenance,
}

impl Health {
    /// Whether callers should be sent there.
    pub fn serves(self) -> bool {
        self <= Health::Warning
    }

    /// `passing`, `warning`, `critical` or `maintenance`.
    pub fn as_str(self) -> &'static str {
        match self {
            Health::Passing => "passing",
            Health::Warning => "warning",
            Health::Critical => "critical",
            Health::Maintenance => "maintenance",
        }
    }
}
