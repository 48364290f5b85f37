//! Health checks that this server runs, and the programs among them: only what stands here is ever started.

use std::time::Duration;

use super::value::Setting;

/// A program that is run as a check of this server's node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScriptCheck {
    /// The check's id.
    pub(crate) id: String,
    /// Time between two runs.
    pub(crate) interval: Duration,
    /// Program first.
    pub(crate) args: Vec<String>,
}

/// Settings of checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checks {
    pub(crate) probes: usize,
    pub(crate) output_interval: Duration,
    pub(crate) scripts: Vec<ScriptCheck>,
}

impl Default for Checks {
    fn default() -> Self {
        Checks {
            probes: 1024,
            output_interval: Duration::from_secs(300),
            scripts: Vec::new(),
        }
    }
}

impl Checks {
    /// Takes one `ID=INTERVAL PROGRAM ARGUMENT...`.
    pub(crate) fn add(&mut self, text: &str) -> Result<(), String> {
        let wrong = || {
            format!(
                "{text:?} is not ID=INTERVAL PROGRAM..., such as disk=30s /usr/lib/checks/disk 90"
            )
        };
        let (id, rest) = text.split_once('=').ok_or_else(wrong)?;
        let mut words = rest.split_whitespace();
        let interval = Duration::parse(words.next().ok_or_else(wrong)?)?;
        let args: Vec<String> = words.map(str::to_owned).collect();
        let id = id.trim().to_owned();
        if id.is_empty()
            || id == "serfHealth"
            || args.is_empty()
            || interval < Duration::from_secs(1)
        {
            return Err(wrong());
        }
        self.scripts.retain(|known| known.id != id);
        self.scripts.push(ScriptCheck { id, interval, args });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_have_an_id_an_interval_and_a_program() {
        let mut checks = Checks::default();
        checks.add("disk=30s /bin/df -h /").unwrap();
        checks.add("disk=1m /bin/df").unwrap();
        assert_eq!(
            checks.scripts,
            [ScriptCheck {
                id: "disk".into(),
                interval: Duration::from_secs(60),
                args: vec!["/bin/df".into()]
            }]
        );
        for wrong in [
            "disk",
            "disk=30s",
            "=30s x",
            "disk=soon x",
            "serfHealth=30s x",
            "disk=10ms x",
        ] {
            assert!(checks.add(wrong).is_err(), "{wrong}");
        }
    }
}
