//! The web page in a real browser: headless Chromium, driven by WebDriver, on a real `longrun dev`.
//!
//! Each test has a server, a browser and a profile of its own, all of which end with it. Tests wait for conditions.
#![allow(clippy::unwrap_used, missing_docs)]

mod accessible;
mod browser;
#[path = "../common/mod.rs"]
mod common;
mod lists;
mod operations;
mod reading;
mod screenshots;
mod sign_in;
mod week;
