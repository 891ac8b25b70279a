//! Rows become the bytes of a segment.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::hash::Hasher;
use std::io::Write;
use std::sync::LazyLock;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use roundtrip_domain::click::Touch;
use roundtrip_domain::click_id::ClickId;
use serde_json::json;
use siphasher::sip::SipHasher13;

use super::super::body;
use super::super::index::Extent;
use super::columns::{COLUMNS, Column, Form, Rows, SCHEMA};
use super::prints::Entry;
use super::{GROUP_ROWS, PAGE_ROWS, STRETCH_ROWS};

/// The first rows, which say how the columns are written.
const SAMPLE_ROWS: usize = 8_192;
/// Of the columns. It changes only where an older reader would misread a file, never when columns are added.
pub(super) const VERSION: &str = "1";
/// So few values are in a dictionary whatever they are.
const FEW_VALUES: usize = 64;
/// Columns whose values hardly ever repeat, also where the first rows have none.
const UNIQUE: &[&str] = &["partner_click_id", "gaid", "idfa", "idfv", "oaid", "android_id"];

/// Under this name Spark looks for the columns in Spark's own words. It refuses a file with a UUID where there are none
/// (4.3), and reads its 16 bytes where it is told that they are bytes.
const SPARK: &str = "org.apache.spark.sql.parquet.row.metadata";
static SPARK_SCHEMA: LazyLock<String> = LazyLock::new(|| {
    let field = |column: &Column| {
        let form = match column.form {
            Form::Uuid | Form::Bytes => "binary",
            Form::Time => "timestamp",
            Form::Number => "long",
            Form::Text => "string",
        };
        json!({ "name": column.name, "type": form, "nullable": !column.required, "metadata": {} })
    };
    json!({ "type": "struct", "fields": COLUMNS.iter().map(field).collect::<Vec<_>>() }).to_string()
});

/// What a segment says of itself in its footer.
pub(in super::super) struct About<'a> {
    pub(in super::super) node: u16,
    pub(in super::super) seq: u64,
    /// Numbers of the slices or segments that it was made from.
    pub(in super::super) made_from: &'a [u64],
    /// Numbers of all files whose clicks are in it: those, and what they were made from.
    pub(in super::super) replaces: &'a [u64],
    /// The slices among these.
    pub(in super::super) slices: &'a [SliceSpan],
}

/// A slice whose clicks are in a segment, and between which ids they are: slices are what the ledger counts by. Ids stand
/// here without their checks, which have no order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct SliceSpan {
    pub(in super::super) seq: u64,
    first: u128,
    last: u128,
}

impl SliceSpan {
    pub(in super::super) fn new(seq: u64, first: ClickId, last: ClickId) -> Self {
        Self { seq, first: first.bits() >> 32, last: last.bits() >> 32 }
    }

    /// Whether a click of the slice's node was in it.
    pub(in super::super) fn holds(&self, id: ClickId) -> bool {
        (self.first..=self.last).contains(&(id.bits() >> 32))
    }

    /// Reads what a segment says; what makes no sense is left out.
    pub(in super::super) fn all(said: &str) -> Vec<Self> {
        let one = |text: &str| {
            let (seq, ids) = text.split_once(':')?;
            let (first, last) = ids.split_once('-')?;
            let id = |digits| u128::from_str_radix(digits, 16).ok();
            Some(Self { seq: seq.parse().ok()?, first: id(first)?, last: id(last)? })
        };
        said.split(',').filter_map(one).collect()
    }
}

impl About<'_> {
    /// Its names in the footer.
    pub(super) const VERSION: &'static str = "roundtrip.clicks";
    pub(super) const NODE: &'static str = "roundtrip.node";
    pub(super) const SEQ: &'static str = "roundtrip.seq";
    pub(in super::super) const MADE_FROM: &'static str = "roundtrip.made_from";
    pub(in super::super) const REPLACES: &'static str = "roundtrip.replaces";
    /// First and last moment of its ids, first and last of receiving, in milliseconds, and how many rows.
    pub(in super::super) const EXTENT: &'static str = "roundtrip.extent";

    /// The slices whose clicks are in it, with their numbers and between which ids they are.
    pub(in super::super) const SLICES: &'static str = "roundtrip.slices";
    /// A checksum of the clicks of each [`STRETCH_ROWS`] rows, hexadecimal: see [`Checks`].
    pub(in super::super) const CHECKS: &'static str = "roundtrip.checks";

    fn pairs(&self) -> Vec<KeyValue> {
        let list = |numbers: &[u64]| numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
        let span = |span: &SliceSpan| format!("{}:{:x}-{:x}", span.seq, span.first, span.last);
        let slices = self.slices.iter().map(span).collect::<Vec<_>>().join(",");
        vec![
            KeyValue::new(Self::VERSION.to_owned(), VERSION.to_owned()),
            KeyValue::new(Self::NODE.to_owned(), self.node.to_string()),
            KeyValue::new(Self::SEQ.to_owned(), self.seq.to_string()),
            KeyValue::new(Self::MADE_FROM.to_owned(), list(self.made_from)),
            KeyValue::new(Self::REPLACES.to_owned(), list(self.replaces)),
            KeyValue::new(Self::SLICES.to_owned(), slices),
            KeyValue::new(SPARK.to_owned(), SPARK_SCHEMA.clone()),
        ]
    }
}

/// Checksums of clicks as they were stored, so that what is read of a damaged file can be told from what was written:
/// a changed byte need not make a page unreadable. SipHash-1-3 (zero key) of ids and of clicks in the form that slices
/// have.
#[derive(Default)]
pub(in super::super) struct Checks {
    done: String,
    hasher: SipHasher13,
    rows: usize,
}

impl Checks {
    pub(in super::super) fn add(&mut self, touch: &Touch) {
        self.hasher.write(&touch.id.bytes());
        self.hasher.write(&body::encode(&touch.click));
        self.rows += 1;
        if self.rows == STRETCH_ROWS {
            self.end();
        }
    }

    fn end(&mut self) {
        let _ = write!(self.done, "{:016x}", self.hasher.finish());
        (self.hasher, self.rows) = (SipHasher13::default(), 0);
    }

    /// All of them, one behind the other, 16 digits each.
    pub(in super::super) fn finish(mut self) -> String {
        if self.rows > 0 {
            self.end();
        }
        self.done
    }
}

/// What went into a segment.
#[derive(Debug)]
pub(in super::super) struct Encoded {
    /// Its span; `clicks` are its rows.
    pub(in super::super) extent: Extent,
    /// Its prints, sorted, as those of the first segment of a side file.
    pub(in super::super) entries: Vec<Entry>,
}

/// Writes touches, whose ids rise, and says what was written. The same touches make the same bytes.
///
/// # Errors
/// When a touch cannot be read, an id does not rise, or the bytes cannot be written.
pub(in super::super) fn encode<E: From<ParquetError>>(
    out: impl Write + Send,
    about: &About<'_>,
    touches: impl IntoIterator<Item = Result<Touch, E>>,
) -> Result<Encoded, E> {
    let mut out = Out::Ready(out, about);
    let mut rows = Rows::default();
    let mut encoded = Encoded { extent: Extent::EMPTY, entries: Vec::new() };
    let mut last = None;
    let mut checks = Checks::default();
    for touch in touches {
        let touch = touch?;
        checks.add(&touch);
        if last.replace(touch.id).is_some_and(|last| last >= touch.id) {
            return Err(ParquetError::General("click ids that do not rise".to_owned()).into());
        }
        let row = u32::try_from(encoded.extent.clicks)
            .map_err(|_| ParquetError::General("more rows than a side file can name".to_owned()))?;
        encoded.extent.add(touch.id, touch.click.received_at);
        let params = touch.click.params();
        encoded.entries.extend(touch.click.prints(&params).into_iter().map(|print| Entry {
            scope: print.scope,
            kind: print.kind as u8,
            hash: print.hash,
            segment: 0,
            row,
        }));
        rows.push(&touch, &params);
        // A page at a time: whoever makes the touches rests between a few of them, and redirects want the processor too.
        if rows.len() == if matches!(out, Out::Ready(..)) { SAMPLE_ROWS } else { PAGE_ROWS } {
            out = out.write(&rows.finish().map_err(ParquetError::from)?)?;
        }
    }
    // Where there is no row at all, it is a file of none.
    if rows.len() > 0 || matches!(out, Out::Ready(..)) {
        out = out.write(&rows.finish().map_err(ParquetError::from)?)?;
    }
    let Extent { id_first_ms, id_last_ms, received_first_ms, received_last_ms, clicks } = encoded.extent;
    let extent = format!("{id_first_ms},{id_last_ms},{received_first_ms},{received_last_ms},{clicks}");
    if let Out::Begun(mut writer) = out {
        writer.append_key_value_metadata(KeyValue::new(About::EXTENT.to_owned(), extent));
        writer.append_key_value_metadata(KeyValue::new(About::CHECKS.to_owned(), checks.finish()));
        writer.close()?;
    }
    encoded.entries.sort_unstable();
    Ok(encoded)
}

/// A file that begins with its first rows: they say how the columns are written.
enum Out<'a, W: Write + Send> {
    Ready(W, &'a About<'a>),
    Begun(Box<ArrowWriter<W>>),
}

impl<W: Write + Send> Out<'_, W> {
    fn write(self, batch: &RecordBatch) -> Result<Self, ParquetError> {
        let mut writer = match self {
            Self::Begun(writer) => writer,
            Self::Ready(out, about) => {
                let options = ArrowWriterOptions::new().with_properties(properties(about, batch));
                Box::new(ArrowWriter::try_new_with_options(out, SCHEMA.clone(), options)?)
            }
        };
        writer.write(batch)?;
        Ok(Self::Begun(writer))
    }
}

/// Whether the values of a column hardly ever repeat. A look-up of one value reads the whole dictionary, and such a one
/// is as long as the column.
fn is_unique(batch: &RecordBatch, name: &str) -> bool {
    let Some(texts) = batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>()) else {
        return false;
    };
    let (mut values, mut different) = (0_usize, HashSet::new());
    for text in texts.iter().flatten() {
        values += 1;
        different.insert(text);
    }
    different.len() * 5 > values * 3 && values > FEW_VALUES
}

fn properties(about: &About<'_>, first: &RecordBatch) -> WriterProperties {
    let path = |name: &str| ColumnPath::from(name);
    let mut properties = WriterProperties::builder()
        .set_created_by("roundtrip".to_owned())
        .set_key_value_metadata(Some(about.pairs()))
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_data_page_row_count_limit(PAGE_ROWS)
        // The limit is looked at behind each of these.
        .set_write_batch_size(PAGE_ROWS)
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        // Statistics of a column that is not sorted only make the file larger.
        .set_statistics_enabled(EnabledStatistics::Chunk);
    for column in COLUMNS {
        let name = || path(column.name);
        properties = match column.form {
            // As they are: a look-up finds its row without decoding a thousand of them.
            Form::Uuid => properties
                .set_column_dictionary_enabled(name(), false)
                .set_column_encoding(name(), Encoding::PLAIN)
                .set_column_statistics_enabled(name(), EnabledStatistics::Page),
            Form::Time => properties
                .set_column_dictionary_enabled(name(), false)
                .set_column_encoding(name(), Encoding::DELTA_BINARY_PACKED)
                .set_column_statistics_enabled(name(), EnabledStatistics::Page),
            _ if UNIQUE.contains(&column.name) || is_unique(first, column.name) => {
                properties.set_column_dictionary_enabled(name(), false)
            }
            _ => properties,
        };
    }
    properties.build()
}
