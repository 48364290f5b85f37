//! Layouts by configuration: which frameworks on etcd and ZooKeeper see the catalog, and under which keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use portolan_catalog::layout::{Dialect, Form, LayoutState, Mode, Template};

use super::suggest::nearest;

/// Layouts by name. Kitex, kratos and services sleep until somebody uses them; the others are there by configuration only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layouts(BTreeMap<Arc<str>, LayoutState>);

/// Curator's discovery where Spring Cloud and Dubbo have it.
fn curator(dialect: Dialect) -> Form {
    Form::Curator {
        root: "/services".into(),
        dialect,
    }
}

/// Dubbo's interfaces, in the group that it has by default.
fn dubbo() -> Form {
    Form::Dubbo {
        root: "/dubbo".into(),
    }
}

impl Default for Layouts {
    fn default() -> Self {
        let built_in = [
            ("curator", curator(Dialect::Open)),
            ("dubbo", dubbo()),
            ("kitex", Form::Kitex),
            ("kratos", Form::Kratos),
            ("services", Form::Template(Template::services())),
        ];
        Layouts(
            built_in
                .map(|(name, form)| (name.into(), LayoutState::asleep(form)))
                .into(),
        )
    }
}

impl Layouts {
    /// Takes one `--layout`: `kitex`, `kitex=off|asleep|awake` (so also `kratos`, `services`, `dubbo` and `curator`, which can be `plain`, `spring` or `dubbo` too), `go-zero=KEY`, `grpc=TARGET`, `NAME=/pattern/{service}/{address}`.
    pub(crate) fn set(&mut self, text: &str) -> Result<(), String> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim())),
            None => (text.trim(), None),
        };
        let switched = |form: Form| {
            let mode = match value {
                None | Some("awake" | "on") => Mode::Awake,
                Some("asleep") => Mode::Asleep,
                Some("off") => Mode::Off,
                Some(other) => {
                    return Err(format!(
                        "{other:?} is not off, asleep or awake, which is what layout {name:?} can be"
                    ));
                }
            };
            Ok((name.to_owned(), form, mode))
        };
        let target = |what: &str| match value.map(|value| value.trim_end_matches('/')) {
            Some(value) if !value.is_empty() => Ok(value.to_owned()),
            _ => Err(format!("layout {name:?} needs a {what}: {name}=user.rpc")),
        };
        let (name, form, mode) = match name {
            "curator" => {
                let dialect = match value {
                    Some("plain") => Dialect::Plain,
                    Some("spring") => Dialect::Spring,
                    Some("dubbo") => Dialect::Dubbo,
                    _ => Dialect::Open,
                };
                match dialect {
                    Dialect::Open => switched(curator(dialect))?,
                    _ => (name.to_owned(), curator(dialect), Mode::Awake),
                }
            }
            "dubbo" => switched(dubbo())?,
            "kitex" => switched(Form::Kitex)?,
            "kratos" => switched(Form::Kratos)?,
            "services" => switched(Form::Template(Template::services()))?,
            "go-zero" => {
                let key = target("key")?;
                (
                    format!("go-zero:{key}"),
                    Form::GoZero { key: key.into() },
                    Mode::Awake,
                )
            }
            "grpc" | "grpc-naming" => {
                let target = target("target")?;
                (
                    format!("grpc:{target}"),
                    Form::GrpcNaming {
                        target: target.into(),
                    },
                    Mode::Awake,
                )
            }
            _ => match value.filter(|value| !["on", "off", "asleep", "awake"].contains(value)) {
                Some(pattern) => (
                    name.to_owned(),
                    Form::Template(Template::parse(pattern)?),
                    Mode::Awake,
                ),
                None => {
                    let known = [
                        "kitex", "kratos", "services", "go-zero", "grpc", "curator", "dubbo",
                    ];
                    let meant = nearest(name, known)
                        .map(|near| format!("; did you mean {near:?}?"))
                        .unwrap_or_default();
                    return Err(format!(
                        "there is no layout {name:?}; one of your own needs a pattern: {name}=/path/{{service}}/{{address}}{meant}"
                    ));
                }
            },
        };
        if name.is_empty() {
            return Err(format!("layout {text:?} has no name"));
        }
        self.0.insert(
            name.into(),
            LayoutState {
                form,
                mode,
                level: 1,
            },
        );
        Ok(())
    }

    /// All of them, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &LayoutState)> {
        self.0.iter()
    }

    /// Whether the configuration knows a layout.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_named_switched_and_patterned() {
        let rows = [
            ("kitex", "kitex", Mode::Awake),
            ("kratos=off", "kratos", Mode::Off),
            ("kratos", "services", Mode::Asleep),
            ("services", "services", Mode::Awake),
            ("services=off", "services", Mode::Off),
            ("services=asleep", "services", Mode::Asleep),
            ("go-zero=user.rpc", "go-zero:user.rpc", Mode::Awake),
            ("grpc=orders/", "grpc:orders", Mode::Awake),
            ("mine=/reg/{service}/{id}", "mine", Mode::Awake),
        ];
        for (text, name, mode) in rows {
            let mut layouts = Layouts::default();
            layouts.set(text).unwrap();
            let found = layouts.iter().find(|(n, _)| &***n == name);
            assert_eq!(found.map(|(_, state)| state.mode), Some(mode), "{text}");
        }
        for wrong in [
            "kitx",
            "kitx=off",
            "go-zero",
            "grpc=",
            "mine=/reg/{id}",
            "kitex=maybe",
            "=x",
        ] {
            assert!(Layouts::default().set(wrong).is_err(), "{wrong}");
        }
        for slip in ["kitx", "kitx=off"] {
            let said = Layouts::default().set(slip).unwrap_err();
            assert!(said.contains("did you mean \"kitex\"?"), "{said}");
        }
    }
}
