//! The binary as its users run it, in one program: one build and one start serve all of these tests.
#![allow(clippy::unwrap_used, missing_docs)]

mod administration;
mod backup;
mod cluster;
mod common;
mod dev;
mod docs;
mod encryption;
mod evaluate;
mod help;
mod hostile;
mod identity;
mod kinds;
mod list;
mod management;
mod notices;
mod organizations;
mod outage;
mod serve;
mod site;
mod standard_error;
mod stores;
mod tenants;
mod transactional_create;
mod watch;
mod workers;
