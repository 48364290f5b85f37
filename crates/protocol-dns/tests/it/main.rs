//! The DNS server on real sockets over a local registry, asked with messages of another implementation and with `dig`.

mod aliases;
mod answers;
mod changes;
mod cookies;
mod dig;
mod fixture;
mod hostile;
mod https;
mod messages;
mod recursors;
mod schemes;
mod sizes;
mod tcp;
