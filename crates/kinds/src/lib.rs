//! What runs an operation: evidence evaluation ([`evaluation`]), local commands ([`command`]) and calls to external
//! servers ([`http`]); notices of completion ([`notices`]); and bulk operations ([`bulk`]). Calls and notices go out
//! through [`webhook`].

pub mod bulk;
pub mod command;
mod confine;
pub mod evaluation;
pub mod http;
pub mod notices;
pub mod reevaluation;
mod text;
pub mod webhook;

/// The kinds whose operations longrun itself makes: nobody else may create them or work on them.
pub const RESERVED: [&str; 3] = [notices::KIND, bulk::KIND, reevaluation::KIND];
