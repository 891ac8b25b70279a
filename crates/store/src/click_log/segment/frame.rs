//! The query of a click without the values that stand in columns of their own.
//!
//! A query must read back byte for byte, and its values belong into columns; kept twice they would be half of the
//! file. So the frame is the query in which each value that equals a column's text is replaced by [`MARK`] and the
//! column's number, plus `a`. A `MARK` of the query's own stands doubled. What is left repeats from click to click.
//! `click_id=7f31&sub1=x%20y` with 7f31 in the first column is the frame `click_id=␁a&sub1=x%20y`.

/// Announces a column's value. No URI holds it unescaped.
pub(super) const MARK: u8 = 1;
/// Shorter values stay where they are.
const VALUE_BYTES_MIN: usize = 3;

/// Takes the values out of a query. There are at most 100 columns.
pub(super) fn take_out(query: &[u8], columns: &[Option<&str>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(query.len());
    let mut rest = query;
    while !rest.is_empty() {
        let end = rest.iter().position(|b| matches!(b, b'&' | b'?')).unwrap_or(rest.len());
        let (pair, behind) = rest.split_at(end);
        let value_at = pair.iter().position(|b| *b == b'=').map_or(pair.len(), |at| at + 1);
        let (name, value) = pair.split_at(value_at);
        escape(&mut out, name);
        let column = columns.iter().position(|column| column.is_some_and(|text| text.as_bytes() == value));
        match column {
            Some(column) if value.len() >= VALUE_BYTES_MIN => out.extend([MARK, b'a' + column as u8]),
            _ => escape(&mut out, value),
        }
        let (separator, behind) = behind.split_at(behind.len().min(1));
        out.extend_from_slice(separator);
        rest = behind;
    }
    out
}

fn escape(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        out.push(*byte);
        if *byte == MARK {
            out.push(MARK);
        }
    }
}

/// Puts the values back. `None` when the frame names a column that has none.
pub(super) fn put_back(frame: &[u8], columns: &[Option<&str>]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(frame.len() + 128);
    let mut bytes = frame.iter();
    while let Some(byte) = bytes.next() {
        match (*byte, bytes.as_slice().first()) {
            (MARK, Some(&MARK)) => {
                out.push(MARK);
                bytes.next();
            }
            (MARK, Some(column)) => {
                let text = (*columns.get(usize::from(column.checked_sub(b'a')?))?)?;
                out.extend_from_slice(text.as_bytes());
                bytes.next();
            }
            (MARK, None) => return None,
            (byte, _) => out.push(byte),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_go_to_their_columns_and_come_back() {
        let columns = [Some("7f31"), None, Some("x y")];
        let query = b"click_id=7f31&sub1=x%20y&&b=7f31?c=7f310&\x01=\x01a";
        let frame = take_out(query, &columns);
        assert_eq!(frame, b"click_id=\x01a&sub1=x%20y&&b=\x01a?c=7f310&\x01\x01=\x01\x01a");
        assert_eq!(put_back(&frame, &columns).unwrap(), query);
        for bad in [&b"a=\x01"[..], b"a=\x01b", b"a=\x01z", b"a=\x01A"] {
            assert_eq!(put_back(bad, &columns), None);
        }
    }

    proptest! {
        #[test]
        fn any_query_comes_back(
            query in proptest::collection::vec(prop_oneof![Just(1_u8), Just(b'a'), Just(b'&'), Just(b'='), Just(b'b'), any::<u8>()], 0..200),
            columns in proptest::collection::vec(any::<Option<String>>().prop_map(|t| t.map(|_| "aab".to_owned())), 0..5),
        ) {
            let columns: Vec<Option<&str>> = columns.iter().map(Option::as_deref).collect();
            prop_assert_eq!(put_back(&take_out(&query, &columns), &columns), Some(query));
        }

        #[test]
        fn nonsense_is_refused_without_panic(frame in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = put_back(&frame, &[Some("x"), None]);
        }
    }
}
