//! Starts a router and its shards from one set of flags, and keeps them together.
//!
//! [`parse`] turns argv and environment into [`flags`], [`settings`] checks them as a whole, [`plan`]
//! (pure) says which processes with which arguments, and [`supervise`] runs them from the first bind
//! to the last drain.

pub mod app;
pub mod console;
pub mod control;
pub mod devices;
pub mod download;
pub mod ends;
pub mod flags;
pub mod group;
pub mod health;
pub mod lines;
pub mod logging;
pub mod model;
pub mod parse;
pub mod plan;
pub mod preflight;
pub mod problem;
pub mod process;
pub mod programs;
pub mod restarts;
pub mod runtime_report;
pub mod settings;
pub mod signals;
pub mod supervise;
