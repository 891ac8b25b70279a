//! Writes small databases of addresses in MaxMind's format, version 2, with records of 24 bits. What the tests look
//! up is made here; nobody's data is.

use std::net::IpAddr;

use serde_json::Value;

/// What stands before the metadata at the end of a file.
const MARKER: &[u8] = b"\xab\xcd\xefMaxMind.com";
/// Zero bytes between the search tree and the data.
const SEPARATOR: usize = 16;

/// A database to be written.
#[derive(Debug, Clone)]
pub struct Mmdb {
    kind: String,
    version: u8,
    nodes: Vec<[Record; 2]>,
    data: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum Record {
    Empty,
    Node(u32),
    /// Offset in the data section.
    Data(u32),
}

impl Mmdb {
    /// An empty database for addresses of IP version 4 or 6. In one for 6, those of 4 stand below `::/96`.
    pub fn new(kind: &str, version: u8) -> Self {
        Self { kind: kind.to_owned(), version, nodes: vec![[Record::Empty; 2]], data: Vec::new() }
    }

    /// Says something about a network, written `203.0.113.0/24`. Networks must not lie inside each other.
    pub fn network(mut self, network: &str, about: &Value) -> Self {
        let (ip, length) = network.split_once('/').expect("a network with its length");
        let (ip, length): (IpAddr, usize) =
            (ip.parse().expect("an address"), length.parse().expect("a length"));
        let mut bits: Vec<bool> = Vec::new();
        let mut push = |bytes: &[u8]| {
            bits.extend(bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1 == 1)));
        };
        let length = match (ip, self.version) {
            (IpAddr::V4(ip), 4) => {
                push(&ip.octets());
                length
            }
            (IpAddr::V4(ip), _) => {
                push(&[0; 12]);
                push(&ip.octets());
                96 + length
            }
            (IpAddr::V6(ip), _) => {
                push(&ip.octets());
                length
            }
        };
        let offset = self.data.len() as u32;
        encode(&mut self.data, about);
        let (last, path) = bits[..length].split_last().expect("a network of some length");
        let mut node = 0;
        for bit in path {
            node = match self.nodes[node][usize::from(*bit)] {
                Record::Node(next) => next as usize,
                Record::Empty => {
                    self.nodes.push([Record::Empty; 2]);
                    let next = self.nodes.len() - 1;
                    self.nodes[node][usize::from(*bit)] = Record::Node(next as u32);
                    next
                }
                Record::Data(_) => panic!("{network} lies inside another network"),
            };
        }
        self.nodes[node][usize::from(*last)] = Record::Data(offset);
        self
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> Vec<u8> {
        let count = self.nodes.len() as u32;
        let mut file = Vec::new();
        for record in self.nodes.iter().flatten() {
            let value = match record {
                Record::Empty => count,
                Record::Node(next) => *next,
                Record::Data(offset) => count + SEPARATOR as u32 + offset,
            };
            assert!(value < 1 << 24, "the tree is too large for records of 24 bits");
            file.extend_from_slice(&value.to_be_bytes()[1..]);
        }
        file.extend_from_slice(&[0; SEPARATOR]);
        file.extend_from_slice(&self.data);
        file.extend_from_slice(MARKER);
        control(&mut file, 7, 9);
        for (name, kind, number) in [
            ("binary_format_major_version", 5, 2),
            ("binary_format_minor_version", 5, 0),
            ("build_epoch", 9, 1_780_564_800),
            ("ip_version", 5, u64::from(self.version)),
            ("node_count", 6, u64::from(count)),
            ("record_size", 5, 24),
        ] {
            text(&mut file, name);
            unsigned(&mut file, kind, number);
        }
        for (name, value) in [
            ("database_type", serde_json::json!(self.kind)),
            ("description", serde_json::json!({ "en": "made by a test" })),
            ("languages", serde_json::json!(["en"])),
        ] {
            text(&mut file, name);
            encode(&mut file, &value);
        }
        file
    }
}

/// The byte or bytes that say of what type and size a value is.
fn control(out: &mut Vec<u8>, kind: u8, size: usize) {
    let first = if kind > 7 { 0 } else { kind << 5 };
    let (low, more) = match size {
        0..29 => (size as u8, Vec::new()),
        29..285 => (29, vec![(size - 29) as u8]),
        285..65_821 => (30, ((size - 285) as u16).to_be_bytes().to_vec()),
        _ => panic!("a value of {size} is too large for a test"),
    };
    out.push(first | low);
    if kind > 7 {
        out.push(kind - 7);
    }
    out.extend(more);
}

fn text(out: &mut Vec<u8>, text: &str) {
    control(out, 2, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn unsigned(out: &mut Vec<u8>, kind: u8, number: u64) {
    let bytes = number.to_be_bytes();
    let bytes = &bytes[number.leading_zeros() as usize / 8..];
    control(out, kind, bytes.len());
    out.extend_from_slice(bytes);
}

fn encode(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Object(map) => {
            control(out, 7, map.len());
            for (name, value) in map {
                text(out, name);
                encode(out, value);
            }
        }
        Value::Array(list) => {
            control(out, 11, list.len());
            list.iter().for_each(|value| encode(out, value));
        }
        Value::String(string) => text(out, string),
        Value::Bool(is) => control(out, 14, usize::from(*is)),
        Value::Number(number) => match (number.as_u64(), number.as_f64()) {
            (Some(number), _) if u32::try_from(number).is_ok() => unsigned(out, 6, number),
            (Some(number), _) => unsigned(out, 9, number),
            (None, number) => {
                control(out, 3, 8);
                out.extend_from_slice(&number.unwrap_or_default().to_be_bytes());
            }
        },
        Value::Null => panic!("the format has no null"),
    }
}
