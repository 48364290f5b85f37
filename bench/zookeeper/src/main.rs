//! Portolan's ZooKeeper port beside ZooKeeper 3.9, in one run: `cargo xtask bench zookeeper -- --zookeeper DIR`.

mod client;
mod server;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use client::{Ask, Client, NOTIFICATION};
use server::Server;

const CLIENTS: usize = 32;
const IN_FLIGHT: usize = 16;
const DATA: [u8; 128] = [b'x'; 128];
const WATCHERS: usize = 2_000;
const SESSIONS: usize = 100;
const EPHEMERALS: usize = 1_000;

struct Options {
    portolan: PathBuf,
    zookeeper: Option<PathBuf>,
    seconds: u64,
    warm: u64,
    rounds: usize,
}

fn options() -> io::Result<Options> {
    let mut found = Options {
        portolan: std::env::var_os("PORTOLAN_BIN")
            .map_or("target/release/portolan".into(), PathBuf::from),
        zookeeper: None,
        seconds: 5,
        warm: 30,
        rounds: 20,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words
            .next()
            .ok_or_else(|| io::Error::other(format!("{word} takes a value")))?;
        let number = || {
            value
                .parse()
                .map_err(|_| io::Error::other(format!("{word} {value}: no number")))
        };
        match &*word {
            "--portolan" => found.portolan = value.into(),
            "--zookeeper" => found.zookeeper = Some(value.into()),
            "--seconds" => found.seconds = number()?,
            "--warm" => found.warm = number()?,
            "--rounds" => found.rounds = number()? as usize,
            _ => {
                return Err(io::Error::other(
                    "flags: --portolan FILE, --zookeeper DIR, --seconds N, --warm N, --rounds N",
                ));
            }
        }
    }
    Ok(found)
}

/// What the clients do.
#[derive(Clone, Copy)]
enum Work {
    Create,
    Set,
    Get,
}

/// Requests per second and processor time of the server for each, over some seconds.
fn load(server: &Server, work: Work, run: u64, seconds: u64) -> io::Result<(f64, f64)> {
    let (stop, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let ready = Arc::new(Barrier::new(CLIENTS + 1));
    let mut threads = Vec::new();
    for number in 0..CLIENTS {
        let (stop, done, ready) = (stop.clone(), done.clone(), ready.clone());
        let mut client = Client::connect(server.address)?;
        let own = format!("/bench-{run}-{number}");
        client.call(&Ask::Create {
            path: &own,
            data: &DATA,
            ephemeral: false,
        })?;
        threads.push(thread::spawn(move || -> io::Result<()> {
            let mut made = 0_u64;
            let mut ask = |client: &mut Client| {
                made += 1;
                match work {
                    Work::Create => {
                        let path = format!("{own}/{made}");
                        client.ask(&Ask::Create {
                            path: &path,
                            data: &DATA,
                            ephemeral: false,
                        });
                    }
                    Work::Set => client.ask(&Ask::Set {
                        path: &own,
                        data: &DATA,
                    }),
                    Work::Get => client.ask(&Ask::Get {
                        path: &own,
                        watch: false,
                    }),
                }
            };
            ready.wait();
            for _ in 0..IN_FLIGHT {
                ask(&mut client);
            }
            client.flush()?;
            while !stop.load(Ordering::Relaxed) {
                match client.answer()? {
                    (_, 0) => done.fetch_add(1, Ordering::Relaxed),
                    (_, error) => return Err(io::Error::other(format!("error {error}"))),
                };
                ask(&mut client);
                client.flush()?;
            }
            Ok(())
        }));
    }
    ready.wait();
    // The first moments are not counted.
    thread::sleep(Duration::from_millis(500));
    let (begun, before, cpu) = (Instant::now(), done.load(Ordering::Relaxed), server.cpu());
    thread::sleep(Duration::from_secs(seconds));
    let (took, after, spent) = (
        begun.elapsed(),
        done.load(Ordering::Relaxed),
        server.cpu() - cpu,
    );
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread
            .join()
            .map_err(|_| io::Error::other("a client panicked"))??;
    }
    let count = (after - before) as f64;
    Ok((
        count / took.as_secs_f64(),
        spent.as_secs_f64() * 1e6 / count,
    ))
}

/// Times from sending a set until the last of all watchers was told, in ms, sorted.
fn watch(server: &Server, rounds: usize) -> io::Result<Vec<f64>> {
    let mut writer = Client::connect(server.address)?;
    writer.call(&Ask::Create {
        path: "/watched",
        data: &DATA,
        ephemeral: false,
    })?;
    let (armed, told) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (last, start) = (Arc::new(AtomicU64::new(0)), Instant::now());
    for _ in 0..WATCHERS {
        let mut client = Client::connect(server.address)?;
        let (armed, told, last) = (armed.clone(), told.clone(), last.clone());
        let body = move || -> io::Result<()> {
            loop {
                client.call(&Ask::Get {
                    path: "/watched",
                    watch: true,
                })?;
                armed.fetch_add(1, Ordering::SeqCst);
                while client.answer()?.0 != NOTIFICATION {}
                last.fetch_max(start.elapsed().as_nanos() as u64, Ordering::SeqCst);
                told.fetch_add(1, Ordering::SeqCst);
            }
        };
        // They end with the server's end.
        thread::Builder::new().stack_size(128 << 10).spawn(body)?;
    }
    let mut times = Vec::new();
    for round in 1..=rounds {
        until(&mut writer, &armed, round * WATCHERS)?;
        let sent = start.elapsed().as_nanos() as u64;
        writer.call(&Ask::Set {
            path: "/watched",
            data: &DATA,
        })?;
        until(&mut writer, &told, round * WATCHERS)?;
        times.push((last.load(Ordering::SeqCst) - sent) as f64 / 1e6);
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

/// Waits for a count; a minute at most.
fn until(writer: &mut Client, count: &AtomicUsize, wanted: usize) -> io::Result<()> {
    let limit = Instant::now() + Duration::from_secs(60);
    let mut pinged = Instant::now();
    while count.load(Ordering::SeqCst) < wanted {
        if Instant::now() > limit {
            let found = count.load(Ordering::SeqCst);
            return Err(io::Error::other(format!(
                "{found} of {wanted} within a minute"
            )));
        }
        if pinged.elapsed() > Duration::from_secs(5) {
            writer.call(&Ask::Ping)?;
            pinged = Instant::now();
        }
        thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

/// Seconds until all sessions have made their ephemerals, and the server's memory then.
fn ephemerals(server: &Server) -> io::Result<(f64, u64)> {
    let mut first = Client::connect(server.address)?;
    first.call(&Ask::Create {
        path: "/ephemerals",
        data: b"",
        ephemeral: false,
    })?;
    let ready = Arc::new(Barrier::new(SESSIONS + 1));
    let mut threads = Vec::new();
    for number in 0..SESSIONS {
        let ready = ready.clone();
        let mut client = Client::connect(server.address)?;
        threads.push(thread::spawn(move || -> io::Result<Client> {
            ready.wait();
            let (mut asked, mut answered) = (0, 0);
            while answered < EPHEMERALS {
                while asked < EPHEMERALS && asked < answered + IN_FLIGHT {
                    let path = format!("/ephemerals/{number}-{asked}");
                    client.ask(&Ask::Create {
                        path: &path,
                        data: &DATA,
                        ephemeral: true,
                    });
                    asked += 1;
                }
                client.flush()?;
                match client.answer()? {
                    (_, 0) => answered += 1,
                    (_, error) => return Err(io::Error::other(format!("error {error}"))),
                }
            }
            Ok(client)
        }));
    }
    ready.wait();
    let begun = Instant::now();
    let mut held = Vec::new();
    for thread in threads {
        held.push(
            thread
                .join()
                .map_err(|_| io::Error::other("a client panicked"))??,
        );
    }
    Ok((begun.elapsed().as_secs_f64(), server.memory()))
}

fn measure(server: Server, warm: u64, options: &Options) -> io::Result<Vec<(String, f64)>> {
    let mut rows = Vec::new();
    if warm > 0 {
        for (run, work) in [Work::Create, Work::Set, Work::Get].into_iter().enumerate() {
            load(&server, work, run as u64, warm / 3)?;
        }
    }
    for (run, (name, work)) in [
        ("create", Work::Create),
        ("set", Work::Set),
        ("get", Work::Get),
    ]
    .into_iter()
    .enumerate()
    {
        let (rate, cpu) = load(&server, work, 10 + run as u64, options.seconds)?;
        rows.push((format!("{name}: requests/s"), rate));
        rows.push((format!("{name}: CPU us per request"), cpu));
    }
    let times = watch(&server, options.rounds)?;
    rows.push((
        format!("{WATCHERS} watchers: ms until the last, median"),
        times[times.len() / 2],
    ));
    rows.push((
        format!("{WATCHERS} watchers: ms until the last, most"),
        times[times.len() - 1],
    ));
    for (name, value) in &rows {
        eprintln!("{} {name}: {value:.1}", server.name);
    }
    Ok(rows)
}

fn run() -> io::Result<()> {
    let options = options()?;
    let mut columns = Vec::new();
    let start = |zookeeper: bool| match (&options.zookeeper, zookeeper) {
        (Some(libraries), true) => Server::zookeeper(libraries).map(Some),
        (None, true) => Ok(None),
        (_, false) => Server::portolan(&options.portolan).map(Some),
    };
    for zookeeper in [false, true] {
        let Some(server) = start(zookeeper)? else {
            continue;
        };
        let name = server.name;
        let warm = if zookeeper { options.warm } else { 0 };
        let mut rows = measure(server, warm, &options)?;
        // Memory is that of a server which did nothing else.
        if let Some(server) = start(zookeeper)? {
            let (seconds, memory) = ephemerals(&server)?;
            rows.push(("100,000 ephemerals: seconds".into(), seconds));
            rows.push(("100,000 ephemerals: resident MiB".into(), memory as f64));
        }
        columns.push((name, rows));
    }
    let head: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    println!("| | {} |", head.join(" | "));
    println!("| --- |{}", " --- |".repeat(columns.len()));
    for row in 0..columns[0].1.len() {
        let name = &columns[0].1[row].0;
        let values: Vec<String> = columns
            .iter()
            .map(|(_, rows)| format!("{:.1}", rows[row].1))
            .collect();
        println!("| {name} | {} |", values.join(" | "));
    }
    Ok(())
}

fn main() {
    if let Err(error) = run() {
        eprintln!("{error}");
        std::process::exit(1);
    }
}
