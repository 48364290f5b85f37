//! Many instances: how fast they come, what they weigh, and how soon a server that holds them is back.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::process::Signal;

use crate::client::{Connection, request};
use crate::server::{Folder, Server};
use crate::{Options, Table, fill};

/// Services that the instances are spread over.
const SERVICES: usize = 1_000;
/// How long a server is left alone before it is weighed again.
const QUIET: Duration = Duration::from_secs(5);

/// Registers, weighs, and starts again twice after each kind of end.
pub async fn run(options: &Options, table: &mut Table) -> Result<()> {
    let (folder, count) = (Folder::new("restart")?, options.instances);
    let mut server = Server::portolan(&options.portolan, &folder.0)?;
    let begin = Instant::now();
    fill::send(server.port("consul")?, count, |index| {
        fill::consul(index % SERVICES, index / SERVICES, None)
    })
    .await?;
    let seconds = begin.elapsed().as_secs_f64();
    let what = format!("{count} instances");
    table.figure(&format!("{what}: registered in, s"), seconds, None);
    table.figure(
        &format!("{what}: registrations/s"),
        count as f64 / seconds,
        None,
    );
    table.figure(
        &format!("{what}: CPU us per registration"),
        server.cpu_us()? / count as f64,
        None,
    );
    weigh(&server, &format!("{what}: resident MiB"), table).await?;
    // The first kill finds the log as the registrations left it.
    for (name, signal) in [("kill -9", Signal::KILL), ("SIGTERM", Signal::TERM)].repeat(2) {
        let ended = server.end(signal)?;
        server = Server::portolan(&options.portolan, &folder.0)?;
        let started = server.started.as_secs_f64();
        check(server.port("consul")?, count).await?;
        println!(
            "restart after {name}: ended in {:.2} s, ready in {started:.2} s with {:.2} s of CPU, {:.0} MiB",
            ended.as_secs_f64(),
            server.cpu_us()? / 1e6,
            server.resident_mib("VmRSS")?
        );
        table.figure(
            &format!("{what}: ready after {name}, s"),
            started,
            Some(2.0),
        );
    }
    weigh(&server, &format!("{what}: restarted, resident MiB"), table).await?;
    Ok(())
}

/// Resident memory at once, and when the server had time to give back what it needed for the work before.
async fn weigh(server: &Server, what: &str, table: &mut Table) -> Result<()> {
    let at_once = server.resident_mib("VmRSS")?;
    tokio::time::sleep(QUIET).await;
    let (settled, anonymous) = (
        server.resident_mib("VmRSS")?,
        server.resident_mib("RssAnon")?,
    );
    println!(
        "{what}: {at_once:.0} at once, {settled:.0} after a quiet time, {anonymous:.0} of it not from files"
    );
    table.figure(what, at_once, Some(200.0));
    table.figure(&format!("{what} when quiet"), settled, Some(200.0));
    Ok(())
}

/// The restarted server must still have what was acknowledged: the first and the last service are counted.
async fn check(address: SocketAddr, count: usize) -> Result<()> {
    let mut connection = Connection::open(address).await?;
    for service in [0, SERVICES - 1] {
        let ask = request("GET", &format!("/v1/catalog/service/s-{service}"), "", "");
        let reply = connection.ask(&ask).await?;
        let found = String::from_utf8_lossy(reply.body)
            .matches(r#""ServiceID":"#)
            .count();
        let wanted = (service..count).step_by(SERVICES).count();
        if found != wanted {
            bail!("after a restart s-{service} has {found} instances instead of {wanted}");
        }
    }
    Ok(())
}
