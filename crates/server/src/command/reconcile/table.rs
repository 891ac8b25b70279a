//! Reads a list as it comes out of somebody's system: CSV with whatever delimiter, JSON, or JSON lines; UTF-8 or
//! UTF-16 with a byte order mark. What the columns mean is `mapping`'s business.

use anyhow::{Context as _, bail};
use serde_json::Value;

/// The largest list that is read, in bytes.
const BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The widest list, in columns.
const COLUMNS_MAX: usize = 500;

/// A list, every cell a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    /// The columns' names, as written.
    pub(super) head: Vec<String>,
    /// Its lines.
    pub(super) lines: Vec<Line>,
}

/// A line of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Where it stands in the file, from 1; in JSON, which object it is.
    pub(super) number: u64,
    /// Its cells; a short line has fewer than there are columns.
    pub(super) cells: Vec<String>,
}

impl Table {
    /// Reads a file, or standard input for `-`.
    ///
    /// # Errors
    /// When it cannot be read, is too large, or is neither CSV nor JSON with at least a head.
    pub(super) fn open(path: &std::path::Path) -> anyhow::Result<Self> {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        let read = if path.as_os_str() == "-" {
            std::io::stdin().lock().take(BYTES_MAX + 1).read_to_end(&mut bytes)
        } else {
            std::fs::File::open(path).and_then(|file| file.take(BYTES_MAX + 1).read_to_end(&mut bytes))
        };
        read.with_context(|| format!("read {}", path.display()))?;
        if bytes.len() as u64 > BYTES_MAX {
            bail!("read {}: it is larger than 64 MiB; split it by days", path.display());
        }
        Self::read(&bytes).with_context(|| format!("read {}", path.display()))
    }

    /// Reads a list.
    ///
    /// # Errors
    /// When it is neither CSV nor JSON with at least a head.
    pub(super) fn read(bytes: &[u8]) -> anyhow::Result<Self> {
        let text = decoded(bytes);
        match text.trim_start().chars().next() {
            None => bail!("it is empty"),
            Some('[' | '{') => json(&text),
            Some(_) => delimited(&text),
        }
    }
}

/// The text without a byte order mark. Bytes that are no UTF-8 become U+FFFD: a name in another encoding is no reason
/// to lose the line.
fn decoded(bytes: &[u8]) -> String {
    let wide = |rest: &[u8], unit: fn([u8; 2]) -> u16| {
        let units = rest.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
        char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
    };
    match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest).into_owned(),
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        bytes => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// The delimiter that the first line has most of, outside of quotes.
fn delimiter(text: &str) -> u8 {
    let mut counts = [(b',', 0), (b';', 0), (b'\t', 0), (b'|', 0)];
    let mut is_quoted = false;
    for byte in text.trim_start_matches(['\n', '\r']).bytes() {
        match byte {
            b'"' => is_quoted = !is_quoted,
            b'\n' | b'\r' if !is_quoted => break,
            byte if !is_quoted => {
                counts.iter_mut().filter(|(d, _)| *d == byte).for_each(|(_, count)| *count += 1);
            }
            _ => {}
        }
    }
    // Of equals the first: a head of one column has none at all.
    counts.iter().rev().max_by_key(|(_, count)| *count).map_or(b',', |(delimiter, _)| *delimiter)
}

fn delimited(text: &str) -> anyhow::Result<Table> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter(text))
        .flexible(true)
        .has_headers(true)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let head: Vec<String> = reader.headers().context("read its head")?.iter().map(str::to_owned).collect();
    if head.len() > COLUMNS_MAX {
        bail!("it has more than {COLUMNS_MAX} columns");
    }
    let mut lines = Vec::new();
    // The reader says where it began to look for a record, which can be before empty lines or a line's own break.
    let (mut looked, mut number) = (0, 1);
    for record in reader.records() {
        let record = record.context("read a line")?;
        let begin = record.position().map_or(0, |at| at.byte() as usize);
        let blank = |bytes: &[u8]| bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let begin = begin + text.as_bytes().get(begin..).map_or(0, blank);
        let passed = text.as_bytes().get(looked..begin).unwrap_or_default();
        number += passed.iter().filter(|byte| **byte == b'\n').count() as u64;
        looked = begin.max(looked);
        let cells: Vec<String> = record.iter().map(str::to_owned).collect();
        if cells.iter().any(|cell| !cell.is_empty()) {
            lines.push(Line { number, cells });
        }
    }
    Ok(Table { head, lines })
}

/// An array of objects, an object that holds one, or one object a line.
fn json(text: &str) -> anyhow::Result<Table> {
    let objects = match serde_json::from_str::<Value>(text) {
        Ok(Value::Array(list)) => list,
        Ok(Value::Object(fields)) => {
            let is_list = |value: &Value| {
                value.as_array().is_some_and(|list| list.first().is_some_and(Value::is_object))
            };
            match fields.values().find(|value| is_list(value)) {
                Some(Value::Array(list)) => list.clone(),
                _ => vec![Value::Object(fields)],
            }
        }
        Ok(_) => bail!("it is JSON without objects"),
        Err(whole) => {
            let lines = text.lines().filter(|line| !line.trim().is_empty());
            let read = lines.map(serde_json::from_str::<Value>).collect::<Result<Vec<_>, _>>();
            read.map_err(|_| whole).context("read it as JSON")?
        }
    };
    let mut head: Vec<String> = Vec::new();
    let mut lines = Vec::new();
    for (at, object) in objects.into_iter().enumerate() {
        let Value::Object(fields) = object else { bail!("item {} of the JSON is no object", at + 1) };
        let mut cells = vec![String::new(); head.len()];
        for (name, value) in fields {
            let text = match value {
                Value::Null => continue,
                Value::String(text) => text,
                other => other.to_string(),
            };
            let column = head.iter().position(|known| *known == name).unwrap_or_else(|| {
                head.push(name);
                head.len() - 1
            });
            if head.len() > COLUMNS_MAX {
                bail!("its objects have more than {COLUMNS_MAX} names");
            }
            if cells.len() <= column {
                cells.resize(column + 1, String::new());
            }
            if let Some(cell) = cells.get_mut(column) {
                *cell = text;
            }
        }
        lines.push(Line { number: at as u64 + 1, cells });
    }
    Ok(Table { head, lines })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8]) -> (Vec<String>, Vec<(u64, Vec<String>)>) {
        let table = Table::read(bytes).unwrap();
        (table.head, table.lines.into_iter().map(|line| (line.number, line.cells)).collect())
    }

    #[test]
    fn lists_are_read_whatever_they_are_written_in() {
        let want = (
            vec!["subid".to_owned(), "payout".to_owned()],
            vec![(2, vec!["a,1".to_owned(), "2,50".to_owned()]), (3, vec!["b".to_owned(), "3".to_owned()])],
        );
        for text in [
            "subid,payout\n\"a,1\",\"2,50\"\nb,3\n",
            "\u{feff}subid;payout\r\na,1;2,50\r\nb;3\r\n",
            "subid\tpayout\na,1\t2,50\nb\t3",
            "subid|payout\na,1|2,50\n b | 3 \n",
        ] {
            assert_eq!(lines(text.as_bytes()), want, "{text:?}");
        }
        let wide = "subid;payout\na,1;2,50\nb;3\n".encode_utf16();
        let little: Vec<u8> =
            [0xff, 0xfe].into_iter().chain(wide.clone().flat_map(u16::to_le_bytes)).collect();
        let big: Vec<u8> = [0xfe, 0xff].into_iter().chain(wide.flat_map(u16::to_be_bytes)).collect();
        assert_eq!((lines(&little), lines(&big)), (want.clone(), want));
        // A quoted line break, a short line, an empty one, bytes of another encoding.
        let (_, odd) = lines(b"a,b\n\"x\ny\",1\n\n,\nz\nM\xfcnchen,2\n");
        let cells: Vec<_> = odd.into_iter().map(|(line, cells)| (line, cells.join("/"))).collect();
        assert_eq!(
            cells,
            [(2, "x\ny/1".to_owned()), (6, "z".to_owned()), (7, "M\u{fffd}nchen/2".to_owned())]
        );
    }

    #[test]
    fn json_is_read_as_lists_come() {
        let want = vec![
            (1, vec!["a".to_owned(), "2.5".to_owned()]),
            (2, vec![String::new(), "3".to_owned(), "x".to_owned()]),
        ];
        for text in [
            r#"[{"id":"a","sum":2.5},{"sum":"3","more":"x"}]"#,
            r#"{"total":2,"data":[{"id":"a","sum":2.5},{"id":null,"sum":3,"more":"x"}]}"#,
            "{\"id\":\"a\",\"sum\":2.5}\n\n{\"sum\":3,\"more\":\"x\"}\n",
        ] {
            let (head, lines) = lines(text.as_bytes());
            assert_eq!(
                (head, lines),
                (vec!["id".into(), "sum".into(), "more".into()], want.clone()),
                "{text}"
            );
        }
        for bad in ["", " \n", "[1]", "{\"a\":", "[{\"a\":1}"] {
            assert!(Table::read(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
