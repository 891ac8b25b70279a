//! The databases of addresses while a node runs: read before it accepts, looked at again every few seconds.
//!
//! Not relied on: that they can be read. A node without them records everything, only without places; what is
//! wrong is in the log once, and in `/readyz` and the metrics for as long as it lasts.

use std::time::Duration;

use roundtrip_geo::{Change, Geo, What};
use tokio::sync::watch;

use crate::config::Config;
use crate::listen::Stage;

/// How often the files are looked at. Nothing is read of a file whose size, times and place on the disk are the same.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Reads the databases that the settings name.
pub(crate) fn open(config: &Config) -> Geo {
    let (geo, changes) = Geo::open(config.geo_databases.clone());
    tell(&changes);
    geo
}

/// Looks at the files until the node stops.
pub(crate) async fn watch(geo: Geo, mut stage: watch::Receiver<Stage>) {
    if !geo.is_wanted() {
        return;
    }
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    look.tick().await;
    loop {
        tokio::select! {
            _ = look.tick() => {}
            // Also when the node is gone without a word.
            _ = stage.wait_for(|stage| *stage != Stage::Run) => return,
        }
        let files = geo.clone();
        // Reading a hundred megabytes holds up a thread for longer than a request may wait.
        let changes = tokio::task::spawn_blocking(move || files.refresh()).await;
        tell(&changes.unwrap_or_default());
    }
}

fn tell(changes: &[Change]) {
    for Change { path, what } in changes {
        let path = path.display();
        match what {
            What::Loaded(about) => tracing::info!(
                geo.path = %path,
                geo.kind = about.kind,
                geo.built = %about.built_at,
                geo.networks = about.networks,
                "read a database of addresses"
            ),
            What::Kept(error) => tracing::warn!(
                geo.path = %path,
                error,
                "a database of addresses cannot be used as it is now; what was read before is used on"
            ),
            What::Missing(error) => tracing::warn!(
                geo.path = %path,
                error,
                "a database of addresses cannot be used; addresses are not looked up in it"
            ),
        }
    }
}

/// What is wrong with them, in words for an operator.
pub(crate) fn troubles(geo: &Geo) -> Vec<String> {
    geo.standing()
        .iter()
        .filter_map(|standing| Some(format!("geography: {}", standing.sentence()?)))
        .collect()
}
