//! One instance as Eureka's clients know it.

use std::collections::BTreeMap;
use std::fmt;

/// What an instance says, or was told to say, about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Refuses traffic; a failed health check.
    Down,
    /// Taken out of traffic on purpose.
    OutOfService,
    /// Not yet ready.
    Starting,
    /// Not known; also what an unreadable status becomes.
    Unknown,
    /// Ready for traffic.
    Up,
}

impl Status {
    /// Every status, in the order of their names, which is the order of the hash code.
    pub const ALL: [Status; 5] = [
        Status::Down,
        Status::OutOfService,
        Status::Starting,
        Status::Unknown,
        Status::Up,
    ];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Down => "DOWN",
            Status::OutOfService => "OUT_OF_SERVICE",
            Status::Starting => "STARTING",
            Status::Unknown => "UNKNOWN",
            Status::Up => "UP",
        }
    }

    /// The status of exactly this name; `None` for any other text.
    pub fn named(name: &str) -> Option<Status> {
        Status::ALL.into_iter().find(|s| s.as_str() == name)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What happened to an instance last; in a delta, what the reader shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// New or registered again.
    Added,
    /// Its status or metadata changed.
    Modified,
    /// Cancelled or evicted.
    Deleted,
}

impl Action {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Action::Added => "ADDED",
            Action::Modified => "MODIFIED",
            Action::Deleted => "DELETED",
        }
    }

    /// The action of exactly this name.
    pub fn named(name: &str) -> Option<Action> {
        [Action::Added, Action::Modified, Action::Deleted]
            .into_iter()
            .find(|a| a.as_str() == name)
    }
}

/// A port and whether it is in use. Eureka prints disabled ports too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// The number, 0 to 65535.
    pub number: u16,
    /// Whether it takes traffic.
    pub enabled: bool,
}

/// The data centre kinds Netflix knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataCenterName {
    /// Netflix' own.
    Netflix,
    /// EC2; carries metadata.
    Amazon,
    /// Everybody else.
    MyOwn,
}

impl DataCenterName {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            DataCenterName::Netflix => "Netflix",
            DataCenterName::Amazon => "Amazon",
            DataCenterName::MyOwn => "MyOwn",
        }
    }

    /// The data centre of exactly this name.
    pub fn named(name: &str) -> Option<DataCenterName> {
        [
            DataCenterName::Netflix,
            DataCenterName::Amazon,
            DataCenterName::MyOwn,
        ]
        .into_iter()
        .find(|d| d.as_str() == name)
    }

    /// The Java class a client expects beside the name.
    pub const fn class(self) -> &'static str {
        match self {
            DataCenterName::Amazon => "com.netflix.appinfo.AmazonInfo",
            DataCenterName::Netflix | DataCenterName::MyOwn => {
                "com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo"
            }
        }
    }
}

/// Where an instance runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataCenter {
    /// The kind; `None` when the registration left it out (which refuses it).
    pub name: Option<DataCenterName>,
    /// What EC2 tells an instance about itself: `instance-id`, `availability-zone` and so on.
    pub metadata: BTreeMap<String, String>,
}

impl DataCenter {
    /// `MyOwn` without metadata: what everything outside EC2 is.
    pub const fn own() -> DataCenter {
        DataCenter {
            name: Some(DataCenterName::MyOwn),
            metadata: BTreeMap::new(),
        }
    }
}

/// The terms of an instance's lease. Durations in seconds, timestamps in milliseconds since 1970, 0 = never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseInfo {
    /// How often the client means to renew.
    pub renewal_interval_secs: i64,
    /// How long silence is tolerated.
    pub duration_secs: i64,
    /// When it was registered.
    pub registered_at: i64,
    /// When it was last renewed.
    pub renewed_at: i64,
    /// When it was evicted or cancelled.
    pub evicted_at: i64,
    /// When it first came up.
    pub up_at: i64,
}

impl Default for LeaseInfo {
    /// Netflix' 30 and 90 seconds.
    fn default() -> Self {
        LeaseInfo {
            renewal_interval_secs: 30,
            duration_secs: 90,
            registered_at: 0,
            renewed_at: 0,
            evicted_at: 0,
            up_at: 0,
        }
    }
}

/// One running copy of an application, with the fields and defaults of the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The id as given; see [`Instance::effective_id`].
    pub instance_id: Option<String>,
    /// The host's name; empty when absent (which refuses the registration).
    pub host_name: String,
    /// The application's name in upper case; empty when absent.
    pub app: String,
    /// The host's address; empty when absent.
    pub ip_addr: String,
    /// A legacy id; `None` when absent, `na` or `unknown`.
    pub sid: Option<String>,
    /// The status in force.
    pub status: Status,
    /// The status somebody imposed; `Unknown` = none.
    pub overridden: Status,
    /// The plain port; 7001, enabled, when absent.
    pub port: Port,
    /// The TLS port; 7002, disabled, when absent.
    pub secure_port: Port,
    /// A legacy number; 1 when absent.
    pub country_id: i64,
    /// The data centre; `None` when absent (which refuses the registration).
    pub data_center: Option<DataCenter>,
    /// The lease.
    pub lease: LeaseInfo,
    /// Free key and value pairs.
    pub metadata: BTreeMap<String, String>,
    /// A group of applications, in upper case.
    pub app_group: Option<String>,
    /// A page for people.
    pub home_page_url: Option<String>,
    /// A page with the state.
    pub status_page_url: Option<String>,
    /// A page for probes.
    pub health_check_url: Option<String>,
    /// The same over TLS.
    pub secure_health_check_url: Option<String>,
    /// Names (separated by commas) the instance is looked up by.
    pub vip_address: Option<String>,
    /// The same for its TLS port.
    pub secure_vip_address: Option<String>,
    /// Whether it is the answering server itself.
    pub coordinating: bool,
    /// When the server last changed it, in milliseconds since 1970.
    pub updated_at: i64,
    /// When the client last changed it; `None` when absent.
    pub dirty_at: Option<i64>,
    /// What happened last.
    pub action: Action,
    /// The EC2 auto scaling group.
    pub asg_name: Option<String>,
}

impl Default for Instance {
    fn default() -> Self {
        Instance {
            instance_id: None,
            host_name: String::new(),
            app: String::new(),
            ip_addr: String::new(),
            sid: None,
            status: Status::Up,
            overridden: Status::Unknown,
            port: Port {
                number: 7001,
                enabled: true,
            },
            secure_port: Port {
                number: 7002,
                enabled: false,
            },
            country_id: 1,
            data_center: None,
            lease: LeaseInfo::default(),
            metadata: BTreeMap::new(),
            app_group: None,
            home_page_url: None,
            status_page_url: None,
            health_check_url: None,
            secure_health_check_url: None,
            vip_address: None,
            secure_vip_address: None,
            coordinating: false,
            updated_at: 0,
            dirty_at: None,
            action: Action::Added,
            asg_name: None,
        }
    }
}

impl Instance {
    /// The id it is stored under: its own, else EC2's, else its host name.
    pub fn effective_id(&self) -> &str {
        if let Some(id) = self.instance_id.as_deref().filter(|id| !id.is_empty()) {
            return id;
        }
        let center = self.data_center.as_ref();
        match center.and_then(|c| c.metadata.get("instance-id")) {
            Some(id) if !id.is_empty() => id,
            Some(_) | None => &self.host_name,
        }
    }

    /// The checks of a registration at `/apps/{app}`, in Netflix' order. `app` is in upper case.
    pub fn check_registration(&self, app: &str) -> Result<(), Unregistrable> {
        if self.effective_id().is_empty() {
            return Err(Unregistrable::NoId);
        }
        if self.host_name.is_empty() {
            return Err(Unregistrable::NoHost);
        }
        if self.ip_addr.is_empty() {
            return Err(Unregistrable::NoAddress);
        }
        if self.app.is_empty() {
            return Err(Unregistrable::NoApp);
        }
        if self.app != app {
            return Err(Unregistrable::OtherApp {
                expected: app.to_owned(),
                found: self.app.clone(),
            });
        }
        match &self.data_center {
            None => Err(Unregistrable::NoDataCenter),
            Some(DataCenter { name: None, .. }) => Err(Unregistrable::NoDataCenterName),
            Some(_) => Ok(()),
        }
    }
}

/// Why a well-formed registration is refused. The texts are Netflix', byte for byte: clients log and match them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unregistrable {
    /// No id can be derived.
    #[error("Missing instanceId")]
    NoId,
    /// No host name.
    #[error("Missing hostname")]
    NoHost,
    /// No address.
    #[error("Missing ip address")]
    NoAddress,
    /// No application.
    #[error("Missing appName")]
    NoApp,
    /// The body's application is not the path's.
    #[error("Mismatched appName, expecting {expected} but was {found}")]
    OtherApp {
        /// The path's.
        expected: String,
        /// The body's.
        found: String,
    },
    /// No data centre.
    #[error("Missing dataCenterInfo")]
    NoDataCenter,
    /// A data centre without a name.
    #[error("Missing dataCenterInfo Name")]
    NoDataCenterName,
}
