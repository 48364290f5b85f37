//! What a key of the configuration is: its name is the flag, the entry of the file and, in capitals, the variable.

use clap::{Arg, ArgAction};

use super::bounds::Bound;
use super::settings::Config;

/// How often a key may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Once.
    One,
    /// Once, and as a flag without a value.
    Switch,
    /// Any number of times; a higher layer replaces the lower one's.
    Many,
    /// Any number of times; entries of all layers count, `NAME=VALUE` each.
    Named,
}

/// Which values of a TOML file a key takes; every one can be a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// Texts.
    Text,
    /// Whole numbers too.
    Number,
    /// `true` and `false` too.
    Truth,
}

/// One key.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(super) hint: &'static str,
    pub(super) help: &'static str,
    /// Takes a value.
    pub(crate) set: fn(&mut Config, &str) -> Result<(), String>,
    /// Forgets what lower layers said; for lists.
    pub(crate) clear: fn(&mut Config),
    pub(super) show: fn(&Config) -> String,
}

impl Key {
    /// The variable: `PORTOLAN_DATA_DIR`.
    pub(crate) fn variable(&self) -> String {
        format!(
            "PORTOLAN_{}",
            self.name.replace('-', "_").to_ascii_uppercase()
        )
    }

    /// Which values of a file it takes.
    pub(crate) fn takes(&self) -> Takes {
        match self.hint {
            "N" | "BYTES" | "LINES" | "THOUSANDTHS" => Takes::Number,
            "BOOL" => Takes::Truth,
            _ => Takes::Text,
        }
    }

    /// The flag.
    pub(crate) fn argument(&self) -> Arg {
        let default = (self.show)(&Config::default());
        let help = if default.is_empty() {
            self.help.to_owned()
        } else {
            format!("{} [default: {default}]", self.help)
        };
        let argument = Arg::new(self.name)
            .long(self.name)
            .value_name(self.hint)
            .help(help);
        match self.shape {
            Shape::One => argument.action(ArgAction::Set).overrides_with(self.name),
            Shape::Switch => argument
                .action(ArgAction::Set)
                .overrides_with(self.name)
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true"),
            Shape::Many | Shape::Named => argument.action(ArgAction::Append),
        }
    }
}

/// Keys that belong together.
pub(crate) struct Area {
    /// Above them in the help.
    pub(super) heading: &'static str,
    pub(super) keys: &'static [Key],
    /// Bounds of some of them; the others take every value of their type.
    pub(super) bounds: &'static [Bound],
}

impl Area {
    /// Its flags.
    pub(crate) fn arguments(&'static self) -> impl Iterator<Item = Arg> {
        let argument = |key: &Key| key.argument().help_heading(self.heading);
        self.keys.iter().map(argument)
    }
}

macro_rules! one {
    ($name:literal, $hint:literal, $help:literal, $($field:ident).+) => {
        $crate::config::key::Key {
            name: $name,
            shape: $crate::config::key::Shape::One,
            hint: $hint,
            help: $help,
            set: |config, text| {
                config.$($field).+ = $crate::config::value::Setting::parse(text)?;
                Ok(())
            },
            clear: |_| {},
            show: |config| $crate::config::value::Setting::print(&config.$($field).+),
        }
    };
}

macro_rules! bytes {
    ($name:literal, $help:literal, $($field:ident).+) => {
        $crate::config::key::Key {
            show: |config| $crate::config::value::print_bytes(u64::try_from(config.$($field).+).unwrap_or(u64::MAX)),
            ..$crate::config::key::one!($name, "BYTES", $help, $($field).+)
        }
    };
}

macro_rules! switch {
    ($name:literal, $help:literal, $($field:ident).+) => {
        $crate::config::key::Key { shape: $crate::config::key::Shape::Switch, ..$crate::config::key::one!($name, "BOOL", $help, $($field).+) }
    };
}

macro_rules! many {
    ($name:literal, $hint:literal, $help:literal, $($field:ident).+) => {
        $crate::config::key::Key {
            name: $name,
            shape: $crate::config::key::Shape::Many,
            hint: $hint,
            help: $help,
            set: |config, text| {
                config.$($field).+.push(text.trim().parse().map_err(|error| format!("{error}"))?);
                Ok(())
            },
            clear: |config| config.$($field).+.clear(),
            show: |config| {
                let all: Vec<String> = config.$($field).+.iter().map(ToString::to_string).collect();
                all.join(" ")
            },
        }
    };
}

pub(super) use {bytes, many, one, switch};
