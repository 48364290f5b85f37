//! etcd's users and roles: etcdctl's commands and random calls of users with different roles, here and at a real etcd.
//!
//! `PORTOLAN_TEST_SEED` and `PORTOLAN_TEST_OPERATIONS` choose another history than the short one.

mod calls;
mod history;
mod side;

use std::process::{Command, Stdio};

use crate::harness::{
    RealEtcd, Server, clients, etcd, same,
    server::free_address,
    tally::{Table, skip_test},
};
use crate::need_binary;

/// Commands of etcdctl in the order of a session. Every one is `--user NAME:PASSWORD` of the first column, if there is any.
const SESSION: &[(&str, &str)] = &[
    ("", "auth status"),
    ("", "auth enable"),
    ("", "user add root:r"),
    ("", "user add root:again"),
    ("", "user grant-role root root"),
    ("", "user add ann:a"),
    ("", "user add bob:b"),
    ("", "user add cert --no-password"),
    ("", "role add reader"),
    ("", "role add reader"),
    ("", "role add writer"),
    ("", "role add all"),
    ("", "role grant-permission reader read app/ --prefix"),
    ("", "role grant-permission writer readwrite app/ app0"),
    ("", "role grant-permission writer write log"),
    ("", "role grant-permission all readwrite z --from-key"),
    ("", "role grant-permission none read app"),
    ("", "role grant-permission reader nonsense app"),
    ("", "role get reader"),
    ("", "role get writer"),
    ("", "role get all"),
    ("", "role list"),
    ("", "user grant-role ann reader"),
    ("", "user grant-role bob writer all"),
    ("", "user grant-role bob none"),
    ("", "user get bob"),
    ("", "user get bob --detail"),
    ("", "user list"),
    ("root:r", "get app/1"),
    ("", "auth enable"),
    ("", "auth enable"),
    ("", "auth status"),
    ("root:r", "auth status"),
    ("root:r", "auth enable"),
    ("root:wrong", "get app/1"),
    ("nobody:x", "get app/1"),
    ("cert:x", "get app/1"),
    ("", "get app/1"),
    ("", "put app/1 x"),
    ("bob:b", "put app/1 one"),
    ("bob:b", "put app/2 two --prev-kv"),
    ("bob:b", "put log x"),
    ("bob:b", "put log y --prev-kv"),
    ("bob:b", "put other x"),
    ("bob:b", "get log"),
    ("bob:b", "get z --from-key"),
    ("ann:a", "get app/1"),
    ("ann:a", "get app/ --prefix"),
    ("ann:a", "get app --prefix"),
    ("ann:a", "put app/1 x"),
    ("ann:a", "del app/1"),
    ("bob:b", "del app/1 --prev-kv"),
    ("bob:b", "del app --prefix"),
    ("root:r", "get app --prefix --keys-only"),
    ("ann:a", "lease grant abc"),
    ("ann:a", "lease list"),
    ("root:r", "lease list"),
    ("ann:a", "user get ann"),
    ("ann:a", "user get bob"),
    ("ann:a", "user list"),
    ("ann:a", "role get reader"),
    ("ann:a", "role get writer"),
    ("ann:a", "role list"),
    ("ann:a", "user add eve:e"),
    ("ann:a", "user delete bob"),
    ("ann:a", "auth disable"),
    ("ann:a", "compaction 2"),
    ("ann:a", "alarm list"),
    ("ann:a", "alarm disarm"),
    ("root:r", "compaction 9223372036854775807"),
    ("root:r", "alarm disarm"),
    ("root:r", "user delete root"),
    ("root:r", "role delete root"),
    ("root:r", "user revoke-role root root"),
    ("root:r", "user revoke-role bob reader"),
    ("root:r", "role revoke-permission writer log"),
    ("root:r", "role revoke-permission writer log"),
    ("bob:b", "put log x"),
    ("root:r", "role delete writer"),
    ("root:r", "role delete writer"),
    ("root:r", "user get bob"),
    ("bob:b", "put app/1 x"),
    ("root:r", "user revoke-role bob all"),
    ("root:r", "user delete cert"),
    ("root:r", "user delete cert"),
    ("root:r", "user list"),
];

/// What a command of etcdctl says, without what is a server's own.
fn said(address: std::net::SocketAddr, user: &str, line: &str) -> Result<String, String> {
    let mut command = Command::new(clients::program("etcdctl")?);
    command.arg(format!("--endpoints={address}"));
    // A busy machine is no difference.
    command.args(["--dial-timeout=20s", "--command-timeout=30s"]);
    if !user.is_empty() {
        command.arg(format!("--user={user}"));
    }
    let output = command
        .args(line.split(' '))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    // Logs have times and addresses in them; what is said to people does not begin like one.
    let complained: Vec<&str> = complained
        .lines()
        .filter(|line| !line.starts_with('{'))
        .collect();
    let all = format!(
        "{said}{}\nexit {:?}",
        complained.join("\n"),
        output.status.code()
    );
    Ok(all.replace(&address.to_string(), "ADDRESS"))
}

fn real_etcd(suite: &str) -> Option<RealEtcd> {
    for program in ["etcd", "etcdctl", "etcdutl"] {
        if let Err(why) = clients::program(program) {
            skip_test(suite, &why, 1);
            return None;
        }
    }
    let etcd = RealEtcd::start(&clients::program("etcd").unwrap()).unwrap();
    etcd.ready().unwrap();
    Some(etcd)
}

fn server() -> Server {
    Server::with(&["--etcd-bcrypt-cost", "4"])
}

/// The session here and there; then a restart, and a snapshot that becomes a real etcd: all three know the same users.
#[test]
fn etcdctl_says_what_it_says_beside_etcd() {
    need_binary!();
    let Some(peer) = real_etcd("etcd_auth: etcdctl") else {
        return;
    };
    let mut server = server();
    let address = server.address("etcd");
    let mut table = Table::new("etcd_auth: etcdctl");
    for (number, (user, line)) in SESSION.iter().enumerate() {
        let (expected, found) = (said(peer.address(), user, line), said(address, user, line));
        let outcome = expected.and_then(|expected| same(found?.as_str(), expected.as_str()));
        table.cell(&format!("{number:2} {user} {line}"), "3.7", outcome);
    }
    let told = |address| -> Vec<String> {
        [
            ("ann:a", "get app/ --prefix"),
            ("ann:a", "put app/1 x"),
            ("ann:b", "get app/1"),
            ("", "get app/1"),
            ("root:r", "user list"),
            ("root:r", "role list"),
            ("root:r", "role get reader"),
            ("root:r", "role get all"),
            ("root:r", "user get ann"),
            ("", "auth status"),
        ]
        .iter()
        .map(|(user, line)| said(address, user, line).unwrap())
        .collect()
    };
    let before = told(address);
    server.kill();
    server.start_again();
    table.cell("after a restart", "portolan", same(&told(address), &before));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("snapshot.db").display().to_string();
    let saved = said(address, "ann:a", &format!("snapshot save {file}"));
    let denied = saved.and_then(|saved| match saved.contains("permission denied") {
        true => Ok(()),
        false => Err(saved),
    });
    table.cell("a snapshot for ann", "portolan", denied);
    said(address, "root:r", &format!("snapshot save {file}")).unwrap();
    let data = folder.path().join("data");
    let url = format!("http://{}", free_address());
    let (shown, cluster) = (data.display().to_string(), format!("peer={url}"));
    let restored = clients::run(
        "etcdutl",
        &[
            "snapshot",
            "restore",
            &file,
            "--name",
            "peer",
            "--data-dir",
            &shown,
            "--initial-cluster",
            &cluster,
            "--initial-advertise-peer-urls",
            &url,
        ],
    );
    restored.unwrap();
    let restored = RealEtcd::on(&clients::program("etcd").unwrap(), &data, &url).unwrap();
    restored.ready().unwrap();
    let outcome = same(&told(restored.address()), &before);
    table.cell("a snapshot's users", "etcd 3.7", outcome);
    table.finish();
}

fn number(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// One random history of users at both servers.
pub fn compare(suite: &str, operations: u64) {
    let Some(peer) = real_etcd(suite) else {
        return;
    };
    let (seed, operations) = (
        number("PORTOLAN_TEST_SEED", 3),
        number("PORTOLAN_TEST_OPERATIONS", operations) as usize,
    );
    let server = server();
    let outcome = etcd::runtime().block_on(history::run(
        (peer.address(), server.address("etcd")),
        seed,
        operations,
    ));
    let mut table = Table::new(suite);
    let outcome = outcome.map(|tally| println!("seed {seed}: no difference in {tally:?}"));
    table.cell(
        &format!("seed {seed}, {operations} operations"),
        "etcd 3.7",
        outcome,
    );
    table.finish();
}

#[test]
fn users_with_different_roles_are_answered_like_by_etcd() {
    need_binary!();
    compare("etcd_auth: differential", 1000);
}
