//! One row of a segment, by its id or by its place.
//!
//! A look-up reads one page of each column that holds anything, and of that page decodes one value. It does not decode
//! whole pages into arrays: that takes ten times as long. Pages stay as they were decompressed, dictionaries likewise,
//! in the cache.
//!
//! Pages are decompressed here and not by the library, which makes a compressor and a decompressor for each: that took
//! a third of a look-up.
//!
//! Not relied on: that the bytes are what was written. The library trusts a page so far that a changed byte can make it
//! panic, which is caught here and is an error; a changed value that is one all the same is not noticed before the
//! checksum of the file is compared.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{CompressionCodec, Encoding};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::column::reader::{ColumnReader, get_column_reader};
use parquet::data_type::FixedLenByteArray;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::page_index::offset_index::PageLocation;
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::schema::types::ColumnDescPtr;
use roundtrip_domain::click::Touch;
use roundtrip_domain::click_id::ClickId;

use super::PAGE_ROWS_MAX;
use super::cache::{Cache, Kept, Key};
use super::columns;
use super::row::{Cell, Row};
use super::sealed::{Sealed, Source};
use super::value::{Dictionary, value};

/// A segment that is open.
pub(super) struct Segment {
    source: Source,
    footer: Footer,
}

/// What is known of a segment's pages.
pub(in super::super) struct Footer {
    /// Without its page index.
    metadata: ParquetMetaData,
    /// The column of the ids.
    id_at: usize,
    /// The column of the moments of receiving.
    received_at: usize,
    /// The pages of all row groups, in order.
    spans: Vec<Span>,
    /// By row group and column.
    columns: Vec<Vec<Chunk>>,
    memory: usize,
}

/// A column of a row group.
#[derive(Debug, Default)]
struct Chunk {
    /// Where its pages begin, one behind the other, counted from the first of them, and where the last one ends. Empty
    /// where it holds nothing.
    edges: Vec<u32>,
    /// Where the first page begins in the file.
    start: u64,
    /// Its pages are decompressed here, and its metadata say that they are not compressed.
    is_packed: bool,
}

/// A page of rows, and the first and last id in it.
#[derive(Debug, Clone, Copy)]
struct Span {
    first: ClickId,
    last: ClickId,
    /// Of its first row in the file.
    ordinal: u32,
    rows: u32,
    group: u32,
    /// Which page of its group.
    page: u32,
    /// First and last moment of receiving, in milliseconds; all of them where the file does not say.
    received: (i64, i64),
}

impl Chunk {
    fn new(locations: &[PageLocation], is_packed: bool) -> Option<Self> {
        let start = locations.first().map_or(Some(0), |first| u64::try_from(first.offset).ok())?;
        let (mut edges, mut end) = (Vec::with_capacity(locations.len() + 1), start);
        edges.push(0);
        for location in locations {
            if u64::try_from(location.offset) != Ok(end) {
                return None;
            }
            end = end.checked_add(u64::try_from(location.compressed_page_size).ok()?)?;
            edges.push(u32::try_from(end - start).ok()?);
        }
        Some(Self { edges, start, is_packed })
    }

    fn place(&self, page: usize) -> Option<Place> {
        let (from, to) = (*self.edges.get(page)?, *self.edges.get(page + 1)?);
        Some(Place { offset: self.start + u64::from(from), bytes: to - from })
    }
}

/// Where a column's page lies.
#[derive(Debug, Clone, Copy)]
struct Place {
    offset: u64,
    bytes: u32,
}

impl Place {
    fn range(self) -> std::ops::Range<u64> {
        self.offset..self.offset.saturating_add(u64::from(self.bytes))
    }
}

fn needs_dictionary(page: &Page) -> bool {
    matches!(page.encoding(), Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY)
}

pub(super) fn bad(what: &str) -> ParquetError {
    ParquetError::General(what.to_owned())
}

/// Runs what trusts bytes more than it should.
fn guarded<T>(run: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run))
        .unwrap_or_else(|_| Err(bad("a page that makes no sense")))
}

impl Footer {
    /// Reads the footer and the index of a file.
    ///
    /// # Errors
    /// When it is no Parquet file, or one without an index of `click_id`.
    pub(in super::super) fn read(source: &Source) -> Result<Self> {
        guarded(|| Self::load(source))
    }

    fn load(source: &Source) -> Result<Self> {
        let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Required);
        let metadata = reader.parse_and_finish(source)?;
        let schema = metadata.file_metadata().schema_descr();
        let id_at =
            schema.columns().iter().position(|c| c.name() == "click_id").ok_or_else(|| bad("no click_id"))?;
        let received_at = schema.columns().iter().position(|c| c.name() == "received_at");
        let received_at = received_at.ok_or_else(|| bad("no received_at"))?;
        let index = metadata.page_index().ok_or_else(|| bad("no page index"))?;
        let (mut spans, mut all_columns) = (Vec::new(), Vec::new());
        let mut before = 0_u64;
        for (n, group) in metadata.row_groups().iter().enumerate() {
            let rows = u64::try_from(group.num_rows()).map_err(|_| bad("less than no rows"))?;
            let (Some(ColumnIndexMetaData::FIXED_LEN_BYTE_ARRAY(ids)), Some(starts)) =
                (index.column_index(n, id_at), index.offset_index(n, id_at))
            else {
                return Err(bad("no index of click_id"));
            };
            let starts = starts.page_locations();
            let moments = match index.column_index(n, received_at) {
                Some(ColumnIndexMetaData::INT64(moments)) if moments.num_pages() == starts.len() as u64 => {
                    Some(moments)
                }
                _ => None,
            };
            for (page, start) in starts.iter().enumerate() {
                let from = start.first_row_index;
                let until = starts.get(page + 1).map_or(group.num_rows(), |next| next.first_row_index);
                let id = |bytes: Option<&[u8]>| {
                    bytes.and_then(ClickId::from_slice).ok_or_else(|| bad("a page without ids"))
                };
                let number = |n: i64| u32::try_from(n).map_err(|_| bad("pages out of order"));
                spans.push(Span {
                    first: id(ids.min_value(page))?,
                    last: id(ids.max_value(page))?,
                    ordinal: number(from.saturating_add_unsigned(before))?,
                    rows: number(until.saturating_sub(from))
                        .ok()
                        .filter(|rows| *rows as usize <= PAGE_ROWS_MAX)
                        .ok_or_else(|| bad("a page of too many rows"))?,
                    group: n as u32,
                    page: page as u32,
                    received: moments
                        .and_then(|moments| Some((*moments.min_value(page)?, *moments.max_value(page)?)))
                        .unwrap_or((i64::MIN, i64::MAX)),
                });
            }
            before += rows;
            let mut columns = Vec::with_capacity(group.num_columns());
            for (at, chunk) in group.columns().iter().enumerate() {
                let is_packed = chunk.compression_codec() == CompressionCodec::ZSTD;
                let nulls = chunk.statistics().and_then(|statistics| statistics.null_count_opt());
                if nulls == Some(rows) {
                    columns.push(Chunk { is_packed, ..Chunk::default() });
                    continue;
                }
                let locations =
                    index.offset_index(n, at).ok_or_else(|| bad("no index of a column"))?.page_locations();
                let same = |(a, b): (&PageLocation, &PageLocation)| a.first_row_index == b.first_row_index;
                if locations.len() != starts.len() || !locations.iter().zip(starts).all(same) {
                    return Err(bad("columns with pages of different rows"));
                }
                let chunk = Chunk::new(locations, is_packed);
                columns.push(chunk.ok_or_else(|| bad("pages that do not follow each other"))?);
            }
            all_columns.push(columns);
        }
        let metadata = slim(metadata, &all_columns)?;
        let edges_n: usize = all_columns.iter().flatten().map(|chunk| chunk.edges.len()).sum();
        let chunks_n = all_columns.iter().map(Vec::len).sum::<usize>();
        let memory = metadata.memory_size()
            + spans.len() * size_of::<Span>()
            + edges_n * size_of::<u32>()
            + chunks_n * size_of::<Chunk>();
        Ok(Self { metadata, id_at, received_at, spans, columns: all_columns, memory })
    }

    /// Bytes of memory that it takes.
    pub(in super::super) fn memory(&self) -> usize {
        self.memory
    }

    /// The page that can hold an id.
    fn page_of_id(&self, id: ClickId) -> Option<usize> {
        let at = self.spans.partition_point(|span| span.last < id);
        self.spans.get(at).filter(|span| span.first <= id).map(|_| at)
    }

    /// The page that holds a row of the file, and where in it.
    fn page_of_row(&self, ordinal: u32) -> Option<(usize, usize)> {
        let at = self
            .spans
            .partition_point(|span| u64::from(span.ordinal) + u64::from(span.rows) <= u64::from(ordinal));
        let span = self.spans.get(at).filter(|span| span.ordinal <= ordinal)?;
        Some((at, (ordinal - span.ordinal) as usize))
    }
}

/// The metadata as pages are read by: without the index, without statistics, and of columns that are decompressed here
/// as if they were not compressed.
fn slim(metadata: ParquetMetaData, columns: &[Vec<Chunk>]) -> Result<ParquetMetaData> {
    let mut groups = Vec::with_capacity(metadata.num_row_groups());
    for (group, columns) in metadata.row_groups().iter().zip(columns) {
        let chunks = group.columns().iter().zip(columns).map(|(chunk, column)| {
            let chunk = chunk.clone().into_builder().clear_statistics();
            if column.is_packed { chunk.set_compression_codec(CompressionCodec::UNCOMPRESSED) } else { chunk }
                .build()
        });
        let chunks = chunks.collect::<Result<Vec<_>>>()?;
        groups.push(group.clone().into_builder().set_column_metadata(chunks).build()?);
    }
    Ok(metadata.into_builder().set_page_index(None).set_row_groups(groups).build())
}

/// Decompresses what the library left as it was.
fn unpacked(mut page: Page, unpack: &mut dyn FnMut(&[u8]) -> Result<Vec<u8>>) -> Result<Page> {
    let mut open = |bytes: &mut Bytes, from: usize| -> Result<()> {
        let (levels, packed) =
            bytes.split_at_checked(from).ok_or_else(|| bad("a page that makes no sense"))?;
        // Nothing, where all values are null.
        if packed.is_empty() {
            return Ok(());
        }
        let mut all = unpack(packed)?;
        all.splice(0..0, levels.iter().copied());
        *bytes = all.into();
        Ok(())
    };
    match &mut page {
        Page::DataPage { buf, .. } | Page::DictionaryPage { buf, .. } => open(buf, 0)?,
        // We write none, and a file that somebody else wrote anew may have some.
        Page::DataPageV2 { buf, def_levels_byte_len, rep_levels_byte_len, is_compressed, .. } => {
            if std::mem::take(is_compressed) {
                open(buf, *def_levels_byte_len as usize + *rep_levels_byte_len as usize)?;
            }
        }
    }
    Ok(page)
}

/// Why a row could not be read.
#[derive(Debug)]
pub(in super::super) enum Failed {
    /// The file is not there, or the system refuses.
    Open(io::Error),
    /// Its bytes are not those of a segment, or cannot be read.
    Parquet(ParquetError),
    /// A row that makes no sense.
    Row(u32),
}

impl Segment {
    fn open(source: Source) -> std::result::Result<Self, Failed> {
        let tail = source.tail().map_err(|error| Failed::Parquet(error.into()))?;
        let footer = Footer::read(&tail).map_err(Failed::Parquet)?;
        Ok(Self { source, footer })
    }

    /// The page of each column that holds anything, not decoded.
    fn page(&self, cache: &Cache, seq: u64, at: usize) -> Result<Arc<Vec<Option<Page>>>> {
        let key = Key::Page(seq, at as u32);
        if let Some(Kept::Page(page)) = cache.get(key) {
            return Ok(page);
        }
        let since = cache.forgets();
        let span = self.footer.spans.get(at).ok_or_else(|| bad("no such page"))?;
        let columns = &self.footer.columns[span.group as usize];
        let places = columns.iter().map(|chunk| chunk.place(span.page as usize));
        // All at once, so that a disk or bucket is not asked for one after the other.
        let ranges: Vec<_> = places.clone().flatten().map(Place::range).collect();
        let source = self.source.ahead(&ranges)?;
        let mut pages = Vec::with_capacity(columns.len());
        for (column, place) in places.enumerate() {
            pages.push(match place {
                Some(place) => Some(self.read(cache, &source, span.group, column, place)?),
                None => None,
            });
        }
        let bytes = pages.iter().flatten().map(|page| page.buffer().len() + size_of::<Page>()).sum::<usize>();
        let pages = Arc::new(pages);
        if source.is_far() {
            self.dictionaries(cache, seq, span.group, &pages)?;
        }
        cache.put(key, Kept::Page(pages.clone()), bytes, since);
        Ok(pages)
    }

    /// Reads and decompresses a page.
    fn read(&self, cache: &Cache, source: &Source, group: u32, column: usize, place: Place) -> Result<Page> {
        let is_packed = self.footer.columns[group as usize][column].is_packed;
        let group = self.footer.metadata.row_group(group as usize);
        let chunk = group.column(column);
        let location = PageLocation {
            offset: place.offset as i64,
            compressed_page_size: place.bytes as i32,
            first_row_index: 0,
        };
        let mut reader = SerializedPageReader::new(
            Arc::new(source.clone()),
            chunk,
            group.num_rows() as usize,
            Some(vec![location]),
        )?;
        // What lies between the beginning and this page is taken for a dictionary.
        if place.offset != chunk.byte_range().0 {
            reader.skip_next_page()?;
        }
        let page = reader.get_next_page()?.ok_or_else(|| bad("no page where one should be"))?;
        if is_packed { unpacked(page, &mut |bytes| cache.unpack(bytes)) } else { Ok(page) }
    }

    fn dictionary(&self, cache: &Cache, seq: u64, group: u32, column: usize) -> Result<Arc<Dictionary>> {
        if let Some(Kept::Dictionary(dictionary)) = cache.get(Key::Dictionary(seq, group, column as u32)) {
            return Ok(dictionary);
        }
        self.dictionary_of(cache, seq, group, column, &self.source)
    }

    /// Has the dictionaries of these pages in the cache, those that are not there read all at once.
    fn dictionaries(&self, cache: &Cache, seq: u64, group: u32, pages: &[Option<Page>]) -> Result<()> {
        let mut wanted = Vec::new();
        for (column, page) in pages.iter().enumerate() {
            let is_wanted = page.as_ref().is_some_and(needs_dictionary)
                && cache.get(Key::Dictionary(seq, group, column as u32)).is_none();
            if is_wanted {
                wanted.push((column, self.place_of_dictionary(group, column)?));
            }
        }
        let ranges: Vec<_> = wanted.iter().map(|(_, place)| place.range()).collect();
        let source = self.source.ahead(&ranges)?;
        for (column, _) in wanted {
            self.dictionary_of(cache, seq, group, column, &source)?;
        }
        Ok(())
    }

    fn place_of_dictionary(&self, group: u32, column: usize) -> Result<Place> {
        let (start, _) = self.footer.metadata.row_group(group as usize).column(column).byte_range();
        let first = self.footer.columns[group as usize][column].place(0).ok_or_else(|| bad("no pages"))?;
        let bytes = first.offset.checked_sub(start).and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0);
        Ok(Place { offset: start, bytes: bytes.ok_or_else(|| bad("no dictionary where one should be"))? })
    }

    fn dictionary_of(
        &self,
        cache: &Cache,
        seq: u64,
        group: u32,
        column: usize,
        source: &Source,
    ) -> Result<Arc<Dictionary>> {
        let key = Key::Dictionary(seq, group, column as u32);
        let since = cache.forgets();
        let page = self.read(cache, source, group, column, self.place_of_dictionary(group, column)?)?;
        let dictionary = Arc::new(Dictionary::new(page, self.descriptor(column).physical_type())?);
        cache.put(key, Kept::Dictionary(dictionary.clone()), dictionary.memory(), since);
        Ok(dictionary)
    }

    fn descriptor(&self, column: usize) -> ColumnDescPtr {
        self.footer.metadata.file_metadata().schema_descr().column(column)
    }

    /// A column of a page.
    fn column(&self, cache: &Cache, seq: u64, at: usize, column: usize, page: &Page) -> Result<ColumnReader> {
        let span = self.footer.spans[at];
        let mut pages = VecDeque::with_capacity(2);
        if needs_dictionary(page) {
            pages.push_back(self.dictionary(cache, seq, span.group, column)?.page.clone());
        }
        pages.push_back(page.clone());
        Ok(get_column_reader(self.descriptor(column), Box::new(OnePage { pages, rows: span.rows as usize })))
    }

    fn row_of_id(&self, cache: &Cache, seq: u64, at: usize, id: ClickId) -> Result<Option<usize>> {
        let pages = self.page(cache, seq, at)?;
        let rows = self.footer.spans[at].rows as usize;
        let page = pages.get(self.footer.id_at).and_then(Option::as_ref).ok_or_else(|| bad("no click_id"))?;
        if let Page::DataPage { buf, encoding: Encoding::PLAIN, .. } = page {
            let (ids, rest) = buf.as_chunks();
            if ids.len() != rows || !rest.is_empty() {
                return Err(bad("ids of another length"));
            }
            return Ok(ids.binary_search(&id.bytes()).ok());
        }
        // A file that somebody else wrote anew may have other pages.
        let ColumnReader::FixedLenByteArrayColumnReader(mut reader) =
            self.column(cache, seq, at, self.footer.id_at, page)?
        else {
            return Err(bad("click_id of another type"));
        };
        let mut ids: Vec<FixedLenByteArray> = Vec::with_capacity(rows);
        reader.read_records(rows, None, None, &mut ids)?;
        Ok(ids.binary_search_by(|stored| stored.data().cmp(&id.bytes()[..])).ok())
    }

    /// The moments of receiving of a page's rows, in milliseconds.
    fn moments(&self, cache: &Cache, seq: u64, at: usize) -> Result<Vec<i64>> {
        let pages = self.page(cache, seq, at)?;
        let rows = self.footer.spans[at].rows as usize;
        let column = self.footer.received_at;
        let page = pages.get(column).and_then(Option::as_ref).ok_or_else(|| bad("no received_at"))?;
        let ColumnReader::Int64ColumnReader(mut reader) = self.column(cache, seq, at, column, page)? else {
            return Err(bad("received_at of another type"));
        };
        let mut moments: Vec<i64> = Vec::with_capacity(rows);
        reader.read_records(rows, None, None, &mut moments)?;
        if moments.len() == rows { Ok(moments) } else { Err(bad("fewer rows than its index says")) }
    }

    /// Reads one row of a page. `None` when it makes no sense.
    fn row(&self, cache: &Cache, seq: u64, at: usize, row: usize) -> Result<Option<Touch>> {
        let pages = self.page(cache, seq, at)?;
        let group = self.footer.spans[at].group;
        let mut cells = Vec::with_capacity(pages.len());
        for (column, page) in pages.iter().enumerate() {
            let descriptor = self.descriptor(column);
            let cell = match page {
                None => Cell::Null,
                Some(page) => {
                    match value(page, &descriptor, row, || self.dictionary(cache, seq, group, column))? {
                        Some(value) => Cell::of(value, descriptor.physical_type())?,
                        None => Cell::read(self.column(cache, seq, at, column, page)?, row)?,
                    }
                }
            };
            cells.push((descriptor, cell));
        }
        let cells = Row(cells.iter().map(|(column, cell)| (column.name(), cell)).collect());
        Ok(columns::touch(&cells))
    }
}

/// The pages of a segment, as far as its footer tells.
pub(in super::super) struct Pages {
    segment: Arc<Segment>,
    seq: u64,
}

/// A page of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct PageSpan {
    at: usize,
    /// Its rows of the file.
    pub(in super::super) rows: Range<u32>,
    /// First and last moment of receiving, in milliseconds; all of them where the file does not say.
    pub(in super::super) received: (i64, i64),
}

impl Pages {
    fn span(&self, at: usize) -> Option<PageSpan> {
        let span = self.segment.footer.spans.get(at)?;
        let rows = span.ordinal..span.ordinal.saturating_add(span.rows);
        Some(PageSpan { at, rows, received: span.received })
    }

    /// How many rows there are.
    pub(in super::super) fn rows(&self) -> u32 {
        self.segment.footer.spans.last().map_or(0, |span| span.ordinal.saturating_add(span.rows))
    }

    /// The page with a row of the file.
    pub(in super::super) fn holding(&self, row: u32) -> Option<PageSpan> {
        let (at, _) = self.segment.footer.page_of_row(row)?;
        self.span(at)
    }

    /// The last page before this one that is wanted.
    pub(in super::super) fn before(
        &self,
        page: &PageSpan,
        is_wanted: impl Fn(&PageSpan) -> bool,
    ) -> Option<PageSpan> {
        (0..page.at).rev().filter_map(|at| self.span(at)).find(is_wanted)
    }

    /// The moments of receiving of a page's rows, in milliseconds.
    ///
    /// # Errors
    /// When the page cannot be read or makes no sense.
    pub(in super::super) fn received(
        &self,
        cache: &Cache,
        page: &PageSpan,
    ) -> std::result::Result<Vec<i64>, Failed> {
        guarded(|| self.segment.moments(cache, self.seq, page.at)).map_err(Failed::Parquet)
    }
}

impl Cache {
    /// What a segment's footer says of its pages. `open` gives its bytes, if they are not open yet.
    ///
    /// # Errors
    /// When the file cannot be read or makes no sense.
    pub(in super::super) fn pages(
        &self,
        sealed: &Sealed,
        open: impl FnOnce() -> io::Result<Source>,
    ) -> std::result::Result<Pages, Failed> {
        Ok(Pages { segment: self.segment(sealed, open)?, seq: sealed.name.seq })
    }

    fn segment(
        &self,
        sealed: &Sealed,
        open: impl FnOnce() -> io::Result<Source>,
    ) -> std::result::Result<Arc<Segment>, Failed> {
        let seq = sealed.name.seq;
        if let Some(Kept::Footer(segment)) = self.get(Key::Footer(seq)) {
            return Ok(segment);
        }
        let since = self.forgets();
        let segment = Arc::new(Segment::open(open().map_err(Failed::Open)?)?);
        self.put(Key::Footer(seq), Kept::Footer(segment.clone()), segment.footer.memory(), since);
        Ok(segment)
    }

    /// The touch with an id in a segment, whose bytes `open` gives if they are not open yet.
    ///
    /// # Errors
    /// When the file cannot be read or makes no sense.
    pub(in super::super) fn find(
        &self,
        sealed: &Sealed,
        id: ClickId,
        open: impl FnOnce() -> io::Result<Source>,
    ) -> std::result::Result<Option<Touch>, Failed> {
        let segment = self.segment(sealed, open)?;
        let seq = sealed.name.seq;
        let Some(at) = segment.footer.page_of_id(id) else { return Ok(None) };
        let row = guarded(|| segment.row_of_id(self, seq, at, id)).map_err(Failed::Parquet)?;
        let Some(row) = row else { return Ok(None) };
        let touch = guarded(|| segment.row(self, seq, at, row)).map_err(Failed::Parquet)?;
        let ordinal = segment.footer.spans[at].ordinal + row as u32;
        touch.filter(|touch| touch.id == id).ok_or(Failed::Row(ordinal)).map(Some)
    }

    /// The touch in a row of a segment. `None`: there are fewer.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub(in super::super) fn touch_at(
        &self,
        sealed: &Sealed,
        ordinal: u32,
        open: impl FnOnce() -> io::Result<Source>,
    ) -> std::result::Result<Option<Touch>, Failed> {
        let segment = self.segment(sealed, open)?;
        let Some((at, row)) = segment.footer.page_of_row(ordinal) else { return Ok(None) };
        let touch = guarded(|| segment.row(self, sealed.name.seq, at, row)).map_err(Failed::Parquet)?;
        touch.ok_or(Failed::Row(ordinal)).map(Some)
    }

    /// A side file, open.
    ///
    /// # Errors
    /// When it cannot be read, or its header or directory is wrong (`InvalidData`).
    pub(in super::super) fn prints(&self, seq: u64, path: &Path) -> io::Result<Arc<super::prints::Prints>> {
        if let Some(Kept::Prints(prints)) = self.get(Key::Prints(seq)) {
            return Ok(prints);
        }
        let since = self.forgets();
        let prints = Arc::new(super::prints::Prints::open(path)?);
        self.put(Key::Prints(seq), Kept::Prints(prints.clone()), prints.memory(), since);
        Ok(prints)
    }
}

/// Gives a page of one column, and before it the dictionary, if it needs one.
struct OnePage {
    pages: VecDeque<Page>,
    rows: usize,
}

impl Iterator for OnePage {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Result<Page>> {
        self.pages.pop_front().map(Ok)
    }
}

impl PageReader for OnePage {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        Ok(self.pages.pop_front())
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        Ok(self.pages.front().map(|page| {
            let is_dict = matches!(page, Page::DictionaryPage { .. });
            PageMetadata { num_rows: (!is_dict).then_some(self.rows), num_levels: None, is_dict }
        }))
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.pages.pop_front();
        Ok(())
    }
}
