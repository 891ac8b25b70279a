//! The stored form of one click: a single blob behind a version byte.
//!
//! One blob instead of a column per field, because the writer thread is what bounds the log: the blob is
//! made on the caller's thread, and the writer binds two values. The check of the click id is not known
//! before the writer mints it, so it has a fixed place that the writer fills in.
//!
//! Version 1: `version u8 · check u32 · workspace u32 · app, campaign, partner, link 16 bytes each · kind u8 ·
//! dialect u8 · flags u32 · received_at i64 · address (0, or 4 or 6 and its bytes) · query · user agent ·
//! referer · language · location`, integers big-endian. Texts are a LEB128 length and bytes; the optional ones add
//! one to the length, and zero is absent. A location is a byte of bits that say which of its parts follow: country (2
//! bytes), region, city (texts), number of the network (u32), its name (text).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use roundtrip_domain::click::{Click, Flags, LinkDialect, TouchKind};
use roundtrip_domain::id::{Id, WorkspaceNo};
use roundtrip_domain::location::{Country, Location};
use roundtrip_domain::params::QUERY_BYTES_MAX;
use roundtrip_domain::time::Timestamp;

const VERSION: u8 = 1;
const CHECK_AT: std::ops::Range<usize> = 1..5;
const LANGUAGE_BYTES_MAX: usize = 128;

/// Which parts of a location follow.
mod part {
    pub(super) const COUNTRY: u8 = 1;
    pub(super) const REGION: u8 = 1 << 1;
    pub(super) const CITY: u8 = 1 << 2;
    pub(super) const ASN: u8 = 1 << 3;
    pub(super) const NETWORK: u8 = 1 << 4;
    pub(super) const ALL: u8 = COUNTRY | REGION | CITY | ASN | NETWORK;
}

/// Encodes a click; [`set_check`] completes it. Over-long values are cut and flagged, as ingest does.
pub(super) fn encode(click: &Click) -> Vec<u8> {
    let header = |text: &Option<String>| text.as_ref().map_or(0, |t| t.len().min(Click::HEADER_BYTES_MAX));
    let query = &click.query[..click.query.len().min(QUERY_BYTES_MAX)];
    let mut flags = click.flags;
    let (user_agent, ua_cut) = cut(click.user_agent.as_deref(), Click::HEADER_BYTES_MAX);
    let (referer, referer_cut) = cut(click.referer.as_deref(), Click::HEADER_BYTES_MAX);
    let (language, language_cut) = cut(click.language.as_deref(), LANGUAGE_BYTES_MAX);
    if query.len() < click.query.len() || ua_cut || referer_cut || language_cut {
        flags.set(Flags::CUT);
    }
    let mut out =
        Vec::with_capacity(128 + query.len() + header(&click.user_agent) + header(&click.referer) + 40);
    out.push(VERSION);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&click.workspace.0.to_be_bytes());
    for id in [click.app.bits(), click.campaign.bits(), click.partner.bits(), click.link.bits()] {
        out.extend_from_slice(&id.to_be_bytes());
    }
    out.push(click.kind as u8);
    out.push(click.dialect as u8);
    out.extend_from_slice(&flags.0.to_be_bytes());
    out.extend_from_slice(&click.received_at.ms().to_be_bytes());
    match click.ip {
        None => out.push(0),
        Some(IpAddr::V4(ip)) => {
            out.push(4);
            out.extend_from_slice(&ip.octets());
        }
        Some(IpAddr::V6(ip)) => {
            out.push(6);
            out.extend_from_slice(&ip.octets());
        }
    }
    length(&mut out, query.len());
    out.extend_from_slice(query);
    for text in [user_agent, referer, language] {
        length(&mut out, text.map_or(0, |t| t.len() + 1));
        out.extend_from_slice(text.unwrap_or_default().as_bytes());
    }
    encode_location(&mut out, &click.location);
    out
}

fn encode_location(out: &mut Vec<u8>, location: &Location) {
    let Location { country, region, city, asn, network } = location;
    let bit = |is: bool, bit: u8| if is { bit } else { 0 };
    out.push(
        bit(country.is_some(), part::COUNTRY)
            | bit(region.is_some(), part::REGION)
            | bit(city.is_some(), part::CITY)
            | bit(asn.is_some(), part::ASN)
            | bit(network.is_some(), part::NETWORK),
    );
    let text = |out: &mut Vec<u8>, text: &Option<Box<str>>| {
        let (text, _) = cut(text.as_deref(), Location::TEXT_BYTES_MAX);
        if let Some(text) = text {
            length(out, text.len());
            out.extend_from_slice(text.as_bytes());
        }
    };
    out.extend(country.iter().flat_map(|country| country.bytes()));
    text(out, region);
    text(out, city);
    out.extend(asn.iter().flat_map(|asn| asn.to_be_bytes()));
    text(out, network);
}

fn decode_location(rest: &mut &[u8]) -> Option<Location> {
    let [parts] = take(rest)?;
    if parts & !part::ALL != 0 {
        return None;
    }
    let text = |rest: &mut &[u8], bit: u8| -> Option<Option<Box<str>>> {
        if parts & bit == 0 {
            return Some(None);
        }
        let n = take_length(rest)?;
        Some(Some(std::str::from_utf8(take_bytes(rest, n)?).ok()?.into()))
    };
    let country = match parts & part::COUNTRY {
        0 => None,
        _ => Some(Country::parse(std::str::from_utf8(&take::<2>(rest)?).ok()?)?),
    };
    let (region, city) = (text(rest, part::REGION)?, text(rest, part::CITY)?);
    let asn = match parts & part::ASN {
        0 => None,
        _ => Some(u32::from_be_bytes(take(rest)?)),
    };
    Some(Location { country, region, city, asn, network: text(rest, part::NETWORK)? })
}

/// Fills in the check of the id.
pub(super) fn set_check(body: &mut [u8], check: u32) {
    body[CHECK_AT].copy_from_slice(&check.to_be_bytes());
}

/// Reads the check and the click back. `None` when the bytes are not of a known version or make no sense.
pub(super) fn decode(body: &[u8]) -> Option<(u32, Click)> {
    let mut rest = body;
    if take::<1>(&mut rest)? != [VERSION] {
        return None;
    }
    let check = u32::from_be_bytes(take(&mut rest)?);
    let workspace = WorkspaceNo(u32::from_be_bytes(take(&mut rest)?));
    let app = Id::from_slice(&take::<16>(&mut rest)?)?;
    let campaign = Id::from_slice(&take::<16>(&mut rest)?)?;
    let partner = Id::from_slice(&take::<16>(&mut rest)?)?;
    let link = Id::from_slice(&take::<16>(&mut rest)?)?;
    let [kind, dialect] = take(&mut rest)?;
    let kind = TouchKind::from_number(kind)?;
    let dialect = LinkDialect::from_number(dialect)?;
    let flags = Flags(u32::from_be_bytes(take(&mut rest)?));
    let received_at = Timestamp::from_ms(i64::from_be_bytes(take(&mut rest)?));
    let ip = match take(&mut rest)? {
        [0] => None,
        [4] => Some(IpAddr::V4(Ipv4Addr::from(take::<4>(&mut rest)?))),
        [6] => Some(IpAddr::V6(Ipv6Addr::from(take::<16>(&mut rest)?))),
        _ => return None,
    };
    let query_len = take_length(&mut rest)?;
    let query = take_bytes(&mut rest, query_len)?.to_vec();
    let mut text = || -> Option<Option<String>> {
        match take_length(&mut rest)? {
            0 => Some(None),
            n => Some(Some(String::from_utf8(take_bytes(&mut rest, n - 1)?.to_vec()).ok()?)),
        }
    };
    let (user_agent, referer, language) = (text()?, text()?, text()?);
    let location = decode_location(&mut rest)?;
    let click = Click {
        workspace,
        app,
        campaign,
        partner,
        link,
        kind,
        dialect,
        flags,
        received_at,
        query,
        ip,
        user_agent,
        referer,
        language,
        location,
    };
    rest.is_empty().then_some((check, click))
}

/// Cuts at a character's boundary.
fn cut(text: Option<&str>, bytes_max: usize) -> (Option<&str>, bool) {
    match text {
        Some(text) if text.len() > bytes_max => {
            let end = (0..=bytes_max).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            (Some(&text[..end]), true)
        }
        other => (other, false),
    }
}

fn length(out: &mut Vec<u8>, mut n: usize) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn take_length(rest: &mut &[u8]) -> Option<usize> {
    let mut n = 0;
    for shift in [0, 7, 14, 21] {
        let [byte] = take(rest)?;
        n |= ((byte & 0x7f) as usize) << shift;
        if byte < 0x80 {
            return Some(n);
        }
    }
    None
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    take_bytes(rest, N)?.try_into().ok()
}

fn take_bytes<'a>(rest: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(n)?;
    *rest = tail;
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn click(query: Vec<u8>, ip: Option<IpAddr>, texts: [Option<String>; 3], location: Location) -> Click {
        let [user_agent, referer, language] = texts;
        Click {
            workspace: WorkspaceNo(7),
            app: Id::from_bits(1),
            campaign: Id::from_bits(2),
            partner: Id::from_bits(3),
            link: Id::from_bits(u128::MAX),
            kind: TouchKind::ServerClick,
            dialect: LinkDialect::Tracknow,
            flags: Flags::REPEATED,
            received_at: Timestamp::from_ms(-5),
            query,
            ip,
            user_agent,
            referer,
            language,
            location,
        }
    }

    fn location() -> impl Strategy<Value = Location> {
        let text = || any::<Option<String>>().prop_map(|text| text.as_deref().and_then(Location::text));
        (any::<Option<[u8; 2]>>(), text(), text(), any::<Option<u32>>(), text()).prop_map(
            |(country, region, city, asn, network)| {
                let letter = |byte: u8| char::from(b'A' + byte % 26);
                let country =
                    country.and_then(|[a, b]| Country::parse(&String::from_iter([letter(a), letter(b)])));
                Location { country, region, city, asn, network }
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read_back(
            query in proptest::collection::vec(any::<u8>(), 0..400),
            ip in any::<Option<IpAddr>>(),
            texts in any::<[Option<String>; 3]>(),
            location in location(),
        ) {
            let click = click(query, ip, texts, location);
            let mut body = encode(&click);
            set_check(&mut body, 0xdead_beef);
            if click.language.as_ref().is_none_or(|l| l.len() <= LANGUAGE_BYTES_MAX) {
                prop_assert_eq!(decode(&body), Some((0xdead_beef, click)));
            }
            prop_assert_eq!(decode(&body[..body.len() - 1]), None);
        }

        #[test]
        fn nonsense_is_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
            let mut one = vec![VERSION];
            one.extend(bytes);
            let _ = decode(&one);
        }
    }

    #[test]
    fn over_long_values_are_cut_and_flagged() {
        let long = click(
            vec![b'q'; QUERY_BYTES_MAX + 1],
            None,
            [Some("é".repeat(400)), None, None],
            Location::default(),
        );
        let (_, read) = decode(&encode(&long)).unwrap();
        assert_eq!(read.query.len(), QUERY_BYTES_MAX);
        assert_eq!(read.user_agent.unwrap().len(), Click::HEADER_BYTES_MAX);
        assert!(read.flags.has(Flags::CUT));
    }
}
