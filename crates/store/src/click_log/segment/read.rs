//! A segment opened to be read from its first row to its last, one page of rows at a time.

use std::sync::Arc;

use arrow_array::RecordBatch;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::PageIndexPolicy;
use parquet::file::reader::ChunkReader;
use roundtrip_domain::click::Touch;

use super::columns::{self, BatchRow};

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

    /// Reads a page.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(in super::super) fn read(
        &self,
        file: impl ChunkReader + 'static,
        page: usize,
    ) -> Result<RecordBatch, ParquetError> {
        // The reader trusts what it reads of a page so far that a changed byte can make it panic.
        let read = std::panic::AssertUnwindSafe(|| self.decode(file, page));
        std::panic::catch_unwind(read)
            .unwrap_or_else(|_| Err(ParquetError::General("a page that makes no sense".to_owned())))
    }

    fn decode(&self, file: impl ChunkReader + 'static, page: usize) -> Result<RecordBatch, ParquetError> {
        let page = self.pages.get(page).ok_or_else(|| ParquetError::General("no such page".to_owned()))?;
        let selection =
            RowSelection::from(vec![RowSelector::skip(page.from), RowSelector::select(page.rows)]);
        let mut batches = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
            .with_row_groups(vec![page.group])
            .with_row_selection(selection)
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
        let rows = group.num_rows().max(0) as usize;
        for (at, place) in places.iter().enumerate() {
            let from = place.first_row_index.max(0) as usize;
            let until = places.get(at + 1).map_or(rows, |next| next.first_row_index.max(0) as usize);
            let rows = until.checked_sub(from).ok_or_else(|| bad("pages out of order"))?;
            pages.push(Page { group: n, from, rows });
        }
    }
    Ok(pages)
}

/// The touch in a row of a page. `None` when it makes no sense.
pub(in super::super) fn touch_at(batch: &RecordBatch, row: usize) -> Option<Touch> {
    (row < batch.num_rows()).then(|| columns::touch(&BatchRow { batch, row })).flatten()
}
