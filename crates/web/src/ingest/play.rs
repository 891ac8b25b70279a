//! Google Play's page and the referrer that comes back with the install.
//!
//! The store hands the app the text behind `referrer=`, percent-decoded once. In it stand pairs whose values are
//! encoded for themselves, so that a partner's name with an `&` does not break them. No limit of its length
//! is published; peers stop at 512 characters, and ours stays under 256 by leaving out what only people read.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use roundtrip_domain::facts::ClickValues;
use roundtrip_domain::params::decode;
use roundtrip_domain::referrer::CLICK_ID_KEY;

/// What a referrer stays under where it can, in characters before its own encoding.
const REFERRER_CHARS: usize = 256;
/// Past this, Google's click ids are left out as well.
const REFERRER_CHARS_MAX: usize = 512;

const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Google's click ids, which travel on when they came.
const GOOGLE_CLICK_IDS: [&str; 3] = ["gclid", "gbraid", "wbraid"];

/// The page of a package.
pub(super) fn page(package: &str) -> String {
    format!("https://play.google.com/store/apps/details?id={}", utf8_percent_encode(package, ENCODED))
}

/// Whether a URL is a page of Google Play.
pub(super) fn is_page(url: &str) -> bool {
    let begins = |prefix: &str| url.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix));
    begins("https://play.google.com/store/") || begins("http://play.google.com/store/") || begins("market://")
}

/// The store's page with our referrer in it. A referrer that is there already is kept, ours joins it; one that
/// carries our click id by macro is left as its author wrote it.
pub(super) fn with_referrer(url: &str, values: &ClickValues<'_>) -> String {
    let (rest, fragment) = url.split_once('#').map_or((url, None), |(rest, fragment)| (rest, Some(fragment)));
    let (base, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut known = String::new();
    let mut out = String::with_capacity(url.len() + 256);
    out.push_str(base);
    let mut separator = '?';
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        if let Some(value) = pair.strip_prefix("referrer=") {
            known = String::from_utf8_lossy(&decode(value.as_bytes())).into_owned();
            continue;
        }
        out.push(separator);
        out.push_str(pair);
        separator = '&';
    }
    if known
        .split('&')
        .any(|pair| pair.starts_with(CLICK_ID_KEY) && pair[CLICK_ID_KEY.len()..].starts_with('='))
    {
        return url.to_owned();
    }
    out.push(separator);
    out.push_str("referrer=");
    out.extend(utf8_percent_encode(&referrer(&known, values), ENCODED));
    if let Some(fragment) = fragment {
        out.push('#');
        out.push_str(fragment);
    }
    out
}

/// The referrer's text, before its own encoding. What the link's author put there stays whole.
fn referrer(known: &str, values: &ClickValues<'_>) -> String {
    let settings = values.settings;
    let given = |name: &str| values.params.text(name);
    let is_known = |name: &str| known.split('&').any(|pair| pair.split('=').next() == Some(name));
    let pair = |name: &str, value: &str| format!("&{name}={}", utf8_percent_encode(value, ENCODED));

    let mut head = format!("{CLICK_ID_KEY}={}", values.id);
    if !known.is_empty() {
        head.push('&');
        head.push_str(known);
    }
    let mut google = String::new();
    for name in GOOGLE_CLICK_IDS.into_iter().filter(|name| !is_known(name)) {
        if let Some(value) = given(name) {
            let pair = pair(name, &value);
            if head.len() + google.len() + pair.len() <= REFERRER_CHARS_MAX {
                google.push_str(&pair);
            }
        }
    }
    let partner = settings.partners.get(&values.click.partner).map(|p| p.name.clone());
    let campaign = settings.campaigns.get(&values.click.campaign).map(|c| c.name.clone());
    // In the order of what a reader misses most; each is left out for itself when it does not fit.
    let mut told = [
        ("utm_source", given("utm_source").or(partner)),
        ("utm_campaign", given("utm_campaign").or(campaign)),
        ("utm_medium", given("utm_medium").or_else(|| Some("affiliate".to_owned()))),
    ]
    .map(|(name, value)| value.filter(|_| !is_known(name)).map(|value| pair(name, &value)));
    let mut room = REFERRER_CHARS.saturating_sub(1 + head.len() + google.len());
    for slot in &mut told {
        match slot {
            Some(pair) if pair.len() <= room => room -= pair.len(),
            _ => *slot = None,
        }
    }
    let [source, campaign, medium] = told;
    for pair in [source, medium, campaign].into_iter().flatten() {
        head.push_str(&pair);
    }
    head.push_str(&google);
    head
}
