//! `why`.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::client::{Path, read};
use super::{Common, Fault, Moment, print};

/// `why`.
#[derive(Debug, Args)]
pub(crate) struct Why {
    /// SERVICE, or SERVICE/INSTANCE where the instance is an id, origin:id or HOST:PORT; HOST:PORT alone means whatever is there
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    service: String,
    /// The instance, for services whose name has a slash
    #[arg(long)]
    instance: Option<String>,
    /// The service's namespace
    #[arg(long)]
    namespace: Option<String>,
    /// The service's group
    #[arg(long)]
    group: Option<String>,
    #[command(flatten)]
    moment: Moment,
    #[command(flatten)]
    common: Common,
}

impl Why {
    pub(super) async fn run(self) -> Result<(), Fault> {
        let (service, instance) = match (&self.instance, self.service.split_once('/')) {
            (Some(instance), _) => (&*self.service, Some(&**instance)),
            (None, Some((service, instance))) if !instance.is_empty() => (service, Some(instance)),
            (None, _) => (self.service.trim_end_matches('/'), None),
        };
        if service.is_empty() {
            return Err(Fault::Usage(format!(
                "{:?} names no service; write SERVICE or SERVICE/INSTANCE",
                self.service
            )));
        }
        let path = Path::new("/v1/why")
            .part(service)
            .query("instance", instance)
            .query("namespace", self.namespace.as_deref())
            .query("group", self.group.as_deref())
            .query("at", self.moment.at.as_deref());
        let bytes = self.common.client()?.get(&path).await?;
        let why: portolan_api::Why = read(&bytes)?;
        if self.common.json() {
            print::json(&bytes)?;
        } else {
            show(&why)?;
        }
        // What was never there is not found, however well that is explained.
        match why.causes.first() {
            Some(cause) if !why.exists && cause.kind == "never_registered" => {
                Err(Fault::NotFound(format!("there is no {:?}", self.service)))
            }
            _ => Ok(()),
        }
    }
}

fn show(why: &portolan_api::Why) -> Result<(), Fault> {
    print::line(&why.summary)?;
    for (number, cause) in why.causes.iter().enumerate() {
        let when = match (&cause.at, cause.revision) {
            (Some(at), Some(revision)) => format!("  {}, revision {revision}", print::time(at)),
            (Some(at), None) => format!("  {}", print::time(at)),
            (None, Some(revision)) => format!("  revision {revision}"),
            (None, None) => String::new(),
        };
        print::gap()?;
        print::line(&format!("{}. {}{when}", number + 1, cause.kind))?;
        print::line(&format!("   {}", cause.text))?;
    }
    if !why.shown.is_empty() {
        print::gap()?;
        print::line("shown now")?;
        let mut rows = Vec::new();
        for shown in &why.shown {
            let protocol = match &shown.layout {
                Some(layout) => format!("{} {layout}", shown.protocol),
                None => shown.protocol.clone(),
            };
            let remark = shown.remark.clone().unwrap_or_else(|| "nothing".into());
            if shown.instances.is_empty() || shown.remark.is_some() {
                rows.push(vec![
                    protocol.clone(),
                    shown.name.clone(),
                    String::new(),
                    remark,
                ]);
            }
            rows.extend(shown.instances.iter().map(|row| {
                vec![
                    protocol.clone(),
                    row.id.clone(),
                    row.address.clone(),
                    row.status.clone(),
                ]
            }));
        }
        print::table(&["PROTOCOL", "NAME", "ADDRESS", "STATUS"], rows)?;
    }
    for note in &why.notes {
        print::gap()?;
        print::line(&format!("note: {note}"))?;
    }
    Ok(())
}
