//! The values of one row, out of pages of its columns, as a touch is made of them.

use bytes::Bytes;
use parquet::basic::Type;
use parquet::column::reader::ColumnReader;
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::errors::Result;

use super::columns::Cells;
use super::lookup::bad;

/// A value.
pub(super) enum Cell {
    Null,
    Bytes(ByteArray),
    Fixed(FixedLenByteArray),
    Number(i32),
    Long(i64),
}

impl Cell {
    /// A value that was found by its bytes.
    pub(super) fn of(value: Option<Bytes>, of: Type) -> Result<Self> {
        let Some(value) = value else { return Ok(Self::Null) };
        let short = || bad("a number of another length");
        Ok(match of {
            Type::INT32 => Self::Number(i32::from_le_bytes(*value.as_array().ok_or_else(short)?)),
            Type::INT64 => Self::Long(i64::from_le_bytes(*value.as_array().ok_or_else(short)?)),
            Type::FIXED_LEN_BYTE_ARRAY => Self::Fixed(ByteArray::from(value).into()),
            _ => Self::Bytes(value.into()),
        })
    }

    /// The value of a row by the library's reader, for pages that are not as we write them.
    pub(super) fn read(reader: ColumnReader, row: usize) -> Result<Self> {
        macro_rules! one {
            ($reader:ident, $cell:path) => {{
                let mut reader = $reader;
                let (mut values, mut levels) = (Vec::with_capacity(1), Vec::with_capacity(1));
                if reader.skip_records(row)? != row
                    || reader.read_records(1, Some(&mut levels), None, &mut values)?.0 != 1
                {
                    return Err(bad("fewer rows than its index says"));
                }
                values.pop().map_or(Self::Null, $cell)
            }};
        }
        Ok(match reader {
            ColumnReader::ByteArrayColumnReader(reader) => one!(reader, Self::Bytes),
            ColumnReader::FixedLenByteArrayColumnReader(reader) => one!(reader, Self::Fixed),
            ColumnReader::Int32ColumnReader(reader) => one!(reader, Self::Number),
            ColumnReader::Int64ColumnReader(reader) => one!(reader, Self::Long),
            // No column of ours has another type; one that is added later by a newer release is not asked for.
            _ => Self::Null,
        })
    }
}

/// The values of a row, with the names of their columns.
pub(super) struct Row<'a>(pub(super) Vec<(&'a str, &'a Cell)>);

impl Row<'_> {
    fn cell(&self, name: &str) -> Option<&Cell> {
        self.0.iter().find(|(column, _)| *column == name).map(|(_, cell)| *cell)
    }
}

impl Cells for Row<'_> {
    fn text(&self, name: &str) -> Option<Option<&str>> {
        match self.cell(name) {
            None | Some(Cell::Null) => Some(None),
            Some(Cell::Bytes(bytes)) => std::str::from_utf8(bytes.data()).ok().map(Some),
            Some(_) => None,
        }
    }

    fn number(&self, name: &str) -> Option<Option<u32>> {
        match self.cell(name)? {
            Cell::Null => Some(None),
            // The bits of an unsigned number.
            Cell::Number(number) => Some(Some(number.cast_unsigned())),
            _ => None,
        }
    }

    fn time(&self, name: &str) -> Option<i64> {
        match self.cell(name)? {
            Cell::Long(ms) => Some(*ms),
            _ => None,
        }
    }

    fn bytes(&self, name: &str) -> Option<&[u8]> {
        match self.cell(name)? {
            Cell::Bytes(bytes) => Some(bytes.data()),
            Cell::Fixed(bytes) => Some(bytes.data()),
            _ => None,
        }
    }
}
