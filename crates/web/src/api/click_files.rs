//! The files of the click log: listed, compared with their checksums, sealed at once. Erasure is in `click_erase`.
//!
//! The cast: the click log does the work, in steps that each end by themselves; a request takes as many of them as fit
//! into a few seconds ([`STEPS_MAX`]) and says where to go on, so that no answer is waited for longer than a client
//! waits, and whoever follows sees how far it came. A file holds the clicks of all workspaces, so only the installation's own
//! token opens any of this.
//!
//! Not relied on: that the same files are there in the next step. Numbers only go up, and what replaces a file comes
//! up later.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::time::{Duration, Instant};

use roundtrip_domain::problem::{Code, Problem};
use roundtrip_store::click_log::{self, ClickLog, Work};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::ApiState;
use super::call::{Answer, Call, Failure};
use super::fields::Fields;
use super::route::{Needs, Route, schema};

/// How long the steps of one request may take before no further one begins.
pub(super) const STEPS_MAX: Duration = Duration::from_secs(5);

/// A file of the click log.
#[derive(Serialize, JsonSchema)]
struct File {
    /// Its name, below `clicks/` of the data directory, or below its bucket's folder.
    file: String,
    /// The bucket and folder that it lies in. Absent: the data directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    bucket: Option<String>,
    /// `slice`: a database that was written as clicks came; `segment`: sealed Parquet.
    kind: String,
    /// Its number; none has it twice.
    number: u64,
    /// The node that wrote its clicks.
    node: u16,
    /// `active` and `closing` are written still; `closed` waits for its counts to reach the ledger, `published` to be
    /// sealed; `sealed` is a segment, `moved` one that lies in a bucket; `missing` is listed and not on the disk or in its
    /// bucket.
    state: String,
    /// The start of its hour, RFC 3339.
    hour: String,
    /// No click id in it is older: when the slice began, or the moment of the segment's first id.
    first: String,
    /// The moment of its last click id.
    last: String,
    /// How many clicks.
    clicks: u64,
    /// Its bytes; 0 while it is written.
    bytes: u64,
}

/// Every file of the click log.
#[derive(Serialize, JsonSchema)]
struct Files {
    /// Slices and segments, by number.
    files: Vec<File>,
    /// Clicks of all of them, missing ones left out.
    clicks: u64,
    /// Bytes of those in the data directory, without those that are written still.
    bytes: u64,
    /// Bytes of those in buckets.
    moved_bytes: u64,
    /// Bytes of the side files by which sealed clicks are found.
    side_bytes: u64,
    /// Names in `clicks/damaged/`: files that were set aside, for the operator to look at and delete.
    set_aside: Vec<String>,
}

/// Which files are compared with their checksums.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used; bodies are read by `Fields`")]
struct Verify {
    /// One file, as the list names it. Absent: all.
    file: Option<String>,
    /// Those with a higher number only: `next` of the answer before.
    after: Option<u64>,
}

/// What was found of one file.
#[derive(Serialize, JsonSchema)]
struct Verified {
    /// Its name.
    file: String,
    /// Its number.
    number: u64,
    /// `sound`; `damaged`: it was not what was written, and what could be read of it goes on in its place; `missing`: it is
    /// not there; `replaced`: other files took its place meanwhile, and come up later; `unreadable`: the disk or its bucket
    /// refused.
    result: String,
    /// Clicks that it held, by the list.
    clicks: u64,
    /// Of a damaged one: the file that it was, which may be its side file.
    #[serde(skip_serializing_if = "Option::is_none")]
    damaged: Option<String>,
    /// Of a damaged one: clicks that go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    clicks_kept: Option<u64>,
    /// Of a damaged one: names in `clicks/damaged/` where it lies now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    set_aside: Vec<String>,
}

/// Files that were compared.
#[derive(Serialize, JsonSchema)]
struct Verifieds {
    /// By number.
    files: Vec<Verified>,
    /// How many there are in all, those of other steps too.
    of: u64,
    /// What the next request gives as `after`; absent when all are done.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

/// One thing that sealing did.
#[derive(Serialize, JsonSchema)]
struct Step {
    /// `sealed`: slices became a segment; `merged`: segments became one; `sides_merged`: side files became one; `overtaken`:
    /// files changed meanwhile, and it is done again.
    what: String,
    /// The new file.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    /// How many files it was made of.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<u64>,
    /// Clicks in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    clicks: Option<u64>,
    /// Its bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
}

/// What sealing did.
#[derive(Serialize, JsonSchema)]
struct Sealed {
    /// In its order.
    done: Vec<Step>,
    /// Whether there may be more to do: ask again.
    more: bool,
    /// Slices that are not sealed: written since, or not closed in time.
    waiting: u64,
}

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/click-files", "click_files_list", "Lists the files of the click log")
            .needs(Needs::Installation)
            .answers(200, "Slices and segments, by number.", schema::<Files>)
            .does(list),
        Route::post(
            "/api/v1/click-files/verify",
            "click_files_verify",
            "Compares files of the click log with their checksums, for some seconds; damaged ones are set aside",
        )
        .needs(Needs::Installation)
        .takes(schema::<Verify>)
        .answers(200, "What was found, and where to go on.", schema::<Verifieds>)
        .codes(&[Code::FieldType, Code::FieldUnknown, Code::IdUnknown])
        .does(verify),
        Route::post(
            "/api/v1/click-files/seal",
            "click_files_seal",
            "Closes the file that clicks go into and seals what is closed, whatever the hour, for some seconds",
        )
        .needs(Needs::Installation)
        .answers(200, "What was done, and whether there may be more.", schema::<Sealed>)
        .does(seal),
    ]
}

/// Work of the click log on a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, click_log::Error> + Send + 'static,
) -> Result<T, Problem> {
    // Whoever may ask for this has the installation's own token, so the file or bucket is no secret.
    let refused = |why: &str| {
        let message = format!("the click log's files cannot be read or written now: {why}");
        Problem::new(Code::StoreUnavailable, "", message).fixed_by(
            "see to the disk or bucket that is named; what was done before stays, and the same request goes on",
        )
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the click log's files could not be worked on"
            );
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            Err(refused(&format!("{error}{cause}")))
        }
        Err(_) => Err(refused("a bug, which the server's log tells of")),
    }
}

/// A number of a file in a body.
pub(super) fn number(fields: &mut Fields, name: &str) -> Result<Option<u64>, Problem> {
    let wrong = || Problem::new(Code::FieldType, name, "it is a whole number, `next` of the answer before");
    fields.any(name).map(|value| value.as_u64().ok_or_else(wrong)).transpose()
}

fn listed(clicks: &ClickLog) -> Vec<File> {
    let hour = |at: roundtrip_domain::time::Timestamp| {
        roundtrip_domain::time::Timestamp::from_ms(at.ms() - at.ms().rem_euclid(3_600_000)).to_string()
    };
    let slices = clicks.slices().into_iter().map(|slice| File {
        file: slice.file,
        bucket: None,
        kind: "slice".to_owned(),
        number: slice.seq,
        node: slice.node,
        state: slice.state.to_owned(),
        hour: hour(slice.began),
        first: slice.began.to_string(),
        last: slice.id_last.to_string(),
        clicks: slice.clicks,
        bytes: slice.bytes,
    });
    let segments = clicks.segments().into_iter().map(|segment| File {
        file: segment.file,
        state: match segment.is_missing {
            true => "missing",
            false if segment.bucket.is_some() => "moved",
            false => "sealed",
        }
        .to_owned(),
        bucket: segment.bucket,
        kind: "segment".to_owned(),
        number: segment.seq,
        node: segment.node,
        hour: segment.hour.to_string(),
        first: segment.id_first.to_string(),
        last: segment.id_last.to_string(),
        clicks: segment.clicks,
        bytes: segment.bytes,
    });
    let mut files: Vec<File> = slices.chain(segments).collect();
    files.sort_by_key(|file| file.number);
    files
}

async fn list(call: Call) -> Result<Answer, Failure> {
    let clicks = call.state.clicks;
    let shown = blocking(move || {
        let files = listed(&clicks);
        let there = || files.iter().filter(|file| file.state != "missing");
        Ok(json!(Files {
            clicks: there().map(|file| file.clicks).sum(),
            bytes: there().filter(|file| file.bucket.is_none()).map(|file| file.bytes).sum(),
            moved_bytes: there().filter(|file| file.bucket.is_some()).map(|file| file.bytes).sum(),
            side_bytes: clicks.stats().bytes_sides,
            set_aside: clicks.set_aside(),
            files,
        }))
    });
    Ok(Answer::ok(shown.await?))
}

async fn verify(mut call: Call) -> Result<Answer, Failure> {
    let mut fields = Fields::of(call.body.take())?;
    let (file, after) = (fields.text("file")?, number(&mut fields, "after")?);
    fields.done()?;
    let clicks = call.state.clicks;
    let is_one = file.is_some();
    let found = blocking(move || Ok(compare(&clicks, file.as_deref(), after.unwrap_or(0)))).await?;
    if is_one && found.of == 0 {
        let message = "no file of that name is closed; one that is written still is verified once it is";
        return Err(Problem::new(Code::IdUnknown, "file", message)
            .fixed_by("name one as `roundtrip clicks list` prints it")
            .into());
    }
    Ok(Answer::ok(json!(found)))
}

fn compare(clicks: &ClickLog, only: Option<&str>, after: u64) -> Verifieds {
    let is_written = |file: &File| matches!(file.state.as_str(), "active" | "closing");
    let mut files = listed(clicks);
    files.retain(|file| !is_written(file) && only.is_none_or(|only| only == file.file));
    let of = files.len() as u64;
    files.retain(|file| file.number > after);
    let began = Instant::now();
    let (mut found, mut next) = (Vec::new(), None);
    for file in files {
        if began.elapsed() > STEPS_MAX {
            next = found.last().map(|last: &Verified| last.number);
            break;
        }
        let mut one = Verified {
            file: file.file,
            number: file.number,
            result: "sound".to_owned(),
            clicks: file.clicks,
            damaged: None,
            clicks_kept: None,
            set_aside: Vec::new(),
        };
        match clicks.verify(file.number) {
            Ok(None) => {}
            Ok(Some(damage)) => {
                one.result = "damaged".to_owned();
                let name = |path: &std::path::PathBuf| Some(path.file_name()?.to_string_lossy().into_owned());
                one.set_aside = damage.set_aside.iter().filter_map(name).collect();
                (one.damaged, one.clicks_kept) = (Some(damage.file), Some(damage.clicks_kept));
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the click log's files could not be worked on"
                );
                one.result = "unreadable".to_owned();
            }
        }
        found.push(one);
    }
    let now: BTreeMap<u64, String> =
        listed(clicks).into_iter().map(|file| (file.number, file.state)).collect();
    for one in found.iter_mut().filter(|one| one.result == "sound") {
        match now.get(&one.number).map(String::as_str) {
            Some("missing") => one.result = "missing".to_owned(),
            Some(_) => {}
            None => one.result = "replaced".to_owned(),
        }
    }
    Verifieds { files: found, of, next }
}

/// Puts the counts of closed slices into the ledger, as upkeep does every second: only then are they sealed. What both do
/// at a time is done once.
async fn publish(state: &ApiState) -> Result<(), Failure> {
    for slice in state.clicks.to_publish() {
        let (clicks, seq) = (state.clicks.clone(), slice.seq);
        state.ledger.slice_publish(slice).await?;
        blocking(move || clicks.published(seq)).await?;
    }
    Ok(())
}

async fn seal(call: Call) -> Result<Answer, Failure> {
    let state = call.state;
    let clicks = state.clicks.clone();
    blocking(move || Ok(clicks.close_now())).await?;
    publish(&state).await?;
    let (clicks, actor) = (state.clicks, call.caller.actor());
    let sealed = blocking(move || {
        let began = Instant::now();
        let (mut done, mut more) = (Vec::new(), true);
        while began.elapsed() <= STEPS_MAX {
            let Some(work) = clicks.seal_next_now()? else {
                more = false;
                break;
            };
            done.push(step(work));
        }
        let waiting =
            clicks.slices().iter().filter(|slice| slice.clicks > 0 && slice.state != "missing").count();
        Ok(Sealed { done, more, waiting: waiting as u64 })
    });
    let sealed = sealed.await?;
    tracing::info!(actor, seal.steps = sealed.done.len(), "sealed clicks on request");
    Ok(Answer::ok(json!(sealed)))
}

fn step(work: Work) -> Step {
    let step = |what: &str, file: String, from: usize, clicks: Option<u64>, bytes: u64| Step {
        what: what.to_owned(),
        file: Some(file),
        from: Some(from as u64),
        clicks,
        bytes: Some(bytes),
    };
    match work {
        Work::Sealed { file, slices, clicks, bytes } => step("sealed", file, slices, Some(clicks), bytes),
        Work::Merged { file, segments, clicks, bytes } => step("merged", file, segments, Some(clicks), bytes),
        Work::SidesMerged { file, sides, bytes } => step("sides_merged", file, sides, None, bytes),
        // Not done on request: a bucket may take its time.
        Work::Moved { file, clicks, bytes, .. } => step("moved", file, 1, Some(clicks), bytes),
        Work::Deleted { file } => step("deleted", file, 1, None, 0),
        Work::Overtaken => {
            Step { what: "overtaken".to_owned(), file: None, from: None, clicks: None, bytes: None }
        }
    }
}
