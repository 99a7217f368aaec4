//! The HTTP and gRPC interfaces of longrun: thin adapters over the store, the engine and the kinds.
//!
//! **Responsibility.** Listening ([`http::serve`]), authentication ([`auth`]), the routes of the API ([`http::router`])
//! and of its operators ([`http::admin_router`]), the error model ([`ApiError`]). Each handler parses, calls, renders:
//! there is no SQL, no policy and no state machine here.
//!
//! **Promises.** Nothing about an operation or a piece of evidence is sent without a valid token with the right scope,
//! and every call to the store carries what the token may see. A request that is not understood completely is refused,
//! never guessed at. Everything that arrives is bounded in size and in time; every error is answered in one error
//! model, with an `X-Request-Id` that the log has too. Tokens, SQL and paths are never logged or sent.

mod app;
mod audit;
pub mod auth;
mod calls;
mod coalesce;
mod detail;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod grpc;
pub mod http;
mod hub;
mod link;
mod memory;
mod metrics;
mod places;
mod rates;
mod reads;
mod render;
mod services;
mod shares;
mod strict;

mod ui;
mod waiters;
mod windows;

pub use error::{ApiError, SignInError};
pub use metrics::Metrics;
pub use rates::{CallLimit, CallLimits};
pub use services::{ApiSettings, FirstPage, KindDefaults, Services, WorkSettings};
