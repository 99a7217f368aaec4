//! What runs an operation: evidence evaluation ([`evaluation`]), local commands ([`command`]) and calls to servers of
//! others ([`http`]); notices of completion ([`notices`]); and bulk operations ([`bulk`]). Calls and notices go out by way of [`webhook`].

pub mod bulk;
pub mod command;
mod confine;
pub mod evaluation;
pub mod http;
pub mod notices;
pub mod reevaluation;
mod text;
pub mod webhook;
