//! A segment opened to be read from its first row to its last, one page of rows at a time.

use std::sync::Arc;

use arrow_array::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::PageIndexPolicy;
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::reader::ChunkReader;
use roundtrip_domain::click::Touch;
use roundtrip_domain::click_id::ClickId;
use roundtrip_domain::id::WorkspaceNo;

use super::columns::{self, BatchRow, Cells as _};

/// A segment whose footer is in memory.
#[derive(Clone)]
pub(in super::super) struct Opened {
    metadata: ArrowReaderMetadata,
    /// The pages of all row groups, in order.
    pages: Arc<Vec<Page>>,
}

/// A page: where it lies.
#[derive(Debug, Clone, Copy)]
struct Page {
    group: usize,
    /// Its first row in the group.
    from: usize,
    rows: usize,
    /// The last id in it, if the index says so.
    last: Option<ClickId>,
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
            let pages = Arc::new(pages(&metadata)?);
            Ok(Self { metadata, pages })
        });
        std::panic::catch_unwind(load)
            .unwrap_or_else(|_| Err(ParquetError::General("a footer that makes no sense".to_owned())))
    }

    /// What the file says of itself under a name.
    pub(in super::super) fn said(&self, name: &str) -> Option<&str> {
        let said = self.metadata.metadata().file_metadata().key_value_metadata()?;
        said.iter().find(|kv| kv.key == name)?.value.as_deref()
    }

    /// How many pages there are.
    pub(in super::super) fn pages(&self) -> usize {
        self.pages.len()
    }

    /// The first page that can hold an id or a later one.
    pub(in super::super) fn page_from(&self, id: ClickId) -> usize {
        let can = |page: &Page| page.last.is_none_or(|last| last >= id);
        self.pages.iter().position(can).unwrap_or(self.pages.len())
    }

    /// Whose the rows of a page are. It takes a small part of what reading the page does.
    ///
    /// # Errors
    /// When it cannot be read, or makes no sense.
    pub(in super::super) fn whose(
        &self,
        file: impl ChunkReader + 'static,
        page: usize,
    ) -> Result<Vec<Whose>, ParquetError> {
        let batch = self.guarded(|| self.decode(file, page, Some(&["click_id", "workspace"])))?;
        let whose = |row| {
            let row = BatchRow { batch: &batch, row };
            let id = row.bytes("click_id").and_then(ClickId::from_slice);
            Some(Whose { id: id?, workspace: WorkspaceNo(row.number("workspace")??) })
        };
        let all: Option<Vec<Whose>> = (0..batch.num_rows()).map(whose).collect();
        all.ok_or_else(|| ParquetError::General("a row without an id or a workspace".to_owned()))
    }

    /// Reads a page.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(in super::super) fn read(
        &self,
        file: impl ChunkReader + 'static,
        page: usize,
    ) -> Result<RecordBatch, ParquetError> {
        self.guarded(|| self.decode(file, page, None))
    }

    /// The reader trusts what it reads of a page so far that a changed byte can make it panic.
    fn guarded<T>(&self, read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(read))
            .unwrap_or_else(|_| Err(ParquetError::General("a page that makes no sense".to_owned())))
    }

    /// Decodes a page: these columns of it, or all.
    fn decode(
        &self,
        file: impl ChunkReader + 'static,
        page: usize,
        columns: Option<&[&str]>,
    ) -> Result<RecordBatch, ParquetError> {
        let schema = self.metadata.metadata().file_metadata().schema_descr();
        let columns = match columns {
            Some(columns) => ProjectionMask::columns(schema, columns.iter().copied()),
            None => ProjectionMask::all(),
        };
        let page = self.pages.get(page).ok_or_else(|| ParquetError::General("no such page".to_owned()))?;
        let selection =
            RowSelection::from(vec![RowSelector::skip(page.from), RowSelector::select(page.rows)]);
        let mut batches = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
            .with_row_groups(vec![page.group])
            .with_row_selection(selection)
            .with_projection(columns)
            .with_batch_size(page.rows)
            .build()?;
        match batches.next() {
            Some(batch) => Ok(batch?),
            None => Err(ParquetError::General("a page without rows".to_owned())),
        }
    }
}

fn pages(metadata: &ArrowReaderMetadata) -> Result<Vec<Page>, ParquetError> {
    let bad = |what: &str| ParquetError::General(what.to_owned());
    let metadata = metadata.metadata();
    let index = metadata.page_index().ok_or_else(|| bad("no page index"))?;
    let column =
        metadata.file_metadata().schema_descr().columns().iter().position(|c| c.name() == "click_id");
    let column = column.ok_or_else(|| bad("no click_id"))?;
    let mut pages = Vec::new();
    for (n, group) in metadata.row_groups().iter().enumerate() {
        let places = index.offset_index(n, column).ok_or_else(|| bad("no index of click_id"))?;
        let places = places.page_locations();
        let last = |page| match index.column_index(n, column) {
            Some(ColumnIndexMetaData::FIXED_LEN_BYTE_ARRAY(ids)) => {
                ids.max_value(page).and_then(ClickId::from_slice)
            }
            _ => None,
        };
        let rows = group.num_rows().max(0) as usize;
        for (at, place) in places.iter().enumerate() {
            let from = place.first_row_index.max(0) as usize;
            let until = places.get(at + 1).map_or(rows, |next| next.first_row_index.max(0) as usize);
            let rows = until.checked_sub(from).ok_or_else(|| bad("pages out of order"))?;
            pages.push(Page { group: n, from, rows, last: last(at) });
        }
    }
    Ok(pages)
}

/// The touch in a row of a page. `None` when it makes no sense.
pub(in super::super) fn touch_at(batch: &RecordBatch, row: usize) -> Option<Touch> {
    (row < batch.num_rows()).then(|| columns::touch(&BatchRow { batch, row })).flatten()
}
