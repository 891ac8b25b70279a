//! One binary for all integration tests of the store.

mod apart;
mod backup;
mod click_log;
mod fixtures;
mod ledger;

#[cfg(target_os = "linux")]
#[test]
#[ignore = "the process of a test disk: whoever mounts one starts it"]
fn disk_process() {
    roundtrip_testkit::disk::serve();
}
