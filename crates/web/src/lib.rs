//! HTTP: `ingest`, `api`, `dashboard`; three routers that know nothing of each other.

pub mod api;
pub mod books;
pub mod conversions;
pub mod dashboard;
pub mod import;
pub mod ingest;
pub mod problem;
pub mod reconcile;
pub mod report;
pub mod sheet;
pub mod statement;
pub mod story;
pub mod waits;
