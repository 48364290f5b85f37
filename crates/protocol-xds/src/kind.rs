//! The four kinds of resources.

use crate::wire;

/// A kind of resources, in the order in which changes of several are told: what is pointed to comes before what points there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// How a service is called.
    Clusters,
    /// Its instances.
    Assignments,
    /// Where requests come in.
    Listeners,
    /// Which service a request is for.
    Routes,
}

impl Kind {
    pub(crate) const ALL: [Kind; 4] = [
        Kind::Clusters,
        Kind::Assignments,
        Kind::Listeners,
        Kind::Routes,
    ];

    pub(crate) fn of(type_url: &str) -> Option<Kind> {
        Kind::ALL
            .into_iter()
            .find(|kind| kind.type_url() == type_url)
    }

    pub(crate) fn type_url(self) -> &'static str {
        match self {
            Kind::Clusters => wire::CLUSTER,
            Kind::Assignments => wire::ASSIGNMENT,
            Kind::Listeners => wire::LISTENER,
            Kind::Routes => wire::ROUTES,
        }
    }

    /// The field's short word for it, in metrics and for people.
    pub(crate) fn short(self) -> &'static str {
        match self {
            Kind::Clusters => "CDS",
            Kind::Assignments => "EDS",
            Kind::Listeners => "LDS",
            Kind::Routes => "RDS",
        }
    }

    /// Whether a response about the state of the world holds all there is, so that what is not in it is gone. Of the other kinds a response
    /// holds what is news, and such clients may ask for everything by no name only here.
    pub(crate) fn is_whole(self) -> bool {
        matches!(self, Kind::Clusters | Kind::Listeners)
    }
}
