//! What Spring's server offers beside the protocol: pages for people and for load balancers.

use std::fmt::Write as _;

use portolan_catalog::{Change, Protocol, State, Table, Timestamp};
use portolan_registry::{Registry, Span};

use crate::read;
use crate::translate;
use crate::wire::encode::append;
use crate::wire::{Detail, Format, Shape, Status, xml};

/// How many registrations and cancellations `/lastn` shows of each.
const LAST: usize = 1000;

/// The dashboard at `/`.
pub(crate) fn dashboard(state: &State) -> String {
    let mut page = head("Eureka");
    page.push_str(
        "<h1>Instances currently registered with Eureka</h1>\n<table>\n\
         <tr><th>Application</th><th>Availability</th><th>Status</th></tr>\n",
    );
    let mut none = true;
    for service in state.services() {
        let app = translate::app_of(&service.key);
        let rows = read::rows_of(state, &app, &service.key);
        if rows.is_empty() {
            continue;
        }
        none = false;
        let _ = write!(
            page,
            "<tr><td>{}</td><td>{}</td><td>",
            html(&app),
            rows.len()
        );
        for status in Status::ALL {
            let ids: Vec<String> = rows
                .iter()
                .filter(|row| row.status() == status)
                .map(|row| html(&row.id))
                .collect();
            if !ids.is_empty() {
                let _ = write!(
                    page,
                    "<b>{status}</b> ({}) - {}<br>",
                    ids.len(),
                    ids.join(", ")
                );
            }
        }
        page.push_str("</td></tr>\n");
    }
    if none {
        page.push_str("<tr><td colspan=\"3\">No instances available</td></tr>\n");
    }
    let _ = write!(
        page,
        "</table>\n<p>revision {}</p>\n{TAIL}",
        state.revision()
    );
    page
}

/// Changes of instances that are looked through for them at most.
const LOOKED_THROUGH: usize = 10 * LAST;

/// The last registrations and cancellations, newest first, from the catalog's history.
pub(crate) fn last(registry: &Registry) -> String {
    let (mut registered, mut cancelled) = (Vec::new(), Vec::new());
    let (now, floor) = (registry.read(State::revision), registry.floor(None));
    let instances = Span::table(Table::Instances);
    let history = registry.history();
    // What cannot be read is not shown; the log says why.
    let batches = history.newest(&instances, now, floor, LOOKED_THROUGH);
    for batch in batches.unwrap_or_default() {
        for change in &batch.changes {
            let Change::Instance { before, after } = change else {
                continue;
            };
            let (list, row) = match (before, after) {
                (None, Some(row)) => (&mut registered, row),
                (Some(row), None) => (&mut cancelled, row),
                (Some(_), Some(_)) | (None, None) => continue,
            };
            if list.len() < LAST && row.key.origin != Protocol::Portolan {
                let app = translate::app_of(&row.service);
                list.push((batch.at, format!("{app}({})", row.key.local())));
            }
        }
        if registered.len() >= LAST && cancelled.len() >= LAST {
            break;
        }
    }
    let mut page = head("Eureka - Last N events");
    for (title, list) in [
        ("Last 1000 newly registered leases", &registered),
        ("Last 1000 cancelled leases", &cancelled),
    ] {
        let _ = write!(
            page,
            "<h1>{title}</h1>\n<table>\n<tr><th>Timestamp</th><th>Lease</th></tr>\n"
        );
        for (at, lease) in list {
            let _ = writeln!(
                page,
                "<tr><td>{}</td><td>{}</td></tr>",
                time(*at),
                html(lease)
            );
        }
        page.push_str("</table>\n");
    }
    page.push_str(TAIL);
    page
}

/// `/status`: what operators' scripts read. Replicas are always none: this server is nobody's peer.
pub(crate) fn status(format: Format, state: &State, address: &str, up_ms: u64) -> Vec<u8> {
    let cpus = std::thread::available_parallelism()
        .map_or(1, |n| n.get())
        .to_string();
    let minutes = up_ms / 60_000;
    let uptime = format!("{:02}:{:02}", minutes / 60, minutes % 60);
    let instances = state.instance_count().to_string();
    let groups: [(&'static str, Vec<(&'static str, &str)>); 3] = [
        (
            "generalStats",
            vec![
                ("num-of-cpus", &cpus),
                ("server-uptime", &uptime),
                ("registered-instances", &instances),
            ],
        ),
        (
            "applicationStats",
            vec![
                ("registered-replicas", ""),
                ("available-replicas", ""),
                ("unavailable-replicas", ""),
            ],
        ),
        ("instanceInfo", vec![("ipAddr", address), ("status", "UP")]),
    ];
    let mut out = Vec::new();
    let shape = Shape::new(format, Detail::Full);
    append(&mut out, shape, 0, |writer| {
        writer.open_item("com.netflix.eureka.util.StatusInfo");
        for (group, fields) in &groups {
            writer.open(group, None);
            for (key, value) in fields {
                writer.text(key, value);
            }
            writer.close(group);
        }
        writer.close_item("com.netflix.eureka.util.StatusInfo");
    });
    out
}

const TAIL: &str = "</body>\n</html>\n";

fn head(title: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{title}</title></head>\n<body>\n"
    )
}

fn html(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    xml::text(&mut out, text);
    String::from_utf8(out).unwrap_or_default()
}

fn time(at: Timestamp) -> String {
    let time = i64::try_from(at.0)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.unwrap_or_default().to_string()
}
