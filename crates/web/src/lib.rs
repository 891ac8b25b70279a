//! HTTP: `ingest`, `share`, `api`, `dashboard`; routers that know nothing of each other.

pub mod api;
pub mod books;
pub mod conversions;
pub mod dashboard;
pub mod deliveries;
mod endpoints;
pub mod export;
pub mod import;
pub mod ingest;
pub mod jobs;
mod known;
pub mod problem;
pub mod reconcile;
pub mod report;
pub mod share;
pub mod sheet;
pub mod statement;
pub mod story;
mod templates;
pub mod waits;
mod webhooks;
