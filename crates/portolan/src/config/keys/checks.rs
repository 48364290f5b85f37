//! Health checks that this server runs.

use super::super::bounds::{DAY, bounds};
use super::super::key::{Area, Key, Shape, one, switch};

pub(super) static AREA: Area = Area {
    heading: "Health checks",
    keys: &[
        switch!(
            "enable-local-script-checks",
            "Allow checks of definition files to run programs",
            enable_local_script_checks
        ),
        one!(
            "check-probes",
            "N",
            "Health checks that run at a time",
            checks.probes
        ),
        one!(
            "check-output-interval",
            "TIME",
            "How long changed output of a check alone is held back",
            checks.output_interval
        ),
        Key {
            name: "check-script",
            shape: Shape::Named,
            hint: "ID=TIME PROGRAM...",
            help: "A program that is run as a check of this server's node; no other program is ever run",
            set: |config, text| config.checks.add(text),
            clear: |_| {},
            show: |_| String::new(),
        },
    ],
    bounds: bounds! {
        "check-probes" size checks.probes, 1, 100_000, Ones;
        "check-output-interval" ms checks.output_interval, 1000, DAY, Milliseconds;
    },
};
