//! kazoo's own tests, unmodified, against servers that a plugin of theirs starts.

use crate::harness::{clients, tally};
use crate::need_binary;

#[test]
fn kazoo_s_own_tests_pass() {
    need_binary!();
    let arguments = [
        "-p",
        "portolan_cluster",
        "-p",
        "no:cacheprovider",
        "--pyargs",
        "kazoo.tests",
        "--timeout=120",
        "--quiet",
        "-rs",
    ];
    if let Err(why) = clients::command("kazoo-suite") {
        return tally::skip_test("soak: kazoo's own tests", &why, 1);
    }
    let said = clients::run("kazoo-suite", &arguments).unwrap_or_else(|why| panic!("{why}"));
    let summary = said.lines().find(|line| line.contains(" passed"));
    println!("{}", summary.unwrap_or(&said));
}
