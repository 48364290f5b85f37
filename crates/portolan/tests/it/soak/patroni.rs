//! Two PostgreSQL servers under Patroni, whose store is the JSON gateway.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Server, clients, eventually, http, same, server::free_address, tally};
use crate::need_binary;

const SOON: Duration = Duration::from_secs(90);

/// Where Debian puts PostgreSQL, and its user.
fn postgresql() -> Result<(PathBuf, u32, u32), String> {
    let versions = fs::read_dir("/usr/lib/postgresql").map_err(|_| "no postgresql".to_owned())?;
    let newest = versions
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .max();
    let folder = newest
        .filter(|bin| bin.join("initdb").exists())
        .ok_or("no postgresql")?;
    let users = fs::read_to_string("/etc/passwd").map_err(|error| error.to_string())?;
    let user = users.lines().find_map(|line| {
        let mut fields = line.strip_prefix("postgres:")?.split(':').skip(1);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    });
    let (user, group) = user.ok_or("no user postgres")?;
    Ok((folder, user, group))
}

/// A command by PostgreSQL's user: it refuses to be root.
fn unprivileged(program: &str) -> Result<Command, String> {
    let (_, user, group) = postgresql()?;
    let mut command = Command::new(program);
    if rustix::process::getuid().is_root() {
        command.uid(user).gid(group);
    }
    Ok(command)
}

/// Whether that user can run Patroni: the clients may be installed where it may not look.
fn reachable() -> Result<(), String> {
    let python = clients::program("python")?;
    let mut command = unprivileged(&python)?;
    let output = command
        .args(["-c", "import patroni"])
        .current_dir("/")
        .output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        _ => Err("no Patroni that the user postgres can run".to_owned()),
    }
}

/// A member under Patroni.
struct Member {
    name: &'static str,
    api: SocketAddr,
    child: Child,
    /// Of PostgreSQL, which outlives a Patroni that is killed.
    data: PathBuf,
}

impl Member {
    fn start(name: &'static str, store: SocketAddr, folder: &Path) -> Result<Member, String> {
        let (programs, ..) = postgresql()?;
        let python = clients::program("python")?;
        let (api, database) = (free_address(), free_address());
        let data = folder.join(name);
        let settings = json!({
            "scope": "soak",
            "name": name,
            "restapi": { "listen": api.to_string(), "connect_address": api.to_string() },
            "etcd3": { "hosts": store.to_string() },
            "bootstrap": {
                "dcs": { "ttl": 20, "loop_wait": 2, "retry_timeout": 5, "postgresql": { "use_pg_rewind": true } },
                "initdb": [{ "encoding": "UTF8" }, "data-checksums"],
                "pg_hba": ["local all all trust", "host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"],
            },
            "postgresql": {
                "listen": database.to_string(),
                "connect_address": database.to_string(),
                "data_dir": data,
                "bin_dir": programs,
                "pgpass": folder.join(format!("{name}.pgpass")),
                "authentication": {
                    "superuser": { "username": "postgres", "password": "none" },
                    "replication": { "username": "replicator", "password": "none" },
                    "rewind": { "username": "rewinder", "password": "none" },
                },
                "parameters": { "unix_socket_directories": folder },
            },
        });
        // JSON is YAML.
        let file = folder.join(format!("{name}.yml"));
        fs::write(&file, settings.to_string()).map_err(|error| error.to_string())?;
        let log = fs::File::create(folder.join(format!("{name}.log")))
            .map_err(|error| error.to_string())?;
        let child = unprivileged(&python)?
            .args(["-m", "patroni"])
            .arg(&file)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(|error| error.to_string())?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("patroni: {error}"))?;
        Ok(Member {
            name,
            api,
            child,
            data,
        })
    }

    /// What Patroni says of itself.
    fn status(&self) -> Result<Value, String> {
        http::call(self.api, "GET", "/patroni", None)?.json()
    }

    fn is(&self, role: &str) -> Result<(), String> {
        let status = self.status()?;
        same(&status["state"], &json!("running"))?;
        // Up to 3 it was called the master.
        same(&status["role"], &json!(role))
    }

    /// Ends Patroni and PostgreSQL at once.
    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let pid = fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
        let pid = pid.lines().next().and_then(|pid| pid.parse().ok());
        if let Some(pid) = pid {
            crate::harness::server::signal(pid, rustix::process::Signal::QUIT);
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The cluster as a member sees it: who leads, and how many stream from it.
fn cluster(member: &Member) -> Result<(String, usize), String> {
    let seen = http::call(member.api, "GET", "/cluster", None)?.json()?;
    let members = seen["members"].as_array().cloned().unwrap_or_default();
    let leader = members.iter().find(|one| one["role"] == "leader");
    let leader = leader.ok_or_else(|| format!("nobody leads: {seen}"))?;
    let replicas = members.iter().filter(|one| one["state"] == "streaming");
    Ok((
        leader["name"].as_str().unwrap_or_default().to_owned(),
        replicas.count(),
    ))
}

#[test]
fn bootstrap_switchover_failover_and_a_restart() {
    need_binary!();
    for why in [postgresql().map(drop), reachable()] {
        if let Err(why) = why {
            return tally::skip_test("soak: Patroni", &why, 1);
        }
    }
    let mut server = Server::start();
    let store = server.address("etcd");
    let folder = tempfile::tempdir().unwrap();
    let (_, user, group) = postgresql().unwrap();
    if rustix::process::getuid().is_root() {
        chown(folder.path(), Some(user), Some(group)).unwrap();
    }
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let one = Member::start("one", store, folder.path()).unwrap();
    eventually(SOON, || one.is("primary")).unwrap();
    let mut two = Member::start("two", store, folder.path()).unwrap();
    eventually(SOON, || same(&cluster(&one)?, &("one".to_owned(), 1))).unwrap();
    println!("bootstrap and replica");

    let body = r#"{"leader":"one","candidate":"two"}"#;
    let reply = http::call(one.api, "POST", "/switchover", Some(body)).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    eventually(SOON, || same(&cluster(&one)?, &("two".to_owned(), 1))).unwrap();
    println!("switchover");

    // The store goes and comes back: the leader stays, since it is back within the lease.
    server.kill();
    server.start_again();
    eventually(SOON, || two.is("primary")).unwrap();
    eventually(SOON, || same(&cluster(&one)?, &("two".to_owned(), 1))).unwrap();
    println!("restart of the server");

    two.kill();
    eventually(SOON, || same(&cluster(&one)?.0, &one.name.to_owned())).unwrap();
    eventually(SOON, || one.is("primary")).unwrap();
    println!("failover");
}
