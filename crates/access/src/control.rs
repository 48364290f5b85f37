//! The handle of a server whose access control is on.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use portolan_catalog::{Cause, Command, Refusal, State, Why};
use portolan_listener::{
    Action, Authenticator, Credentials, Decision, Policy as ListenerPolicy, Principal, Resource,
    ServerContext, Unauthenticated,
};
use portolan_registry::Registry;
use tokio::time::Instant;
use tracing::{info, warn};
use uuid::Uuid;

use crate::authorizer::{Authorizer, Question};
use crate::builtin;
use crate::directory::{Directory, Known};
use crate::question::question;
use crate::rows::{Grants, Token};
use crate::store::{self, Changes};

/// How often it is looked whether the first management token is there.
const LOOK: Duration = Duration::from_millis(500);
/// How often tokens whose time is over are removed. They are worth nothing at once.
const SWEEP: Duration = Duration::from_secs(60);
/// Tokens removed by one command at most.
const SWEPT_AT_ONCE: usize = 512;
/// The header in which Consul's clients show their token.
const HEADER: &str = "x-consul-token";
/// The metadata in which etcd's clients show theirs.
const METADATA: &str = "token";

/// Tokens of the server itself, by their secrets.
#[derive(Clone, Default)]
pub struct OwnTokens {
    /// Whoever shows no token has this one; the anonymous one if there is none.
    pub default: Option<Arc<str>>,
    /// The first management token, made when there never was one.
    pub initial_management: Option<Arc<str>>,
}

impl fmt::Debug for OwnTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnTokens")
    }
}

/// What the configuration says.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether what no rule speaks of is allowed. False by default.
    pub default_allow: bool,
    /// The datacenter, for policies that hold in some only.
    pub datacenter: Arc<str>,
    /// The name of this server's node.
    pub node: Arc<str>,
    /// The server's own tokens.
    pub tokens: OwnTokens,
}

struct Inner {
    registry: Registry,
    settings: Settings,
    /// The token of whoever shows none; `agent/token/default` replaces it.
    default: ArcSwap<Option<Arc<str>>>,
    directory: ArcSwap<Directory>,
    reading: Mutex<()>,
}

/// Access control of one server. Cloning is a pointer copy.
#[derive(Clone)]
pub struct AccessControl(Arc<Inner>);

impl fmt::Debug for AccessControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessControl")
    }
}

impl AccessControl {
    /// Access control over the tokens, policies and roles of `registry`.
    pub fn new(registry: Registry, settings: Settings) -> AccessControl {
        let directory = Directory::read(
            &registry.snapshot(),
            settings.default_allow,
            &settings.datacenter,
        );
        AccessControl(Arc::new(Inner {
            default: ArcSwap::from_pointee(settings.tokens.default.clone()),
            directory: ArcSwap::from_pointee(directory),
            reading: Mutex::new(()),
            registry,
            settings,
        }))
    }

    /// What the configuration says.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Rows and rules as they are in the latest state: what was written before this call is in it.
    pub fn directory(&self) -> Arc<Directory> {
        let changed = self.0.registry.read(store::changed);
        let known = self.0.directory.load();
        if known.changed == changed {
            return arc_swap::Guard::into_inner(known);
        }
        self.read_again()
    }

    /// Rows and rules as they are in `state`.
    pub fn directory_of(&self, state: &State) -> Arc<Directory> {
        let known = self.0.directory.load();
        if known.changed == store::changed(state) {
            return arc_swap::Guard::into_inner(known);
        }
        let settings = &self.0.settings;
        Arc::new(Directory::read(
            state,
            settings.default_allow,
            &settings.datacenter,
        ))
    }

    fn read_again(&self) -> Arc<Directory> {
        let reading = self.0.reading.lock();
        let _one_reads = reading.unwrap_or_else(PoisonError::into_inner);
        let state = self.0.registry.snapshot();
        let known = self.0.directory.load_full();
        if known.changed == store::changed(&state) {
            return known;
        }
        let settings = &self.0.settings;
        let read = Arc::new(Directory::read(
            &state,
            settings.default_allow,
            &settings.datacenter,
        ));
        self.0.directory.store(read.clone());
        read
    }

    /// Calls `read` with the directory as it is now, without counting a reference while nothing changed.
    fn with<T>(&self, read: impl FnOnce(&Directory) -> T) -> T {
        let changed = self.0.registry.read(store::changed);
        let known = self.0.directory.load();
        if known.changed == changed {
            read(&known)
        } else {
            read(&self.read_again())
        }
    }

    /// Whose secret it is; none when it is nobody's, or the token's time is over.
    pub fn identify(&self, secret: &str) -> Option<Principal> {
        let now = self.0.registry.now().0;
        self.with(|directory| {
            let known = directory.by_secret(secret, now)?;
            Some(principal(known))
        })
    }

    /// The secret that a request of Consul's clients shows in its headers: `X-Consul-Token`, then `Authorization: Bearer`.
    pub fn consul_token(headers: &http::HeaderMap) -> Option<&str> {
        let token = header(headers, HEADER).filter(|token| !token.is_empty());
        token.or_else(|| scheme(headers, "bearer").filter(|token| !token.is_empty()))
    }

    /// The secret that a request of any other client shows: as Consul's, then the password of `Authorization: Basic`, then etcd's `token`.
    pub fn shown(headers: &http::HeaderMap) -> Option<Cow<'_, str>> {
        if let Some(token) = AccessControl::consul_token(headers) {
            return Some(token.into());
        }
        if let Some(pair) = scheme(headers, "basic") {
            // What cannot be read is a secret that nobody has.
            let pair = STANDARD.decode(pair).unwrap_or_default();
            let pair = String::from_utf8(pair).unwrap_or_default();
            let password = pair.split_once(':').map_or("", |(_, password)| password);
            return Some(password.to_owned().into());
        }
        // A secret is a UUID. What etcd's own users show there is none, has dots, and is for the etcd port to judge.
        header(headers, METADATA)
            .filter(|token| !token.is_empty() && !token.contains('.'))
            .map(Cow::Borrowed)
    }

    /// The handle's registry, read.
    pub fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        self.0.registry.read(read)
    }

    /// Takes another default token, until the next start.
    pub fn set_default_token(&self, secret: &str) {
        let token = (!secret.is_empty()).then(|| Arc::from(secret));
        self.0.default.store(Arc::new(token));
    }

    /// Whether a principal may do what is asked.
    pub fn allows(&self, principal: &Principal, asked: &Question<'_>) -> bool {
        if *asked == Question::Public {
            return true;
        }
        self.judged(principal, |authorizer| authorizer.allows(asked))
    }

    /// Calls `judge` with what a principal may do; false when its token is gone.
    fn judged(&self, principal: &Principal, judge: impl FnOnce(&Authorizer) -> bool) -> bool {
        let now = self.0.registry.now().0;
        self.with(|directory| {
            let known = match principal.name() {
                Some(name) => match directory.token(name) {
                    Some(known) if known.token.row.expired(now) => return false,
                    Some(known) => known,
                    // Accessors are UUIDs: this one was a token's. Other names, as in certificates, are nobody's here.
                    None if Uuid::parse_str(name).is_ok() => return false,
                    None => self.nobody(directory, now),
                },
                None => self.nobody(directory, now),
            };
            judge(directory.authorizer(known))
        })
    }

    /// The token of whoever shows none.
    fn nobody<'a>(&self, directory: &'a Directory, now: u64) -> &'a Arc<Known> {
        let default = self.0.default.load();
        let own = default.as_deref();
        own.and_then(|secret| directory.by_secret(secret, now))
            .unwrap_or_else(|| directory.anonymous())
    }

    /// The token that answers for a principal.
    pub fn known(&self, principal: &Principal) -> Option<Arc<Known>> {
        let now = self.0.registry.now().0;
        let directory = self.directory();
        match principal.name() {
            Some(name) => directory.token(name).cloned(),
            None => Some(self.nobody(&directory, now).clone()),
        }
    }

    /// The words of a refusal, as Consul has them.
    pub fn refusal(&self, principal: &Principal, asked: &Question<'_>) -> String {
        let known = self.known(principal);
        let accessor = known.as_ref().map(|known| &*known.accessor);
        let (kind, level, name) = asked.words();
        let who = match accessor {
            None => "provided token".to_owned(),
            Some(builtin::ANONYMOUS) => "anonymous token".to_owned(),
            Some(accessor) => format!("token with AccessorID '{accessor}'"),
        };
        let mut text = format!("{who} lacks permission '{kind}:{}'", level.as_str());
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            text.push_str(&format!(" on \"{name}\""));
        }
        if accessor == Some(builtin::ANONYMOUS) {
            text.push_str(
                ". The anonymous token is used implicitly when a request does not specify a token.",
            );
        }
        text
    }

    /// Makes the first management token if the configuration gives one and there never was one, also after a backup without tokens was
    /// restored; removes tokens whose time is over every minute, where this server leads. Ends when the server drains. `serve` spawns it
    /// once.
    pub async fn run(self, context: ServerContext) {
        let first = self.0.settings.tokens.initial_management.clone();
        let pause = match first {
            Some(_) => LOOK,
            None => SWEEP,
        };
        let mut swept = Instant::now();
        loop {
            if let Some(secret) = &first {
                self.make_first(secret).await;
            }
            tokio::select! {
                () = context.draining() => return,
                () = tokio::time::sleep(pause) => {}
            }
            if swept.elapsed() >= SWEEP && self.0.registry.leads() {
                swept = Instant::now();
                self.sweep().await;
            }
        }
    }

    /// Whether the configuration gives the first management token: nobody else makes one then.
    pub fn gives_first(&self) -> bool {
        self.0.settings.tokens.initial_management.is_some()
    }

    async fn make_first(&self, secret: &str) {
        if self
            .0
            .registry
            .read(|state| store::bootstrapped(state).is_some())
        {
            return;
        }
        let token = Token {
            accessor: Uuid::from_bytes(portolan_environment::uuid()).to_string(),
            secret: secret.to_owned(),
            description: "Initial Management Token".to_owned(),
            grants: Grants {
                policies: vec![builtin::MANAGEMENT.to_owned()],
                ..Grants::default()
            },
            created_ms: self.0.registry.now().0,
            ..Token::default()
        };
        let mut changes = Changes::default();
        changes.bootstrap(None);
        changes.token(&token, None);
        let cause = Cause::own(Why::Start);
        let command = match changes.write() {
            Ok(write) => Command::Write(write),
            Err(why) => {
                warn!(%why, "the initial management token was not made");
                return;
            }
        };
        // Without a leader it is tried again.
        let Ok(settled) = self.0.registry.propose(cause, command).await else {
            return;
        };
        match settled.outcome {
            Ok(_) => info!(
                accessor = token.accessor,
                "made the initial management token"
            ),
            // Another server was faster.
            Err(Refusal::Exists) => {}
            Err(Refusal::Ops(failed)) if failed.iter().all(|(_, why)| *why == Refusal::Exists) => {}
            Err(refusal) => warn!(?refusal, "the initial management token was refused"),
        }
    }

    async fn sweep(&self) {
        let now = self.0.registry.now().0;
        let directory = self.directory();
        let over: Vec<_> = directory
            .tokens()
            .filter(|known| known.token.row.expired(now))
            .take(SWEPT_AT_ONCE)
            .collect();
        if over.is_empty() {
            return;
        }
        let mut changes = Changes::default();
        for known in over {
            changes.drop_token(&known.token.row);
        }
        let cause = Cause::own(Why::Housekeeping);
        // What could not be removed now is worth nothing all the same.
        if let Ok(write) = changes.write() {
            let command = Command::Write(write);
            let _ = self.0.registry.propose(cause, command).await;
        }
    }
}

fn header<'a>(headers: &'a http::HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// What `Authorization` says in one of its schemes.
fn scheme<'a>(headers: &'a http::HeaderMap, wanted: &str) -> Option<&'a str> {
    let (scheme, rest) = header(headers, AUTHORIZATION.as_str())?.split_once(' ')?;
    scheme.eq_ignore_ascii_case(wanted).then(|| rest.trim())
}

/// The principal of a token: its accessor, which causes record. The anonymous one is nobody.
fn principal(known: &Known) -> Principal {
    match &*known.accessor {
        builtin::ANONYMOUS => Principal::Anonymous,
        _ => Principal::Named(known.accessor.clone()),
    }
}

impl ListenerPolicy for AccessControl {
    fn decide(&self, principal: &Principal, action: Action, resource: Resource<'_>) -> Decision {
        let asked = question(action, resource, &self.0.settings.node);
        match self.allows(principal, &asked) {
            true => Decision::Allow,
            false => Decision::Deny,
        }
    }

    fn unrestricted(&self, principal: &Principal) -> bool {
        self.judged(principal, Authorizer::allows_everything)
    }

    fn explain(
        &self,
        principal: &Principal,
        action: Action,
        resource: Resource<'_>,
    ) -> Option<String> {
        let asked = question(action, resource, &self.0.settings.node);
        Some(self.refusal(principal, &asked))
    }
}

impl Authenticator for AccessControl {
    fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Principal, Unauthenticated> {
        let shown = credentials.headers.and_then(AccessControl::shown);
        match shown {
            // What a certificate says is nobody's name here.
            None => Ok(Principal::Anonymous),
            Some(secret) => self.identify(&secret).ok_or(Unauthenticated {
                text: "the token is not known, or its time is over".into(),
                challenge: None,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::AccessControl;

    #[test]
    fn tokens_of_etcds_own_users_are_none_of_these() {
        let rows = [
            ("token", "8b5a6e2c", Some("8b5a6e2c")),
            ("token", "19ab.7f.cm9vdA.c2lnbmF0dXJl", None),
            ("token", "", None),
            ("authorization", "19ab.7f.cm9vdA.c2lnbmF0dXJl", None),
            ("authorization", "Bearer 8b5a6e2c", Some("8b5a6e2c")),
            ("x-consul-token", "a.b", Some("a.b")),
        ];
        for (name, value, expected) in rows {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            assert_eq!(
                AccessControl::shown(&headers).as_deref(),
                expected,
                "{name}: {value}"
            );
        }
    }
}
