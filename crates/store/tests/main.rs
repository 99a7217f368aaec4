//! The contract of the stores, and what is particular to PostgreSQL: one program, so that it is built and linked once.
#![allow(clippy::unwrap_used, missing_docs)]

mod changes;
mod clock;
mod commands;
mod contract;
mod deletion;
mod frozen;
mod full_disk;
mod heads;
mod hints;
mod history;
mod inbox;
mod open;
mod outage;
mod pagination;
mod quotas;
mod replica;
mod resources;
mod sealed;
mod servers;
mod shards;
mod starts;
mod support;
mod tls;
mod turns;
