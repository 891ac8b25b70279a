//! Erasing the clicks of a person from every file of the click log, with a proof in the audit log.
//!
//! The cast: the click log goes through its files by number and writes those anew that hold such a click; a request takes
//! as many files as fit into a few seconds and says behind which number to go on, so an erasure survives whatever
//! ends a server or a client. The audit log of the workspace gets a line when it begins, one for each request that
//! erased something, and one when all files are done. It names the identifier by a keyed hash.
//!
//! Not reached, and said in the last line: files in `clicks/damaged/`, backups, and the ledger's own records. A value is
//! looked for in the whole query of a click, under whatever name; a hash of it that a partner sent is another value.

use std::cell::Cell;
use std::net::IpAddr;
use std::time::Instant;

use roundtrip_domain::click::Touch;
use roundtrip_domain::click_id::ClickId;
use roundtrip_domain::device::{DeviceId, DeviceIdKind};
use roundtrip_domain::id::WorkspaceNo;
use roundtrip_domain::params::VALUE_BYTES_MAX;
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_store::click_log::{self, ClickLog, ErasedFile};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::call::{Answer, Call, Failure};
use super::click_files::{STEPS_MAX, blocking, number};
use super::fields::Fields;
use super::route::{Needs, Route, schema};

/// Whose clicks are erased: exactly one of the four identifiers.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used; bodies are read by `Fields`")]
struct Erase {
    /// A device id of any kind: clicks that carry it, under whatever parameter. Case does not matter.
    device_id: Option<String>,
    /// Our click id: that click.
    click_id: Option<String>,
    /// A partner's click id, as the links carried it.
    partner_click_id: Option<String>,
    /// An address: clicks that came from it, or carry it in a parameter.
    ip: Option<String>,
    /// Only counts; nothing is erased.
    dry_run: Option<bool>,
    /// Files with a higher number only: `next` of the answer before. Absent: from the beginning.
    after: Option<u64>,
}

/// One file that held such clicks.
#[derive(Serialize, JsonSchema)]
struct OneFile {
    /// Its name, below `clicks/` of the data directory or in its bucket. Where clicks were erased it is gone.
    file: String,
    /// Its number.
    number: u64,
    /// Clicks that it held.
    clicks: u64,
    /// Of these, how many were erased; with `dry_run`, how many would be.
    erased: u64,
    /// The file that has the others; absent when there are none, or nothing was erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced_by: Option<String>,
    /// Nothing finds the clicks any more, and the old file could not be deleted yet: it is before the erasure says that all
    /// files are done. Absent when it is deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    deletion_waits: Option<bool>,
}

/// What was erased in this request.
#[derive(Serialize, JsonSchema)]
struct Erased {
    /// Files that held such clicks, by number.
    files: Vec<OneFile>,
    /// How many files were gone through.
    looked_through: u64,
    /// How many clicks were erased; with `dry_run`, how many would be.
    erased: u64,
    /// What the next request gives as `after`; absent when all files are done.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
    /// Names in `clicks/damaged/`, which are not reached: delete them.
    set_aside: Vec<String>,
    /// The keyed hash that stands for the identifier in the audit log.
    fingerprint: String,
}

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post(
            "/api/v1/click-files/erase",
            "click_files_erase",
            "Erases the clicks of a person, for some seconds: files are written anew without them",
        )
        .in_workspace()
        .needs(Needs::Installation)
        .takes(schema::<Erase>)
        .answers(200, "What is gone, and where to go on.", schema::<Erased>)
        .codes(&[
            Code::ClickIdMalformed,
            Code::FieldMissing,
            Code::FieldType,
            Code::FieldUnknown,
            Code::IpInvalid,
            Code::ValueTooLong,
        ])
        .does(erase),
    ]
}

/// Whose clicks.
#[derive(Clone)]
enum Whose {
    Device(String),
    Click(ClickId),
    PartnerClick(String),
    Address(IpAddr),
}

impl Whose {
    const NAMES: [&'static str; 4] = ["device_id", "click_id", "partner_click_id", "ip"];

    /// Takes the one identifier out of a body.
    fn of(fields: &mut Fields) -> Result<Self, Problem> {
        let mut given = Vec::new();
        for name in Self::NAMES {
            given.extend(fields.text(name)?.map(|text| (name, text)));
        }
        let Some((name, text)) = given.pop().filter(|_| given.is_empty()) else {
            let message = "an erasure has exactly one of device_id, click_id, partner_click_id and ip";
            return Err(Problem::new(Code::FieldMissing, "", message)
                .fixed_by("name one identifier; erase by each of several in turn"));
        };
        let wrong = |code: Code, message: &str| Problem::new(code, name, message);
        if text.len() > VALUE_BYTES_MAX {
            return Err(wrong(Code::ValueTooLong, &format!("it is at most {VALUE_BYTES_MAX} bytes")));
        }
        if text.trim().is_empty() {
            return Err(wrong(Code::FieldMissing, "an empty identifier is nobody's"));
        }
        match name {
            // The rule is the same for every kind; the kind itself is not asked for.
            "device_id" => DeviceId::parse(DeviceIdKind::Gaid, &text).map(|id| Self::Device(id.text)).ok_or_else(|| {
                wrong(Code::FieldType, "it is no device id: zeros, a macro, spaces, or over-long")
                    .fixed_by("send the id as the device shows it; one of only zeros is everybody's and cannot be erased")
            }),
            "click_id" => ClickId::parse(text.trim().as_bytes())
                .map(Self::Click)
                .ok_or_else(|| wrong(Code::ClickIdMalformed, "it is no UUID of 36 or 32 characters")),
            "ip" => text
                .trim()
                .parse()
                .map(|ip: IpAddr| Self::Address(ip.to_canonical()))
                .map_err(|_| wrong(Code::IpInvalid, "it is neither IPv4 nor IPv6")),
            _ => Ok(Self::PartnerClick(text)),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Device(_) => Self::NAMES[0],
            Self::Click(_) => Self::NAMES[1],
            Self::PartnerClick(_) => Self::NAMES[2],
            Self::Address(_) => Self::NAMES[3],
        }
    }

    /// The identifier, in the one form that is hashed.
    fn text(&self) -> String {
        match self {
            Self::Device(text) | Self::PartnerClick(text) => text.clone(),
            Self::Click(id) => id.to_string(),
            Self::Address(ip) => ip.to_string(),
        }
    }

    fn matches(&self, workspace: WorkspaceNo, touch: &Touch) -> bool {
        let click = &touch.click;
        if click.workspace != workspace {
            return false;
        }
        match self {
            Self::Click(id) => touch.id == *id,
            Self::Device(text) => click.params().iter().any(|p| p.text().trim().eq_ignore_ascii_case(text)),
            Self::PartnerClick(text) => {
                click.params().get("click_id").is_some_and(|p| p.bytes() == text.as_bytes())
            }
            Self::Address(ip) => {
                let is_it = |found: IpAddr| found.to_canonical() == *ip;
                click.ip.is_some_and(is_it)
                    || click.params().iter().any(|p| p.text().trim().parse().is_ok_and(is_it))
            }
        }
    }
}

/// Goes through files until the time is up. Returns those that held such clicks, how many were gone through, and the
/// last number if there may be more.
fn run(
    clicks: &ClickLog,
    mut after: u64,
    is_dry: bool,
    matches: impl Fn(&Touch) -> bool,
) -> Result<(Vec<ErasedFile>, u64, Option<u64>), click_log::Error> {
    let began = Instant::now();
    let (mut files, mut looked) = (Vec::new(), 0);
    while began.elapsed() <= STEPS_MAX {
        let found = Cell::new(0);
        // The log erases what it is told matches; a dry run tells it that nothing does.
        let is_gone = |touch: &Touch| {
            let is = matches(touch);
            found.set(found.get() + u64::from(is));
            is && !is_dry
        };
        let step = match clicks.erase_next(after, &is_gone) {
            // What is gone already is told and noted; the next request meets the same trouble with nothing done.
            Err(_) if looked > 0 => break,
            other => other?,
        };
        let Some(mut file) = step else { return Ok((files, looked, None)) };
        (after, looked) = (file.seq, looked + 1);
        if is_dry {
            file.erased = found.get();
        }
        if file.erased > 0 {
            files.push(file);
        }
    }
    Ok((files, looked, Some(after)))
}

/// So many of something.
fn counted(n: u64, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

async fn erase(mut call: Call) -> Result<Answer, Failure> {
    let mut fields = Fields::of(call.body.take())?;
    let whose = Whose::of(&mut fields)?;
    let (is_dry, after) = (fields.truth("dry_run")?, number(&mut fields, "after")?);
    fields.done()?;
    let workspace = call.workspace()?.workspace;
    let (ledger, clock, actor) = (call.state.ledger.clone(), call.state.clock.clone(), call.caller.actor());
    let fingerprint = ledger.fingerprint(workspace, whose.name(), &whose.text());
    let by = format!("by {} (keyed hash {fingerprint})", whose.name());

    if after.is_none() {
        // Clicks that are in no closed file yet are not gone through.
        let clicks = call.state.clicks.clone();
        if !blocking(move || Ok(clicks.close_now())).await? {
            let message = "the file that clicks go into cannot be closed now, and nothing was erased";
            return Err(Problem::new(Code::StoreUnavailable, "", message)
                .fixed_by("see the server's log for why, and send it again")
                .into());
        }
        if !is_dry {
            let summary = format!("erasure of clicks {by} began");
            ledger.audit_note(workspace, actor.clone(), summary, clock.now()).await?;
        }
    }
    let clicks = call.state.clicks;
    let (after, whose) = (after.unwrap_or(0), whose);
    let (done, set_aside) = blocking(move || {
        let done = run(&clicks, after, is_dry, |touch| whose.matches(workspace, touch))?;
        Ok((done, clicks.set_aside()))
    })
    .await?;
    let (files, looked_through, next) = done;
    let erased: u64 = files.iter().map(|file| file.erased).sum();
    if !is_dry && (erased > 0 || next.is_none()) {
        let end = match (next, files.iter().filter(|file| file.is_left).count()) {
            (Some(last), 0) => format!("it goes on behind file number {last}"),
            (Some(last), left) => {
                let left = counted(left as u64, "old file");
                format!("{left} cannot be deleted yet, and it goes on behind file number {last}")
            }
            // The log says that there is nothing left once the last of them is deleted.
            (None, _) => format!(
                "all files are done; not reached: backups, the ledger's records, and {} set aside as damaged",
                counted(set_aside.len() as u64, "file")
            ),
        };
        let summary = format!(
            "erasure of clicks {by}: {} of {} {} gone, {} looked through; {end}",
            counted(erased, "click"),
            counted(files.len() as u64, "file"),
            if erased == 1 { "is" } else { "are" },
            counted(looked_through, "file")
        );
        ledger.audit_note(workspace, actor.clone(), summary, clock.now()).await?;
        tracing::info!(actor, erase.clicks = erased, erase.files = files.len(), "erased clicks on request");
    }
    let files = files.into_iter().map(|file| OneFile {
        file: file.file,
        number: file.seq,
        clicks: file.clicks,
        erased: file.erased,
        replaced_by: file.replaced_by,
        // What was left when it was written anew is deleted by now.
        deletion_waits: (file.is_left && next.is_some()).then_some(true),
    });
    let files = files.collect();
    Ok(Answer::ok(json!(Erased { files, looked_through, erased, next, set_aside, fingerprint })))
}
