//! Every command of etcdctl beside a real etcd: what it prints must be the same, but for ids, hashes, sizes, versions and times.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{
    RealEtcd, Server, clients, http, same,
    tally::{Table, skip_test},
};
use crate::need_binary;

/// Commands that go on for ever are ended when they have said nothing for so long.
const QUIET: Duration = Duration::from_millis(1500);

/// A command in the order of the session: what it reads, and what it is. `LEASE` is the id of the lease granted last, `FILE` a file of
/// the server's own. A command behind `~` goes on for ever.
const SESSION: &[(&str, &str)] = &[
    ("", "version"),
    ("", "endpoint health"),
    ("", "endpoint status -w json"),
    ("", "endpoint status"),
    ("", "endpoint status -w table"),
    ("", "member list"),
    ("", "member list -w table"),
    ("", "put a/1 one"),
    ("", "put a/2 two"),
    ("", "put a/3 three -w json"),
    ("", "put a/1 uno --prev-kv"),
    ("", "put a/1 eins --prev-kv -w fields"),
    ("from standard input", "put a/4"),
    ("", "put a/1 --ignore-lease tre"),
    ("", "put a/9 --ignore-value"),
    ("", "put a/2 --ignore-value"),
    ("", "put"),
    ("", "get a/1"),
    ("", "get a/1 -w json"),
    ("", "get a/1 -w fields"),
    ("", "get a/1 --hex"),
    ("", "get nothing"),
    ("", "get --prefix a/"),
    ("", "get --prefix a/ --keys-only"),
    ("", "get --prefix a/ --print-value-only"),
    ("", "get --prefix a/ --count-only"),
    ("", "get --prefix a/ --count-only -w fields"),
    ("", "get --prefix a/ --limit 2"),
    ("", "get --prefix a/ --limit 2 -w json"),
    ("", "get --from-key a/2"),
    ("", "get a/1 a/3"),
    ("", "get --prefix a/ --sort-by KEY --order DESCEND"),
    ("", "get --prefix a/ --sort-by MODIFY --order ASCEND"),
    ("", "get --prefix a/ --sort-by CREATE --order DESCEND"),
    ("", "get --prefix a/ --sort-by VALUE --order ASCEND"),
    ("", "get --prefix a/ --consistency s"),
    ("", "get --prefix a/ --rev 3"),
    ("", "get a/1 --rev 999"),
    ("", "get --prefix --from-key a"),
    ("", "get"),
    ("", "lease grant 600"),
    ("", "put l/1 x --lease=LEASE"),
    ("", "put l/2 x --lease=LEASE"),
    ("", "get l/1 -w fields"),
    ("", "lease timetolive LEASE"),
    ("", "lease timetolive LEASE --keys"),
    ("", "lease keep-alive --once LEASE"),
    ("", "lease list"),
    ("", "lease list -w json"),
    ("", "put l/3 x --lease=7fffffff"),
    ("", "lease timetolive 7fffffff"),
    ("", "lease keep-alive --once 7fffffff"),
    ("", "lease revoke 7fffffff"),
    ("", "lease grant abc"),
    ("", "~lease keep-alive LEASE"),
    ("", "lease revoke LEASE"),
    ("", "get --prefix l/"),
    (
        "mod(\"a/1\") > \"0\"\n\nput a/1 ja\nget a/1\n\nput a/1 nein\n\n",
        "txn -i",
    ),
    (
        "value(\"a/1\") = \"x\"\n\nput a/1 ja\n\nget a/1\ndel a/2\n\n",
        "txn",
    ),
    (
        "ver(\"none\") = \"0\"\n\nput b/1 neu\ndel --prefix a/4\n\n\n",
        "txn -w json",
    ),
    ("\n\nput c 1\nput c 2\n\n\n", "txn"),
    ("nonsense\n\n\n", "txn"),
    ("", "~watch --rev=1 --prefix a/"),
    ("", "~watch --rev=1 --prefix a/ --prev-kv"),
    ("", "~watch --rev=2 a/1 a/3"),
    ("", "~watch --rev=2 a/1 -w json"),
    ("watch --rev=2 a/1\n", "~watch -i"),
    ("progress\n", "~watch -i"),
    ("", "~watch --rev=2 a/1 -- echo seen"),
    ("", "compaction 5"),
    ("", "compaction 5"),
    ("", "compaction 999"),
    ("", "compaction 6 --physical"),
    ("", "get a/1 --rev 2"),
    ("", "~watch --rev=1 a/1"),
    ("", "del a/1"),
    ("", "del a/1"),
    ("", "del --prefix a/ --prev-kv"),
    ("", "put d/1 x"),
    ("", "put d/2 x"),
    ("", "del d/1 d/2 -w json"),
    ("", "del --from-key d"),
    ("", "del"),
    ("", "lock jobs echo inside"),
    ("", "~lock jobs"),
    ("", "~elect seat somebody"),
    ("", "endpoint hashkv"),
    ("", "alarm list"),
    ("", "alarm disarm"),
    ("", "defrag"),
    ("", "snapshot save FILE"),
    ("", "snapshot status FILE"),
    ("", "user list"),
    ("", "role list"),
    ("", "user get nobody"),
    ("", "role get nothing"),
    ("", "user delete nobody"),
    ("", "auth status"),
    ("", "auth enable"),
    ("", "auth disable"),
    ("", "nonsense"),
    ("", "help"),
    ("", "get --help"),
    ("", "put --nonsense a b"),
];

/// One server with what its etcdctl has said.
struct Side {
    address: SocketAddr,
    program: String,
    folder: tempfile::TempDir,
    lease: String,
    /// Texts that are this server's own, with what stands for them.
    own: Vec<(String, &'static str)>,
}

impl Side {
    fn new(program: &str, address: SocketAddr) -> Result<Side, String> {
        let status = http::call(address, "POST", "/v3/maintenance/status", Some("{}"))?.json()?;
        let mut own = vec![(address.to_string(), "ADDRESS")];
        for (name, word) in [("cluster_id", "CLUSTER"), ("member_id", "MEMBER")] {
            let id = status["header"][name].as_str().unwrap_or_default();
            let number: u64 = id.parse().map_err(|error| format!("{id}: {error}"))?;
            own.push((id.to_owned(), word));
            own.push((format!("{number:x}"), word));
        }
        let members = http::call(address, "POST", "/v3/cluster/member/list", Some("{}"))?.json()?;
        let member = &members["members"][0];
        for url in member["peerURLs"].as_array().into_iter().flatten() {
            own.push((url.as_str().unwrap_or_default().to_owned(), ""));
        }
        let name = member["name"].as_str().unwrap_or_default();
        own.push((format!(" {name},"), " NAME,"));
        // In a cell of a table, which may be wider.
        for (rule, blank) in [("│", "│ │"), ("|", "| |")] {
            for (before, after) in [(1, 1), (1, 3), (2, 2), (3, 1)] {
                let (before, after) = (" ".repeat(before), " ".repeat(after));
                own.push((format!("{rule}{before}{name}{after}{rule}"), blank));
            }
        }
        Ok(Side {
            address,
            program: program.to_owned(),
            folder: tempfile::tempdir().map_err(|error| error.to_string())?,
            lease: String::new(),
            own,
        })
    }

    /// What a command says, and how it ends.
    fn say(&mut self, input: &str, line: &str) -> Result<String, String> {
        let (endless, line) = match line.strip_prefix('~') {
            Some(line) => (true, line),
            None => (false, line),
        };
        let file = self.folder.path().join("snapshot.db").display().to_string();
        let line = line.replace("LEASE", &self.lease).replace("FILE", &file);
        let mut child = Command::new(&self.program)
            .env("ETCDCTL_API", "3")
            .arg(format!("--endpoints={}", self.address))
            .args(line.split(' '))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", self.program))?;
        if let Some(mut stdin) = child.stdin.take() {
            // Some do not read it.
            let _ = stdin.write_all(input.as_bytes());
            if endless {
                // The end of the input would end it.
                std::mem::forget(stdin);
            }
        }
        if endless {
            let began = Instant::now();
            while began.elapsed() < QUIET && matches!(child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = child.kill();
        }
        let (mut said, mut complained) = (String::new(), String::new());
        let pipe = "a pipe that was asked for";
        child
            .stdout
            .take()
            .expect(pipe)
            .read_to_string(&mut said)
            .map_err(|e| e.to_string())?;
        child
            .stderr
            .take()
            .expect(pipe)
            .read_to_string(&mut complained)
            .map_err(|e| e.to_string())?;
        let ended = child.wait().map_err(|error| error.to_string())?;
        if let Some(granted) = said.strip_prefix("lease ")
            && said.contains("granted")
        {
            self.lease = granted.split(' ').next().unwrap_or_default().to_owned();
        }
        // Logs have times and addresses in them; what is said to people does not begin like one.
        let complained: Vec<&str> = complained
            .lines()
            .filter(|line| !line.starts_with('{'))
            .collect();
        let code = if endless { None } else { ended.code() };
        Ok(self.common(
            &format!("{said}{}\nexit {code:?}", complained.join("\n")),
            &file,
        ))
    }

    /// The text without what is the server's own.
    fn common(&self, text: &str, file: &str) -> String {
        let mut text = text.replace(file, "FILE");
        for (own, word) in &self.own {
            text = text.replace(own.as_str(), word);
        }
        for lease in [self.lease.as_str()]
            .into_iter()
            .filter(|lease| !lease.is_empty())
        {
            text = text.replace(lease, "LEASE");
            if let Ok(number) = i64::from_str_radix(lease, 16) {
                text = text.replace(&number.to_string(), "LEASE");
            }
        }
        // Numbers that are not the client's: in whole lines or cells.
        let line = |line: &str| {
            let measured = ["took ", "raft_term", "RaftTerm", "Took", "hash"];
            let states = [
                "dbSize",
                "raftIndex",
                " MB, ",
                " kB, ",
                "VERSION",
                "Version",
                "DB SIZE",
            ];
            let table = ["|", "+---", "│", "┌", "├", "└"];
            // The key of a session that etcdctl made for itself.
            for queue in ["jobs/", "seat/"] {
                if let Some(lease) = line.strip_prefix(queue)
                    && lease.bytes().all(|byte| byte.is_ascii_hexdigit())
                {
                    return format!("{queue}LEASE");
                }
            }
            if table.iter().any(|start| line.starts_with(start)) {
                return shape(line);
            }
            if measured
                .iter()
                .chain(&states)
                .any(|word| line.contains(word))
                || looks_like_a_digest(line)
            {
                return figures(line);
            }
            line.to_owned()
        };
        text.lines().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// `ADDRESS, 1234, 5` or `1a2b, 3, 4, 20 kB`: what hashes and statuses of files look like.
fn looks_like_a_digest(line: &str) -> bool {
    line.starts_with("ADDRESS, ") || line.ends_with(" kB") || line.ends_with(" MB")
}

/// Numbers, in whatever form, are one word; so are the units behind them.
fn figures(line: &str) -> String {
    let parts = line.split_inclusive(|c: char| !c.is_ascii_alphanumeric() && c != '.');
    let mut out = String::new();
    for part in parts {
        let word = part.trim_end_matches(|c: char| !c.is_ascii_alphanumeric() && c != '.');
        let number = word.starts_with(|c: char| c.is_ascii_digit())
            || word.len() >= 6 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        match (number, word) {
            (true, _) => out.push('N'),
            (_, "kB" | "MB" | "GB") => out.push('U'),
            _ => out.push_str(word),
        }
        out.push_str(&part[word.len()..]);
    }
    out
}

/// A table's line without widths, figures and names.
fn shape(line: &str) -> String {
    let line = figures(line).replace(['-', '─'], "");
    let line = line.replace(" NAME ", " ");
    let words: Vec<&str> = line.split_whitespace().collect();
    words.join(" ")
}

#[test]
fn every_command_says_what_it_says_beside_etcd() {
    need_binary!();
    let etcd = match clients::program("etcd") {
        Ok(etcd) => etcd,
        Err(why) => return skip_test("soak: etcdctl", &why, 1),
    };
    let newest = clients::program("etcdctl").unwrap();
    let older = std::env::var("PORTOLAN_ETCDCTL").expect("`cargo xtask soak etcdctl` sets it");
    let mut programs: Vec<(&str, &str)> = older
        .split(',')
        .filter_map(|one| one.split_once('='))
        .collect();
    programs.push(("3.7", &newest));
    let mut table = Table::new("soak: etcdctl");
    for (version, program) in programs {
        let peer = RealEtcd::start(&etcd).unwrap();
        peer.ready().unwrap();
        let server = Server::start();
        let mut left = Side::new(program, peer.address()).unwrap();
        let mut right = Side::new(program, server.address("etcd")).unwrap();
        for (number, (input, line)) in SESSION.iter().enumerate() {
            let expected = left.say(input, line);
            let found = right.say(input, line);
            let outcome = expected.and_then(|expected| same(found?.as_str(), expected.as_str()));
            table.cell(&format!("{number:3} {line}"), version, outcome);
        }
    }
    table.finish();
}
