//! The handlers that run operations: evidence evaluation ([`evaluation`]), local commands ([`command`]) and calls to
//! external servers ([`http`]); notices of completion ([`notices`]); bulk operations ([`bulk`]); and evaluating
//! evidence again after a change ([`reevaluation`]). Calls and notices are sent through [`webhook`].

pub mod bulk;
pub mod command;
mod confine;
pub mod evaluation;
pub mod http;
pub mod notices;
pub mod reevaluation;
mod text;
pub mod webhook;

/// The kinds whose operations longrun itself creates: nobody else may create or claim them.
pub const RESERVED: [&str; 3] = [notices::KIND, bulk::KIND, reevaluation::KIND];

/// The store could not do what a handler needs: another attempt may succeed.
fn unanswered(error: store::StoreError) -> engine::Failure {
    engine::Failure::transient(format!("the store did not answer as expected: {error}"))
}
