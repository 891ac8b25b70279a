//! One binary for all integration tests of the store.

mod apart;
mod backup;
mod click_log;
mod fixtures;
mod ledger;
