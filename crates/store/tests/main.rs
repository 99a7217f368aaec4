//! The contract of the stores, and what is particular to PostgreSQL: one program, so that it is built and linked once.
#![allow(clippy::unwrap_used, missing_docs)]

mod audit;
mod changes;
mod clock;
mod commands;
mod contract;
mod deletion;
mod frozen;
mod full_disk;
mod hints;
mod history;
mod inbox;
mod limits;
mod open;
mod outage;
mod pagination;
mod quotas;
mod replica;
mod servers;
mod shards;
mod starts;
mod support;
mod tls;
mod tokens;
mod turns;
