//! The configuration: read, checked, defaulted here, then taken apart. No other crate sees it.
//!
//! Three layers, each stronger than the one before: the file named by `--config`, variables `PORTOLAN_...`, flags.

mod access;
mod bounds;
mod checks;
mod cluster;
mod entry;
mod file;
pub(crate) mod key;
pub(crate) mod keys;
mod layouts;
mod listen;
mod log;
pub(crate) mod node;
mod settings;
mod suggest;
mod tls;
mod value;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use portolan_listener::BindError;

pub(crate) use checks::ScriptCheck;
pub(crate) use cluster::{ClusterConfig, ClusterListen, with_port};
pub(crate) use layouts::Layouts;
pub(crate) use listen::{GRPC_ABOVE, KNOWN, Listen, PortId, Role, ids};
pub(crate) use log::{Format, Log};
pub(crate) use settings::Config;
pub(crate) use tls::TlsConfig;

use entry::{Entry, Source};
use key::{Key, Shape};
use suggest::nearest;

/// A duration of the command line.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    value::Setting::parse(text)
}

/// What is wrong with a configuration, and where.
#[derive(Debug)]
pub(crate) struct Wrong(String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "configuration: {}", self.0)
    }
}

impl std::error::Error for Wrong {}

/// Reads all layers: `flags` as given, the variables of the process, and the file that `--config` or `PORTOLAN_CONFIG` names.
pub(crate) fn read(
    file: Option<PathBuf>,
    variables: impl Iterator<Item = (String, String)>,
    flags: Vec<(&'static Key, String)>,
) -> Result<Config, Wrong> {
    let (file, from_variables) = from_variables(file, variables).map_err(Wrong)?;
    let mut layers = Vec::new();
    if let Some(path) = file {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(&path)
            .map_err(|error| Wrong(format!("cannot read file \"{name}\": {error}")))?;
        layers.push(file::read(&name, &text).map_err(Wrong)?);
    }
    layers.push(from_variables);
    let flag = |(key, value)| Entry {
        key,
        value,
        source: Source::Flag,
    };
    layers.push(flags.into_iter().map(flag).collect());
    merge(layers).map_err(Wrong)
}

fn from_variables(
    mut file: Option<PathBuf>,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<(Option<PathBuf>, Vec<Entry>), String> {
    /// Variables that are not the server's.
    const OTHERS: [&str; 7] = [
        "PORTOLAN_SERVER",
        "PORTOLAN_OUTPUT",
        "PORTOLAN_TOKEN",
        "PORTOLAN_CA_CERT",
        "PORTOLAN_CLIENT_CERT",
        "PORTOLAN_CLIENT_KEY",
        "PORTOLAN_TLS_SERVER_NAME",
    ];
    let known: Vec<(String, &'static Key)> = keys::all().map(|key| (key.variable(), key)).collect();
    let mut entries = Vec::new();
    for (name, value) in variables.filter(|(name, _)| name.starts_with("PORTOLAN_")) {
        if name == "PORTOLAN_CONFIG" {
            file = file.or(Some(value.into()));
        } else if let Some((_, key)) = known.iter().find(|(variable, _)| *variable == name) {
            let values: Vec<&str> = match key.shape {
                Shape::One | Shape::Switch => vec![&value],
                Shape::Many | Shape::Named => {
                    value.split(',').filter(|v| !v.trim().is_empty()).collect()
                }
            };
            entries.extend(values.into_iter().map(|value| Entry {
                key,
                value: value.trim().to_owned(),
                source: Source::Variable(name.clone()),
            }));
        } else if !OTHERS.contains(&&*name)
            && let Some(near) = slip(&name, known.iter().map(|(variable, _)| &**variable))
        {
            // Container platforms set variables of this form for a service called "portolan": only slips of the pen are errors.
            return Err(format!(
                "unknown variable {name}; did you mean PORTOLAN_{near}?"
            ));
        }
    }
    Ok((file, entries))
}

/// A known variable that differs in a letter or two.
fn slip<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let rest = name.strip_prefix("PORTOLAN_")?;
    let known: Vec<&str> = known.filter_map(|n| n.strip_prefix("PORTOLAN_")).collect();
    let near = nearest(rest, known.iter().copied())?;
    let close = rest.len() > 4 && rest.len().abs_diff(near.len()) <= 1;
    close.then_some(near)
}

fn merge(layers: Vec<Vec<Entry>>) -> Result<Config, String> {
    let mut config = Config::default();
    for layer in layers {
        let mut cleared = BTreeSet::new();
        for Entry { key, value, source } in layer {
            if key.shape == Shape::Many && cleared.insert(key.name) {
                (key.clear)(&mut config);
            }
            let set = (key.set)(&mut config, &value);
            let set = set.and_then(|()| keys::check(key.name, &config));
            set.map_err(|error| match source {
                Source::File { name, line } => {
                    format!("key \"{}\" in {name} line {line}: {error}", key.name)
                }
                Source::Variable(name) => format!("variable {name}: {error}"),
                Source::Flag => format!("--{}: {error}", key.name),
            })?;
        }
    }
    check(&config)?;
    Ok(config)
}

/// What no single value shows.
fn check(config: &Config) -> Result<(), String> {
    config.cluster.check(&config.datacenter)?;
    config.access.check()?;
    config.tls.check(&config.listen)?;
    for (id, address) in config.listen.iter() {
        let protocol = id.protocol;
        let guarded = config.access.guards() || config.listen.speaks_tls(id);
        if !config.insecure_listen && !guarded && !address.ip().to_canonical().is_loopback() {
            return Err(BindError::Exposed { protocol, address }.to_string());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(
        file: &str,
        variables: &[(&str, &str)],
        flags: &[(&str, &str)],
    ) -> Result<Config, String> {
        let key = |name: &str| keys::find(name).unwrap();
        let variables = variables
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        let (_, variables) = from_variables(None, variables)?;
        let flags = flags.iter().map(|(n, v)| Entry {
            key: key(n),
            value: (*v).to_owned(),
            source: Source::Flag,
        });
        merge(vec![
            file::read("portolan.toml", file)?,
            variables,
            flags.collect(),
        ])
    }

    #[test]
    fn a_flag_is_stronger_than_a_variable_and_that_than_the_file() {
        let file = "datacenter = \"file\"\nadvertise = \"10.0.0.1\"\nnode-name = \"n\"\n";
        let variables = [
            ("PORTOLAN_DATACENTER", "variable"),
            ("PORTOLAN_ADVERTISE", "10.0.0.2"),
        ];
        let config = of(file, &variables, &[("datacenter", "flag")]).unwrap();
        assert_eq!(config.datacenter, "flag");
        assert_eq!(config.advertise, Some([10, 0, 0, 2].into()));
        assert_eq!(config.node_name.as_deref(), Some("n"));
    }

    #[test]
    fn a_node_has_an_id_and_metadata() {
        let file = "[node-meta]\nrack = \"r1\"\nos = \"linux\"\n";
        let flags = [
            ("node-meta", "rack:r2"),
            ("node-id", "6BA7B810-9DAD-41D1-80B4-00C04FD430C8"),
        ];
        let config = of(file, &[], &flags).unwrap();
        let pairs: Vec<_> = config
            .node_meta
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        assert_eq!(pairs, ["os=linux", "rack=r2"]);
        assert_eq!(
            config.node_id.as_deref(),
            Some("6ba7b810-9dad-41d1-80b4-00c04fd430c8")
        );
        for (key, value, part) in [
            ("node-id", "n1", "not a UUID"),
            ("node-meta", "rack", "is not KEY=VALUE"),
            ("node-meta", "consul-x=1", "are taken"),
            ("node-meta", "a b=1", "cannot be a key"),
        ] {
            let error = of("", &[], &[(key, value)]).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn tables_and_lists_are_two_spellings_of_the_same() {
        let flat = "listen = [\"dns=off\", \"consul=127.0.0.1:1\"]\ndns-domain = \"c\"\nlimit-header-bytes = 16384\nlayout = \"services\"";
        let tables = "[listen]\ndns = \"off\"\nconsul = \"127.0.0.1:1\"\n[dns]\ndomain = \"c\"\n[limit]\nheader-bytes = \"16KiB\"\n[layout]\nservices = \"awake\"";
        let (flat, tables) = (of(flat, &[], &[]).unwrap(), of(tables, &[], &[]).unwrap());
        assert_eq!(flat.listen, tables.listen);
        assert_eq!(flat.dns, tables.dns);
        assert_eq!(flat.limits, tables.limits);
        assert_eq!(flat.layouts, tables.layouts);
        assert_eq!(flat.limits.header_bytes, 16 << 10);
    }

    #[test]
    fn lists_replace_and_named_entries_add_up() {
        let config = of(
            "dns-allow = [\"10.0.0.0/8\"]\nlisten = [\"dns=off\"]",
            &[("PORTOLAN_LISTEN", "eureka=off, etcd=127.0.0.1:1")],
            &[("dns-allow", "192.168.0.0/16"), ("listen", "consul=off")],
        )
        .unwrap();
        assert_eq!(config.dns.allow.len(), 1);
        assert_eq!(
            config.listen.print(),
            "etcd=127.0.0.1:1 zookeeper=127.0.0.1:2181 nacos=127.0.0.1:8848 nacos-grpc=127.0.0.1:9848 kubernetes=127.0.0.1:6444 xds=127.0.0.1:18000 native=127.0.0.1:7500"
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        type Row = (
            &'static str,
            &'static [(&'static str, &'static str)],
            &'static [(&'static str, &'static str)],
            &'static str,
        );
        let rows: [Row; 20] = [
            (
                "a = 1\n",
                &[],
                &[],
                "unknown key \"a\" in portolan.toml line 1",
            ),
            (
                "\nlisen = []\n",
                &[],
                &[],
                "unknown key \"lisen\" in portolan.toml line 2; did you mean \"listen\"?",
            ),
            (
                "[dns]\ndomian = \"x\"",
                &[],
                &[],
                "unknown key \"dns-domian\" in portolan.toml line 2; did you mean \"dns-domain\"?",
            ),
            ("datacenter = \n", &[], &[], "in portolan.toml line 1"),
            (
                "limit-connections = \"many\"",
                &[],
                &[],
                "key \"limit-connections\" in portolan.toml line 1: \"many\" is not a number",
            ),
            (
                "",
                &[("PORTOLAN_DATA_DIRR", "x")],
                &[],
                "unknown variable PORTOLAN_DATA_DIRR; did you mean PORTOLAN_DATA_DIR?",
            ),
            (
                "data-dir = 5",
                &[],
                &[],
                "key \"data-dir\" in portolan.toml line 1 takes a text in quotes",
            ),
            (
                "insecure-listen = 1",
                &[],
                &[],
                "key \"insecure-listen\" in portolan.toml line 1 takes true or false",
            ),
            (
                "[limit]\nconnections = [1]",
                &[],
                &[],
                "key \"limit-connections\" in portolan.toml line 2 takes a whole number",
            ),
            (
                "[limit]\nconnections = 0",
                &[],
                &[],
                "key \"limit-connections\" in portolan.toml line 2: 0 is too little; the least is 1",
            ),
            (
                "",
                &[],
                &[("worker-threads", "9999999")],
                "--worker-threads: 9999999 is too much; the most is 1024",
            ),
            (
                "",
                &[],
                &[("limit-header-timeout", "0")],
                "--limit-header-timeout: 0 is too little; the least is 100ms",
            ),
            (
                "",
                &[("PORTOLAN_DNS_NEGATIVE_TTL", "1h")],
                &[],
                "variable PORTOLAN_DNS_NEGATIVE_TTL: 1h is too much; the most is 5s",
            ),
            (
                "",
                &[],
                &[("dns-domain", "a..b")],
                "--dns-domain: \"a..b\" is not a name of DNS",
            ),
            (
                "",
                &[],
                &[("datacenter", "a b")],
                "--datacenter: \"a b\" cannot be a datacenter's name",
            ),
            (
                "",
                &[],
                &[("node-name", "x.virtual")],
                "--node-name: \"x.virtual\" cannot be used",
            ),
            (
                "",
                &[],
                &[("listen", "etcd=0.0.0.0:2379")],
                "etcd port 0.0.0.0:2379 can be reached from other machines and has no authentication; listen on 127.0.0.1, or pass --insecure-listen",
            ),
            (
                "",
                &[("PORTOLAN_HISTORY_AGE", "1")],
                &[],
                "variable PORTOLAN_HISTORY_AGE: \"1\" is not a duration",
            ),
            (
                "",
                &[],
                &[("cluster-listen", "10.0.0.1:8300")],
                "can be reached from other machines, and whoever reaches it can read and write everything",
            ),
            (
                "",
                &[],
                &[("xds-egress", "10000")],
                "--xds-egress: \"10000\" is not an address",
            ),
        ];
        for (file, variables, flags, expected) in rows {
            let error = of(file, variables, flags).unwrap_err();
            assert!(error.contains(expected), "{error}\nexpected: {expected}");
        }
    }

    #[test]
    fn variables_that_platforms_set_are_left_alone() {
        let platform = [
            ("PORTOLAN_PORT", "tcp://10.0.0.1:8500"),
            ("PORTOLAN_SERVICE_HOST", "10.0.0.1"),
            ("PORTOLAN_PORT_8500_TCP_ADDR", "10.0.0.1"),
            ("PORTOLAN_SERVER", "http://127.0.0.1:7500"),
        ];
        assert!(of("", &platform, &[]).is_ok());
    }

    #[test]
    fn every_default_can_be_written_down() {
        for key in keys::all().filter(|key| key.shape == Shape::One || key.shape == Shape::Switch) {
            let mut config = Config::default();
            let shown = key
                .argument()
                .get_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            let Some((_, default)) = shown.rsplit_once("[default: ") else {
                continue;
            };
            (key.set)(&mut config, default.trim_end_matches(']')).unwrap();
        }
    }
}
