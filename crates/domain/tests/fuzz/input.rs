//! Random templates and values, made from scraps of real ones.

use roundtrip_domain::params;
use roundtrip_domain::template::auth::{Auth, OAuth2};
use roundtrip_domain::template::sign::{Encoding, Hash, Message, Scheme};
use roundtrip_domain::template::{Body, Dialect, Parts, Sending, Value, Values};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::rc::Rc;

/// Pseudo-random numbers: splitmix64, which is enough to mix scraps and needs no crate.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// Yes, once in so many times.
    pub(crate) fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Words of ours and of many systems.
const WORDS: &[&str] = &[
    "click_id",
    "clickid",
    "partner_click_id",
    "sub1",
    "sub10",
    "aff_sub",
    "aff_sub2",
    "s2",
    "event_name",
    "event-name",
    "event_time",
    "timestamp",
    "timestamp_ms",
    "nonce",
    "attempt",
    "signature",
    "signature.a",
    "body",
    "revenue",
    "currency",
    "payout",
    "gaid",
    "idfa",
    "gps_adid",
    "advertiserId",
    "AIFA",
    "UTC",
    "ip",
    "ua",
    "device_ua",
    "cfg.x",
    "cfg.host",
    "param.y",
    "foo",
    "REPLACE",
    "externalid",
    "external_id",
    "subid",
    "_sub_id_1",
    "status",
    "date",
    "af_sub1",
    "mapped-iae",
    "transaction_id",
    "goal",
    "sum",
    "price",
    "tid",
    "leadid",
    "cl",
    "cl?Network",
    "device.gaid",
    "@postback.eventName",
    "eventData.value",
    "user_data.aaid",
    "last_attributed_touch_data.~click_id",
    "CLICK_ID",
    "SUBID",
    "user-agent",
    "country",
    "random",
    "p1",
    "url(sid)",
    "p:sub",
];

const OPENING: &[&str] = &[
    "{", "{{", "${", "{$", "#{", "%{", "(", "[", "[[", "[[[", "#", "##", "%", "__", "<", "${(", "<#if ",
    "%7B",
];

const CLOSING: &[&str] =
    &["}", "}}", "}", "}", "}", "}", ")", "]", "]]", "]]]", "#", "##", "%", "__", ">", ")!}", ">", "%7D"];

const FILTERS: &[&str] = &[
    "|raw",
    "|lower",
    "|upper",
    "|sha1",
    "|md5",
    "|sha256",
    "|b64",
    "|b64url",
    "|urlencode",
    "|urldecode",
    "|json",
    "|default:x",
    "|default:",
    "|default:a\r\nb",
    "|map:a=1,*=2",
    "|map:=none",
    "|if:yes,no",
    "|bool",
    "|not",
    "|cents",
    "|s",
    "|ms",
    "|date:%Y-%m-%d,Asia/Tokyo",
    "|date:Y-m-d H:i:s",
    "|truncate:3",
    "|alphanumeric",
    "|sha265",
    "|date:%",
    "||sub2",
    "||foo",
    "||",
    "|",
    ":",
    ":lead=1 sale=2",
    "=Network",
    "!",
    "?c",
    "\\",
    "\\}",
    "!''",
    "?string",
];

const SCRAPS: &[&str] = &[
    "https://",
    "http://",
    "p.example",
    "/",
    "?",
    "&",
    "=",
    "#",
    "@",
    ":",
    ";",
    ",",
    "+",
    "%",
    "%20",
    "%7B",
    "%257B",
    "%3A%2F%2F",
    "?a=",
    "&b=",
    "\"",
    "\\",
    "<#else>",
    "</#if>",
    "<#if attributed>1<#else>0</#if>",
    "null",
    "{\"a\":",
    "\":\"",
    "[]",
    "{}",
    "\r\n",
    "\n",
    "\t",
    "\0",
    " ",
    "javascript:",
    "data:",
    "_",
    "-",
    ".",
    "$",
    "~",
    "|",
    "'",
    "`",
    "^",
    "ü",
    "\u{2028}",
    "🙂",
];

/// A macro in some brackets, or nearly one.
fn push_macro(rng: &mut Rng, text: &mut String) {
    let brackets = rng.below(OPENING.len());
    text.push_str(OPENING[brackets]);
    text.push_str(rng.pick(WORDS));
    while rng.one_in(3) {
        text.push_str(rng.pick(FILTERS));
    }
    let closing = if rng.one_in(20) { rng.below(CLOSING.len()) } else { brackets };
    text.push_str(CLOSING[closing]);
}

/// Text that is likely to be nearly a template.
fn push_wild(rng: &mut Rng, text: &mut String, most: usize) {
    for _ in 0..rng.below(most + 1) {
        match rng.below(16) {
            0..=4 => push_macro(rng, text),
            5 => {
                for _ in 0..rng.below(6) {
                    text.push(char::from(b'!' + rng.below(94) as u8));
                }
            }
            6 => text.push(char::from_u32(rng.below(0x11_0000) as u32).unwrap_or('\u{fffd}')),
            7 => text.push_str(rng.pick(WORDS)),
            8 => text.push_str(rng.pick(OPENING)),
            9 => text.push_str(rng.pick(CLOSING)),
            10 => text.push_str(rng.pick(FILTERS)),
            11 => {
                let _ = write!(text, "&{}=", rng.pick(WORDS));
                push_macro(rng, text);
            }
            12 => {
                text.push('/');
                push_macro(rng, text);
            }
            _ => text.push_str(rng.pick(SCRAPS)),
        }
    }
}

/// A value as it came on a link.
fn received(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..rng.below(8) {
        match rng.below(10) {
            0 => bytes.push(rng.next() as u8),
            1 => bytes.extend_from_slice(format!("%{:02x}", rng.next() as u8).as_bytes()),
            2 => bytes.extend_from_slice(format!("%{:02X}", rng.next() as u8).as_bytes()),
            3 => bytes.push(b'+'),
            4 => bytes.push(b'%'),
            5 => bytes.extend_from_slice(rng.pick(SCRAPS).as_bytes()),
            6 => bytes.extend_from_slice(b"\r\nX-Evil: 1"),
            7 => bytes.extend_from_slice(rng.next().to_string().as_bytes()),
            8 => bytes.extend_from_slice(
                rng.pick(&["1780564904", "12.50", "true", "{\"a\":[1]}", "\"", "{click_id}"]).as_bytes(),
            ),
            _ => bytes.extend_from_slice(rng.pick(WORDS).as_bytes()),
        }
    }
    if rng.one_in(400) {
        bytes = bytes.repeat(rng.below(5_000));
    }
    bytes
}

/// Values, decoded and as received.
type Shared = Vec<(Vec<u8>, Vec<u8>)>;

/// Values for every name there is, drawn from a pool by the name.
pub(crate) struct Pool {
    values: Rc<Shared>,
    salt: u64,
    /// Every name has a value that is not empty.
    pub(crate) is_full: bool,
}

thread_local! {
    /// The last pool's values, which 64 seeds in a row have in common: making them takes as long as using them.
    static LAST: RefCell<(u64, Rc<Shared>)> = RefCell::new((u64::MAX, Rc::default()));
}

impl Pool {
    pub(crate) fn of(seed: u64, rng: &mut Rng) -> Self {
        let family = seed >> 6;
        let values = LAST.with_borrow_mut(|(last, values)| {
            if *last != family {
                let rng = &mut Rng(mix(!family));
                let received = (0..32).map(|_| received(rng)).map(|raw| (params::decode(&raw), raw));
                (*last, *values) = (family, Rc::new(received.collect()));
            }
            values.clone()
        });
        Self { values, salt: rng.next(), is_full: rng.one_in(2) }
    }

    fn number(&self, name: &str) -> u64 {
        let hash = name
            .bytes()
            .fold(self.salt, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        mix(hash)
    }
}

impl Values for Pool {
    fn get(&self, name: &str) -> Option<Value<'_>> {
        let number = self.number(name);
        if !self.is_full && number & 3 == 0 {
            return None;
        }
        let (decoded, received) = &self.values[(number >> 8) as usize % self.values.len()];
        if self.is_full && decoded.is_empty() {
            return Some(Value::text("v"));
        }
        let received = (number & 4 == 0).then_some(Cow::Borrowed(&received[..]));
        Some(Value { decoded: Cow::Borrowed(decoded), received })
    }
}

pub(crate) const SENDING: Sending<'static> =
    Sending { attempt: 1, at_ms: 1_780_564_905_250, nonce: "9f86d081884c7d65" };

pub(crate) fn wild_parts(rng: &mut Rng, dialect: Dialect) -> Parts {
    let mut url = String::new();
    match rng.below(8) {
        0 => {}
        1 => url.push_str("{cfg.base}"),
        2 => url.push_str("https://u:p@p.example/"),
        _ => url.push_str(rng.pick(&[
            "https://p.example/",
            "https://p.example/?a=",
            "https://p.example/x/y?b=1&c=",
        ])),
    }
    push_wild(rng, &mut url, 10);
    let mut headers = Vec::new();
    for _ in 0..rng.below(3) {
        let mut value = String::new();
        push_wild(rng, &mut value, 4);
        let name = rng.pick(&["X-A", "Content-Type", "Host", "bad name", "Authorization", "", "x-\r\n"]);
        headers.push((name.to_owned(), value));
    }
    let mut text = String::new();
    let kind = rng.below(4);
    if kind == 2 && rng.one_in(2) {
        text.push_str("{\"a\":\"");
        push_wild(rng, &mut text, 3);
        text.push_str("\",\"b\":");
        push_macro(rng, &mut text);
        text.push('}');
    } else if kind > 0 {
        push_wild(rng, &mut text, 6);
    }
    let body = match kind {
        0 => Body::None,
        1 => Body::Form(text),
        2 => Body::Json(text),
        _ => Body::Text(text),
    };
    let mut signatures = Vec::new();
    if rng.one_in(6) {
        for name in ["a", "signature"].into_iter().take(1 + rng.below(2)) {
            let mut message = String::new();
            push_wild(rng, &mut message, 4);
            let hash = Hash::ALL[rng.below(Hash::ALL.len())];
            let message = match rng.below(3) {
                0 => Message::Join { by: ":".into(), parts: vec![message, "{body}".into()] },
                1 => Message::Text(format!("{message}{{body}}")),
                _ => Message::Text(message),
            };
            let key = (hash.has_key() != rng.one_in(20)).then(|| "cfg.key".to_owned());
            let encoding = Encoding::ALL[rng.below(Encoding::ALL.len())];
            signatures.push((name.to_owned(), Scheme { hash, message, key, encoding }));
        }
    }
    let method = rng.pick(&["GET", "POST", "PUT", "x"]).to_owned();
    let mut macros = BTreeMap::new();
    if rng.one_in(6) {
        for meaning in ["gaid||idfa", "click_id|raw", "{sub1}", "", "cfg.x", "nope|", "event_time|date:Y-m-d"]
        {
            if rng.one_in(3) {
                macros.insert(rng.pick(WORDS).to_owned(), meaning.to_owned());
            }
        }
    }
    let auth = match rng.below(24) {
        0 => Some(Auth::Basic { user: "cfg.user".into(), password: "cfg.key".into() }),
        1 => Some(Auth::Bearer { token: rng.pick(&["cfg.key", "{cfg.key}", ""]).to_owned() }),
        2 => Some(Auth::OAuth2(Box::new(OAuth2 {
            token_url: rng.pick(&["https://t.example/", "cfg.base", "\r\n"]).to_owned(),
            client_id: "cfg.user".into(),
            client_secret: "cfg.key".into(),
            ..OAuth2::default()
        }))),
        _ => None,
    };
    Parts { dialect, macros, method, url, headers, body, signatures, auth }
}

pub(crate) fn wild_address(rng: &mut Rng) -> String {
    let mut text = rng.pick(&["https://s.example/", "https://s.example/?a=", "myapp://", ""]).to_owned();
    push_wild(rng, &mut text, 10);
    text
}

/// Bytes a literal can have without opening a macro in any dialect or being encoded in a path or query.
const LITERAL: &[u8] = b"abcdefghijklmnopqrstuvwxyzABC0123456789-.~!'*,:@";

pub(crate) fn push_literal(rng: &mut Rng, text: &mut String) {
    for _ in 0..rng.below(6) {
        text.push(char::from(LITERAL[rng.below(LITERAL.len())]));
    }
}
