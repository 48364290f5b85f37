//! What is set about access control.

use std::fmt;

/// Access control's part of the configuration.
#[derive(Clone, Default)]
pub(crate) struct AccessConfig {
    pub(crate) on: bool,
    pub(crate) default_allow: bool,
    pub(crate) initial_management: Option<String>,
    pub(crate) default_token: Option<String>,
}

impl fmt::Debug for AccessConfig {
    /// Without the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessConfig")
            .field("on", &self.on)
            .field("default_allow", &self.default_allow)
            .finish_non_exhaustive()
    }
}

impl AccessConfig {
    /// Whether nobody gets anything without a token that somebody gave them.
    pub(crate) fn guards(&self) -> bool {
        self.on && !self.default_allow
    }

    /// What no single value shows.
    ///
    /// # Errors
    /// What to do.
    pub(crate) fn check(&self) -> Result<(), String> {
        let further = [
            (self.default_allow, "--access-default-allow"),
            (
                self.initial_management.is_some(),
                "--access-initial-management",
            ),
            (self.default_token.is_some(), "--access-default-token"),
        ];
        match further.iter().find(|(given, _)| *given && !self.on) {
            Some((_, flag)) => Err(format!("{flag} needs --access-control")),
            None => Ok(()),
        }
    }
}
