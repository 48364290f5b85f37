//! Nacos' own words: the gRPC envelope, instances, requests and answers. Knows nothing of the catalog's rows.

pub mod instance;
pub mod payload;
pub mod requests;
