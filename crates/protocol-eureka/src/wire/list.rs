//! Applications, lists of them, and the hash code over all their instances.

use super::instance::{Instance, Status};

/// All instances of one application.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Application {
    /// The name in upper case.
    pub name: String,
    /// Its instances.
    pub instances: Vec<Instance>,
}

/// A list of applications as a client keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applications {
    /// `versions__delta`: "1" for everything, a counter for a delta, "-1" for a list by VIP.
    pub version: String,
    /// `apps__hashcode`: see [`Counts`].
    pub hashcode: String,
    /// The applications.
    pub applications: Vec<Application>,
}

impl Applications {
    /// The hash code recomputed over the instances in this list, as a client does after applying a delta.
    pub fn recount(&self) -> Counts {
        let mut counts = Counts::default();
        for instance in self.applications.iter().flat_map(|a| &a.instances) {
            counts.add(instance.status);
        }
        counts
    }
}

/// How many instances have each status: the facts behind `apps__hashcode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u32; Status::ALL.len()]);

impl Counts {
    /// Counts one more instance.
    pub fn add(&mut self, status: Status) {
        self.0[status as usize] += 1;
    }

    /// Adds another set of counts.
    pub fn merge(&mut self, other: &Counts) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    /// Takes a set of counts away that was merged before.
    pub(crate) fn remove(&mut self, other: &Counts) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine -= theirs;
        }
    }

    /// How many have this status.
    pub fn of(&self, status: Status) -> u32 {
        self.0[status as usize]
    }

    /// The code: for each status present, in the order of names, `NAME_count_`; empty for no instance.
    pub fn hashcode(&self) -> String {
        let mut code = String::new();
        for (status, count) in Status::ALL.into_iter().zip(self.0) {
            if count > 0 {
                code.push_str(status.as_str());
                code.push('_');
                code.push_str(&count.to_string());
                code.push('_');
            }
        }
        code
    }
}

#[cfg(test)]
mod tests {
    use super::Counts;
    use crate::wire::Status;

    #[test]
    fn the_hash_code_counts_statuses_in_the_order_of_their_names() {
        let rows: [(&[Status], &str); 3] = [
            (&[], ""),
            (&[Status::Up, Status::Up], "UP_2_"),
            (
                &[
                    Status::Up,
                    Status::Down,
                    Status::OutOfService,
                    Status::Down,
                    Status::Starting,
                    Status::Unknown,
                ],
                "DOWN_2_OUT_OF_SERVICE_1_STARTING_1_UNKNOWN_1_UP_1_",
            ),
        ];
        for (statuses, code) in rows {
            let mut counts = Counts::default();
            for status in statuses {
                counts.add(*status);
            }
            assert_eq!(counts.hashcode(), code);
        }
    }
}
