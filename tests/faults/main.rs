//! The binary under faults: killed again and again under load (`make faults`), and running for long (`make soak`).
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../common/mod.rs"]
mod common;
mod damage;
mod full_disk;
mod kills;
mod load;
mod promises;
mod slope;
mod soak;
