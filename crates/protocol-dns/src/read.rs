//! State to answers: what a name of one of our zones answers, whatever kind of name it is.

use portolan_catalog::State;

use crate::alias;
use crate::apex;
use crate::builder::nothing;
use crate::cluster;
use crate::definitions::Definitions;
use crate::dependency::Dependency;
use crate::names::{Asked, Zone};
use crate::nodes;
use crate::prepared_query;
use crate::reverse_lookup::{self, Nodes};
use crate::services;
use crate::settings::Settings;
use crate::template::Template;
use crate::wire::{Rcode, rtype};

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
}

/// What is made of many rows together, and kept until one of them changes.
#[derive(Debug, Default)]
pub(crate) struct Indexes {
    pub(crate) nodes: Nodes,
    definitions: Definitions,
}

/// What answers are worked out from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    pub(crate) state: &'a State,
    pub(crate) settings: &'a Settings,
    pub(crate) indexes: &'a Indexes,
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

impl<'a> Reader<'a> {
    /// Works out the answer to a question, following aliases inside our zones. `choose` draws a number below its argument.
    pub(crate) fn resolve(
        &self,
        question: Question<'_>,
        asked: &Asked<'_>,
        choose: impl FnMut(u32) -> u32,
    ) -> Found {
        alias::follow(self, question, self.direct(question, asked), choose)
    }

    /// What the name itself answers: an alias is one.
    pub(crate) fn direct(&self, question: Question<'_>, asked: &Asked<'_>) -> Found {
        let (state, settings) = (self.state, self.settings);
        let question = Question {
            ports: asked.has_ports(),
            ..question
        };
        match asked {
            Asked::Service {
                kind, name, tag, ..
            } => services::resolve(self, question, *kind, name, tag),
            Asked::PortsOnly { name, tag } => {
                let ported = Question {
                    qtype: rtype::SRV,
                    ..question
                };
                let kind = crate::names::Kind::Plain;
                let found = services::resolve(self, ported, kind, name, tag);
                Found {
                    template: nothing(found.template.rcode),
                    keep: false,
                    ..found
                }
            }
            Asked::Node(name) => nodes::resolve(self, question, name),
            Asked::Query { name, .. } => {
                prepared_query::resolve(self, question, &self.indexes.definitions, name)
            }
            Asked::Addr(ip) => Found::new(
                nodes::address(settings, *ip, question.qtype),
                Dependency::Nothing,
            ),
            Asked::Reverse(ip) => Found::passing(reverse_lookup::resolve(
                state,
                settings,
                &self.indexes.nodes,
                *ip,
                question.qtype,
            )),
            Asked::Apex => Found::passing(apex::resolve(
                state,
                settings,
                question.zone,
                question.qtype,
            )),
            Asked::Cluster(asked) => cluster::resolve(state, settings, asked, question.qtype),
            Asked::EmptyNonTerminal => Found::passing(nothing(Rcode::NoError)),
            Asked::Nothing => Found::passing(nothing(Rcode::NxDomain)),
        }
    }
}
