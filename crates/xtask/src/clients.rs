//! Installing the unmodified clients of `tests/clients` from their package registries, into the user's cache folder.
//!
//! Only toolchains that are there are used. What cannot be installed is written down with its reason; the tests that need it then
//! say `skipped: no go`, and continuous integration fails on it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::place;
use crate::tools::{must, version};

/// How the tests start one client, or why they cannot.
#[derive(Debug, Default, Serialize)]
struct Client {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    command: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    environment: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<String>,
}

/// Why a client is not there: the toolchain is missing (`no go`), or installing went wrong.
enum Absent {
    Toolchain(&'static str),
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Absent {
    fn from(error: anyhow::Error) -> Self {
        Absent::Failed(error)
    }
}

type Installed = Result<Client, Absent>;
type Recipe = (&'static str, fn() -> Installed);

/// What only long runs use: the run, and what it takes beside the others.
const FRAMEWORKS: [(&str, &[Recipe]); 4] = [
    ("kafka", &[("kafka", kafka), ("kafka-driver", kafka_driver)]),
    ("dubbo", &[("dubbo", dubbo)]),
    ("spring-nacos", &[("spring-nacos", spring_nacos)]),
    ("kazoo-suite", &[("kazoo-suite", kazoo_suite)]),
];

/// Installs what can be and returns the file that tells the tests where everything is.
pub(crate) fn install() -> Result<PathBuf> {
    install_with(&[], "clients.json")
}

/// As [`install`], with what a long run needs beside it.
pub(crate) fn install_for(run: &str) -> Result<PathBuf> {
    match FRAMEWORKS.iter().find(|(name, _)| *name == run) {
        Some((_, recipes)) => install_with(recipes, &format!("clients-for-{run}.json")),
        None => install(),
    }
}

fn install_with(more: &[Recipe], file: &str) -> Result<PathBuf> {
    let mut clients = BTreeMap::new();
    let recipes: [Recipe; 25] = [
        ("go", go),
        ("etcdctl", etcdctl),
        ("etcdutl", etcdutl),
        ("etcd", etcd_server),
        ("python", python),
        ("node", node),
        ("java", java),
        ("jetcd", jetcd),
        ("curator", curator),
        ("zookeeper", zookeeper),
        ("nacos-go", nacos_go),
        ("nacos-python", nacos_python),
        ("nacos-node", nacos_node),
        ("nacos-java-2", || nacos_java("nacos-java-2", "2.5.1")),
        ("nacos-java-3", || nacos_java("nacos-java-3", "3.1.1")),
        ("kubernetes-go", kubernetes_go),
        ("kubernetes-python", kubernetes_python),
        ("kubectl", kubectl),
        ("xds-go", xds_go),
        ("xds-python", xds_python),
        ("envoy", envoy),
        ("dig", dig),
        ("haproxy", haproxy),
        ("unbound", unbound),
        ("nginx", nginx),
    ];
    let recipes = recipes.into_iter().chain(more.iter().copied());
    let recipes = recipes.map(|(name, recipe)| (name, recipe()));
    let etcd_go = ETCD_GO
        .into_iter()
        .map(|(name, version)| (name, etcd_go(name, version)));
    for (name, installed) in recipes.chain(etcd_go) {
        let client = match installed {
            Ok(client) => {
                println!("client {name}: ready");
                client
            }
            Err(absent) => {
                let missing = match absent {
                    Absent::Toolchain(word) => format!("no {word}"),
                    Absent::Failed(error) => format!("no {name}: {error:#}"),
                };
                println!("skipped: {missing}");
                Client {
                    missing: Some(missing),
                    ..Client::default()
                }
            }
        };
        clients.insert(name, client);
    }
    let file = place::cache("clients")?.join(file);
    fs::write(&file, serde_json::to_string_pretty(&clients)?)
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

/// A folder in the cache whose name changes with the files that pin its content; folders of older pins are removed.
struct Pinned {
    folder: PathBuf,
    stamp: PathBuf,
}

impl Pinned {
    fn new(name: &str, pins: &[PathBuf]) -> Result<Self> {
        let base = place::cache("clients")?;
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for file in pins {
            for byte in fs::read(file).with_context(|| format!("cannot read {}", file.display()))? {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        let own = format!("{name}-{hash:016x}");
        for entry in fs::read_dir(&base)?.flatten() {
            let found = entry.file_name().to_string_lossy().into_owned();
            if found.starts_with(&format!("{name}-")) && found != own {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let folder = base.join(own);
        fs::create_dir_all(&folder)?;
        Ok(Self {
            stamp: folder.join("installed"),
            folder,
        })
    }

    fn is_installed(&self) -> bool {
        self.stamp.is_file()
    }

    fn installed(&self) -> Result<()> {
        fs::write(&self.stamp, "").context("cannot write the stamp")
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

fn source(folder: &str) -> PathBuf {
    place::root().join("tests/clients").join(folder)
}

fn need(program: &'static str, word: &'static str) -> Result<PathBuf, Absent> {
    place::program(program).ok_or(Absent::Toolchain(word))
}

fn command_of(words: impl IntoIterator<Item = impl Into<String>>) -> Client {
    Client {
        command: words.into_iter().map(Into::into).collect(),
        ..Client::default()
    }
}

/// Refuses a toolchain whose first version number is too small, before it fails in words nobody understands.
fn at_least(found: Option<String>, major: u32, minor: u32, what: &str) -> Result<()> {
    let found = found.with_context(|| format!("{what} does not run"))?;
    let number = found
        .split(|c: char| !(c.is_ascii_digit() || c == '.'))
        .find(|part| part.contains('.'))
        .unwrap_or("0.0");
    let mut parts = number
        .split('.')
        .map(|part| part.parse::<u32>().unwrap_or(0));
    if (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) < (major, minor) {
        bail!("{what} {number} is too old: {major}.{minor} or newer is needed");
    }
    Ok(())
}

fn go_build(folder: &Path, output: &str, package: &str) -> Result<(), Absent> {
    go_build_with(folder, output, package, &[])
}

fn go_build_with(folder: &Path, output: &str, package: &str, flags: &[&str]) -> Result<(), Absent> {
    let go = need("go", "go")?;
    at_least(version(&go, &["version"]), 1, 26, "go")?;
    let mut command = Command::new(go);
    command
        .current_dir(folder)
        .args(["build", "-trimpath", "-o", output])
        .args(flags)
        .arg(package);
    // The committed go.mod and go.sum decide; a workspace or a flag from outside must not.
    command
        .env("GOFLAGS", "-mod=readonly")
        .env("GOWORK", "off")
        .env("CGO_ENABLED", "0");
    must(&mut command, &format!("go build {package}"))?;
    Ok(())
}

/// A Go program of the cache, built from a folder's pinned modules.
fn go_program(name: &str, folder: &Path, package: &str) -> Installed {
    let output = place::cache("clients")?.join(name).display().to_string();
    go_build(folder, &output, package)?;
    Ok(command_of([output]))
}

fn go() -> Installed {
    go_program("go-driver", &source("go"), ".")
}

fn etcdctl() -> Installed {
    go_program("etcdctl", &source("etcdctl"), "go.etcd.io/etcd/etcdctl/v3")
}

fn etcdutl() -> Installed {
    go_program("etcdutl", &source("etcdutl"), "go.etcd.io/etcd/etcdutl/v3")
}

/// etcdctl of older versions, for `cargo xtask soak etcdctl` alone: the version, and the package it is.
const ETCDCTL: [(&str, &str); 3] = [
    ("3.4", "go.etcd.io/etcd/etcdctl"),
    ("3.5", "go.etcd.io/etcd/etcdctl/v3"),
    ("3.6", "go.etcd.io/etcd/etcdctl/v3"),
];

/// Builds etcdctl of the versions that only a soak run uses, beside what is installed, and says where: `3.4=/.../etcdctl-3.4,...`.
pub(crate) fn older_etcdctl() -> Result<String> {
    let mut built = Vec::new();
    for (version, package) in ETCDCTL {
        let output = place::cache("clients")?.join(format!("etcdctl-{version}"));
        let output = output.display().to_string();
        let modules = format!("-modfile=v{version}.mod");
        match go_build_with(&source("etcdctl"), &output, package, &[&modules]) {
            Ok(()) => built.push(format!("{version}={output}")),
            Err(Absent::Toolchain(word)) => bail!("no {word}"),
            Err(Absent::Failed(error)) => return Err(error),
        }
    }
    Ok(built.join(","))
}

/// CoreDNS with the plugins of a cluster's configuration, for `cargo xtask acceptance kubernetes` alone.
pub(crate) fn coredns() -> Result<String> {
    alone("coredns", ".")
}

/// kube-proxy, for `cargo xtask acceptance kubernetes` alone.
pub(crate) fn kube_proxy() -> Result<String> {
    alone("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy")
}

/// A Go program that one run alone uses, and where it is.
fn alone(name: &str, package: &str) -> Result<String> {
    let output = place::cache("clients")?.join(name).display().to_string();
    match go_build(&source(name), &output, package) {
        Ok(()) => Ok(output),
        Err(Absent::Toolchain(word)) => bail!("no {word}"),
        Err(Absent::Failed(error)) => Err(error),
    }
}

/// etcd's Go client, one program for each version that differs on the wire: the client's name and the module file that pins it.
const ETCD_GO: [(&str, &str); 5] = [
    ("etcd-go-3.4", "v3.4"),
    ("etcd-go-3.5.0", "v3.5.0"),
    ("etcd-go-3.5", "v3.5"),
    ("etcd-go-3.6", "v3.6"),
    ("etcd-go-3.7", "v3.7"),
];

fn etcd_go(name: &str, version: &str) -> Installed {
    let output = place::cache("clients")?.join(name).display().to_string();
    let modules = format!("-modfile={version}.mod");
    let flags: &[&str] = match version {
        // The client had another import path.
        "v3.4" => &[&modules, "-tags=etcd34"],
        _ => &[&modules],
    };
    go_build_with(&source("etcd-go"), &output, ".", flags)?;
    Ok(command_of([output]))
}

/// A real etcd, the peer of the differential run.
fn etcd_server() -> Installed {
    let folder = place::root().join("bench/etcd/peer");
    go_program("etcd", &folder, "go.etcd.io/etcd/server/v3")
}

fn nacos_go() -> Installed {
    go_program("nacos-go", &source("nacos-go"), ".")
}

fn kubernetes_go() -> Installed {
    go_program("kubernetes-go", &source("kubernetes-go"), ".")
}

fn xds_go() -> Installed {
    go_program("xds-go", &source("xds-go"), ".")
}

/// Whichever kubectl the machine has.
fn kubectl() -> Installed {
    let kubectl = need("kubectl", "kubectl")?;
    Ok(command_of([kubectl.display().to_string()]))
}

fn python() -> Installed {
    python_in("python")
}

fn kubernetes_python() -> Installed {
    python_in("kubernetes-python")
}

fn nacos_python() -> Installed {
    python_in("nacos-python")
}

fn xds_python() -> Installed {
    python_in("xds-python")
}

/// Envoy's own program, which comes in a wheel.
fn envoy() -> Installed {
    let (pinned, _) = python_libraries("envoy")?;
    let lib = pinned.folder.join("venv/lib");
    let found = fs::read_dir(&lib)
        .with_context(|| format!("cannot read {}", lib.display()))?
        .flatten()
        .map(|entry| entry.path().join("site-packages/envoy/_bin/envoy"))
        .find(|program| program.is_file())
        .context("the wheel has no program")?;
    Ok(command_of([found.display().to_string()]))
}

/// A driver in Python in an environment of its own: clients may share a name.
fn python_in(folder: &str) -> Installed {
    let (_, own) = python_libraries(folder)?;
    Ok(command_of([
        own,
        source(folder).join("driver.py").display().to_string(),
    ]))
}

/// What a folder's requirements name, in an environment of its own, and that environment's Python.
fn python_libraries(folder: &str) -> Result<(Pinned, String), Absent> {
    let python = need("python3", "python")?;
    let requirements = source(folder).join("requirements.txt");
    let pinned = Pinned::new(folder, std::slice::from_ref(&requirements))?;
    let own = pinned.path("venv/bin/python");
    if !pinned.is_installed() {
        must(
            Command::new(python)
                .args(["-m", "venv", "--clear"])
                .arg(pinned.folder.join("venv")),
            "python venv",
        )?;
        must(
            Command::new(&own)
                .args([
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--disable-pip-version-check",
                    "--no-deps",
                    "-r",
                ])
                .arg(&requirements),
            "pip install",
        )?;
        pinned.installed()?;
    }
    Ok((pinned, own))
}

fn node() -> Installed {
    node_in("node")
}

fn nacos_node() -> Installed {
    node_in("nacos-node")
}

fn node_in(folder: &str) -> Installed {
    let node = need("node", "node")?;
    let npm = need("npm", "npm")?;
    at_least(version(&node, &["--version"]), 20, 0, "node")?;
    let pins = [
        source(folder).join("package.json"),
        source(folder).join("package-lock.json"),
    ];
    let pinned = Pinned::new(folder, &pins)?;
    if !pinned.is_installed() {
        for file in &pins {
            fs::copy(
                file,
                pinned.folder.join(file.file_name().unwrap_or_default()),
            )
            .context("cannot copy the lock file")?;
        }
        must(
            Command::new(npm).current_dir(&pinned.folder).args([
                "ci",
                "--ignore-scripts",
                "--no-audit",
                "--no-fund",
            ]),
            "npm ci",
        )?;
        pinned.installed()?;
    }
    let mut client = command_of([
        node.display().to_string(),
        source(folder).join("driver.js").display().to_string(),
    ]);
    client
        .environment
        .insert("NODE_PATH".into(), pinned.path("node_modules"));
    Ok(client)
}

fn java() -> Installed {
    java_in("java", "java", "Driver", &[])
}

/// Nacos' Java client in one version: they do not share a class path.
fn nacos_java(name: &str, version: &str) -> Installed {
    let version = format!("-Dnacos.version={version}");
    java_in(name, "nacos-java", "NacosDriver", &[&version])
}

fn java_in(name: &str, folder: &str, class: &str, flags: &[&str]) -> Installed {
    let (java, path) = java_libraries(name, folder, class, flags)?;
    Ok(command_of([java.as_str(), "-Xmx256m", "-cp", &path, class]))
}

/// Builds the class of a folder, and fetches what it needs: `java`, and the class path.
fn java_libraries(
    name: &str,
    folder: &str,
    class: &str,
    flags: &[&str],
) -> Result<(String, String), Absent> {
    let java = need("java", "java")?;
    let maven = need("mvn", "mvn")?;
    let pins = [
        source(folder).join("pom.xml"),
        source(folder).join(format!("src/main/java/{}.java", class.replace('.', "/"))),
    ];
    let pinned = Pinned::new(name, &pins)?;
    if !pinned.is_installed() {
        must(
            Command::new(maven)
                .args(["--quiet", "--batch-mode", "--file"])
                .arg(&pins[0])
                .arg(format!("-Dbuild.folder={}", pinned.folder.display()))
                .args(flags)
                .arg("process-classes"),
            "mvn",
        )?;
        pinned.installed()?;
    }
    let path = format!("{}:{}", pinned.path("classes"), pinned.path("lib/*"));
    Ok((java.display().to_string(), path))
}

/// Curator and a real ZooKeeper: one folder of libraries.
fn zookeeper_libraries() -> Result<(String, String), Absent> {
    java_libraries("zookeeper", "zookeeper", "CuratorDriver", &[])
}

fn curator() -> Installed {
    let (java, path) = zookeeper_libraries()?;
    Ok(command_of([
        java.as_str(),
        "-Xmx256m",
        "-cp",
        path.as_str(),
        "CuratorDriver",
    ]))
}

/// The command of a real ZooKeeper, which takes a configuration file: the peer of the differential run.
fn zookeeper() -> Installed {
    let (java, path) = zookeeper_libraries()?;
    let class = "org.apache.zookeeper.server.quorum.QuorumPeerMain";
    let types = "-Dzookeeper.extendedTypesEnabled=true";
    Ok(command_of([
        java.as_str(),
        "-Xmx512m",
        types,
        "-cp",
        path.as_str(),
        class,
    ]))
}

/// A Kafka broker, which takes a file of settings.
fn kafka() -> Installed {
    let (java, path) = java_libraries("kafka", "kafka", "KafkaDriver", &[])?;
    let said = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn";
    Ok(command_of([
        &java,
        "-Xmx384m",
        said,
        "-cp",
        &path,
        "kafka.Kafka",
    ]))
}

fn kafka_driver() -> Installed {
    java_in("kafka", "kafka", "KafkaDriver", &[])
}

fn dubbo() -> Installed {
    java_in("dubbo", "dubbo", "DubboDriver", &[])
}

/// kazoo's own tests, whose servers a plugin starts.
fn kazoo_suite() -> Installed {
    let (_, python) = python_libraries("kazoo-suite")?;
    let mut client = command_of([&python, "-m", "pytest"]);
    let plugin = source("kazoo-suite").display().to_string();
    client.environment.insert("PYTHONPATH".into(), plugin);
    Ok(client)
}

/// A Spring application, which takes its properties as arguments.
fn spring_nacos() -> Installed {
    java_in("spring-nacos", "spring-nacos", "shop.Shop", &[])
}

fn jetcd() -> Installed {
    java_in("jetcd", "jetcd", "Jetcd", &[])
}

fn dig() -> Installed {
    debian("dig", "bind9-dnsutils")
}

fn haproxy() -> Installed {
    debian("haproxy", "haproxy")
}

fn unbound() -> Installed {
    debian("unbound", "unbound")
}

fn nginx() -> Installed {
    debian("nginx", "nginx-light")
}

/// A program of a Debian package, whose version the distribution pins. Continuous integration installs it when it may; what a package
/// starts by itself is not ours.
fn debian(name: &'static str, package: &str) -> Installed {
    if place::program(name).is_none()
        && place::in_ci()
        && version("id", &["-u"]).as_deref() == Some("0")
    {
        must(
            Command::new("apt-get").args(["update", "--quiet"]),
            "apt-get update",
        )?;
        must(
            Command::new("apt-get")
                .env("DEBIAN_FRONTEND", "noninteractive")
                .args(["install", "--yes", "--quiet", "--no-install-recommends"])
                .arg(package),
            &format!("apt-get install {package}"),
        )?;
    }
    Ok(command_of([need(name, name)?.display().to_string()]))
}
