//! The handlers of operations, as the engine calls them: one program, so that it is built and linked once.
#![allow(clippy::unwrap_used, missing_docs)]

mod bulk;
mod http;
mod notices;
mod references;
mod support;
