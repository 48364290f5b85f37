//! `kv get`, `put`, `delete`, `list`.

use std::io::{IsTerminal, Read};

use clap::{Args, Subcommand};
use http::Method;
use portolan_api as api;

use super::client::{Path, read};
use super::{Common, Fault, Moment, print};

/// Which keyspace, and what every command takes.
#[derive(Debug, Args)]
pub(crate) struct Where {
    /// Whose keys: consul-kv, etcd, and to read also znodes, nacos-config, consul-objects, kubernetes, settings
    #[arg(long, short, default_value = "consul-kv")]
    keyspace: String,
    #[command(flatten)]
    common: Common,
}

impl Where {
    fn path(&self, key: &str) -> Path {
        Path::new("/v1/kv").part(&self.keyspace).part(key)
    }
}

/// `kv`.
#[derive(Debug, Subcommand)]
pub(crate) enum Kv {
    /// Print a value as it is; a terminal also gets an end of line
    Get {
        /// The key
        key: String,
        #[command(flatten)]
        moment: Moment,
        #[command(flatten)]
        place: Where,
    },
    /// Write a value
    Put {
        /// The key
        key: String,
        /// The value; `-` reads it from stdin
        value: String,
        /// Only if the key was last modified at this revision; 0: only if there is none
        #[arg(long)]
        expect: Option<u64>,
        #[command(flatten)]
        place: Where,
    },
    /// Delete a key, or all below a prefix
    Delete {
        /// The key
        key: String,
        /// Delete every key that begins so
        #[arg(long)]
        prefix: bool,
        #[command(flatten)]
        place: Where,
    },
    /// List keys
    List {
        /// Only keys that begin so
        #[arg(default_value = "")]
        prefix: String,
        /// At most so many
        #[arg(long, default_value_t = 1000)]
        limit: u64,
        #[command(flatten)]
        moment: Moment,
        #[command(flatten)]
        place: Where,
    },
}

impl Kv {
    pub(super) async fn run(self) -> Result<(), Fault> {
        match self {
            Kv::Get { key, moment, place } => {
                let raw = (!place.common.json()).then_some("true");
                let path = place
                    .path(&key)
                    .query("raw", raw)
                    .query("at", moment.at.as_deref());
                let bytes = place.common.client()?.get(&path).await?;
                if place.common.json() {
                    return print::json(&bytes);
                }
                print::out(&bytes)?;
                // Whoever is no terminal gets the value, byte for byte.
                if std::io::stdout().is_terminal() && !bytes.ends_with(b"\n") {
                    print::gap()?;
                }
                Ok(())
            }
            Kv::Put {
                key,
                value,
                expect,
                place,
            } => {
                let value = if value == "-" {
                    stdin()?
                } else {
                    value.into_bytes()
                };
                let expect = expect.map(|revision| revision.to_string());
                let path = place.path(&key).query("expect", expect.as_deref());
                let bytes = place
                    .common
                    .client()?
                    .bytes(Method::PUT, &path, value)
                    .await?;
                written(&place, &bytes, "put")
            }
            Kv::Delete { key, prefix, place } => {
                let path = place.path(&key).query("prefix", prefix.then_some("true"));
                let bytes = place
                    .common
                    .client()?
                    .bytes(Method::DELETE, &path, bytes::Bytes::new())
                    .await?;
                written(&place, &bytes, "deleted")
            }
            Kv::List {
                prefix,
                limit,
                moment,
                place,
            } => list(&place, &prefix, limit, &moment).await,
        }
    }
}

fn stdin() -> Result<Vec<u8>, Fault> {
    let mut value = Vec::new();
    std::io::stdin()
        .read_to_end(&mut value)
        .map_err(|error| Fault::Failed(format!("cannot read stdin: {error}")))?;
    Ok(value)
}

fn written(place: &Where, bytes: &[u8], what: &str) -> Result<(), Fault> {
    if place.common.json() {
        return print::json(bytes);
    }
    let done: api::KvWritten = read(bytes)?;
    let instance = done
        .instance
        .map(|id| format!(", which is instance {id}"))
        .unwrap_or_default();
    print::line(&format!(
        "{what} {} at revision {}{instance}",
        done.records, done.revision
    ))
}

async fn list(place: &Where, prefix: &str, limit: u64, moment: &Moment) -> Result<(), Fault> {
    let path = Path::new("/v1/kv")
        .part(&place.keyspace)
        .query("prefix", Some(prefix))
        .query("limit", Some(&limit.to_string()))
        .query("keys", (!place.common.json()).then_some("true"))
        .query("at", moment.at.as_deref());
    let bytes = place.common.client()?.get(&path).await?;
    if place.common.json() {
        return print::json(&bytes);
    }
    let list: api::KvList = read(&bytes)?;
    print::table(
        &["KEY", "BYTES", "VERSION", "CREATED", "MODIFIED", "FROM"],
        list.entries.iter().map(|row| {
            let from = match (&row.derived_by, &row.instance) {
                (Some(layout), _) => format!("layout {layout}"),
                (None, Some(instance)) => format!("instance {instance}"),
                (None, None) => String::new(),
            };
            let numbers = [row.size as u64, row.version, row.created, row.modified];
            let mut cells = vec![row.key.clone()];
            cells.extend(numbers.iter().map(ToString::to_string));
            cells.push(from);
            cells
        }),
    )?;
    if list.entries.len() < list.count {
        print::problem(&format!(
            "the first {} of {}; --limit shows more",
            list.entries.len(),
            list.count
        ));
    }
    Ok(())
}
