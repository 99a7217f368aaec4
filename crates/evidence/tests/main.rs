//! Policies as their authors write them, evaluated on real evidence: one program, so that it is built and linked once.
#![allow(clippy::unwrap_used, missing_docs)]

mod chainloop_policies;
mod examples;
mod false_passes;
mod materials;
mod nasty;
mod opa;
mod signatures;
