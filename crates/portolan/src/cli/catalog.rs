//! `services`, `instances`, `at`.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use portolan_api::{Instance, InstanceList, ServiceList};

use super::client::{Client, Path, read};
use super::{Common, Fault, Moment, print};

/// `services`.
#[derive(Debug, Args)]
pub(crate) struct Services {
    /// Only of this namespace
    #[arg(long)]
    namespace: Option<String>,
    #[command(flatten)]
    moment: Moment,
    #[command(flatten)]
    common: Common,
}

impl Services {
    pub(super) async fn run(self) -> Result<(), Fault> {
        let path = Path::new("/v1/services")
            .query("namespace", self.namespace.as_deref())
            .query("at", self.moment.at.as_deref());
        services(&self.common.client()?, &path, self.common.json()).await
    }
}

async fn services(client: &Client, path: &Path, json: bool) -> Result<(), Fault> {
    let bytes = client.get(path).await?;
    if json {
        return print::json(&bytes);
    }
    let list: ServiceList = read(&bytes)?;
    let place = |namespace: &str, group: &str| match (namespace, group) {
        ("default", "default") => String::new(),
        (namespace, "default") => namespace.to_owned(),
        (namespace, group) => format!("{namespace}/{group}"),
    };
    print::table(
        &[
            "SERVICE",
            "NAMESPACE",
            "INSTANCES",
            "PASSING",
            "WARNING",
            "CRITICAL",
            "MAINTENANCE",
            "TAGS",
        ],
        list.services.iter().map(|row| {
            let counts = [
                row.instances,
                row.passing,
                row.warning,
                row.critical,
                row.maintenance,
            ];
            let mut cells = vec![row.name.clone(), place(&row.namespace, &row.group)];
            cells.extend(counts.iter().map(ToString::to_string));
            cells.push(row.tags.join(","));
            cells
        }),
    )
}

/// `instances`.
#[derive(Debug, Args)]
pub(crate) struct Instances {
    /// The service; all if absent
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    service: Option<String>,
    /// The service's namespace
    #[arg(long)]
    namespace: Option<String>,
    /// The service's group
    #[arg(long)]
    group: Option<String>,
    /// Only on this node
    #[arg(long)]
    node: Option<String>,
    /// Only registered through this protocol
    #[arg(long)]
    origin: Option<String>,
    /// Only with this health: passing, warning, critical, maintenance
    #[arg(long)]
    health: Option<String>,
    #[command(flatten)]
    moment: Moment,
    #[command(flatten)]
    common: Common,
}

impl Instances {
    pub(super) async fn run(self) -> Result<(), Fault> {
        let path = Path::new("/v1/instances")
            .query("service", self.service.as_deref())
            .query("namespace", self.namespace.as_deref())
            .query("group", self.group.as_deref())
            .query("node", self.node.as_deref())
            .query("origin", self.origin.as_deref())
            .query("health", self.health.as_deref())
            .query("at", self.moment.at.as_deref());
        instances(&self.common.client()?, &path, self.common.json()).await
    }
}

async fn instances(client: &Client, path: &Path, json: bool) -> Result<(), Fault> {
    let bytes = client.get(path).await?;
    if json {
        return print::json(&bytes);
    }
    let list: InstanceList = read(&bytes)?;
    print::table(
        &[
            "SERVICE", "ADDRESS", "HEALTH", "SINCE", "INSTANCE", "NODE", "LEASE", "TAGS",
        ],
        list.instances.iter().map(|row| {
            vec![
                row.service.clone(),
                address(row),
                row.health.clone(),
                print::time(&row.health_since),
                row.id.clone(),
                row.node.clone(),
                lease(row),
                row.tags.join(","),
            ]
        }),
    )
}

fn address(row: &Instance) -> String {
    if row.host.contains(':') {
        format!("[{}]:{}", row.host, row.port)
    } else {
        format!("{}:{}", row.host, row.port)
    }
}

fn lease(row: &Instance) -> String {
    match &row.lease {
        None => String::new(),
        Some(lease) => match lease.remaining_ms {
            Some(left) => format!(
                "{} {:.0}s of {:.0}s",
                lease.kind,
                left as f64 / 1e3,
                lease.ttl_ms as f64 / 1e3
            ),
            None => lease.kind.clone(),
        },
    }
}

/// `at`.
#[derive(Debug, Args)]
pub(crate) struct At {
    /// A revision, a time (2026-01-31T03:12:00Z), or a time of day in UTC (03:12)
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    moment: String,
    /// The instances of this service instead of the list of services
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    service: Option<String>,
    #[command(flatten)]
    common: Common,
}

impl At {
    pub(super) async fn run(self) -> Result<(), Fault> {
        let client = self.common.client()?;
        let bytes = client
            .get(&Path::new("/v1/at").query("at", Some(&self.moment)))
            .await?;
        let moment: portolan_api::Moment = read(&bytes)?;
        let revision = moment.revision.to_string();
        if !self.common.json() {
            let when = moment
                .at
                .as_deref()
                .map(|at| format!(", made at {}", print::time(at)))
                .unwrap_or_default();
            print::line(&format!(
                "revision {revision}{when}; now at {}",
                moment.current
            ))?;
            print::gap()?;
        }
        match &self.service {
            Some(service) => {
                let path = Path::new("/v1/instances")
                    .query("service", Some(service))
                    .query("at", Some(&revision));
                instances(&client, &path, self.common.json()).await
            }
            None => {
                services(
                    &client,
                    &Path::new("/v1/services").query("at", Some(&revision)),
                    self.common.json(),
                )
                .await
            }
        }
    }
}
