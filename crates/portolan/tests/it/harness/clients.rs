//! Unmodified clients of other languages, as processes that speak one line of JSON per call (see `tests/clients`).

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

/// How `cargo xtask test` installed one client, or why it could not.
#[derive(Debug, Deserialize, Clone)]
struct Installed {
    #[serde(default)]
    command: Vec<String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    missing: Option<String>,
}

fn installed(name: &str) -> Result<Installed, String> {
    let file = std::env::var_os("PORTOLAN_CLIENTS")
        .ok_or("PORTOLAN_CLIENTS is not set; `cargo xtask test` sets it")?;
    let text = std::fs::read_to_string(&file)
        .map_err(|error| format!("cannot read the list of clients: {error}"))?;
    let mut all: BTreeMap<String, Installed> =
        serde_json::from_str(&text).map_err(|error| format!("the list of clients: {error}"))?;
    let one = all.remove(name).ok_or_else(|| format!("no {name}"))?;
    match one.missing {
        Some(why) => Err(why),
        None => Ok(one),
    }
}

/// The path of a plain program such as `dig`, `etcdctl` or `etcd`; the error is the word for the skip.
pub fn program(name: &str) -> Result<String, String> {
    installed(name)?
        .command
        .into_iter()
        .next()
        .ok_or_else(|| format!("no {name}"))
}

/// The whole command of a program; the error is the word for the skip.
pub fn command(name: &str) -> Result<Vec<String>, String> {
    Ok(installed(name)?.command)
}

/// Runs a plain program to its end; its standard output.
pub fn run(name: &str, arguments: &[&str]) -> Result<String, String> {
    let installed = installed(name)?;
    let (program, first) = installed
        .command
        .split_first()
        .ok_or_else(|| format!("no {name}"))?;
    let output = Command::new(program)
        .args(first)
        .args(arguments)
        .envs(&installed.environment)
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        Ok(text)
    } else {
        Err(format!(
            "{name} {}: {} {text}{}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        ))
    }
}

type Waiting = Arc<Mutex<HashMap<u64, Sender<Result<Value, String>>>>>;

/// A running client program.
#[derive(Debug)]
pub struct Driver {
    name: String,
    child: Child,
    input: ChildStdin,
    waiting: Waiting,
    next: u64,
}

/// A call under way.
#[derive(Debug)]
pub struct Call {
    what: String,
    answer: Receiver<Result<Value, String>>,
}

impl Call {
    /// Its answer.
    pub fn wait(self, limit: Duration) -> Result<Value, String> {
        match self.answer.recv_timeout(limit) {
            Ok(answer) => answer.map_err(|why| format!("{}: {why}", self.what)),
            Err(RecvTimeoutError::Timeout) => {
                Err(format!("{}: no answer within {limit:?}", self.what))
            }
            Err(RecvTimeoutError::Disconnected) => Err(format!(
                "{}: the program ended (PORTOLAN_TEST_CLIENT_OUTPUT=1 shows what it said)",
                self.what
            )),
        }
    }
}

impl Driver {
    /// Starts a client program; the error is the word for the skip (`no go`).
    pub fn start(name: &str) -> Result<Driver, String> {
        let installed = installed(name)?;
        let (program, arguments) = installed
            .command
            .split_first()
            .ok_or_else(|| format!("no {name}"))?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .envs(&installed.environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if std::env::var_os("PORTOLAN_TEST_CLIENT_OUTPUT").is_none() {
            command.stderr(Stdio::null());
        }
        let mut child = command
            .spawn()
            .map_err(|error| format!("no {name}: {error}"))?;
        let input = child.stdin.take().expect("piped");
        let output = child.stdout.take().expect("piped");
        let waiting = Waiting::default();
        let open = Arc::clone(&waiting);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let Ok(mut answer) = serde_json::from_str::<Value>(&line) else {
                    continue;
                };
                let Some(sender) = answer["id"]
                    .as_u64()
                    .and_then(|id| open.lock().expect("answers").remove(&id))
                else {
                    continue;
                };
                let _ = sender.send(match answer["error"].as_str() {
                    Some(why) => Err(why.to_owned()),
                    None => Ok(answer["ok"].take()),
                });
            }
            // The program is gone: whoever waits is told so by the closed channel.
            open.lock().expect("answers").clear();
        });
        Ok(Driver {
            name: name.to_owned(),
            child,
            input,
            waiting,
            next: 0,
        })
    }

    /// Makes a call and waits for its answer.
    pub fn call(&mut self, op: &str, arguments: Value) -> Result<Value, String> {
        self.begin(op, arguments).wait(Duration::from_secs(45))
    }

    /// Makes a call whose answer is fetched later.
    pub fn begin(&mut self, op: &str, mut arguments: Value) -> Call {
        self.next += 1;
        arguments["id"] = json!(self.next);
        arguments["op"] = json!(op);
        let (sender, answer) = channel();
        self.waiting
            .lock()
            .expect("answers")
            .insert(self.next, sender);
        let sent = self
            .input
            .write_all(format!("{arguments}\n").as_bytes())
            .and_then(|()| self.input.flush());
        if sent.is_err() {
            self.waiting.lock().expect("answers").remove(&self.next);
        }
        Call {
            what: format!("{} {op}", self.name),
            answer,
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
