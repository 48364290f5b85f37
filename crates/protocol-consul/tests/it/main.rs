//! The API over a real socket and a local registry.
#![allow(missing_docs, unreachable_pub)]

mod access;
mod access_rules;
mod agent_health;
mod agent_self;
mod agent_services;
mod blocking;
mod catalog;
mod config;
mod connect;
mod datacenters;
mod decisions;
mod definitions;
mod foreign;
mod general;
mod harness;
mod intentions;
mod keys;
mod login;
mod queries;
mod refusals;
mod sessions;
mod txn;
