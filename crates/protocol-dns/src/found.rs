//! What is asked of the catalog, from what it is worked out, and what is found.

use portolan_catalog::State;

use crate::definitions::Definitions;
use crate::dependency::Dependency;
use crate::elsewhere::Elsewhere;
use crate::names::{Asked, Zone};
use crate::reverse_lookup::Nodes;
use crate::settings::Settings;
use crate::template::Template;

/// An answer worked out, and what it was worked out from.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) template: Template,
    pub(crate) dependency: Dependency,
    /// Whether it is worth keeping: it is about rows that exist, and questions like it are bounded in number.
    pub(crate) keep: bool,
}

impl Found {
    pub(crate) fn new(template: Template, dependency: Dependency) -> Self {
        Self {
            template,
            dependency,
            keep: true,
        }
    }

    /// An answer that is not kept.
    pub(crate) fn passing(template: Template) -> Self {
        Self {
            template,
            dependency: Dependency::Revision,
            keep: false,
        }
    }

    /// What an answer depends on that takes this one in. Where this one is not kept, more than its dependency may change it.
    pub(crate) fn dependency_for_another(&self) -> Dependency {
        if self.keep {
            self.dependency.clone()
        } else {
            Dependency::Revision
        }
    }
}

/// What is made of many rows together, and kept until one of them changes.
#[derive(Debug, Default)]
pub(crate) struct Indexes {
    pub(crate) nodes: Nodes,
    pub(crate) definitions: Definitions,
}

/// What answers are worked out from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    pub(crate) state: &'a State,
    pub(crate) settings: &'a Settings,
    pub(crate) indexes: &'a Indexes,
    /// The other datacenters.
    pub(crate) elsewhere: &'a Elsewhere,
    /// What a name itself answers, whatever kind of name it is. Here, since an answer about one name may need another's.
    pub(crate) names: fn(&Reader<'_>, Question<'_>, &Asked<'_>) -> Found,
}

impl Reader<'_> {
    /// What the name itself answers: an alias is one.
    pub(crate) fn direct(&self, question: Question<'_>, asked: &Asked<'_>) -> Found {
        (self.names)(self, question, asked)
    }
}

/// A question about one of our zones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    pub(crate) zone: Zone,
    /// The whole name as text, in lower case, without a final dot.
    pub(crate) name: &'a str,
    pub(crate) qtype: u16,
    /// The name is of the form `_service._protocol`, which is never an alias.
    pub(crate) ports: bool,
}
