//! One binary for all integration tests of the store.

mod click_log;
mod fixtures;
mod ledger;
