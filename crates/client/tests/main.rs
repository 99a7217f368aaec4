//! The client against a real server: one program, so that it is built and linked once.
#![allow(clippy::unwrap_used, missing_docs)]

mod calls;
mod worker;
