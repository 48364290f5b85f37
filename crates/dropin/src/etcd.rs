//! etcd's command line: flags and `ETCD_*` variables.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use crate::go_flags::{self, Flag, FlagError, Typed, truth, value};
use crate::settings::Refusal;
use crate::{Outcome, Settings};

/// The version of etcd whose command line this is.
const VERSION: &str = "3.7.0";

/// Flags that are understood, or change nothing here.
const VALUES: &[&str] = &[
    "advertise-client-urls",
    "auth-token-ttl",
    "auto-compaction-mode",
    "auto-compaction-retention",
    "backend-batch-interval",
    "backend-batch-limit",
    "bcrypt-cost",
    "compact-hash-check-time",
    "compaction-batch-limit",
    "compaction-sleep-interval",
    "config-file",
    "cors",
    "data-dir",
    "discovery",
    "discovery-srv",
    "discovery-srv-name",
    "election-timeout",
    "experimental-compaction-batch-limit",
    "experimental-compaction-sleep-interval",
    "experimental-corrupt-check-time",
    "experimental-watch-progress-notify-interval",
    "grpc-keepalive-interval",
    "grpc-keepalive-min-time",
    "grpc-keepalive-timeout",
    "heartbeat-interval",
    "host-whitelist",
    "initial-advertise-peer-urls",
    "initial-cluster",
    "initial-cluster-state",
    "initial-cluster-token",
    "listen",
    "listen-client-http-urls",
    "listen-client-urls",
    "listen-metrics-urls",
    "listen-peer-urls",
    "log-format",
    "log-level",
    "log-outputs",
    "logger",
    "max-concurrent-streams",
    "max-learners",
    "max-request-bytes",
    "max-snapshots",
    "max-txn-ops",
    "max-wals",
    "memory-mlock",
    "metrics",
    "name",
    "quota-backend-bytes",
    "snapshot-catchup-entries",
    "snapshot-count",
    "v2-deprecation",
    "wal-dir",
    "warning-apply-duration",
    "warning-unary-request-duration",
    "watch-progress-notify-interval",
];

const TRUTHS: &[&str] = &[
    "enable-grpc-gateway",
    "enable-pprof",
    "enable-v2",
    "experimental-initial-corrupt-check",
    "force-new-cluster",
    "log-rotate",
    "pre-vote",
    "socket-reuse-address",
    "socket-reuse-port",
    "strict-reconfig-check",
    "unsafe-no-fsync",
];

/// Flags that people rely on to keep others out.
const SECURITY: &[&str] = &[
    "auth-token",
    "cipher-suites",
    "peer-cert-allowed-cn",
    "peer-cert-allowed-hostname",
    "peer-cert-file",
    "peer-crl-file",
    "peer-key-file",
    "peer-trusted-ca-file",
    "tls-max-version",
    "tls-min-version",
];

/// The files of the client port.
const TLS: &[(&str, &str)] = &[
    ("cert-file", "tls-cert"),
    ("key-file", "tls-key"),
    ("trusted-ca-file", "tls-client-ca"),
    ("client-crl-file", "tls-crl"),
];

const SECURITY_TRUTHS: &[&str] = &[
    "auto-tls",
    "peer-auto-tls",
    "peer-client-cert-auth",
    "peer-skip-client-san-verification",
];

fn flags() -> Vec<Flag> {
    let mut flags: Vec<Flag> = VALUES
        .iter()
        .chain(SECURITY)
        .map(|name| value(name))
        .collect();
    flags.extend(TRUTHS.iter().chain(SECURITY_TRUTHS).map(|name| truth(name)));
    flags.extend(TLS.iter().map(|(name, _)| value(name)));
    flags.extend([
        truth("client-cert-auth"),
        truth("version"),
        value("experimental-peer-skip-client-san-verification"),
    ]);
    flags
}

/// Does what was typed after `etcd`.
pub(super) fn run(
    words: &[String],
    variables: &BTreeMap<String, String>,
    version: &str,
) -> Outcome {
    let typed = match go_flags::parse(words, &[&flags()]) {
        Ok(typed) => typed,
        Err(FlagError::Help) => {
            say!(
                "Usage:\n\n  etcd [flags]\n    Start an etcd server (this is Portolan {version}).\n\n  etcd --version\n    Show the version of etcd.\n\nFlags:"
            );
            for flag in flags() {
                say!("  --{}", flag.name);
            }
            return Outcome::Exit(0);
        }
        Err(error) => {
            eprintln!("{error}");
            return Outcome::Exit(2);
        }
    };
    if typed.is("version") {
        say!("etcd Version: {VERSION}\nGit SHA: portolan-{version}");
        return Outcome::Exit(0);
    }
    match read(typed, variables) {
        Ok(settings) => Outcome::Serve(Box::new(settings)),
        Err(refusal) => {
            eprintln!("etcd: {refusal}");
            Outcome::Exit(1)
        }
    }
}

fn read(mut typed: Typed, variables: &BTreeMap<String, String>) -> Result<Settings, Refusal> {
    let mut settings = Settings::default();
    if let Some(word) = typed.rest.first() {
        return Err(Refusal::new(format!("{word:?} is not a valid flag")));
    }
    // Flags are stronger than variables.
    for (name, given) in variables {
        let Some(flag) = name.strip_prefix("ETCD_") else {
            continue;
        };
        let flag = flag.to_ascii_lowercase().replace('_', "-");
        if typed.get(&flag).is_some() {
            continue;
        }
        match flags().iter().any(|known| known.name == flag) {
            true => typed.flags.insert(0, (flag, given.clone())),
            // Orchestrators set variables of this form for a service called "etcd".
            false => settings.warn(format!(
                "variable {name}: not known here and without effect"
            )),
        }
    }
    for (name, given) in &typed.flags {
        let off = given.is_empty() || given == "false";
        let security = SECURITY.contains(&&**name) || SECURITY_TRUTHS.contains(&&**name);
        if security && !off && !(name == "auth-token" && given == "simple") {
            return Err(Refusal::new(format!(
                "--{name}: this part of TLS and authentication is not built yet"
            )));
        }
    }
    if typed.get("config-file").is_some() {
        return Err(Refusal::new(
            "--config-file: files are not read yet, give flags or ETCD_ variables",
        ));
    }
    for gone in ["discovery", "discovery-srv"] {
        if typed.get(gone).is_some_and(|given| !given.is_empty()) {
            return Err(Refusal::new(format!(
                "--{gone}: members are not looked up, name them with --initial-cluster"
            )));
        }
    }
    if typed.is("force-new-cluster") {
        return Err(Refusal::new(
            "--force-new-cluster: not built, restore a snapshot into an empty directory instead",
        ));
    }
    if typed.is("unsafe-no-fsync") {
        settings.warn("--unsafe-no-fsync: without effect, what is acknowledged is on the disk");
    }
    ports(&typed, &mut settings)?;
    cluster(&typed, &mut settings)?;
    Ok(settings)
}

fn ports(typed: &Typed, settings: &mut Settings) -> Result<(), Refusal> {
    let name = typed.get("name").unwrap_or("default");
    settings.set("node-name", name);
    let directory = typed.get("data-dir").filter(|given| !given.is_empty());
    settings.set(
        "data-dir",
        directory.map_or_else(|| format!("{name}.etcd"), str::to_owned),
    );
    let listen = typed
        .get("listen-client-urls")
        .unwrap_or("http://localhost:2379");
    let (listen, secure) = client_scheme("listen-client-urls", listen)?;
    let address = first_url(settings, "listen-client-urls", &listen)?;
    let tls = if secure { ",tls" } else { "" };
    settings.set("listen", format!("etcd={address}{tls}"));
    files(typed, settings, secure)?;
    settings.set("listen", "native=127.0.0.1:0");
    for further in typed.all("listen") {
        settings.set("listen", further);
    }
    if !address.ip().is_loopback() && !secure {
        settings.set("insecure-listen", "true");
        settings.consent(
            "--listen-client-urls: the port is open to other machines, without access control",
        );
    }
    if !address.ip().is_loopback() && typed.get("advertise-client-urls").is_none() {
        return Err(Refusal::new(
            "--advertise-client-urls is required when --listen-client-urls is set explicitly",
        ));
    }
    if let Some(urls) = typed.get("advertise-client-urls") {
        let (urls, _) = client_scheme("advertise-client-urls", urls)?;
        let (host, _) = split_url(
            "advertise-client-urls",
            urls.split(',').next().unwrap_or_default(),
        )?;
        if let Ok(address) = host.parse::<IpAddr>()
            && !address.is_unspecified()
        {
            settings.set("advertise", address.to_string());
        }
    }
    if let Some(level) = typed.get("log-level") {
        let level = match level {
            "panic" | "dpanic" | "fatal" => "error",
            level => level,
        };
        settings.set("log-level", level);
    }
    if let Some(bytes) = typed.get("max-request-bytes") {
        settings.set("etcd-request-bytes", bytes);
    }
    if let Some(seconds) = typed.get("auth-token-ttl") {
        settings.set("etcd-auth-token-ttl", format!("{seconds}s"));
    }
    if let Some(cost) = typed.get("bcrypt-cost") {
        settings.set("etcd-bcrypt-cost", cost);
    }
    Ok(())
}

/// URLs of clients without their scheme's `s`, and whether they had it.
fn client_scheme(flag: &str, urls: &str) -> Result<(String, bool), Refusal> {
    let each: Vec<&str> = urls.split(',').collect();
    let secure = each
        .iter()
        .filter(|url| url.starts_with("https://"))
        .count();
    if secure != 0 && secure != each.len() {
        return Err(Refusal::new(format!(
            "--{flag}: {urls:?}: either all of them are https:// or none is"
        )));
    }
    Ok((urls.replace("https://", "http://"), secure != 0))
}

/// What the client port shows and trusts.
fn files(typed: &Typed, settings: &mut Settings, secure: bool) -> Result<(), Refusal> {
    let given = |name: &str| typed.get(name).filter(|file| !file.is_empty());
    if !secure {
        if TLS.iter().any(|(name, _)| given(name).is_some()) || typed.is("client-cert-auth") {
            settings.warn("The scheme of client url is HTTP while key/cert files are presented. Ignored key/cert files.");
        }
        return Ok(());
    }
    if given("cert-file").is_none() || given("key-file").is_none() {
        return Err(Refusal::new(
            "--listen-client-urls: https:// needs --cert-file and --key-file",
        ));
    }
    if typed.is("client-cert-auth") && given("trusted-ca-file").is_none() {
        return Err(Refusal::new("--client-cert-auth: needs --trusted-ca-file"));
    }
    for (name, flag) in TLS {
        if let Some(file) = given(name) {
            settings.set(flag, file);
        }
    }
    Ok(())
}

fn cluster(typed: &Typed, settings: &mut Settings) -> Result<(), Refusal> {
    let listen = typed
        .get("listen-peer-urls")
        .unwrap_or("http://localhost:2380");
    let address = first_url(settings, "listen-peer-urls", listen)?;
    settings.set("cluster-listen", address.to_string());
    if !address.ip().is_loopback() {
        settings.set("insecure-cluster", "true");
        settings.consent("--listen-peer-urls: the cluster port is open to other machines, in the clear and without certificates");
    }
    let own = typed.get("name").unwrap_or("default");
    let mut members = Vec::new();
    for part in typed.get("initial-cluster").unwrap_or_default().split(',') {
        if part.is_empty() {
            continue;
        }
        let (name, url) = part
            .split_once('=')
            .ok_or_else(|| Refusal::new(format!("--initial-cluster: {part:?} is not NAME=URL")))?;
        members.push((name, split_url("initial-cluster", url)?));
    }
    if !members.is_empty() && !members.iter().any(|(name, _)| *name == own) {
        return Err(Refusal::new(format!(
            "couldn't find local name {own:?} in the initial cluster configuration"
        )));
    }
    for (name, (host, port)) in &members {
        if *name != own {
            settings.set("join", format!("{host}:{port}"));
        }
    }
    let existing = match typed.get("initial-cluster-state") {
        None | Some("new") => false,
        Some("existing") => true,
        Some(other) => {
            return Err(Refusal::new(format!(
                "--initial-cluster-state: {other:?} is neither new nor existing"
            )));
        }
    };
    settings.may_found = !existing;
    if !existing && members.len() > 1 {
        settings.set("bootstrap-expect", members.len().to_string());
    }
    Ok(())
}

/// Host and port of `http://HOST:PORT`.
fn split_url<'a>(flag: &str, url: &'a str) -> Result<(&'a str, u16), Refusal> {
    let wrong = |why: &str| Refusal::new(format!("--{flag}: {url:?}: {why}"));
    let rest = match url.split_once("://") {
        Some(("http", rest)) => rest.trim_end_matches('/'),
        Some(("https" | "unixs", _)) => {
            return Err(wrong("TLS is not built yet, write http://"));
        }
        Some(("unix", _)) => return Err(wrong("unix sockets are not opened yet")),
        _ => return Err(wrong("URL scheme must be http")),
    };
    let (host, port) = rest
        .rsplit_once(':')
        .ok_or_else(|| wrong("URL address does not have the form \"host:port\""))?;
    let port = port.parse().map_err(|_| wrong("that is not a port"))?;
    Ok((host.trim_matches(['[', ']']), port))
}

fn first_url(settings: &mut Settings, flag: &str, urls: &str) -> Result<SocketAddr, Refusal> {
    let mut several = urls.split(',');
    let first = several.next().unwrap_or_default();
    if several.next().is_some() {
        settings.warn(format!(
            "--{flag}: only the first address, {first}, is opened"
        ));
    }
    let (host, port) = split_url(flag, first)?;
    let wrong = || {
        Refusal::new(format!(
            "--{flag}: {first:?} is not an address of this machine"
        ))
    };
    match host {
        "localhost" => Ok(SocketAddr::from(([127, 0, 0, 1], port))),
        host => (host, port)
            .to_socket_addrs()
            .map_err(|_| wrong())?
            .next()
            .ok_or_else(wrong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str, variables: &[(&str, &str)]) -> Result<Settings, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let typed = go_flags::parse(&words, &[&flags()]).map_err(|error| error.to_string())?;
        let variables = variables
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        read(typed, &variables).map_err(|refusal| refusal.0)
    }

    fn flag<'a>(settings: &'a Settings, name: &str) -> Vec<&'a str> {
        let all = settings.flags.iter().filter(|(known, _)| known == name);
        all.map(|(_, value)| value.as_str()).collect()
    }

    #[test]
    fn the_tutorials_line() {
        let line = "--name node1 --data-dir D --listen-client-urls http://localhost:2379 --advertise-client-urls http://localhost:2379";
        let settings = of(line, &[]).unwrap();
        assert_eq!(
            flag(&settings, "listen"),
            ["etcd=127.0.0.1:2379", "native=127.0.0.1:0"]
        );
        assert_eq!(flag(&settings, "cluster-listen"), ["127.0.0.1:2380"]);
        assert_eq!(flag(&settings, "data-dir"), ["D"]);
        assert!(
            settings.may_found && settings.warnings.is_empty(),
            "{:?}",
            settings.warnings
        );
    }

    #[test]
    fn members_of_a_new_cluster_expect_one_another() {
        let variables = [
            ("ETCD_NAME", "b"),
            (
                "ETCD_INITIAL_CLUSTER",
                "a=http://127.0.0.2:2380,b=http://127.0.0.3:2380,c=http://127.0.0.4:2380",
            ),
            ("ETCD_LISTEN_PEER_URLS", "http://127.0.0.3:2380"),
        ];
        let settings = of("", &variables).unwrap();
        assert_eq!(
            flag(&settings, "join"),
            ["127.0.0.2:2380", "127.0.0.4:2380"]
        );
        assert_eq!(flag(&settings, "bootstrap-expect"), ["3"]);
        assert_eq!(flag(&settings, "data-dir"), ["b.etcd"]);
        let joining = of("--initial-cluster-state existing", &variables).unwrap();
        assert!(!joining.may_found);
    }

    #[test]
    fn a_url_with_https_has_files() {
        let line = "--listen-client-urls https://10.0.0.1:2379 --advertise-client-urls https://10.0.0.1:2379 --cert-file c --key-file k --client-cert-auth --trusted-ca-file a";
        let settings = of(line, &[]).unwrap();
        assert!(flag(&settings, "listen").contains(&"etcd=10.0.0.1:2379,tls"));
        assert!(flag(&settings, "insecure-listen").is_empty());
        for (name, file) in [("tls-cert", "c"), ("tls-key", "k"), ("tls-client-ca", "a")] {
            assert_eq!(flag(&settings, name), [file]);
        }
        let plain = of("--cert-file c --key-file k", &[]).unwrap();
        assert!(plain.warnings[0].contains("Ignored key/cert files"));
        let mixed = of(
            "--listen-client-urls https://localhost:1,http://localhost:2",
            &[],
        );
        assert!(mixed.unwrap_err().contains("either all of them"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, part) in [
            ("--auto-tls", "--auto-tls: this part of TLS"),
            (
                "--listen-client-urls https://localhost:2379",
                "needs --cert-file and --key-file",
            ),
            (
                "--listen-client-urls http://0.0.0.0:2379",
                "--advertise-client-urls is required",
            ),
            (
                "--initial-cluster a=http://h:1",
                "couldn't find local name \"default\"",
            ),
            ("--nmae x", "flag provided but not defined: -nmae"),
        ] {
            let error = of(line, &[]).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        }
    }
}
