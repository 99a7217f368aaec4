//! The commands, one file each: what it takes (`Args`) and what it does (`run`).

pub mod audit;
pub mod backup;
pub mod command_runner;
pub mod completions;
pub mod config;
pub mod delete_organization;
pub mod demo;
pub mod detect;
pub mod dev;
pub mod doctor;
pub mod encryption;
pub mod evaluate;
pub mod evaluation_worker;
pub mod evidence;
pub mod list;
pub mod man;
pub mod migrate;
pub mod operations;
pub mod organization;
pub mod pause;
pub mod policy;
pub mod restore;
pub mod serve;
pub mod token;
pub mod watch;
pub mod worker;
