//! A segment opened for look-ups: its footer and page index, and one page of rows at a time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use arrow_array::RecordBatch;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::PageIndexPolicy;
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::reader::ChunkReader;
use roundtrip_domain::click::Touch;
use roundtrip_domain::click_id::ClickId;

use super::super::append::lock;
use super::{About, columns};

/// A segment whose footer is in memory.
#[derive(Clone)]
pub(in super::super) struct Opened {
    metadata: ArrowReaderMetadata,
    /// The pages of all row groups, in order.
    pages: Arc<Vec<Page>>,
}

/// A page: where it lies, and the first and last id in it.
#[derive(Debug, Clone, Copy)]
struct Page {
    group: usize,
    /// Of its first row in the group, and in the file.
    from: usize,
    ordinal: u64,
    rows: usize,
    first: ClickId,
    last: ClickId,
}

impl Opened {
    /// Reads the footer and the index of a file.
    ///
    /// # Errors
    /// When it is no Parquet file, or one without an index of `click_id`.
    pub(in super::super) fn open(file: &impl ChunkReader) -> Result<Self, ParquetError> {
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
        let metadata = ArrowReaderMetadata::load(file, options)?;
        let pages = Arc::new(pages(&metadata)?);
        Ok(Self { metadata, pages })
    }

    /// Rows of the file.
    pub(in super::super) fn rows(&self) -> u64 {
        self.pages.last().map_or(0, |page| page.ordinal + page.rows as u64)
    }

    /// What it says of itself: node, number, and the numbers of what it was made from. `None` when it says nothing
    /// that makes sense.
    pub(in super::super) fn about(&self) -> Option<(u16, u64, Vec<u64>)> {
        let pairs = self.metadata.metadata().file_metadata().key_value_metadata()?;
        let value = |name: &str| pairs.iter().find(|pair| pair.key == name)?.value.as_deref();
        if value(About::VERSION)? != super::write::VERSION {
            return None;
        }
        let numbers = value(About::MADE_FROM)?.split(',').filter(|text| !text.is_empty());
        let made_from = numbers.map(|text| text.parse().ok()).collect::<Option<_>>()?;
        Some((value(About::NODE)?.parse().ok()?, value(About::SEQ)?.parse().ok()?, made_from))
    }

    /// The page that holds an id, if it is there.
    pub(in super::super) fn page_of_id(&self, id: ClickId) -> Option<usize> {
        let at = self.pages.partition_point(|page| page.last < id);
        self.pages.get(at).filter(|page| page.first <= id).map(|_| at)
    }

    /// The page that holds a row of the file, and where in it.
    pub(in super::super) fn page_of_row(&self, ordinal: u64) -> Option<(usize, usize)> {
        let at = self.pages.partition_point(|page| page.ordinal + page.rows as u64 <= ordinal);
        self.pages.get(at).map(|page| (at, (ordinal - page.ordinal) as usize))
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
    let mut before = 0;
    for (n, group) in metadata.row_groups().iter().enumerate() {
        let (Some(ColumnIndexMetaData::FIXED_LEN_BYTE_ARRAY(ids)), Some(places)) =
            (index.column_index(n, column), index.offset_index(n, column))
        else {
            return Err(bad("no index of click_id"));
        };
        let places = places.page_locations();
        let rows = group.num_rows().max(0) as usize;
        for (at, place) in places.iter().enumerate() {
            let from = place.first_row_index.max(0) as usize;
            let until = places.get(at + 1).map_or(rows, |next| next.first_row_index.max(0) as usize);
            let id = |bytes: Option<&[u8]>| bytes.and_then(ClickId::from_slice);
            let (Some(first), Some(last)) = (id(ids.min_value(at)), id(ids.max_value(at))) else {
                return Err(bad("a page without ids"));
            };
            let rows = until.checked_sub(from).ok_or_else(|| bad("pages out of order"))?;
            pages.push(Page { group: n, from, ordinal: before + from as u64, rows, first, last });
        }
        before += rows as u64;
    }
    Ok(pages)
}

/// Pages that stay decoded between look-ups, up to so many bytes.
pub(in super::super) struct Pages {
    kept: Mutex<Kept>,
    bytes_max: usize,
}

#[derive(Default)]
struct Kept {
    /// The one used last is at the end.
    pages: VecDeque<((u64, usize), RecordBatch)>,
    bytes: usize,
}

impl Pages {
    pub(in super::super) fn new(bytes_max: usize) -> Self {
        Self { kept: Mutex::default(), bytes_max }
    }

    /// A page of a segment, read by `read` if it is not here.
    pub(in super::super) fn get<E>(
        &self,
        segment: u64,
        page: usize,
        read: impl FnOnce() -> Result<RecordBatch, E>,
    ) -> Result<RecordBatch, E> {
        let key = (segment, page);
        {
            let mut kept = lock(&self.kept);
            let at = kept.pages.iter().rposition(|(k, _)| *k == key);
            if let Some(found) = at.and_then(|at| kept.pages.remove(at)) {
                let batch = found.1.clone();
                kept.pages.push_back(found);
                return Ok(batch);
            }
        }
        let batch = read()?;
        let mut kept = lock(&self.kept);
        kept.bytes += batch.get_array_memory_size();
        kept.pages.push_back((key, batch.clone()));
        while kept.bytes > self.bytes_max
            && let Some((_, out)) = kept.pages.pop_front()
        {
            kept.bytes -= out.get_array_memory_size();
        }
        Ok(batch)
    }

    /// Lets go of a segment that is gone.
    pub(in super::super) fn forget(&self, segment: u64) {
        let mut kept = lock(&self.kept);
        kept.pages.retain(|((s, _), _)| *s != segment);
        kept.bytes = kept.pages.iter().map(|(_, batch)| batch.get_array_memory_size()).sum();
    }
}

/// The touch with an id in a page.
pub(in super::super) fn find(batch: &RecordBatch, id: ClickId) -> Option<Option<Touch>> {
    columns::row_of(batch, id).map(|row| columns::touch(batch, row))
}

/// The touch in a row of a page. `None` when it makes no sense.
pub(in super::super) fn touch_at(batch: &RecordBatch, row: usize) -> Option<Touch> {
    (row < batch.num_rows()).then(|| columns::touch(batch, row)).flatten()
}
