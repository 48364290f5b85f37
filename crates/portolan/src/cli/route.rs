//! `route add`, `list`, `delete`: which requests the gateway passes on to which service.

use clap::{Args, Subcommand};
use http::Method;
use portolan_api as api;

use super::client::{Path, read};
use super::{Common, Fault, Moment, print};

/// `route`.
#[derive(Debug, Subcommand)]
pub(crate) enum Route {
    /// Pass requests that match on to a service; a route of that name is replaced
    Add(Add),
    /// List the routes
    List {
        #[command(flatten)]
        moment: Moment,
        #[command(flatten)]
        common: Common,
    },
    /// Delete a route
    Delete {
        /// Its name
        name: String,
        #[command(flatten)]
        common: Common,
    },
}

/// `route add`.
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// The service
    service: String,
    /// Name of the route; by default the service's
    #[arg(long)]
    name: Option<String>,
    /// Host, or *.example.com for every name below it; by default any
    #[arg(long, default_value = "")]
    host: String,
    /// Path with what is below it, or with $ at its end that path alone; by default any
    #[arg(long, default_value = "")]
    path: String,
    /// Method; by default all
    #[arg(long = "method")]
    methods: Vec<String>,
    /// Field that the head has to have
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The service gets the path without that of the route
    #[arg(long)]
    strip: bool,
    /// Namespace of the service
    #[arg(long, default_value = "")]
    namespace: String,
    /// Group of the service
    #[arg(long, default_value = "")]
    group: String,
    #[command(flatten)]
    common: Common,
}

impl Route {
    pub(super) async fn run(self) -> Result<(), Fault> {
        match self {
            Route::Add(add) => add.run().await,
            Route::List { moment, common } => list(&common, &moment).await,
            Route::Delete { name, common } => {
                let path = Path::new("/v1/routes").part(&name);
                let client = common.client()?;
                let bytes = client.bytes(Method::DELETE, &path, bytes::Bytes::new());
                settled(&common, &bytes.await?, &format!("deleted route {name}"))
            }
        }
    }
}

impl Add {
    async fn run(self) -> Result<(), Fault> {
        let mut headers = Vec::new();
        for header in &self.headers {
            let (name, value) = header
                .split_once(':')
                .ok_or_else(|| Fault::Usage(format!("--header: {header:?} is not NAME: VALUE")))?;
            headers.push((name.trim().to_owned(), value.trim().to_owned()));
        }
        let name = self.name.unwrap_or_else(|| self.service.clone());
        let route = api::Route {
            host: self.host,
            path: self.path,
            methods: self.methods.iter().map(|one| one.to_uppercase()).collect(),
            headers,
            service: self.service,
            namespace: self.namespace,
            group: self.group,
            strip: self.strip,
        };
        let path = Path::new("/v1/routes").part(&name);
        let client = self.common.client()?;
        let bytes = client.with_body(Method::PUT, &path, &route).await?;
        let text = format!("route {name} leads to service {}", route.service);
        settled(&self.common, &bytes, &text)
    }
}

fn settled(common: &Common, bytes: &[u8], text: &str) -> Result<(), Fault> {
    if common.json() {
        return print::json(bytes);
    }
    let settled: api::Settled = read(bytes)?;
    print::line(&format!("{text}, at revision {}", settled.revision))
}

async fn list(common: &Common, moment: &Moment) -> Result<(), Fault> {
    let path = Path::new("/v1/routes").query("at", moment.at.as_deref());
    let bytes = common.client()?.get(&path).await?;
    if common.json() {
        return print::json(&bytes);
    }
    let list: api::RouteList = read(&bytes)?;
    let rows = list.routes.into_iter().map(|row| {
        let Some(route) = row.route else {
            return vec![row.name, "cannot be read".to_owned()];
        };
        let any = |text: String| {
            if text.is_empty() {
                "*".to_owned()
            } else {
                text
            }
        };
        let headers = route
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}"));
        let headers: Vec<String> = headers.collect();
        let strip = if route.strip { " (stripped)" } else { "" };
        let service = [&route.namespace, &route.group, &route.service];
        let service: Vec<&str> = service
            .into_iter()
            .map(String::as_str)
            .filter(|part| !part.is_empty())
            .collect();
        vec![
            row.name,
            any(route.host),
            any(route.path) + strip,
            any(route.methods.join(" ")),
            headers.join(", "),
            service.join("/"),
        ]
    });
    print::table(
        &["ROUTE", "HOST", "PATH", "METHODS", "HEADERS", "SERVICE"],
        rows,
    )
}
