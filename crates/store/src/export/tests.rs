//! The formats read back by other readers, formulas disarmed, and the columns that never change.

use std::io::{self, Write as _};

use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Int64Type, TimestampMillisecondType};
use arrow_array::{Array, RecordBatch};
use proptest::prelude::*;
use roundtrip_domain::money::Amount;

use super::*;
use crate::export::text::unguarded;

/// Two columns of each form, the first one required.
fn all_forms() -> Vec<Column> {
    let forms = [Form::Text, Form::Time, Form::Number, Form::Money, Form::Flag];
    let names = ["t1", "t2", "at1", "at2", "n1", "n2", "m1", "m2", "f1", "f2"];
    let column = |(at, name)| Column {
        name,
        form: forms[at / 2],
        required: at % 2 == 0,
        personal: false,
        means: "a test",
    };
    names.into_iter().enumerate().map(column).collect()
}

fn any_text() -> impl Strategy<Value = String> {
    let odd = proptest::sample::select(vec![
        "=", "+", "-", "@", "\t", "\r", "\n", "'", "\"", ",", "\r\n", "a", "é", "1", "＝", "＋", "－", "＠",
        " ", "\u{a0}", "\u{3000}", "\u{feff}", "\0",
    ]);
    prop_oneof![proptest::collection::vec(odd, 0..6).prop_map(|parts| parts.concat()), any::<String>(),]
}

fn any_cell(form: Form) -> BoxedStrategy<Cell> {
    match form {
        Form::Text => any_text().prop_map(Cell::Text).boxed(),
        // Until the year 9999.
        Form::Time => (0..253_402_300_799_999_i64).prop_map(|ms| Cell::Time(Timestamp::from_ms(ms))).boxed(),
        Form::Number => any::<i64>().prop_map(Cell::Number).boxed(),
        Form::Money => (-100_000_000_000_000_000..=100_000_000_000_000_000_i64).prop_map(Cell::Money).boxed(),
        Form::Flag => any::<bool>().prop_map(Cell::Flag).boxed(),
    }
}

fn any_row() -> impl Strategy<Value = Vec<Cell>> {
    let cells: Vec<BoxedStrategy<Cell>> = all_forms()
        .iter()
        .map(|column| match column.required {
            true => any_cell(column.form),
            false => prop_oneof![Just(Cell::Empty), any_cell(column.form)].boxed(),
        })
        .collect();
    cells
}

fn written(format: Format, columns: &[Column], rows: &[Vec<Cell>]) -> Vec<u8> {
    match format {
        Format::Parquet => {
            let mut out = parquet::Rows::begin(Vec::new(), columns, &[]).unwrap();
            rows.iter().for_each(|row| out.push(row).unwrap());
            out.finish().unwrap()
        }
        Format::Csv | Format::Ndjson => {
            let mut shape =
                Shape::Text { out: Vec::new(), is_csv: format == Format::Csv, buffer: Vec::new() };
            rows.iter().for_each(|row| shape.push(columns, row).unwrap());
            let Shape::Text { out, buffer, is_csv } = shape else { panic!("it is text") };
            let mut head = Vec::new();
            if is_csv {
                text::csv_head(columns, &mut head);
            }
            [head, out, buffer].concat()
        }
    }
}

/// A text's cell, whatever it is a text of.
fn cell_of(form: Form, text: &str) -> Cell {
    let micros = |text: &str| {
        let (sign, amount) = text.strip_prefix('-').map_or((1, text), |amount| (-1, amount));
        sign * Amount::parse(amount).unwrap().micros
    };
    match form {
        Form::Text => Cell::Text(text.to_owned()),
        Form::Time => Cell::Time(Timestamp::parse(text).unwrap()),
        Form::Number => Cell::Number(text.parse().unwrap()),
        Form::Money => Cell::Money(micros(text)),
        Form::Flag => Cell::Flag(text.parse().unwrap()),
    }
}

/// By the `csv` crate. To it nothing and an empty text are the same.
fn read_csv(columns: &[Column], bytes: &[u8]) -> Vec<Vec<Cell>> {
    let mut reader = csv::Reader::from_reader(bytes);
    let head: Vec<&str> = columns.iter().map(|column| column.name).collect();
    assert_eq!(reader.headers().unwrap(), head);
    let cell = |(column, text): (&Column, &str)| match (text, column.form) {
        ("", _) => Cell::Empty,
        (text, Form::Text) => Cell::Text(unguarded(text).to_owned()),
        (text, form) => cell_of(form, text),
    };
    reader.records().map(|row| columns.iter().zip(row.unwrap().iter()).map(cell).collect()).collect()
}

/// By `serde_json`.
fn read_ndjson(columns: &[Column], bytes: &[u8]) -> Vec<Vec<Cell>> {
    let cell = |column: &Column, value: &serde_json::Value| match value {
        serde_json::Value::Null => Cell::Empty,
        serde_json::Value::String(text) => cell_of(column.form, text),
        value => {
            assert!(matches!(column.form, Form::Number | Form::Flag), "{value}: money and times are texts");
            cell_of(column.form, &value.to_string())
        }
    };
    let row = |line: &str| -> Vec<Cell> {
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
        assert_eq!(object.len(), columns.len());
        columns.iter().map(|column| cell(column, &object[column.name])).collect()
    };
    std::str::from_utf8(bytes).unwrap().split_terminator('\n').map(row).collect()
}

/// By the reader of the `parquet` crate.
fn read_parquet(columns: &[Column], bytes: Vec<u8>) -> Vec<Vec<Cell>> {
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).unwrap().build().unwrap();
    let cell = |batch: &RecordBatch, column: &Column, row: usize| {
        let array = batch.column_by_name(column.name).unwrap();
        if array.is_null(row) {
            return Cell::Empty;
        }
        match column.form {
            Form::Text => Cell::Text(array.as_string::<i32>().value(row).to_owned()),
            Form::Time => {
                Cell::Time(Timestamp::from_ms(array.as_primitive::<TimestampMillisecondType>().value(row)))
            }
            Form::Number => Cell::Number(array.as_primitive::<Int64Type>().value(row)),
            Form::Money => Cell::Money(array.as_primitive::<Decimal128Type>().value(row).try_into().unwrap()),
            Form::Flag => Cell::Flag(array.as_boolean().value(row)),
        }
    };
    let mut rows = Vec::new();
    for batch in reader {
        let batch = batch.unwrap();
        rows.extend(
            (0..batch.num_rows())
                .map(|row| columns.iter().map(|column| cell(&batch, column, row)).collect::<Vec<_>>()),
        );
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn every_format_reads_back_to_the_same_rows(rows in proptest::collection::vec(any_row(), 0..12)) {
        let columns = all_forms();
        prop_assert_eq!(&read_parquet(&columns, written(Format::Parquet, &columns, &rows)), &rows);
        let ndjson = written(Format::Ndjson, &columns, &rows);
        prop_assert_eq!(&read_ndjson(&columns, &ndjson), &rows);
        let csv = written(Format::Csv, &columns, &rows);
        let without_empty_texts: Vec<Vec<Cell>> = rows
            .iter()
            .map(|row| row.iter().map(|cell| match cell {
                Cell::Text(text) if text.is_empty() => Cell::Empty,
                cell => cell.clone(),
            }).collect())
            .collect();
        prop_assert_eq!(read_csv(&columns, &csv), without_empty_texts);

        // Whoever counts while the bytes pass comes to the same.
        for (format, bytes) in [(Format::Csv, &csv), (Format::Ndjson, &ndjson)] {
            let mut count = Count::new(format);
            bytes.chunks(7).for_each(|chunk| count.take(chunk));
            prop_assert_eq!(count.lines(), rows.len() as u64);
        }
    }

    #[test]
    fn guarding_is_undone_and_leaves_no_formula(text in any_text()) {
        let cell = guarded(&text);
        // As a program sees it that leaves out whatever is no visible character before a cell's text.
        let seen = cell.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, '\0' | '\u{feff}'));
        prop_assert!(!seen.starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']), "{cell:?}");
        prop_assert!(!cell.starts_with(['\t', '\r', '\n']), "{cell:?}");
        prop_assert_eq!(unguarded(&cell), text);
    }
}

#[test]
fn a_text_that_is_a_formula_is_disarmed_and_a_number_is_not() {
    let columns = all_forms();
    let row = |text: &str, money: i64| {
        let mut row = vec![Cell::Empty; columns.len()];
        (row[0], row[2], row[4]) =
            (Cell::Text(text.into()), Cell::Time(Timestamp::from_ms(0)), Cell::Number(-7));
        (row[6], row[8]) = (Cell::Money(money), Cell::Flag(true));
        row
    };
    let rows = [
        row("=HYPERLINK(\"http://x.example\",\"a\")", -1_500_000),
        row("@SUM(A1)", 0),
        row("'=1", 1),
        row("it's", 12_500_000),
        row("", 0),
    ];
    let csv = String::from_utf8(written(Format::Csv, &columns, &rows)).unwrap();
    let lines: Vec<&str> = csv.split_terminator("\r\n").collect();
    assert_eq!(
        lines,
        [
            "t1,t2,at1,at2,n1,n2,m1,m2,f1,f2",
            "\"'=HYPERLINK(\"\"http://x.example\"\",\"\"a\"\")\",,1970-01-01T00:00:00.000Z,,-7,,-1.50,,true,",
            "'@SUM(A1),,1970-01-01T00:00:00.000Z,,-7,,0.00,,true,",
            "''=1,,1970-01-01T00:00:00.000Z,,-7,,0.000001,,true,",
            "it's,,1970-01-01T00:00:00.000Z,,-7,,12.50,,true,",
            "\"\",,1970-01-01T00:00:00.000Z,,-7,,0.00,,true,",
        ]
    );
    let ndjson = String::from_utf8(written(Format::Ndjson, &columns, &rows[..1])).unwrap();
    assert_eq!(
        ndjson,
        "{\"t1\":\"=HYPERLINK(\\\"http://x.example\\\",\\\"a\\\")\",\"t2\":null,\"at1\":\"1970-01-01T00:00:00.000Z\",\
         \"at2\":null,\"n1\":-7,\"n2\":null,\"m1\":\"-1.50\",\"m2\":null,\"f1\":true,\"f2\":null}\n"
    );
}

#[test]
fn a_formula_is_disarmed_however_it_begins() {
    for (text, wanted) in [
        ("＝cmd", "'＝cmd"),
        ("＋1", "'＋1"),
        ("－1", "'－1"),
        ("＠SUM(A1)", "'＠SUM(A1)"),
        ("  =1", "'  =1"),
        ("\u{a0}\u{3000}@a", "'\u{a0}\u{3000}@a"),
        ("\u{feff}=1", "'\u{feff}=1"),
        ("\0=1", "'\0=1"),
        ("\tx", "'\tx"),
        ("\rx", "'\rx"),
        ("' =1", "'' =1"),
        ("  a=1", "  a=1"),
        ("a", "a"),
    ] {
        assert_eq!(guarded(text), wanted, "{text:?}");
        assert_eq!(unguarded(wanted), text);
    }
}

#[test]
fn groups_are_bounded_and_the_same_rows_are_the_same_bytes() {
    let columns = all_forms();
    let row = |n: i64| {
        let at = Cell::Time(Timestamp::from_ms(n));
        let number = Cell::Number(n);
        vec![
            Cell::Text(n.to_string()),
            Cell::Empty,
            at,
            Cell::Empty,
            number,
            Cell::Empty,
            Cell::Money(n),
            Cell::Empty,
            Cell::Flag(true),
            Cell::Empty,
        ]
    };
    let rows: Vec<_> = (0..70_000).map(row).collect();
    let bytes = written(Format::Parquet, &columns, &rows);
    assert_eq!(bytes, written(Format::Parquet, &columns, &rows));
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    let reader = SerializedFileReader::new(file.try_clone().unwrap()).unwrap();
    let groups: Vec<i64> = reader.metadata().row_groups().iter().map(|group| group.num_rows()).collect();
    assert_eq!(groups, [32_768, 32_768, 4_464]);
    assert_eq!(Count::new(Format::Parquet).rows(&file).unwrap(), 70_000);
    // A file that lost its end is none.
    file.set_len(bytes.len() as u64 - 1).unwrap();
    assert!(Count::new(Format::Parquet).rows(&file).is_err());
}

#[test]
fn texts_that_are_written_in_pieces_are_the_same_rows() {
    let columns = all_forms();
    let row = |n: i64| {
        let mut row = vec![Cell::Empty; columns.len()];
        (row[0], row[2], row[4]) =
            (Cell::Text(format!("{n},\n")), Cell::Time(Timestamp::from_ms(n)), Cell::Number(n));
        (row[6], row[8]) = (Cell::Money(n), Cell::Flag(n % 2 == 0));
        row
    };
    let rows: Vec<_> = (0..3_000).map(row).collect();
    let (csv, ndjson) = (written(Format::Csv, &columns, &rows), written(Format::Ndjson, &columns, &rows));
    assert!(csv.len() > 2 * TEXT_BYTES && ndjson.len() > 2 * TEXT_BYTES);
    assert!(read_csv(&columns, &csv) == rows && read_ndjson(&columns, &ndjson) == rows);
}

/// A sink that is full after some bytes.
struct Full(usize);

impl io::Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_cannot_be_written_is_said() {
    let about =
        About { what: ExportWhat::Events.into(), from: Timestamp::from_ms(0), to: Timestamp::from_ms(1) };
    for format in Format::ALL {
        let ended = Writer::begin(Full(3), format, &about, false).and_then(Writer::finish);
        assert_eq!(
            ended.is_err(),
            format != Format::Ndjson,
            "{format:?}: only JSON lines of nothing are nothing"
        );
    }
}

#[test]
fn columns_keep_their_names_places_and_types() {
    let mut list = String::new();
    for what in What::ALL {
        let columns = columns(what);
        let mut names: Vec<&str> = columns.iter().map(|column| column.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), columns.len(), "{what:?}: a name stands there twice");
        for column in columns {
            let need = match (column.required, column.personal) {
                (true, false) => "required",
                (false, true) => "personal",
                (false, false) => "optional",
                (true, true) => panic!("{}: what may be left out cannot be required", column.name),
            };
            list.push_str(&format!("{} {} {} {need}\n", what.name(), column.name, column.form.name()));
        }
    }
    insta::assert_snapshot!(list);
}

#[test]
fn the_tables_in_docs_are_the_generated_ones() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/export.md");
    let written = std::fs::read_to_string(path).expect("the guide");
    let (before, rest) = written.split_once("<!-- columns -->\n").expect("where the tables begin");
    let (tables, after) = rest.split_once("<!-- /columns -->").expect("where they end");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let page = format!("{before}<!-- columns -->\n{}<!-- /columns -->{after}", page());
        std::fs::write(path, page).expect("the guide is written");
        return;
    }
    assert!(
        tables == page(),
        "docs/export.md is stale: run UPDATE_DOCS=1 cargo test -p roundtrip-store export"
    );
}
