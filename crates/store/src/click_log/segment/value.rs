//! One value out of a decompressed page, without decoding the values around it.
//!
//! The cast: a look-up wants one row of a page. Which of the page's values is its own follows from the levels before it
//! (a row without a value has none); a value is then skipped to, or is a number in the column's dictionary, whose entries
//! are found once and kept. The library decodes a page's whole dictionary for each value: that took two fifths of a
//! look-up.
//!
//! Only what we write is read here: pages of version 1, no nested columns, values as they are or in a dictionary. `None`
//! says that a page is another, and the library reads it.
//!
//! Not relied on: the bytes. What makes no sense is an error, whatever it is.
//!
//! Formats: the Parquet project's `Encodings.md`: PLAIN (0), the RLE and bit-packing hybrid (3), RLE_DICTIONARY (8).

use std::ops::Range;

use bytes::Bytes;
use parquet::basic::{Encoding, Type};
use parquet::column::page::Page;
use parquet::errors::Result;
use parquet::schema::types::ColumnDescriptor;

use super::lookup::bad;

/// A dictionary, decompressed.
pub(super) struct Dictionary {
    /// As the library takes it.
    pub(super) page: Page,
    /// Where its texts begin, if it is one of texts and whole: behind their lengths.
    starts: Vec<u32>,
}

impl Dictionary {
    /// Finds the entries of a dictionary.
    ///
    /// # Errors
    /// When the page is none, or its texts are not as many as it says.
    pub(super) fn new(page: Page, of: Type) -> Result<Self> {
        let Page::DictionaryPage { buf, num_values, .. } = &page else {
            return Err(bad("no dictionary where one should be"));
        };
        // An entry takes four bytes at least, and the library makes room for as many as it is told.
        if *num_values as usize > buf.len() / 4 {
            return Err(bad("a dictionary of more values than it has bytes for"));
        }
        let mut starts = Vec::new();
        if of == Type::BYTE_ARRAY {
            starts.reserve(*num_values as usize);
            let mut at = 0;
            for _ in 0..*num_values {
                let text = text_at(buf, at)?;
                starts.push(u32::try_from(text.start).map_err(|_| bad("a dictionary of over 4 GiB"))?);
                at = text.end;
            }
        }
        Ok(Self { page, starts })
    }

    /// Bytes of memory that it takes.
    pub(super) fn memory(&self) -> usize {
        size_of::<Self>() + self.page.buffer().len() + self.starts.len() * size_of::<u32>()
    }

    fn value(&self, at: u32, of: Type, length: usize) -> Result<Bytes> {
        let (buf, at) = (self.page.buffer(), at as usize);
        if of == Type::BYTE_ARRAY {
            let start = *self.starts.get(at).ok_or_else(|| bad("a value that is in no dictionary"))?;
            let text = text_at(buf, start as usize - 4)?;
            return Ok(buf.slice(text));
        }
        fixed(buf, at, length)
    }
}

/// The text whose length stands here.
fn text_at(buf: &[u8], at: usize) -> Result<Range<usize>> {
    let length = buf.get(at..).and_then(|rest| rest.first_chunk()).map(|bytes| u32::from_le_bytes(*bytes));
    let start = at + 4;
    let end = length.and_then(|length| start.checked_add(length as usize)).filter(|end| *end <= buf.len());
    end.map(|end| start..end).ok_or_else(|| bad("a text that ends behind its page"))
}

/// The value with this number among values of one length.
fn fixed(buf: &Bytes, at: usize, length: usize) -> Result<Bytes> {
    let start = at.checked_mul(length);
    let range = start.and_then(|start| Some(start..start.checked_add(length)?));
    let range = range.filter(|range| range.end <= buf.len());
    range.map(|range| buf.slice(range)).ok_or_else(|| bad("a value that lies behind its page"))
}

/// What a row holds, as bytes: numbers in little-endian order. Outer `None`: the library has to read it. Inner `None`: the
/// row holds nothing.
///
/// # Errors
/// When the page makes no sense.
pub(super) fn value<D: AsRef<Dictionary>>(
    page: &Page,
    column: &ColumnDescriptor,
    row: usize,
    dictionary: impl FnOnce() -> Result<D>,
) -> Result<Option<Option<Bytes>>> {
    let Page::DataPage { buf, num_values, encoding, def_level_encoding, .. } = page else { return Ok(None) };
    let of = column.physical_type();
    let length = match of {
        Type::BYTE_ARRAY => 0,
        Type::INT32 => 4,
        Type::INT64 => 8,
        Type::FIXED_LEN_BYTE_ARRAY => usize::try_from(column.type_length()).unwrap_or_default(),
        _ => return Ok(None),
    };
    if column.max_rep_level() != 0 || column.max_def_level() > 1 {
        return Ok(None);
    }
    if row >= *num_values as usize {
        return Err(bad("fewer rows than its index says"));
    }
    let (mut at, mut values) = (row, buf.clone());
    if column.max_def_level() == 1 {
        if *def_level_encoding != Encoding::RLE {
            return Ok(None);
        }
        // The levels, behind their length.
        let levels = text_at(buf, 0)?;
        values = buf.slice(levels.end..);
        let (before, is_there) = Hybrid::new(&buf[levels], 1).ones_until(row)?;
        if !is_there {
            return Ok(Some(None));
        }
        at = before;
    }
    match encoding {
        Encoding::PLAIN if of == Type::BYTE_ARRAY => {
            let mut text = text_at(&values, 0)?;
            for _ in 0..at {
                text = text_at(&values, text.end)?;
            }
            Ok(Some(Some(values.slice(text))))
        }
        Encoding::PLAIN => fixed(&values, at, length).map(|value| Some(Some(value))),
        Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY => {
            let (width, numbers) = values.split_first().ok_or_else(|| bad("a page without values"))?;
            if *width > 32 {
                return Err(bad("numbers of more than 32 bits"));
            }
            let number = Hybrid::new(numbers, u32::from(*width)).nth(at)?;
            dictionary()?.as_ref().value(number, of, length).map(|value| Some(Some(value)))
        }
        _ => Ok(None),
    }
}

/// Numbers of so many bits each, in runs of one number or of eight and eight different ones.
struct Hybrid<'a> {
    bytes: &'a [u8],
    width: u32,
}

/// Numbers that follow each other.
enum Run<'a> {
    Same(u32, usize),
    Packed(&'a [u8], usize),
}

impl<'a> Hybrid<'a> {
    const fn new(bytes: &'a [u8], width: u32) -> Self {
        Self { bytes, width }
    }

    fn next(&mut self) -> Result<Run<'a>> {
        let short = || bad("fewer values than its page says");
        let (mut header, mut shift) = (0_u32, 0);
        loop {
            let (byte, rest) = self.bytes.split_first().ok_or_else(short)?;
            self.bytes = rest;
            header |= u32::from(byte & 0x7f).checked_shl(shift).ok_or_else(short)?;
            if byte & 0x80 == 0 {
                break;
            }
            shift += 7;
        }
        let n = (header >> 1) as usize;
        if header & 1 == 1 {
            // Eights of numbers. The last of them may be cut off behind what is needed.
            let bytes = n.saturating_mul(self.width as usize).min(self.bytes.len());
            let (packed, rest) = self.bytes.split_at(bytes);
            self.bytes = rest;
            return Ok(Run::Packed(packed, n.saturating_mul(8)));
        }
        let (number, rest) =
            self.bytes.split_at_checked(self.width.div_ceil(8) as usize).ok_or_else(short)?;
        self.bytes = rest;
        let mut four = [0; 4];
        four[..number.len()].copy_from_slice(number);
        Ok(Run::Same(u32::from_le_bytes(four), n))
    }

    /// The number at a place.
    fn nth(mut self, mut at: usize) -> Result<u32> {
        loop {
            match self.next()? {
                Run::Same(number, n) if at < n => return Ok(number),
                Run::Packed(bytes, n) if at < n => return packed(bytes, at, self.width),
                Run::Same(_, n) | Run::Packed(_, n) => at -= n,
            }
        }
    }

    /// Of numbers of one bit: how many ones there are before a place, and whether there is one at it.
    fn ones_until(mut self, mut at: usize) -> Result<(usize, bool)> {
        let mut ones = 0;
        loop {
            match self.next()? {
                Run::Same(number, n) if at < n => {
                    return Ok((ones + if number == 1 { at } else { 0 }, number == 1));
                }
                Run::Packed(bytes, n) if at < n => {
                    let is_there = packed(bytes, at, 1)? == 1;
                    return Ok((ones + count_ones(bytes, at), is_there));
                }
                Run::Same(number, n) => {
                    ones += if number == 1 { n } else { 0 };
                    at -= n;
                }
                Run::Packed(bytes, n) => {
                    ones += count_ones(bytes, n);
                    at -= n;
                }
            }
        }
    }
}

/// Ones among the first so many bits.
fn count_ones(bytes: &[u8], bits: usize) -> usize {
    let whole: u32 = bytes.iter().take(bits / 8).map(|byte| byte.count_ones()).sum();
    let rest = bytes.get(bits / 8).map_or(0, |byte| (byte & ((1 << (bits % 8)) - 1)).count_ones());
    (whole + rest) as usize
}

/// A number out of packed ones, the lowest bit first.
fn packed(bytes: &[u8], at: usize, width: u32) -> Result<u32> {
    let short = || bad("fewer values than its page says");
    let bit = at.checked_mul(width as usize).ok_or_else(short)?;
    let end = (bit + width as usize).div_ceil(8);
    let from = bytes.get(bit / 8..end).ok_or_else(short)?;
    let mut eight = [0; 8];
    eight[..from.len()].copy_from_slice(from);
    let number = u64::from_le_bytes(eight) >> (bit % 8);
    Ok((number & ((1_u64 << width) - 1)) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_numbers_are_read_as_the_format_says() {
        // The example of Parquet's Encodings.md: 0 to 7 with three bits each.
        let bytes = [0b1000_1000, 0b1100_0110, 0b1111_1010];
        for n in 0..8 {
            assert_eq!(packed(&bytes, n as usize, 3).unwrap(), n);
        }
        assert!(packed(&bytes, 8, 3).is_err());
        assert_eq!(packed(&[], 5, 0).unwrap(), 0);
        assert_eq!(packed(&[0xff; 9], 1, 32).unwrap(), u32::MAX);
    }

    #[test]
    fn runs_follow_each_other() {
        // Ten fives, eight packed numbers, two hundred sixes whose count takes two bytes.
        let bytes = [20, 5, 3, 0b1000_1000, 0b1100_0110, 0b1111_1010, 0x90, 3, 6];
        let at = |at| Hybrid::new(&bytes, 3).nth(at);
        assert_eq!((at(0).unwrap(), at(9).unwrap(), at(10).unwrap(), at(17).unwrap()), (5, 5, 0, 7));
        assert_eq!((at(18).unwrap(), at(217).unwrap()), (6, 6));
        assert!(at(218).is_err());
        assert!(Hybrid::new(&bytes[..3], 3).nth(10).is_err());
        assert!(Hybrid::new(&[0xff; 9], 3).nth(0).is_err());
    }

    #[test]
    fn values_before_a_row_are_counted() {
        // Three rows with a value, then 0b1010_0110, then six rows without one.
        let levels = [6, 1, 3, 0b1010_0110, 12, 0];
        let row = |row| Hybrid::new(&levels, 1).ones_until(row).unwrap();
        assert_eq!([0, 2, 3, 4, 6].map(row), [(0, true), (2, true), (3, false), (3, true), (5, false)]);
        assert_eq!([10, 11, 16].map(row), [(6, true), (7, false), (7, false)]);
        assert!(Hybrid::new(&levels, 1).ones_until(17).is_err());
    }

    #[test]
    fn a_dictionary_knows_its_texts() {
        let page = |bytes: &'static [u8], num_values| Page::DictionaryPage {
            buf: Bytes::from_static(bytes),
            num_values,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        let texts = b"\x02\0\0\0ab\0\0\0\0\x01\0\0\0c";
        let dictionary = Dictionary::new(page(texts, 3), Type::BYTE_ARRAY).unwrap();
        let value = |at| dictionary.value(at, Type::BYTE_ARRAY, 0);
        assert_eq!([0, 1, 2].map(|at| value(at).unwrap()), ["ab", "", "c"]);
        assert!(value(3).is_err());
        assert!(Dictionary::new(page(texts, 4), Type::BYTE_ARRAY).is_err());
        assert!(Dictionary::new(page(texts, u32::MAX), Type::BYTE_ARRAY).is_err());
        let numbers = Dictionary::new(page(b"\x07\0\0\0\x09\0\0\0", 2), Type::INT32).unwrap();
        assert_eq!(numbers.value(1, Type::INT32, 4).unwrap(), [9, 0, 0, 0][..]);
        assert!(numbers.value(2, Type::INT32, 4).is_err());
    }
}
