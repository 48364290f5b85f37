//! The tests of Consul's own Go client, which start `consul agent` themselves: here that is the binary under another name. What cannot pass
//! is in `tests/clients/consul-api/exceptions.txt`, each with its reason; a test that is there and passes is as wrong as one that fails
//! and is not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::server;
use crate::need_binary;

const MODULE: &str = "github.com/hashicorp/consul/api@v1.34.5";

fn exceptions() -> BTreeMap<String, String> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/clients/consul-api/exceptions.txt");
    let text = fs::read_to_string(path).expect("the list of exceptions");
    let lines = text
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, reason) = line.split_once(' ').expect("a name and a reason");
            assert!(reason.trim().len() > 10, "{name} needs a reason");
            (name.to_owned(), reason.trim().to_owned())
        })
        .collect()
}

/// A copy of the module that may be written to: its test files read and write beside themselves.
fn module(folder: &Path) -> PathBuf {
    let out = Command::new("go")
        .args(["mod", "download", "-json", MODULE])
        .current_dir(folder)
        .output()
        .expect("go is needed");
    let found: Value = serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&out.stderr)));
    let from = PathBuf::from(found["Dir"].as_str().expect("where it is"));
    let to = folder.join("api");
    copy(&from, &to);
    to
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::write(target, fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}

/// A program `consul` in a folder of its own.
fn consul(folder: &Path) -> PathBuf {
    let bin = folder.join("bin");
    fs::create_dir_all(&bin).unwrap();
    let program = bin.join("consul");
    let binary = server::binary().unwrap();
    fs::write(
        &program,
        format!("#!/bin/sh\nexec '{}' as consul \"$@\"\n", binary.display()),
    )
    .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    bin
}

/// Runs tests, by name whether they passed; skipped ones are not there.
fn run(api: &Path, bin: &Path, tests: &str) -> BTreeMap<String, bool> {
    let path = std::env::var("PATH").unwrap_or_default();
    let temporary = api.parent().unwrap().join("tmp");
    fs::create_dir_all(&temporary).unwrap();
    let out = Command::new("go")
        .args(["test", "-count=1", "-v", "-parallel=3", "-timeout=20m"])
        .args(["-run", tests, "."])
        .current_dir(api)
        .env("GOFLAGS", "-mod=mod")
        .env("GOWORK", "off")
        .env("TMPDIR", temporary)
        .env("PATH", format!("{}:{path}", bin.display()))
        .output()
        .expect("go test");
    let text = String::from_utf8_lossy(&out.stdout);
    let mut ended = BTreeMap::new();
    for line in text.lines() {
        for (word, passed) in [("--- PASS: ", true), ("--- FAIL: ", false)] {
            if let Some(rest) = line.strip_prefix(word) {
                let name = rest.split(' ').next().unwrap_or_default();
                ended.insert(name.to_owned(), passed);
            }
        }
    }
    assert!(
        !ended.is_empty(),
        "nothing ran: {text}\n{}",
        String::from_utf8_lossy(&out.stderr)
    );
    ended
}

#[test]
fn the_go_clients_own_tests_pass() {
    need_binary!();
    let folder = tempfile::tempdir().unwrap();
    let (api, bin) = (module(folder.path()), consul(folder.path()));
    let exceptions = exceptions();
    let mut ended = run(&api, &bin, "^Test");
    // Those whose own clock was too fast on a busy machine are asked once more, alone.
    let failed: Vec<String> = ended
        .iter()
        .filter(|(name, passed)| !**passed && !exceptions.contains_key(*name))
        .map(|(name, _)| name.clone())
        .collect();
    if !failed.is_empty() && failed.len() < 20 {
        ended.extend(run(&api, &bin, &format!("^({})$", failed.join("|"))));
    }
    let with = |passed: bool| -> BTreeSet<&str> {
        let those = ended.iter().filter(|(_, did)| **did == passed);
        those.map(|(name, _)| name.as_str()).collect()
    };
    let (passed, failed) = (with(true), with(false));
    let excepted: BTreeSet<&str> = exceptions.keys().map(String::as_str).collect();
    println!(
        "{} tests ran: {} passed, {} failed, {} of these are exceptions",
        ended.len(),
        passed.len(),
        failed.len(),
        failed.intersection(&excepted).count()
    );
    let wrong: Vec<&&str> = failed.difference(&excepted).collect();
    assert!(wrong.is_empty(), "failed, and not an exception: {wrong:?}");
    let needless: Vec<&&str> = passed.intersection(&excepted).collect();
    assert!(
        needless.is_empty(),
        "an exception that passes: {needless:?}"
    );
}
