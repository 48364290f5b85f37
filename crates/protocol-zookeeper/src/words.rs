//! Four-letter words: what people and monitoring ask with four bytes and no frame.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use portolan_catalog::{Keyspace, LeaseId, ZnodeKind};

use crate::app::{App, Mode};
use crate::connection::Connection;
use crate::read;
use crate::wire::Opcode;

/// The version that clients take this server for: what they may ask depends on it.
pub(crate) const VERSION: &str = "3.9.4-portolan";
/// When that version came out, in the older form of the line: go-zookeeper reads no other.
const BUILT: &str = "08/19/2025 19:53 GMT";

const WORDS: [&str; 16] = [
    "ruok", "isro", "srvr", "stat", "cons", "conf", "envi", "dump", "wchs", "wchc", "wchp", "mntr",
    "crst", "srst", "dirs", "hash",
];

/// Whether four bytes are a word. Others are taken for a length.
pub(crate) fn is_known(word: [u8; 4]) -> bool {
    WORDS.iter().any(|known| known.as_bytes() == word)
}

/// The answer to a word.
pub(crate) async fn answer(app: &App, word: [u8; 4]) -> String {
    let Some(word) = WORDS.into_iter().find(|known| known.as_bytes() == word) else {
        return String::new();
    };
    let listed = |entry: &String| entry == "*" || entry == word;
    if word == "hash" || !app.settings.words.iter().any(listed) {
        return format!("{word} is not executed because it is not in the whitelist.\n");
    }
    if app.settings.mode.ask() == Mode::Lost && !matches!(word, "ruok" | "envi") {
        return "This ZooKeeper instance is not currently serving requests\n".into();
    }
    let mut text = String::new();
    // Writing to a string does not fail.
    let _written = match word {
        "ruok" => write!(text, "imok"),
        "isro" => write!(text, "rw"),
        "srvr" => server(app, &mut text, false),
        "stat" => server(app, &mut text, true),
        "cons" => connections(app, &mut text),
        "conf" => configuration(app, &mut text),
        "envi" => environment(app, &mut text),
        "dump" => sessions(app, &mut text),
        "wchs" => watch_summary(app, &mut text).await,
        "wchc" => watches(app, &mut text, true).await,
        "wchp" => watches(app, &mut text, false).await,
        "mntr" => monitor(app, &mut text).await,
        "crst" => writeln!(text, "Connection stats reset."),
        "srst" => writeln!(text, "Server stats reset."),
        _ => write!(text, "datadir_size: 0\nlogdir_size: 0\n"),
    };
    text
}

fn server(app: &App, text: &mut String, clients: bool) -> std::fmt::Result {
    let (least, mean, most) = app.counts.latency.figures();
    let all = app.connections();
    writeln!(text, "Zookeeper version: {VERSION}, built on {BUILT}")?;
    if clients {
        writeln!(text, "Clients:")?;
        for connection in &all {
            writeln!(text, "{})", brief(connection))?;
        }
        writeln!(text)?;
    }
    let state = app.registry.snapshot();
    writeln!(text, "Latency min/avg/max: {least}/{mean:.4}/{most}")?;
    writeln!(
        text,
        "Received: {}",
        app.counts.received.load(Ordering::Relaxed)
    )?;
    writeln!(text, "Sent: {}", app.counts.sent.load(Ordering::Relaxed))?;
    writeln!(text, "Connections: {}", all.len())?;
    writeln!(
        text,
        "Outstanding: {}",
        app.counts.outstanding.load(Ordering::Relaxed)
    )?;
    writeln!(text, "Zxid: 0x{:x}", read::zxid(state.revision()))?;
    writeln!(text, "Mode: {}", app.settings.mode.ask().as_str())?;
    // ZooKeeper counts its root twice.
    writeln!(text, "Node count: {}", read::node_count(&state) + 1)
}

/// A client's line up to where more may follow.
fn brief(connection: &Connection) -> String {
    format!(
        " /{}[1](queued={},recved={},sent={}",
        connection.peer,
        connection.out.waiting(),
        connection.counts.received.load(Ordering::Relaxed),
        connection.counts.sent.load(Ordering::Relaxed)
    )
}

fn connections(app: &App, text: &mut String) -> std::fmt::Result {
    for connection in app.connections() {
        let counts = &connection.counts;
        let (least, mean, most) = counts.latency.figures();
        let opcode = i32::try_from(counts.opcode.load(Ordering::Relaxed)).unwrap_or_default();
        writeln!(
            text,
            "{},sid=0x{:x},lop={},est={},to={},lcxid=0x{:x},lzxid=0x{:x},lresp={},llat={},minlat={},avglat={:.0},maxlat={})",
            brief(&connection),
            connection.session,
            Opcode::of(opcode).map_or("SESS", Opcode::letters),
            counts.since_ms,
            connection.timeout,
            counts.xid.load(Ordering::Relaxed),
            counts.zxid.load(Ordering::Relaxed),
            app.started.elapsed().as_millis(),
            most,
            least,
            mean,
            most
        )?;
    }
    writeln!(text)
}

fn configuration(app: &App, text: &mut String) -> std::fmt::Result {
    let tick = crate::session::TICK_MS;
    let (least, most) = (2 * tick, 20 * tick);
    let (port, per_address) = (app.port, app.settings.connections_per_address);
    write!(
        text,
        "clientPort={port}\nsecureClientPort=-1\ndataDir=\ndataDirSize=0\ndataLogDir=\ndataLogSize=0\ntickTime={tick}\n\
         maxClientCnxns={per_address}\nminSessionTimeout={least}\nmaxSessionTimeout={most}\nclientPortListenBacklog=-1\nserverId=0\n"
    )
}

fn environment(app: &App, text: &mut String) -> std::fmt::Result {
    write!(
        text,
        "Environment:\nzookeeper.version={VERSION}, built on {BUILT}\nhost.name={}\njava.version=none\nos.name={}\nos.arch={}\n",
        app.settings.node,
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}

fn sessions(app: &App, text: &mut String) -> std::fmt::Result {
    let state = app.registry.snapshot();
    let ids: Vec<i64> = state
        .leases()
        .filter_map(|lease| match lease.id {
            LeaseId::ZooKeeper(id) => Some(id),
            _ => None,
        })
        .collect();
    let mut by_deadline: BTreeMap<u64, Vec<i64>> = BTreeMap::new();
    for id in &ids {
        let left = app.registry.remaining(&LeaseId::ZooKeeper(*id));
        let left = left.map_or(0, |left| {
            u64::try_from(left.as_millis()).unwrap_or(u64::MAX)
        });
        let at = app.registry.now().0.saturating_add(left);
        by_deadline.entry(at).or_default().push(*id);
    }
    writeln!(text, "SessionTracker dump:")?;
    writeln!(
        text,
        "Session Sets ({})/({}):",
        by_deadline.len(),
        ids.len()
    )?;
    for (at, ids) in &by_deadline {
        let at = i64::try_from(*at).unwrap_or(i64::MAX);
        let at = jiff::Timestamp::from_millisecond(at).unwrap_or_default();
        writeln!(text, "{} expire at {at}:", ids.len())?;
        for id in ids {
            writeln!(text, "\t0x{id:x}")?;
        }
    }
    let owners: Vec<(i64, Vec<String>)> = ids
        .into_iter()
        .map(|id| (id, read::ephemerals(&state, id, "")))
        .filter(|(_, paths)| !paths.is_empty())
        .collect();
    writeln!(text, "ephemeral nodes dump:")?;
    writeln!(text, "Sessions with Ephemerals ({}):", owners.len())?;
    for (id, paths) in owners {
        writeln!(text, "0x{id:x}:")?;
        for path in paths {
            writeln!(text, "\t{path}")?;
        }
    }
    let all = app.connections();
    writeln!(text, "Connections dump:")?;
    writeln!(text, "Connections Sets (1)/({}):", all.len())?;
    for connection in all {
        writeln!(text, "\t/{}", connection.peer)?;
    }
    Ok(())
}

async fn watch_summary(app: &App, text: &mut String) -> std::fmt::Result {
    let held = app.watches.lock().await;
    let (connections, paths, watches) = held.inner.table.summary();
    writeln!(
        text,
        "{connections} connections watching {paths} paths\nTotal watches:{watches}"
    )
}

async fn watches(app: &App, text: &mut String, by_session: bool) -> std::fmt::Result {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    {
        let held = app.watches.lock().await;
        for (path, session) in held.inner.table.all() {
            let session = format!("0x{session:x}");
            let (group, item) = if by_session {
                (session, path.to_owned())
            } else {
                (path.to_owned(), session)
            };
            groups.entry(group).or_default().push(item);
        }
    }
    for (group, items) in groups {
        writeln!(text, "{group}")?;
        for item in items {
            writeln!(text, "\t{item}")?;
        }
    }
    writeln!(text)
}

async fn monitor(app: &App, text: &mut String) -> std::fmt::Result {
    let (least, mean, most) = app.counts.latency.figures();
    let state = app.registry.snapshot();
    let all: Vec<Arc<Connection>> = app.connections();
    let (_, _, watches) = app.watches.lock().await.inner.table.summary();
    let everything = portolan_catalog::KeyRange::all();
    let (mut ephemerals, mut bytes) = (0_usize, 0_usize);
    for (key, record) in state.range(Keyspace::Znodes, &everything) {
        ephemerals += usize::from(record.znode().kind == ZnodeKind::Ephemeral);
        bytes += key.len() + record.value.as_ref().map_or(0, bytes::Bytes::len);
    }
    let rows: [(&str, String); 16] = [
        ("version", format!("{VERSION}, built on {BUILT}")),
        ("server_state", app.settings.mode.ask().as_str().to_owned()),
        ("avg_latency", format!("{mean:.4}")),
        ("max_latency", most.to_string()),
        ("min_latency", least.to_string()),
        (
            "packets_received",
            app.counts.received.load(Ordering::Relaxed).to_string(),
        ),
        (
            "packets_sent",
            app.counts.sent.load(Ordering::Relaxed).to_string(),
        ),
        ("num_alive_connections", all.len().to_string()),
        (
            "outstanding_requests",
            app.counts.outstanding.load(Ordering::Relaxed).to_string(),
        ),
        ("znode_count", (read::node_count(&state) + 1).to_string()),
        ("watch_count", watches.to_string()),
        ("ephemerals_count", ephemerals.to_string()),
        ("approximate_data_size", bytes.to_string()),
        (
            "global_sessions",
            state
                .leases()
                .filter(|l| matches!(l.id, LeaseId::ZooKeeper(_)))
                .count()
                .to_string(),
        ),
        ("local_sessions", "0".into()),
        ("uptime", app.started.elapsed().as_millis().to_string()),
    ];
    for (key, value) in rows {
        writeln!(text, "zk_{key}\t{value}")?;
    }
    Ok(())
}
