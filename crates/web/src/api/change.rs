//! Changing settings: read, plan, commit, and again if somebody was faster.

use roundtrip_domain::settings::Settings;
use roundtrip_store::Error;
use roundtrip_store::settings::{Before, Edit, Plan, Resource, World, plan};

use super::call::{Call, Failure};

/// How often a change of one resource is planned anew. Each round means that somebody else's change went
/// through, so running out takes a crowd.
pub(super) const TRIES: u32 = 8;

/// A change that was made, or would be.
pub(super) struct Done {
    /// The version that holds now.
    pub(super) version: u64,
    /// What changed.
    pub(super) plan: Plan,
}

/// Plans what `edits` asks for, given the current version and rows, and commits it unless `is_dry`. Everything
/// or nothing; a change that changes nothing makes no version.
pub(super) async fn change(
    call: &Call,
    workspace: &Settings,
    tries: u32,
    is_dry: bool,
    edits: impl Fn(u64, &[Resource]) -> Result<Vec<Edit>, Failure> + Send + Sync,
) -> Result<Done, Failure> {
    let ledger = &call.state.ledger;
    let mut round = 1;
    loop {
        let (version, resources) = ledger.settings_read(workspace.workspace).await?;
        let edits = edits(version, &resources)?;
        let plan = planned(call, workspace, version, &resources, &edits)?;
        if is_dry || plan.writes.is_empty() {
            return Ok(Done { version, plan });
        }
        let at = call.state.clock.now();
        let writes = plan.writes.clone();
        match ledger.settings_commit(workspace.workspace, version, writes, call.caller.actor(), at).await {
            Ok(version) => return Ok(Done { version, plan }),
            Err(Error::VersionConflict { .. }) if round < tries => round += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

fn planned(
    call: &Call,
    workspace: &Settings,
    version: u64,
    resources: &[Resource],
    edits: &[Edit],
) -> Result<Plan, Failure> {
    let catalog = call.state.ledger.catalog();
    let world = World {
        taken_links: &|name| catalog.is_taken_elsewhere(name, workspace.workspace),
        taken_keys: &|hash| {
            catalog.key(hash).is_some_and(|(other, _)| other.workspace != workspace.workspace)
        },
        at: call.state.clock.now(),
        entropy: &call.state.entropy,
    };
    let before = Before { workspace: workspace.workspace, slug: &workspace.slug, version, resources };
    Ok(plan(before, edits, &world)?)
}
