//! `cargo xtask soak NAME`: what takes too long for every change. End-to-end tests are in the table [`SOAKS`], the simulation is in
//! [`proof`].

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::artifacts;
use crate::clients;
use crate::proof;
use crate::test::END_TO_END;
use crate::tools;

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// A run; without one, they are listed.
    pub(crate) name: Option<String>,
    /// How many further seeds `seeds` runs; as many as are missing to 10,000 unless said.
    #[arg(long, value_name = "COUNT")]
    pub(crate) more: Option<u64>,
    /// Runs a binary that is already there instead of building one.
    #[arg(long, value_name = "PATH")]
    pub(crate) bin: Option<PathBuf>,
}

/// A test of the end-to-end module `soak`, with a name.
struct Soak {
    name: &'static str,
    /// What it shows, and how long it takes.
    what: &'static str,
    /// The test's path in the end-to-end program.
    test: &'static str,
    limit: Duration,
}

static SOAKS: &[Soak] = &[
    Soak {
        name: "times",
        what: "a Consul session lives for two of its TTLs after its last renewal, seen by python-consul; 24 s",
        test: "soak::sessions_live_for_two_ttls_after_their_last_renewal",
        limit: Duration::from_secs(120),
    },
    Soak {
        name: "zookeeper",
        what: "20,000 random operations give the same answers, stats and notifications as ZooKeeper 3.9; minutes",
        test: "soak::twenty_thousand_operations_are_answered_like_zookeeper",
        limit: Duration::from_secs(1800),
    },
    Soak {
        name: "kazoo-suite",
        what: "kazoo's own tests, but those of tests/clients/kazoo-suite/skipped.txt; 2 minutes",
        test: "soak::kazoo_suite::kazoo_s_own_tests_pass",
        limit: Duration::from_secs(900),
    },
    Soak {
        name: "zookeeper-leaders",
        what: "eight leaders of three servers are killed under kazoo and Curator: sessions, watches, ephemerals, latch and lock outlive them; 1 minute",
        test: "soak::zookeeper_leaders::sessions_outlive_leaders",
        limit: Duration::from_secs(600),
    },
    Soak {
        name: "leader-kills",
        what: "50 leaders of three servers are killed under load: nothing acknowledged is lost; how soon writes resume; 5 minutes",
        test: "soak::fifty_leaders_are_killed",
        limit: Duration::from_secs(1200),
    },
    Soak {
        name: "leases",
        what: "50,000 leases of 10 s under renewal outlive 20 leaders of three servers; 4 minutes",
        test: "soak::leases::fifty_thousand_leases_outlive_twenty_leaders",
        limit: Duration::from_secs(900),
    },
    Soak {
        name: "endpoints",
        what: "etcd's Go client with three endpoints through five killed leaders: no read fails, every event once; 30 s",
        test: "soak::endpoints::a_client_of_three_endpoints_misses_nothing",
        limit: Duration::from_secs(300),
    },
    Soak {
        name: "still-leader",
        what: "a leader that stood still for 2, 4 and 30 s says nothing old; 1 minute",
        test: "soak::leaders::a_leader_that_stood_still_says_nothing_old",
        limit: Duration::from_secs(300),
    },
    Soak {
        name: "slow-disk",
        what: "a leader whose every fdatasync takes 5 s: no storm of elections, no call waits for long; 1 minute; needs strace",
        test: "soak::leaders::a_slow_disk_is_no_reason_for_elections",
        limit: Duration::from_secs(300),
    },
    Soak {
        name: "rolling-restart",
        what: "three servers restarted one after another: no read fails, how long writes wait; 20 s",
        test: "soak::leaders::a_rolling_restart_fails_no_read",
        limit: Duration::from_secs(300),
    },
    Soak {
        name: "silence",
        what: "three of ten agents are cut off for 30 s: the guard holds, nothing turns critical; 1 minute",
        test: "soak::silence::a_third_of_the_agents_is_cut_off_and_nothing_changes",
        limit: Duration::from_secs(300),
    },
    Soak {
        name: "nacos",
        what: "20,000 seeded calls answered as r-nacos answers them; PORTOLAN_RNACOS names that program; about 3 min",
        test: "soak::nacos::answers_are_those_of_r_nacos",
        limit: Duration::from_secs(900),
    },
    Soak {
        name: "kafka",
        what: "a Kafka broker 3.9.1 whose ZooKeeper is this server: topics, records, groups, settings, over two deaths of the server and one of the broker; 2 min",
        test: "soak::kafka::a_broker_lives_on_this_server",
        limit: Duration::from_secs(600),
    },
    Soak {
        name: "dubbo",
        what: "Dubbo 3.3 by interface and by application: provider and consumer on ZooKeeper, on Nacos and on one each; 3 min",
        test: "soak::dubbo::providers_and_consumers_meet",
        limit: Duration::from_secs(900),
    },
    Soak {
        name: "spring-nacos",
        what: "two Spring Cloud Alibaba applications read and refresh their configuration, find and call each other, over a death of the server; 1 min",
        test: "soak::spring_nacos::applications_are_configured_and_find_each_other",
        limit: Duration::from_secs(600),
    },
    Soak {
        name: "eureka-peers",
        what: "a server joins two Spring Cloud Eureka servers with 200 instances, and both are stopped: nobody misses one; PORTOLAN_SPRING_EUREKA is the folder that tests/clients/spring-eureka was built into; 2 min",
        test: "soak::eureka_peers::two_spring_servers_are_taken_over",
        limit: Duration::from_secs(600),
    },
    Soak {
        name: "etcdctl",
        what: "every command of etcdctl 3.4, 3.5, 3.6 and 3.7 but those that make users and change members says here what it says beside etcd 3.7; 2 min",
        test: "soak::etcdctl::every_command_says_what_it_says_beside_etcd",
        limit: Duration::from_secs(900),
    },
    Soak {
        name: "etcd-auth",
        what: "20,000 random calls of users with different roles, which change all the time, answered as by etcd 3.7; 5 min",
        test: "soak::etcd_auth::users_with_different_roles_are_answered_like_by_etcd_for_long",
        limit: Duration::from_secs(1200),
    },
    Soak {
        name: "etcd-json",
        what: "20,000 random requests through the JSON gateways of etcd 3.7 and of this server; 90 s",
        test: "soak::gateway::the_gateways_answer_alike_for_long",
        limit: Duration::from_secs(1200),
    },
    Soak {
        name: "xds",
        what: "a hundred changes of a service under channels of grpc-go and grpcio, and under Envoy in both forms of xDS: no call fails; 2 min",
        test: "soak::xds::a_hundred_changes_fail_no_call",
        limit: Duration::from_secs(900),
    },
    Soak {
        name: "patroni",
        what: "two PostgreSQL under Patroni 4 on the JSON gateway: bootstrap, replica, switchover, failover, restart of the server; needs Debian's postgresql; 2 min",
        test: "soak::patroni::bootstrap_switchover_failover_and_a_restart",
        limit: Duration::from_secs(900),
    },
];

/// Runs of the simulation.
const SIMULATED: [(&str, &str); 3] = [
    (
        "seeds",
        "10,000 seeds of the simulation, gathered over several runs: goes on where the last one stopped",
    ),
    (
        "mutations",
        "faults planted in a build of their own, each of which the simulation must find within 500 seeds",
    ),
    (
        "scale",
        "five servers in virtual time with 1,000,000 instances of 10,000 agents that are modelled at their wire: what each server handles; takes memory",
    ),
];

/// Runs it; `false` when it failed.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let Some(name) = &options.name else {
        for soak in SOAKS {
            println!("{:12} {}", soak.name, soak.what);
        }
        for (name, what) in SIMULATED {
            println!("{name:12} {what}");
        }
        return Ok(true);
    };
    match name.as_str() {
        "seeds" => return proof::seeds(options.more, options.bin.as_deref()),
        "mutations" => return proof::mutations(),
        "scale" => return proof::scale(),
        _ => {}
    }
    let Some(soak) = SOAKS.iter().find(|soak| soak.name == name) else {
        let names = SOAKS.iter().map(|soak| soak.name);
        let names: Vec<&str> = names.chain(SIMULATED.map(|(name, _)| name)).collect();
        bail!("no soak run {name:?}; there is: {}", names.join(", "));
    };
    let programs = artifacts::test_programs()?;
    let Some(program) = programs.iter().find(|one| one.name == END_TO_END) else {
        bail!("the workspace has no end-to-end test program");
    };
    let mut command = Command::new(&program.executable);
    command
        .current_dir(&program.folder)
        .args([soak.test, "--exact", "--nocapture"])
        .env(
            "PORTOLAN_BIN",
            artifacts::binary_or(options.bin.as_deref())?,
        )
        .env("PORTOLAN_CLIENTS", clients::install_for(soak.name)?);
    if soak.name == "etcdctl" {
        command.env("PORTOLAN_ETCDCTL", clients::older_etcdctl()?);
    }
    let ended = tools::run_logged(&mut command, soak.name, soak.limit)?;
    println!("{}", ended.tail(40));
    Ok(ended.success)
}
