//! Routes as a table: the protocol's index, readable by people and by the test that asks every route for its decision.
//!
//! Invariants
//! - The path is matched as it came: nothing is decoded, collapsed or trimmed. `//` and `%2F` inside a catch-all stay what they are.
//! - A table that contradicts itself does not start.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use http::Method;
use http::uri::PathAndQuery;
use portolan_catalog::Protocol;
use smallvec::SmallVec;

use crate::caller::Caller;
use crate::http_port::{Request, Response};
use crate::meter::Meter;
use crate::metrics::Metrics;
use crate::transport::BoxFuture;

/// A set of HTTP methods, usable in constants: `Methods::GET.or(Methods::PUT)`.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Methods(u8);

const METHODS: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::PUT,
    Method::POST,
    Method::DELETE,
    Method::PATCH,
    Method::OPTIONS,
];

impl Methods {
    /// GET.
    pub const GET: Methods = Methods(1);
    /// HEAD.
    pub const HEAD: Methods = Methods(1 << 1);
    /// PUT.
    pub const PUT: Methods = Methods(1 << 2);
    /// POST.
    pub const POST: Methods = Methods(1 << 3);
    /// DELETE.
    pub const DELETE: Methods = Methods(1 << 4);
    /// PATCH.
    pub const PATCH: Methods = Methods(1 << 5);
    /// OPTIONS.
    pub const OPTIONS: Methods = Methods(1 << 6);
    /// Every one of the above.
    pub const ALL: Methods = Methods(0x7f);

    /// The methods of both.
    #[must_use]
    pub const fn or(self, other: Methods) -> Methods {
        Methods(self.0 | other.0)
    }

    /// Whether `method` is in the set; methods of others' making never are.
    pub fn contain(self, method: &Method) -> bool {
        let bit = METHODS.iter().position(|known| known == method);
        bit.is_some_and(|bit| self.0 & 1 << bit != 0)
    }

    /// The methods, in the order GET, HEAD, PUT, POST, DELETE, PATCH, OPTIONS.
    pub fn iter(self) -> impl Iterator<Item = Method> {
        let set = METHODS.into_iter().enumerate();
        set.filter(move |(bit, _)| self.0 & 1 << bit != 0)
            .map(|(_, method)| method)
    }
}

/// As in an `Allow` header: `GET,PUT`.
impl fmt::Display for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, method) in self.iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            write!(f, "{comma}{method}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Methods({self})")
    }
}

/// A handler: the protocol's state, the request, and what the pattern captured.
pub type Handler<S> = fn(Arc<S>, Request, Params) -> BoxFuture<Response>;

/// One row of a protocol's table.
///
/// ```
/// # use std::sync::Arc;
/// # use portolan_listener::{Action, Caller, Methods, Params, Request, Resource, Response, Route};
/// struct App;
///
/// async fn any(_app: Arc<App>, request: Request, params: Params) -> Response {
///     let key = params.raw("key").as_bytes();
///     let resource = Resource::Record { keyspace: "consul-kv", key };
///     match Caller::of(&request).allow(Action::Read, resource) {
///         Ok(()) => Response::new("value".into()),
///         Err(denied) => Response::new(denied.to_string().into()),
///     }
/// }
///
/// static ROUTES: &[Route<App>] = &[
///     Route::new(Methods::GET.or(Methods::PUT), "/v1/kv/{*key}", "kv", |a, r, p| Box::pin(any(a, r, p))),
/// ];
/// # assert_eq!(ROUTES.len(), 1);
/// ```
pub struct Route<S: 'static> {
    /// The methods it serves. Rows with one pattern and different methods may stand apart.
    pub methods: Methods,
    /// The path: `{name}` captures one segment, a final `{*name}` the rest, also when that is empty.
    pub pattern: &'static str,
    /// The label in metrics.
    pub name: &'static str,
    /// What answers.
    pub handler: Handler<S>,
}

impl<S> Route<S> {
    /// A row.
    pub const fn new(
        methods: Methods,
        pattern: &'static str,
        name: &'static str,
        handler: Handler<S>,
    ) -> Route<S> {
        Route {
            methods,
            pattern,
            name,
            handler,
        }
    }
}

impl<S> fmt::Debug for Route<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} -> {}", self.methods, self.pattern, self.name)
    }
}

/// What the pattern captured from the path, as it stood there: still percent-encoded.
#[derive(Clone, Debug, Default)]
pub struct Params {
    path: Option<PathAndQuery>,
    captured: SmallVec<[(&'static str, Range<usize>); 1]>,
}

impl Params {
    /// The text captured under `name`; `None` when the pattern has no such name.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, range) = self.captured.iter().find(|(key, _)| *key == name)?;
        self.path.as_ref()?.path().get(range.clone())
    }

    /// The text captured under `name`, or nothing.
    pub fn raw(&self, name: &str) -> &str {
        self.get(name).unwrap_or("")
    }
}

/// What a path and method lead to.
#[derive(Debug)]
pub enum Found<'r, S: 'static> {
    /// A row of the table.
    Route(&'static Route<S>, &'r Meter, Params),
    /// The path exists, for these methods only.
    MethodNotAllowed(Methods),
    /// No such path.
    NotFound,
}

/// A protocol's routes, ready to match.
pub struct Router<S: 'static> {
    tree: matchit::Router<usize>,
    groups: Vec<Group<S>>,
}

/// The rows of one pattern.
struct Group<S: 'static> {
    pattern: &'static str,
    /// What the pattern captures, in the order of the path.
    names: Vec<&'static str>,
    rows: Vec<(&'static Route<S>, Meter)>,
}

impl<S> Router<S> {
    /// Reads `tables`, and makes each route's meter.
    ///
    /// # Panics
    /// When two rows claim the same path and method, or a pattern is malformed: the tables are ours.
    pub fn new(metrics: &Metrics, protocol: Protocol, tables: &[&'static [Route<S>]]) -> Router<S> {
        let mut router = Router {
            tree: matchit::Router::new(),
            groups: Vec::new(),
        };
        for route in tables.iter().copied().flatten() {
            router.add(route, metrics.meter(protocol, route.name));
        }
        router
    }

    fn add(&mut self, route: &'static Route<S>, meter: Meter) {
        let same = self
            .groups
            .iter_mut()
            .find(|group| group.pattern == route.pattern);
        if let Some(group) = same {
            let taken = group
                .rows
                .iter()
                .find(|(other, _)| other.methods.0 & route.methods.0 != 0);
            assert!(
                taken.is_none(),
                "route {route:?} is also served by {taken:?}"
            );
            group.rows.push((route, meter));
            return;
        }
        let number = self.groups.len();
        self.groups.push(Group {
            pattern: route.pattern,
            names: names_in(route.pattern),
            rows: vec![(route, meter)],
        });
        let mut insert = |pattern: &str| {
            if let Err(error) = self.tree.insert(pattern, number) {
                panic!("route {route:?}: {error}");
            }
        };
        insert(route.pattern);
        // A catch-all of the tree wants at least one byte; the empty key is a key all the same.
        if let Some(at) = route.pattern.find("{*") {
            insert(&route.pattern[..at]);
        }
    }

    /// Every row, for tests that enumerate.
    pub fn routes(&self) -> impl Iterator<Item = &'static Route<S>> {
        let rows = self.groups.iter().flat_map(|group| &group.rows);
        rows.map(|(route, _)| *route)
    }

    /// Finds the row for a method and a raw path.
    pub fn find(&self, method: &Method, path: &PathAndQuery) -> Found<'_, S> {
        let Ok(found) = self.tree.at(path.path()) else {
            return Found::NotFound;
        };
        let group = &self.groups[*found.value];
        let row = group
            .rows
            .iter()
            .find(|(route, _)| route.methods.contain(method));
        let Some((route, meter)) = row else {
            let all = group.rows.iter().map(|(route, _)| route.methods);
            return Found::MethodNotAllowed(all.fold(Methods::default(), Methods::or));
        };
        Found::Route(route, meter, capture(&group.names, path, &found.params))
    }

    /// Calls the handler of the row that `request` leads to, and has its answer measured under the row's name.
    ///
    /// `Err` gives the request back with the methods that the path does have (none: no such path), for the protocol's own words.
    pub async fn dispatch(
        &self,
        app: Arc<S>,
        request: Request,
    ) -> Result<Response, (Request, Methods)> {
        let Some(path) = request.uri().path_and_query() else {
            return Err((request, Methods::default()));
        };
        match self.find(request.method(), path) {
            Found::Route(route, meter, params) => {
                if let Some(caller) = request.extensions().get::<Caller>() {
                    caller.measure(meter);
                }
                Ok((route.handler)(app, request, params).await)
            }
            Found::MethodNotAllowed(methods) => Err((request, methods)),
            Found::NotFound => Err((request, Methods::default())),
        }
    }
}

impl<S> fmt::Debug for Router<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.routes()).finish()
    }
}

fn names_in(pattern: &'static str) -> Vec<&'static str> {
    let names = pattern.split('{').skip(1).filter_map(|rest| {
        let (name, _) = rest.split_once('}')?;
        Some(name.strip_prefix('*').unwrap_or(name))
    });
    names.collect()
}

fn capture(
    names: &[&'static str],
    path: &PathAndQuery,
    params: &matchit::Params<'_, '_>,
) -> Params {
    if names.is_empty() {
        return Params::default();
    }
    let start = path.path().as_ptr() as usize;
    let captured = names.iter().map(|name| {
        let range = params.get(name).map_or(0..0, |value| {
            let at = value.as_ptr() as usize - start;
            at..at + value.len()
        });
        (*name, range)
    });
    Params {
        captured: captured.collect(),
        path: Some(path.clone()),
    }
}
