//! How many results in a row change a status.

use portolan_catalog::{Status, Thresholds};

/// Counts successes and failures in a row. Both counters start satisfied, so a first result applies at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counters {
    thresholds: Thresholds,
    successes: u32,
    failures: u32,
}

impl Counters {
    pub(crate) fn new(thresholds: Thresholds) -> Counters {
        Counters {
            thresholds,
            successes: thresholds.success_before_passing,
            failures: thresholds.failures_before_critical,
        }
    }

    /// The status a result leads to, or `None` while the status stays as it is. Warnings count as successes.
    pub(crate) fn judge(&mut self, result: Status) -> Option<Status> {
        let limits = self.thresholds;
        match result {
            Status::Passing | Status::Warning => {
                self.successes = self.successes.saturating_add(1);
                self.failures = 0;
                (self.successes >= limits.success_before_passing).then_some(result)
            }
            Status::Critical => {
                self.failures = self.failures.saturating_add(1);
                self.successes = 0;
                let warning = match limits.failures_before_warning {
                    0 => limits.failures_before_critical,
                    warning => warning,
                };
                if self.failures >= limits.failures_before_critical {
                    Some(Status::Critical)
                } else {
                    (self.failures >= warning).then_some(Status::Warning)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(passing: u32, warning: u32, critical: u32, results: &str) -> String {
        let mut counters = Counters::new(Thresholds {
            success_before_passing: passing,
            failures_before_warning: warning,
            failures_before_critical: critical,
        });
        let of = |c| match c {
            'p' => Status::Passing,
            'w' => Status::Warning,
            _ => Status::Critical,
        };
        let shown = |status| match status {
            None => '-',
            Some(Status::Passing) => 'p',
            Some(Status::Warning) => 'w',
            Some(Status::Critical) => 'c',
        };
        results
            .chars()
            .map(|c| shown(counters.judge(of(c))))
            .collect()
    }

    #[test]
    fn statuses_change_after_so_many_results() {
        let rows = [
            ("no thresholds", (0, 0, 0), "pcwc", "pcwc"),
            ("a first result applies at once", (3, 0, 3), "c", "c"),
            ("and so does a first success", (3, 0, 3), "p", "p"),
            ("three failures make critical", (0, 0, 3), "pccc", "p--c"),
            (
                "a success between starts anew",
                (0, 0, 3),
                "pccpccc",
                "p--p--c",
            ),
            ("warning before critical", (0, 2, 3), "pcccc", "p-wcc"),
            ("three successes make passing", (3, 0, 0), "cpppp", "c--pp"),
            ("a warning is a success", (2, 0, 0), "cwp", "c-p"),
            (
                "a failure resets the successes",
                (2, 0, 0),
                "cpcpp",
                "c-c-p",
            ),
        ];
        for (name, (passing, warning, critical), results, expected) in rows {
            assert_eq!(run(passing, warning, critical, results), expected, "{name}");
        }
    }
}
