//! HTTP: `ingest`, `api`, `dashboard`; three routers that know nothing of each other.

pub mod api;
pub mod problem;
