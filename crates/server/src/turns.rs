//! Work that is carried out so much at a time, organization by organization. The store takes turns in the same way.

pub(crate) use store::{Turn, Turns};
