//! The API as its clients see it: real requests over real sockets against a real store in a temporary folder.
//!
//! One module a theme, one binary for all of them; [`harness`] starts servers and sends requests.

#![allow(clippy::unwrap_used)]

mod attestation;
mod audit;
mod batch_create;
mod bodies;
mod browsers;
mod bulk;
mod call_rates;
mod command;
mod connections;
mod create;
mod details;
mod errors;
mod events;
mod evidence;
mod evidence_store;
mod faults;
mod get;
mod grpc;
mod grpc_management;
mod grpc_schedules;
mod grpc_views;
mod harness;
mod hostile_policies;
mod identity;
mod isolation;
mod limits;
mod list_edge_cases;
mod log;
mod matrix;
mod metrics;
mod openapi;
mod operators;
mod organizations;
mod other_server;
mod overload;
mod page;
mod page_bulk;
mod page_list;
mod page_operation;
mod page_overview;
mod page_schedules;
mod page_tokens;
mod page_views;
mod pause;
mod revoked;
mod schedules;
mod search;
mod serving;
mod slow;
mod stats;
mod tls_renewal;
mod token_management;
mod tokens;
mod traces;
mod unknown_tokens;
mod views;
mod wait;
mod watch;
mod work;
mod work_for_many;
mod work_waiting;
mod workers;
