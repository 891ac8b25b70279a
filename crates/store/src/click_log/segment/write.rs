//! Rows become the bytes of a segment.

use std::io::Write;

use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use roundtrip_domain::click::Touch;

use super::super::index::Extent;
use super::columns::{COLUMNS, Form, Rows, SCHEMA};
use super::prints::Entry;
use super::{GROUP_ROWS, PAGE_ROWS};

/// Rows that are turned into columns at a time.
const BATCH_ROWS: usize = 8_192;
/// Of the columns. It changes only where an older reader would misread a file, never when columns are added.
pub(super) const VERSION: &str = "1";
/// Columns whose values hardly ever repeat: a dictionary of them would be thrown away.
const UNIQUE: &[&str] = &["partner_click_id", "gaid", "idfa", "idfv", "oaid", "android_id"];

/// What a segment says of itself in its footer.
pub(in super::super) struct About<'a> {
    pub(in super::super) node: u16,
    pub(in super::super) seq: u64,
    /// Numbers of the slices or segments that it was made from.
    pub(in super::super) made_from: &'a [u64],
    /// Numbers of all files whose clicks are in it: those, and what they were made from.
    pub(in super::super) replaces: &'a [u64],
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

    fn pairs(&self) -> Vec<KeyValue> {
        let list = |numbers: &[u64]| numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
        vec![
            KeyValue::new(Self::VERSION.to_owned(), VERSION.to_owned()),
            KeyValue::new(Self::NODE.to_owned(), self.node.to_string()),
            KeyValue::new(Self::SEQ.to_owned(), self.seq.to_string()),
            KeyValue::new(Self::MADE_FROM.to_owned(), list(self.made_from)),
            KeyValue::new(Self::REPLACES.to_owned(), list(self.replaces)),
        ]
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
    let options = ArrowWriterOptions::new().with_properties(properties(about));
    let mut writer = ArrowWriter::try_new_with_options(out, SCHEMA.clone(), options)?;
    let mut rows = Rows::default();
    let mut encoded = Encoded { extent: Extent::EMPTY, entries: Vec::new() };
    let mut last = None;
    for touch in touches {
        let touch = touch?;
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
        if rows.len() == BATCH_ROWS {
            writer.write(&rows.finish().map_err(ParquetError::from)?)?;
        }
    }
    if rows.len() > 0 {
        writer.write(&rows.finish().map_err(ParquetError::from)?)?;
    }
    let Extent { id_first_ms, id_last_ms, received_first_ms, received_last_ms, clicks } = encoded.extent;
    let extent = format!("{id_first_ms},{id_last_ms},{received_first_ms},{received_last_ms},{clicks}");
    writer.append_key_value_metadata(KeyValue::new(About::EXTENT.to_owned(), extent));
    writer.close()?;
    encoded.entries.sort_unstable();
    Ok(encoded)
}

fn properties(about: &About<'_>) -> WriterProperties {
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
            Form::Uuid => properties
                .set_column_dictionary_enabled(name(), false)
                .set_column_encoding(name(), Encoding::DELTA_BYTE_ARRAY)
                .set_column_statistics_enabled(name(), EnabledStatistics::Page),
            Form::Time => properties
                .set_column_dictionary_enabled(name(), false)
                .set_column_encoding(name(), Encoding::DELTA_BINARY_PACKED)
                .set_column_statistics_enabled(name(), EnabledStatistics::Page),
            _ if UNIQUE.contains(&column.name) => properties.set_column_dictionary_enabled(name(), false),
            _ => properties,
        };
    }
    properties.build()
}
