//! The ledger's facts, and clicks, as files that every data tool opens.
//!
//! | file | who |
//! | ---- | --- |
//! | `columns` | which columns there are, and what of a fact stands in them |
//! | `clicks` | the same for clicks |
//! | `parquet`, `text` | rows as Parquet; as CSV and JSON lines |
//! | `page` | the page of the docs that lists the columns |
//!
//! [`Writer`] is told where to write and takes pages of facts, which [`crate::ledger::Ledger::export_page`] reads, or of
//! clicks, which [`crate::click_log::ClickWalk`] finds. The same facts make the same bytes, so a file that is made again is the same file. [`Count`] counts rows on the other end.
//!
//! Not here: where files go, what they are called, and who may have them.

mod clicks;
mod columns;
mod page;
mod parquet;
#[cfg(test)]
mod tests;
mod text;

use std::fs::File;
use std::io::{self, Write};

use ::parquet::file::reader::{FileReader as _, SerializedFileReader};
use roundtrip_domain::click::Touch;
use roundtrip_domain::settings::Settings;
use roundtrip_domain::time::Timestamp;

pub use self::clicks::click_rows;
pub use self::columns::{Cell, Column, Form, columns, rows};
pub use self::page::page;
pub use self::text::{guarded, unguarded};
use crate::ledger::{ExportWhat, Exported};

/// What can be exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// Facts of the ledger.
    Ledger(ExportWhat),
    /// Clicks and impressions.
    Clicks,
}

impl What {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Ledger(ExportWhat::Installs),
        Self::Ledger(ExportWhat::Events),
        Self::Ledger(ExportWhat::Conversions),
        Self::Ledger(ExportWhat::Decisions),
        Self::Ledger(ExportWhat::Deliveries),
        Self::Clicks,
    ];

    /// Its word in commands, paths and file names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ledger(what) => what.name(),
            Self::Clicks => "clicks",
        }
    }

    /// The one of that word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|what| what.name() == text)
    }
}

impl From<ExportWhat> for What {
    fn from(what: ExportWhat) -> Self {
        Self::Ledger(what)
    }
}

/// How an export is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// Apache Parquet.
    Parquet,
    /// RFC 4180, with a line of names.
    Csv,
    /// One JSON object a line.
    Ndjson,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Parquet, Self::Csv, Self::Ndjson];

    /// Its word, which is also the end of file names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
        }
    }

    /// The one of that word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == text)
    }

    /// Its media type.
    pub const fn media(self) -> &'static str {
        match self {
            Self::Parquet => "application/vnd.apache.parquet",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Ndjson => "application/x-ndjson",
        }
    }
}

/// What a file says of itself, where its format lets it.
#[derive(Debug, Clone)]
pub struct About {
    /// Which facts.
    pub what: What,
    /// From when; inclusive.
    pub from: Timestamp,
    /// Until when; exclusive.
    pub to: Timestamp,
}

/// Bytes of text that are written at a time.
const TEXT_BYTES: usize = 1 << 16;

/// Writes an export.
pub struct Writer<W: Write + Send> {
    what: What,
    personal: bool,
    columns: Vec<Column>,
    form: Shape<W>,
    /// Rows so far.
    rows: u64,
}

enum Shape<W: Write + Send> {
    Parquet(Box<parquet::Rows<W>>),
    Text { out: W, is_csv: bool, buffer: Vec<u8> },
}

impl<W: Write + Send> Writer<W> {
    /// Begins one. `personal` fills the columns that could tell who somebody is.
    ///
    /// # Errors
    /// When `out` takes nothing.
    pub fn begin(out: W, format: Format, about: &About, personal: bool) -> io::Result<Self> {
        let columns = columns(about.what);
        let form = match format {
            Format::Parquet => {
                let pairs = [
                    ("roundtrip.export", about.what.name().to_owned()),
                    ("roundtrip.from", about.from.to_string()),
                    ("roundtrip.to", about.to.to_string()),
                ];
                Shape::Parquet(Box::new(
                    parquet::Rows::begin(out, &columns, &pairs).map_err(io::Error::other)?,
                ))
            }
            Format::Csv | Format::Ndjson => {
                let is_csv = format == Format::Csv;
                let mut buffer = Vec::with_capacity(TEXT_BYTES);
                if is_csv {
                    text::csv_head(&columns, &mut buffer);
                }
                Shape::Text { out, is_csv, buffer }
            }
        };
        Ok(Self { what: about.what, personal, columns, form, rows: 0 })
    }

    /// Writes facts, which are of the kind that the export is of. Slugs are those of `settings`.
    ///
    /// # Errors
    /// When they cannot be written, or the export is of clicks.
    pub fn push(&mut self, facts: &Exported, settings: &Settings) -> io::Result<()> {
        let (columns, form, count) = (&self.columns, &mut self.form, &mut self.rows);
        let What::Ledger(what) = self.what else { return Err(io::ErrorKind::InvalidInput.into()) };
        rows(what, facts, settings, self.personal, |cells| {
            *count += 1;
            form.push(columns, cells)
        })
    }

    /// Writes clicks. Slugs are those of `settings`.
    ///
    /// # Errors
    /// When they cannot be written, or the export is of facts.
    pub fn push_clicks(&mut self, touches: Vec<Touch>, settings: &Settings) -> io::Result<()> {
        let (columns, form, count) = (&self.columns, &mut self.form, &mut self.rows);
        if self.what != What::Clicks {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        click_rows(touches, settings, self.personal, |cells| {
            *count += 1;
            form.push(columns, cells)
        })
    }

    /// Rows so far.
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// Writes what is left and gives the output back.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(self) -> io::Result<W> {
        match self.form {
            Shape::Parquet(rows) => rows.finish().map_err(io::Error::other),
            Shape::Text { mut out, buffer, .. } => {
                out.write_all(&buffer)?;
                out.flush()?;
                Ok(out)
            }
        }
    }
}

impl<W: Write + Send> Shape<W> {
    fn push(&mut self, columns: &[Column], cells: &[Cell]) -> io::Result<()> {
        match self {
            Self::Parquet(rows) => rows.push(cells).map_err(io::Error::other),
            Self::Text { out, is_csv, buffer } => {
                match is_csv {
                    true => text::csv_row(cells, buffer),
                    false => text::json_row(columns, cells, buffer),
                }
                if buffer.len() >= TEXT_BYTES {
                    out.write_all(buffer)?;
                    buffer.clear();
                }
                Ok(())
            }
        }
    }
}

/// Counts the rows of an export as its bytes pass, or from its footer.
#[derive(Debug)]
pub struct Count {
    format: Format,
    lines: text::LineCount,
}

impl Count {
    /// Of a file of that format.
    pub fn new(format: Format) -> Self {
        Self { format, lines: text::LineCount::default() }
    }

    /// Sees the next bytes.
    pub fn take(&mut self, bytes: &[u8]) {
        match self.format {
            Format::Parquet => {}
            Format::Csv => self.lines.take(bytes, true),
            Format::Ndjson => self.lines.take(bytes, false),
        }
    }

    /// The rows: of what passed, and for Parquet of the whole file's footer.
    ///
    /// # Errors
    /// When it should be Parquet and is not, or lacks its end.
    pub fn rows(&self, whole: &File) -> io::Result<u64> {
        match self.format {
            Format::Parquet => {
                let reader = SerializedFileReader::new(whole.try_clone()?).map_err(io::Error::other)?;
                let rows = reader.metadata().file_metadata().num_rows();
                u64::try_from(rows).map_err(io::Error::other)
            }
            _ => Ok(self.lines()),
        }
    }

    /// The rows of a text that passed; of Parquet none.
    pub fn lines(&self) -> u64 {
        self.lines.lines.saturating_sub(u64::from(self.format == Format::Csv))
    }
}
