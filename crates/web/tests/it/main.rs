//! The routers over real stores in temporary directories.

mod api;
mod ingest;
mod seeing;
