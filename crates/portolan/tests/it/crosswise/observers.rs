//! Who looks: every reader of every protocol, through its own client where there is one.

use std::time::{Duration, Instant};

use portolan_protocol_xds::wire::core::HealthStatus;
use serde_json::{Value, json};

use super::dns::{dig_a, dig_srv};
use super::layouts::{self, Layout};
use super::{POLLED, Shown, Site};
use crate::harness::clients::Call;
use crate::harness::eureka::{self, Seen};
use crate::harness::tally::Table;
use crate::harness::{eventually, http, same, xds};

/// The number of columns, for tests that are skipped: four layouts are on in each, with a range and a watch.
pub(crate) const COLUMNS: usize = 10 + 2 * 4 + 8 + 2 + 1;

const SOON: Duration = Duration::from_secs(30);

/// The open watches and what they have shown so far.
#[derive(Debug)]
pub(crate) struct Observers {
    native: Option<Layout>,
    /// The registrant writes a znode itself.
    znode: bool,
    /// The registrant's instance belongs to a connection, and comes anew with the next one: after a restart that may be news.
    pub(crate) bound: bool,
    watches: Vec<Watch>,
    index: u64,
    shown: Shown,
}

#[derive(Debug)]
struct Watch {
    layout: Layout,
    id: u64,
    seen: usize,
}

/// What was begun before a step, to be seen after it.
#[derive(Debug)]
pub(crate) struct Before {
    blocking: Call,
}

impl Observers {
    /// Opens a watch per layout, as the frameworks do before they know of any instance.
    pub(crate) fn open(
        site: &mut Site,
        native: Option<Layout>,
        znode: bool,
    ) -> Result<Observers, String> {
        let naming = native == Some(Layout::GrpcNaming);
        let mut watches = Vec::new();
        for layout in Layout::ALL
            .into_iter()
            .filter(|layout| layouts::is_on(*layout, naming))
        {
            let arguments = json!({ "addr": site.at("etcd"), "key": layout.prefix(&site.service), "prefix": true });
            // A reader asks first and watches from there.
            let read = site.go.call("etcd.range", arguments.clone())?;
            same(&read["count"], &json!(0))?;
            let mut watch = arguments;
            watch["revision"] = json!(read["revision"].as_u64().unwrap_or(0) + 1);
            let opened = site.go.call("etcd.watch", watch)?;
            watches.push(Watch {
                layout,
                id: opened["watch"].as_u64().unwrap_or(0),
                seen: 0,
            });
        }
        let (consul, name) = (site.at("consul"), site.service.clone());
        let index = health(site, 0)?["index"].as_u64().unwrap_or(0);
        if let Ok(node) = site.driver("node") {
            node.call("consul.watch", json!({ "addr": consul, "name": name }))?;
        }
        Ok(Observers {
            native,
            znode,
            bound: false,
            watches,
            index,
            shown: Shown::Gone,
        })
    }

    /// Begins a blocking query that the next step must end.
    pub(crate) fn before(&mut self, site: &mut Site) -> Before {
        let arguments = json!({ "addr": site.at("consul"), "name": site.service, "index": self.index, "wait_ms": 20_000 });
        Before {
            blocking: site.go.begin("consul.health", arguments),
        }
    }

    /// Looks through everything and fills one row of the table.
    pub(crate) fn look(
        &mut self,
        site: &mut Site,
        stage: &str,
        shown: Shown,
        before: Before,
        table: &mut Table,
    ) {
        let restarted = stage.starts_with("kill");
        table.cell(
            stage,
            "Consul blocking query",
            self.blocking(site, shown, before, restarted),
        );
        table.cell(
            stage,
            "Consul health",
            eventually(SOON, || consul_rows(&health(site, 0)?, site, shown, true)),
        );
        table.cell(
            stage,
            "Consul health?passing",
            eventually(SOON, || passing(site, shown)),
        );
        table.cell(
            stage,
            "Consul catalog",
            eventually(SOON, || consul_rows(&catalog(site)?, site, shown, false)),
        );
        by_client(
            site,
            table,
            stage,
            "python-consul",
            "python",
            SOON,
            |site| other_consul(site, "python", shown),
        );
        by_client(
            site,
            table,
            stage,
            "npm consul watch",
            "node",
            POLLED,
            |site| npm_watch(site, shown),
        );
        table.cell(
            stage,
            "Nacos list",
            eventually(SOON, || nacos_list(site, shown)),
        );
        table.cell(
            stage,
            "xDS assignment",
            eventually(SOON, || assignment(site, shown)),
        );
        table.cell(stage, "dig A", eventually(SOON, || dig_a(site, shown)));
        table.cell(stage, "dig SRV", eventually(SOON, || dig_srv(site, shown)));
        table.cell(stage, "Consul keys stay empty", no_consul_key(site));
        for at in 0..self.watches.len() {
            let layout = self.watches[at].layout;
            let there =
                matches!(shown, Shown::Up) || (shown != Shown::Gone && self.native == Some(layout));
            table.cell(
                stage,
                &format!("etcd {} range", layout.name()),
                eventually(SOON, || range(site, layout, there)),
            );
            let outcome = self.watched(site, at, shown, restarted);
            table.cell(stage, &format!("etcd {} watch", layout.name()), outcome);
        }
        let there = shown == Shown::Up || (shown != Shown::Gone && self.znode);
        for (column, language) in [("kazoo", "python"), ("Curator discovery", "curator")] {
            by_client(site, table, stage, column, language, SOON, |site| {
                znodes(site, language, there)
            });
        }
        let address = site.server.address("eureka");
        let name = site.service.clone();
        let mut eureka =
            |site: &Site,
             column: &str,
             read: fn(std::net::SocketAddr, &str) -> Result<Vec<Seen>, String>| {
                let (host, port) = (site.host.clone(), site.port);
                table.cell(
                    stage,
                    column,
                    eventually(SOON, || {
                        eureka_rows(&read(address, &name)?, &host, port, shown)
                    }),
                );
            };
        eureka(site, "Eureka app", eureka::app);
        eureka(site, "Eureka apps", eureka::apps);
        eureka(site, "Eureka VIP", eureka::vip);
        table.cell(
            stage,
            "Eureka delta",
            eventually(SOON, || delta(site, shown)),
        );
        table.cell(stage, "Eureka hash code", eureka::hash_code_agrees(address));
        for (column, language) in [
            ("Netflix eureka-client", "java"),
            ("py_eureka_client", "python"),
            ("eureka-js-client", "node"),
        ] {
            by_client(site, table, stage, column, language, POLLED, |site| {
                eureka_client(site, language, shown)
            });
        }
        self.shown = shown;
    }

    /// The query that was open during the step ends with the news; after a restart it is asked again and must hold until its time.
    fn blocking(
        &mut self,
        site: &mut Site,
        shown: Shown,
        before: Before,
        restarted: bool,
    ) -> Result<(), String> {
        let arguments = |index: u64, wait: u64, site: &Site| json!({ "addr": site.at("consul"), "name": site.service, "index": index, "wait_ms": wait });
        if restarted {
            drop(before);
            let asked = Instant::now();
            let query = arguments(self.index, 1000, site);
            let answer = site.go.call("consul.health", query)?;
            if let Some(index) = answer["index"].as_u64().filter(|index| *index > self.index)
                && self.bound
            {
                self.index = index;
                return consul_rows(&answer, site, shown, true);
            }
            same(&answer["index"].as_u64(), &Some(self.index))
                .map_err(|why| format!("the index moved by a restart: {why}"))?;
            if asked.elapsed() < Duration::from_millis(900) {
                return Err(format!(
                    "answered after {:?} although nothing changed",
                    asked.elapsed()
                ));
            }
            return consul_rows(&answer, site, shown, true);
        }
        let mut answer = before.blocking.wait(Duration::from_secs(30))?;
        let deadline = Instant::now() + SOON;
        let mut last = String::new();
        loop {
            let index = answer["index"].as_u64().unwrap_or(0);
            if index <= self.index {
                return Err(if last.is_empty() {
                    format!("woken without news: index {index} after {}", self.index)
                } else {
                    last
                });
            }
            self.index = index;
            match consul_rows(&answer, site, shown, true) {
                Ok(()) => return Ok(()),
                Err(why) if Instant::now() > deadline => return Err(why),
                Err(why) => {
                    last = why;
                    answer = site
                        .go
                        .call("consul.health", arguments(index, 4000, site))?;
                }
            }
        }
    }

    /// The events since the last stage are exactly those that the step means, once each.
    fn watched(
        &mut self,
        site: &mut Site,
        at: usize,
        shown: Shown,
        restarted: bool,
    ) -> Result<(), String> {
        let (layout, id, seen) = (
            self.watches[at].layout,
            self.watches[at].id,
            self.watches[at].seen,
        );
        let native = self.native == Some(layout);
        let expected: &[&str] = match (shown, native) {
            _ if restarted => &[],
            (Shown::Gone, _) => &["DELETE"],
            (Shown::Up, true) if self.shown != Shown::Gone => &[],
            (Shown::Critical | Shown::Maintenance, true) => &[],
            (Shown::Up, _) => &["PUT"],
            (Shown::Critical | Shown::Maintenance, false) => &["DELETE"],
        };
        let outcome = eventually(SOON, || {
            let all = site.go.call("etcd.events", json!({ "watch": id }))?;
            let news: Vec<Value> = all["events"]
                .as_array()
                .into_iter()
                .flatten()
                .skip(seen)
                .cloned()
                .collect();
            let types: Vec<&str> = news
                .iter()
                .filter_map(|event| event["type"].as_str())
                .collect();
            if types != expected {
                return Err(format!("expected events {expected:?}, saw {}", json!(news)));
            }
            for event in news.iter().filter(|event| event["type"] == "PUT") {
                let address = layout.address(
                    event["key"].as_str().unwrap_or_default(),
                    event["value"].as_str().unwrap_or_default(),
                );
                same(&address, &Some(site.address()))?;
            }
            Ok(news.len())
        });
        let news = match &outcome {
            Ok(news) => *news,
            // Count what came, so that one surprise does not spoil every later stage.
            Err(_) => site
                .go
                .call("etcd.events", json!({ "watch": id }))
                .map_or(0, |all| all["events"].as_array().map_or(0, Vec::len))
                .saturating_sub(seen),
        };
        self.watches[at].seen += news;
        outcome.map(drop)
    }
}

/// One endpoint with the health that all twins have together.
fn assignment(site: &Site, shown: Shown) -> Result<(), String> {
    let found = xds::assignment(site.server.address("xds"), &site.service)?;
    let status = match shown {
        Shown::Up => HealthStatus::Healthy,
        Shown::Critical => HealthStatus::Unhealthy,
        Shown::Maintenance => HealthStatus::Draining,
        Shown::Gone => return same(&found, &Vec::new()),
    };
    same(&found, &vec![(site.address(), status)])
}

/// Fills a cell by a client of some language, or says that the client is not there.
fn by_client(
    site: &mut Site,
    table: &mut Table,
    stage: &str,
    column: &str,
    language: &str,
    limit: Duration,
    look: impl Fn(&mut Site) -> Result<(), String>,
) {
    match site.driver(language).map(drop) {
        Ok(()) => table.cell(stage, column, eventually(limit, || look(site))),
        Err(why) => table.skipped(stage, column, &why),
    }
}

fn health(site: &mut Site, index: u64) -> Result<Value, String> {
    let arguments = json!({ "addr": site.at("consul"), "name": site.service, "index": index });
    site.go.call("consul.health", arguments)
}

fn catalog(site: &mut Site) -> Result<Value, String> {
    let arguments = json!({ "addr": site.at("consul"), "name": site.service });
    site.go.call("consul.catalog", arguments)
}

fn consul_rows(answer: &Value, site: &Site, shown: Shown, status: bool) -> Result<(), String> {
    let rows = answer["rows"].as_array().cloned().unwrap_or_default();
    if shown == Shown::Gone {
        return if rows.is_empty() {
            Ok(())
        } else {
            Err(format!("still there: {}", json!(rows)))
        };
    }
    let [row] = rows.as_slice() else {
        return Err(format!("expected one row, found {}", json!(rows)));
    };
    same(&row["address"], &json!(site.host))?;
    same(&row["port"], &json!(site.port))?;
    if !status {
        return Ok(());
    }
    let expected = match shown {
        Shown::Up => "passing",
        Shown::Critical => "critical",
        Shown::Maintenance | Shown::Gone => "maintenance",
    };
    same(&row["status"], &json!(expected)).map_err(|why| format!("{why} in {row}"))
}

fn passing(site: &mut Site, shown: Shown) -> Result<(), String> {
    let arguments = json!({ "addr": site.at("consul"), "name": site.service, "passing": true });
    let answer = site.go.call("consul.health", arguments)?;
    consul_rows(
        &answer,
        site,
        if shown == Shown::Up {
            Shown::Up
        } else {
            Shown::Gone
        },
        true,
    )
}

fn other_consul(site: &mut Site, language: &str, shown: Shown) -> Result<(), String> {
    let arguments = json!({ "addr": site.at("consul"), "name": site.service });
    let answer = site.driver(language)?.call("consul.health", arguments)?;
    consul_rows(&answer, site, shown, false)
}

fn npm_watch(site: &mut Site, shown: Shown) -> Result<(), String> {
    let arguments = json!({ "addr": site.at("consul"), "name": site.service });
    let answer = site.driver("node")?.call("consul.watched", arguments)?;
    consul_rows(&answer, site, shown, false)
}

/// What Nacos lists: unhealthy instances are in, those out of service are not.
fn nacos_list(site: &Site, shown: Shown) -> Result<(), String> {
    let path = format!("/nacos/v1/ns/instance/list?serviceName={}", site.service);
    let info = http::get_json(site.server.address("nacos"), &path)?;
    let hosts = info["hosts"].as_array().cloned().unwrap_or_default();
    let seen: Value = hosts
        .iter()
        .map(|host| json!([host["ip"], host["port"], host["healthy"]]))
        .collect();
    let expected = match shown {
        Shown::Up => json!([[site.host, site.port, true]]),
        Shown::Critical => json!([[site.host, site.port, false]]),
        Shown::Maintenance | Shown::Gone => json!([]),
    };
    same(&seen, &expected)
}

/// What one protocol's clients write is never mirrored into another protocol's key-value store.
fn no_consul_key(site: &mut Site) -> Result<(), String> {
    for layout in [Layout::Kitex, Layout::Services] {
        let key = format!(
            "{}/{}",
            layout.prefix(&site.service).trim_matches('/'),
            site.address()
        );
        let arguments = json!({ "addr": site.at("consul"), "key": key });
        same(
            &site.go.call("consul.kv.get", arguments)?["value"],
            &Value::Null,
        )?;
    }
    Ok(())
}

fn range(site: &mut Site, layout: Layout, there: bool) -> Result<(), String> {
    let arguments =
        json!({ "addr": site.at("etcd"), "key": layout.prefix(&site.service), "prefix": true });
    let found = site.go.call("etcd.range", arguments)?;
    let records = found["records"].as_array().cloned().unwrap_or_default();
    if !there {
        return if records.is_empty() {
            Ok(())
        } else {
            Err(format!("still there: {}", json!(records)))
        };
    }
    let [record] = records.as_slice() else {
        return Err(format!("expected one record, found {}", json!(records)));
    };
    let address = layout.address(
        record["key"].as_str().unwrap_or_default(),
        record["value"].as_str().unwrap_or_default(),
    );
    same(&address, &Some(site.address())).map_err(|why| format!("{why} in {record}"))
}

/// What a client of Curator's layout finds. A node that a client wrote itself is never hidden.
fn znodes(site: &mut Site, language: &str, there: bool) -> Result<(), String> {
    let arguments = json!({ "addr": site.at("zookeeper"), "service": site.service });
    let operation = match language {
        "python" => "kazoo.instances",
        _ => "curator.instances",
    };
    let found = site.driver(language)?.call(operation, arguments)?;
    let expected = if there {
        json!([site.address()])
    } else {
        json!([])
    };
    same(&found, &expected)
}

fn eureka_status(shown: Shown) -> &'static str {
    match shown {
        Shown::Up => "UP",
        Shown::Critical => "DOWN",
        Shown::Maintenance => "OUT_OF_SERVICE",
        Shown::Gone => "",
    }
}

fn eureka_rows(rows: &[Seen], host: &str, port: u16, shown: Shown) -> Result<(), String> {
    if shown == Shown::Gone {
        return if rows.is_empty() {
            Ok(())
        } else {
            Err(format!("still there: {rows:?}"))
        };
    }
    let [row] = rows else {
        return Err(format!("expected one instance, found {rows:?}"));
    };
    same(
        &(row.address.as_str(), row.port, row.status.as_str()),
        &(host, u64::from(port), eureka_status(shown)),
    )
}

fn delta(site: &Site, shown: Shown) -> Result<(), String> {
    let rows = eureka::delta(site.server.address("eureka"), &site.service)?;
    let [row] = rows.as_slice() else {
        return Err(format!("expected one instance, found {rows:?}"));
    };
    same(
        &(row.address.as_str(), row.port),
        &(site.host.as_str(), u64::from(site.port)),
    )?;
    if shown == Shown::Gone {
        return same(row.action.as_str(), "DELETED");
    }
    same(row.status.as_str(), eureka_status(shown))?;
    if matches!(shown, Shown::Critical | Shown::Maintenance) && row.action != "MODIFIED" {
        return Err(format!(
            "what changed last is its status, and the action is {}",
            row.action
        ));
    }
    if row.action == "DELETED" {
        Err(format!("shown as deleted: {row:?}"))
    } else {
        Ok(())
    }
}

fn eureka_client(site: &mut Site, language: &str, shown: Shown) -> Result<(), String> {
    let arguments = json!({ "addr": site.eureka_url(), "app": site.service });
    let answer = site.driver(language)?.call("eureka.read", arguments)?;
    let rows: Vec<Seen> = answer["rows"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|row| Seen {
            id: row["instance"].as_str().unwrap_or_default().to_owned(),
            address: row["ip"].as_str().unwrap_or_default().to_owned(),
            port: row["port"].as_u64().unwrap_or(0),
            status: row["status"].as_str().unwrap_or_default().to_owned(),
            action: String::new(),
        })
        .collect();
    eureka_rows(&rows, &site.host, site.port, shown)
}
