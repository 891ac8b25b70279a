//! Rows as Parquet: zstd, in groups of bounded size, so that an export of any length takes the memory of one group.

use std::io::Write;
use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, Decimal128Builder, Int64Builder, StringBuilder, TimestampMillisecondBuilder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use super::columns::{Cell, Column, Form};

/// Rows that are turned into columns at a time.
const BATCH_ROWS: usize = 4_096;
/// Rows of a group. A group is in memory until it is whole.
const GROUP_ROWS: usize = 32_768;
/// Digits of money, and those behind the point. Eighteen digits are kept in 64 bits; the largest amount has seventeen.
const MONEY: (u8, i8) = (18, 6);

/// A file that is being written.
pub(super) struct Rows<W: Write + Send> {
    writer: ArrowWriter<W>,
    schema: SchemaRef,
    builders: Vec<Builder>,
    rows: usize,
}

enum Builder {
    Text(StringBuilder),
    Time(TimestampMillisecondBuilder),
    Number(Int64Builder),
    Money(Decimal128Builder),
    Flag(BooleanBuilder),
}

impl Builder {
    fn of(form: Form) -> Self {
        match form {
            Form::Text => Self::Text(StringBuilder::new()),
            Form::Time => Self::Time(TimestampMillisecondBuilder::new().with_timezone("UTC")),
            Form::Number => Self::Number(Int64Builder::new()),
            Form::Money => Self::Money(Decimal128Builder::new().with_data_type(data_type(Form::Money))),
            Form::Flag => Self::Flag(BooleanBuilder::new()),
        }
    }

    /// A cell of another form than the column's becomes none; [`super::columns`] gives no such cell, as its test shows.
    fn push(&mut self, cell: &Cell) {
        match (self, cell) {
            (Self::Text(column), Cell::Text(text)) => column.append_value(text),
            (Self::Text(column), _) => column.append_null(),
            (Self::Time(column), Cell::Time(at)) => column.append_value(at.ms()),
            (Self::Time(column), _) => column.append_null(),
            (Self::Number(column), Cell::Number(number)) => column.append_value(*number),
            (Self::Number(column), _) => column.append_null(),
            (Self::Money(column), Cell::Money(micros)) => column.append_value((*micros).into()),
            (Self::Money(column), _) => column.append_null(),
            (Self::Flag(column), Cell::Flag(flag)) => column.append_value(*flag),
            (Self::Flag(column), _) => column.append_null(),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(column) => Arc::new(column.finish()),
            Self::Time(column) => Arc::new(column.finish()),
            Self::Number(column) => Arc::new(column.finish()),
            Self::Money(column) => Arc::new(column.finish()),
            Self::Flag(column) => Arc::new(column.finish()),
        }
    }
}

fn data_type(form: Form) -> DataType {
    match form {
        Form::Text => DataType::Utf8,
        Form::Time => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
        Form::Number => DataType::Int64,
        Form::Money => DataType::Decimal128(MONEY.0, MONEY.1),
        Form::Flag => DataType::Boolean,
    }
}

impl<W: Write + Send> Rows<W> {
    /// `about` goes into the file's own key-value list.
    pub(super) fn begin(
        out: W,
        columns: &[Column],
        about: &[(&'static str, String)],
    ) -> Result<Self, ParquetError> {
        let field = |column: &Column| Field::new(column.name, data_type(column.form), !column.required);
        let schema: SchemaRef = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
        let about = about.iter().map(|(name, value)| KeyValue::new((*name).to_owned(), value.clone()));
        let properties = WriterProperties::builder()
            .set_created_by("roundtrip".to_owned())
            .set_key_value_metadata(Some(about.collect()))
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .build();
        let options = ArrowWriterOptions::new().with_properties(properties);
        Ok(Self {
            writer: ArrowWriter::try_new_with_options(out, schema.clone(), options)?,
            builders: columns.iter().map(|column| Builder::of(column.form)).collect(),
            schema,
            rows: 0,
        })
    }

    pub(super) fn push(&mut self, cells: &[Cell]) -> Result<(), ParquetError> {
        for (builder, cell) in self.builders.iter_mut().zip(cells) {
            builder.push(cell);
        }
        self.rows += 1;
        if self.rows == BATCH_ROWS { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), ParquetError> {
        self.rows = 0;
        let columns = self.builders.iter_mut().map(Builder::finish).collect();
        self.writer.write(&RecordBatch::try_new(self.schema.clone(), columns)?)
    }

    /// Writes what is left, and the footer without which it is no file.
    pub(super) fn finish(mut self) -> Result<W, ParquetError> {
        if self.rows > 0 {
            self.flush()?;
        }
        self.writer.into_inner()
    }
}
