//! What the ledger promises, on a real SQLite file. A behaviour that is not here is not promised.

mod order;

use roundtrip_testkit::World;

/// A second connection to the ledger's file, for what no caller may do.
fn raw(world: &World) -> rusqlite::Connection {
    let conn = rusqlite::Connection::open(world.dir().join("ledger.sqlite")).unwrap();
    conn.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    conn
}

/// Puts every event back on the list, and decides. What a late fact should have changed and did not, changes
/// now: a ledger at rest decides nothing and plans nothing.
async fn assert_at_rest(world: &World) {
    let queued = raw(world)
        .execute("INSERT INTO todo (workspace, event) SELECT workspace, event FROM decision WHERE true ON CONFLICT DO NOTHING", [])
        .unwrap();
    let again = world.decide().await;
    assert_eq!((again.decided, again.planned.len()), (0, 0), "{queued} events were decided again");
}
