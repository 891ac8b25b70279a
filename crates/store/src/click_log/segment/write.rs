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

use super::columns::{COLUMNS, Form, Rows, SCHEMA};
use super::{GROUP_ROWS, PAGE_ROWS};

/// Rows that are turned into columns at a time.
const BATCH_ROWS: usize = 8_192;
/// Columns whose values hardly ever repeat: a dictionary of them would be thrown away.
const UNIQUE: &[&str] = &["partner_click_id", "gaid", "idfa", "idfv", "oaid", "android_id"];

/// Writes touches, sorted by id, and returns how many. The same touches make the same bytes.
///
/// # Errors
/// When a touch cannot be read or the bytes not be written.
pub(in super::super) fn encode<E: From<ParquetError>>(
    out: impl Write + Send,
    touches: impl IntoIterator<Item = Result<Touch, E>>,
) -> Result<u64, E> {
    let options = ArrowWriterOptions::new().with_properties(properties());
    let mut writer = ArrowWriter::try_new_with_options(out, SCHEMA.clone(), options)?;
    let mut rows = Rows::default();
    let mut written = 0;
    for touch in touches {
        rows.push(&touch?);
        written += 1;
        if rows.len() == BATCH_ROWS {
            writer.write(&rows.finish().map_err(ParquetError::from)?)?;
        }
    }
    if rows.len() > 0 {
        writer.write(&rows.finish().map_err(ParquetError::from)?)?;
    }
    writer.close()?;
    Ok(written)
}

fn properties() -> WriterProperties {
    let path = |name: &str| ColumnPath::from(name);
    let mut properties = WriterProperties::builder()
        .set_created_by("roundtrip".to_owned())
        .set_key_value_metadata(Some(vec![KeyValue::new("roundtrip.clicks".to_owned(), "1".to_owned())]))
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
