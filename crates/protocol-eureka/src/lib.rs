//! Eureka's REST protocol.
pub mod wire;
