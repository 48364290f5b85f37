//! What the API says of itself, and objects for people: discovery, descriptions of types, tables.

pub(crate) mod age;
mod columns;
pub(crate) mod discovery;
pub(crate) mod openapi;
pub(crate) mod table;
