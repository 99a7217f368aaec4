//! Policies as their authors write them, against evidence as it comes: one program, so that it is built and linked once.
#![allow(clippy::unwrap_used, missing_docs)]

mod chainloop_policies;
mod examples;
mod false_passes;
mod materials;
mod nasty;
mod opa;
mod signatures;
