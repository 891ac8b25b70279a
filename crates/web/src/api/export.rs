//! Exports, sent while they are read.
//!
//! A thread of its own reads a page (of the ledger, or of the click log's files), writes it in the wanted format and rests as long as the page took, so that an export
//! has half of one reader at most; two run at a time, the next one waits for its turn. An answer that ends before it is
//! whole is cut, which chunked encoding shows to whoever reads.
//!
//! Who may have what: the scope `read`, as for reports and stories. Columns that could tell who somebody is stay empty
//! unless `full=true` asks for them, which is written to the log with the name of the key.

use std::io;
use std::time::{Duration, Instant};

use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::settings::Settings;
use roundtrip_domain::time::Timestamp;
use roundtrip_store::click_log::{ClickLog, ClickWish};
use roundtrip_store::export::{About, Format, What, Writer, columns};
use roundtrip_store::ledger::{ExportMark, ExportWish, Ledger};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::call::{Answer, Call, Failure};
use super::explain::telling;
use super::route::{Route, schema};
use super::stream::{self, Reader};
use crate::deliveries::chosen;
use crate::export::{Column, Export, Exports, moment};
use crate::known;

/// Exports that run at a time.
static TURNS: Semaphore = Semaphore::const_new(2);
/// How long another one waits for its turn.
const TURN_MAX: Duration = Duration::from_secs(30);
/// The longest rest between two pages.
const REST_MAX: Duration = Duration::from_millis(50);

pub(super) fn routes() -> Vec<Route> {
    let words = |words: &[&str]| json!({ "type": "string", "enum": words });
    vec![
        Route::get("/api/v1/export", "export_list", "Lists what can be exported, with its columns")
            .in_workspace()
            .answers(200, "Each kind of facts, and since when there are any.", schema::<Exports>)
            .does(list),
        Route::get(
            "/api/v1/export/{what}",
            "export_read",
            "Sends installs, events, conversions, decisions, deliveries or clicks as a file",
        )
        .in_workspace()
        .query("format", "How it is written. Absent: ndjson.", words(&Format::ALL.map(Format::name)))
        .query(
            "from",
            "Rows from then on: a day (UTC) or a moment of RFC 3339, inclusive. Absent: from the first one.",
            json!({ "type": "string" }),
        )
        .query(
            "to",
            "Rows before then; exclusive. Absent: until when they are settled, as the list of exports says. Rows of a later \
             end may be joined by others.",
            json!({ "type": "string" }),
        )
        .query("app", "Of this app only, by slug or id.", json!({ "type": "string" }))
        .query(
            "full",
            "Fills the columns that could tell who somebody is. Needs the scope `personal` too.",
            json!({ "type": "boolean", "default": false }),
        )
        .media("application/octet-stream")
        .answers(
            200,
            "The rows, oldest first, as Parquet, CSV or JSON lines; the answer's Content-Type says which. Chunked: without \
             the last chunk it is not whole.",
            |_| schemars::json_schema!({ "type": "string", "format": "binary" }),
        )
        .does(read),
    ]
}

async fn list(call: Call) -> Result<Answer, Failure> {
    let settings = call.workspace()?;
    let mut items = Vec::new();
    for what in What::ALL {
        let (first, settled) = first_and_settled(&call, &settings, what).await?;
        let columns = columns(what).into_iter().map(|column| Column {
            name: column.name.to_owned(),
            r#type: column.form.name().to_owned(),
            required: column.required,
            personal: column.personal,
            means: column.means.to_owned(),
        });
        items.push(Export {
            name: what.name().to_owned(),
            first: first.map(|at| at.to_string()),
            settled: settled.to_string(),
            columns: columns.collect(),
        });
    }
    Ok(Answer::ok(json!(Exports { now: call.state.clock.now().to_string(), items })))
}

/// When the first row came, and until when no more come.
async fn first_and_settled(
    call: &Call,
    settings: &Settings,
    what: What,
) -> Result<(Option<Timestamp>, Timestamp), Failure> {
    let now = call.state.clock.now();
    match what {
        What::Ledger(what) => {
            Ok(call.state.ledger.export_first_and_settled(settings.workspace, what, now).await?)
        }
        What::Clicks => Ok(call.state.clicks.first_and_settled(now)),
    }
}

/// What one request asked for.
struct Asked {
    workspace: WorkspaceNo,
    what: What,
    app: Option<Id<kind::App>>,
    from: Timestamp,
    /// `None`: until when rows are settled.
    to: Option<Timestamp>,
    format: Format,
    personal: bool,
}

fn asked(call: &Call, settings: &Settings) -> Result<Asked, Problem> {
    let wrong = |field: &str, message: String| Problem::new(Code::ParameterInvalid, field, message);
    let what = call.path("what");
    let what = What::parse(what).ok_or_else(|| {
        wrong("what", format!("`{what}` cannot be exported"))
            .fixed_by(known::one_of("export", What::ALL.iter().map(|what| what.name())))
    })?;
    let format = match call.query.text("format") {
        None => Format::Ndjson,
        Some(text) => Format::parse(&text).ok_or_else(|| {
            wrong("format", format!("`{text}` is none of parquet, csv, ndjson"))
                .fixed_by("name parquet, csv or ndjson")
        })?,
    };
    let end = |name: &str| call.query.text(name).map(|text| moment(name, &text)).transpose();
    let from = end("from")?.unwrap_or(Timestamp::from_ms(0));
    let to = end("to")?;
    if to.is_some_and(|to| to < from) {
        return Err(wrong("to", "it lies before `from`, so nothing is meant".to_owned()));
    }
    let apps = || settings.apps.values().map(|app| (app.id, app.slug.as_str()));
    let app: Option<Id<kind::App>> = chosen(&call.query.text("app"), apps()).map_err(|text| {
        wrong("app", format!("there is no app `{text}`"))
            .fixed_by(known::one_of("apps", apps().map(|(_, slug)| slug)))
    })?;
    let personal = telling(call)?.full;
    Ok(Asked { workspace: settings.workspace, what, app, from, to, format, personal })
}

async fn read(call: Call) -> Result<Answer, Failure> {
    let settings = call.workspace()?;
    let asked = asked(&call, &settings)?;
    let turn = tokio::time::timeout(TURN_MAX, TURNS.acquire()).await;
    let Ok(Ok(turn)) = turn else {
        let problem = Problem::new(Code::StoreUnavailable, "", "other exports are running already");
        return Err(problem.fixed_by("ask again when one of them has ended").into());
    };
    let (what, format) = (asked.what, asked.format);
    let to = match asked.to {
        Some(to) => to,
        None => first_and_settled(&call, &settings, what).await?.1.max(asked.from),
    };
    tracing::info!(
        export.what = what.name(),
        export.format = format.name(),
        export.from = %asked.from,
        export.to = %to,
        export.full = asked.personal,
        actor = call.caller.actor(),
        "began an export"
    );
    let (reader, sent) = stream::open();
    let (ledger, clicks) = (call.state.ledger, call.state.clicks);
    let export = Running { ledger, clicks, runtime: Handle::current(), settings, asked, to, turn };
    std::thread::Builder::new()
        .name("export".to_owned())
        .spawn(move || export.run(reader))
        .map_err(|error| roundtrip_store::Error::Unavailable(error.to_string()))?;
    Ok(Answer::streamed(format.media(), sent))
}

/// An export on its way.
struct Running {
    ledger: Ledger,
    clicks: ClickLog,
    runtime: Handle,
    settings: std::sync::Arc<Settings>,
    asked: Asked,
    to: Timestamp,
    turn: SemaphorePermit<'static>,
}

impl Running {
    fn run(self, mut reader: Reader) {
        let what = self.asked.what.name();
        match self.write(&mut reader) {
            Ok(rows) => tracing::info!(export.what = what, export.rows = rows, "sent an export"),
            Err(error) if reader.watch()() => {
                tracing::info!(export.what = what, %error, "whoever asked for an export went away");
            }
            Err(error) => {
                tracing::warn!(
                    export.what = what,
                    error = &error as &dyn std::error::Error,
                    "an export ended before it was whole"
                );
                reader.cut("the export ended before it was whole");
            }
        }
        drop(self.turn);
    }

    /// How many rows were written.
    fn write(&self, reader: &mut Reader) -> io::Result<u64> {
        let Asked { what, from, format, personal, .. } = self.asked;
        let is_gone = reader.watch();
        let about = About { what, from, to: self.to };
        let mut writer = Writer::begin(&mut *reader, format, &about, personal)?;
        match what {
            What::Ledger(what) => {
                let (workspace, app, to) = (self.asked.workspace, self.asked.app, self.to);
                let wish = ExportWish { workspace, what, app, to };
                let mut mark = Some(ExportMark::at(from));
                paced(is_gone, || {
                    let Some(from) = mark else { return Ok(None) };
                    let began = Instant::now();
                    let page = self.runtime.block_on(self.ledger.export_page(wish, from));
                    let (page, took) = (page.map_err(io::Error::other)?, began.elapsed());
                    mark = page.next;
                    writer.push(&page.rows, &self.settings)?;
                    Ok(mark.map(|_| took))
                })?;
            }
            What::Clicks => {
                let (workspace, app, to) = (self.asked.workspace, self.asked.app, self.to);
                // Clicks that come while this goes on would keep it going for ever.
                let to = to.min(self.clicks.floor().plus_ms(1));
                let mut walk = self.clicks.walk(ClickWish { workspace, app, from, to });
                paced(is_gone, || {
                    let began = Instant::now();
                    let Some(touches) = walk.page().map_err(io::Error::other)? else { return Ok(None) };
                    let took = began.elapsed();
                    writer.push_clicks(touches, &self.settings)?;
                    Ok(Some(took))
                })?;
            }
        }
        let rows = writer.rows();
        io::Write::flush(&mut writer.finish()?)?;
        Ok(rows)
    }
}

/// Takes one page after the other as long as somebody reads, and rests in between as long as each took to read. `page`
/// says how long that was; `None` when there is no further one.
fn paced(
    is_gone: impl Fn() -> bool,
    mut page: impl FnMut() -> io::Result<Option<Duration>>,
) -> io::Result<()> {
    loop {
        if is_gone() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let Some(took) = page()? else { return Ok(()) };
        std::thread::sleep(took.min(REST_MAX));
    }
}
