//! A segment opened to be read from its first row to its last, a stretch of rows at a time.
//!
//! A stretch is as many pages as have [`STRETCH_ROWS`] rows together. Which rows make one follows from the file alone, so
//! that a checksum can stand for each, and one that cannot be read is left out without the others.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
    RowSelection, RowSelector,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::PageIndexPolicy;
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::reader::ChunkReader;
use roundtrip_domain::click::Touch;
use roundtrip_domain::click_id::ClickId;
use roundtrip_domain::id::WorkspaceNo;

use super::STRETCH_ROWS;
use super::columns::{self, BatchRow, Cells as _};

/// A segment whose footer is in memory.
#[derive(Clone)]
pub(in super::super) struct Opened {
    metadata: ArrowReaderMetadata,
    /// Those of all row groups, in order.
    stretches: Arc<Vec<Stretch>>,
}

/// Where a stretch lies.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    group: usize,
    /// Its first row in the group.
    from: usize,
    rows: usize,
    /// Rows of the group from its first on.
    left: usize,
    /// The last id in it, if the index says so.
    last: Option<ClickId>,
}

/// A row group that is being read from one stretch to the next. Its dictionaries are decoded once, where each stretch by
/// itself decodes them again.
pub(in super::super) struct Stream {
    next: usize,
    batches: ParquetRecordBatchReader,
}

/// What is known of a row before all of it is read.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Whose {
    pub(in super::super) id: ClickId,
    pub(in super::super) workspace: WorkspaceNo,
}

impl Opened {
    /// Reads the footer and the index of a file.
    ///
    /// # Errors
    /// When it is no Parquet file, or one without an index of `click_id`.
    pub(in super::super) fn open(file: &impl ChunkReader) -> Result<Self, ParquetError> {
        // A changed byte can make the parser panic.
        let load = std::panic::AssertUnwindSafe(|| {
            let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
            let metadata = ArrowReaderMetadata::load(file, options)?;
            let stretches = Arc::new(stretches(&metadata)?);
            Ok(Self { metadata, stretches })
        });
        std::panic::catch_unwind(load)
            .unwrap_or_else(|_| Err(ParquetError::General("a footer that makes no sense".to_owned())))
    }

    /// What the file says of itself under a name.
    pub(in super::super) fn said(&self, name: &str) -> Option<&str> {
        let said = self.metadata.metadata().file_metadata().key_value_metadata()?;
        said.iter().find(|kv| kv.key == name)?.value.as_deref()
    }

    /// How many stretches there are.
    pub(in super::super) fn stretches(&self) -> usize {
        self.stretches.len()
    }

    /// The first stretch that can hold an id or a later one.
    pub(in super::super) fn stretch_from(&self, id: ClickId) -> usize {
        let can = |stretch: &Stretch| stretch.last.is_none_or(|last| last >= id);
        self.stretches.iter().position(can).unwrap_or(self.stretches.len())
    }

    /// Whose the rows of a stretch are. It takes a small part of what reading it does.
    ///
    /// # Errors
    /// When it cannot be read, or makes no sense.
    pub(in super::super) fn whose(
        &self,
        file: impl ChunkReader + 'static,
        stretch: usize,
    ) -> Result<Vec<Whose>, ParquetError> {
        let columns = Some(&["click_id", "workspace"][..]);
        let batch = self.guarded(|| first(self.begin(file, self.stretch(stretch)?, columns, false)?))?;
        let whose = |row| {
            let row = BatchRow { batch: &batch, row };
            let id = row.bytes("click_id").and_then(ClickId::from_slice);
            Some(Whose { id: id?, workspace: WorkspaceNo(row.number("workspace")??) })
        };
        let all: Option<Vec<Whose>> = (0..batch.num_rows()).map(whose).collect();
        all.ok_or_else(|| ParquetError::General("a row without an id or a workspace".to_owned()))
    }

    /// Reads a stretch. `stream` is what is open behind the one that was read before; it saves time if this is the next.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(in super::super) fn read(
        &self,
        file: impl ChunkReader + 'static,
        stretch: usize,
        stream: &mut Option<Stream>,
    ) -> Result<RecordBatch, ParquetError> {
        let here = self.stretch(stretch)?;
        // Gone if the reader panics.
        let open = stream.take().filter(|open| open.next == stretch);
        self.guarded(|| {
            let mut batches = match open {
                Some(open) => open.batches,
                None => self.begin(file, here, None, true)?,
            };
            let batch = first(&mut batches)?;
            if batch.num_rows() != here.rows {
                return Err(ParquetError::General("fewer rows than its index says".to_owned()));
            }
            let next = stretch + 1;
            let goes_on = self.stretches.get(next).is_some_and(|then| then.group == here.group);
            *stream = goes_on.then_some(Stream { next, batches });
            Ok(batch)
        })
    }

    fn stretch(&self, at: usize) -> Result<Stretch, ParquetError> {
        self.stretches.get(at).copied().ok_or_else(|| ParquetError::General("no such stretch".to_owned()))
    }

    /// The reader trusts what it reads of a page so far that a changed byte can make it panic.
    fn guarded<T>(&self, read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(read))
            .unwrap_or_else(|_| Err(ParquetError::General("a page that makes no sense".to_owned())))
    }

    /// Begins to decode where a stretch begins, these columns or all: that stretch, or its group from there on.
    fn begin(
        &self,
        file: impl ChunkReader + 'static,
        stretch: Stretch,
        columns: Option<&[&str]>,
        goes_on: bool,
    ) -> Result<ParquetRecordBatchReader, ParquetError> {
        let metadata = self.metadata.metadata();
        let schema = metadata.file_metadata().schema_descr();
        let columns = match columns {
            Some(columns) => ProjectionMask::columns(schema, columns.iter().copied()),
            None => ProjectionMask::all(),
        };
        let rows = if goes_on { stretch.left } else { stretch.rows };
        let selection = RowSelection::from(vec![RowSelector::skip(stretch.from), RowSelector::select(rows)]);
        ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
            .with_row_groups(vec![stretch.group])
            .with_row_selection(selection)
            .with_projection(columns)
            .with_batch_size(stretch.rows)
            .build()
    }
}

fn first(
    mut batches: impl Iterator<Item = Result<RecordBatch, ArrowError>>,
) -> Result<RecordBatch, ParquetError> {
    match batches.next() {
        Some(batch) => Ok(batch?),
        None => Err(ParquetError::General("pages without rows".to_owned())),
    }
}

fn stretches(metadata: &ArrowReaderMetadata) -> Result<Vec<Stretch>, ParquetError> {
    let bad = |what: &str| ParquetError::General(what.to_owned());
    let metadata = metadata.metadata();
    let index = metadata.page_index().ok_or_else(|| bad("no page index"))?;
    let column =
        metadata.file_metadata().schema_descr().columns().iter().position(|c| c.name() == "click_id");
    let column = column.ok_or_else(|| bad("no click_id"))?;
    let mut stretches: Vec<Stretch> = Vec::new();
    for (n, group) in metadata.row_groups().iter().enumerate() {
        let places = index.offset_index(n, column).ok_or_else(|| bad("no index of click_id"))?;
        let places = places.page_locations();
        let last = |page| match index.column_index(n, column) {
            Some(ColumnIndexMetaData::FIXED_LEN_BYTE_ARRAY(ids)) => {
                ids.max_value(page).and_then(ClickId::from_slice)
            }
            _ => None,
        };
        let all = group.num_rows().max(0) as usize;
        for (at, place) in places.iter().enumerate() {
            let from = place.first_row_index.max(0) as usize;
            let until = places.get(at + 1).map_or(all, |next| next.first_row_index.max(0) as usize);
            let rows = until.checked_sub(from).ok_or_else(|| bad("pages out of order"))?;
            let left = all.checked_sub(from).ok_or_else(|| bad("pages out of order"))?;
            match stretches.last_mut().filter(|s| s.group == n && s.rows + rows <= STRETCH_ROWS) {
                Some(stretch) => (stretch.rows, stretch.last) = (stretch.rows + rows, last(at)),
                None => stretches.push(Stretch { group: n, from, rows, left, last: last(at) }),
            }
        }
    }
    Ok(stretches)
}

/// The touch in a row of a stretch. `None` when it makes no sense.
pub(in super::super) fn touch_at(batch: &RecordBatch, row: usize) -> Option<Touch> {
    (row < batch.num_rows()).then(|| columns::touch(&BatchRow { batch, row })).flatten()
}
