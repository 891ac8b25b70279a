//! Words that many systems share, whoever's they are.
//!
//! A word is judged on three grounds, in this order. It means one thing everywhere ([`words::STRONG`]); it means one
//! of a few, and the parameter says which ([`words::WEAK`], numbered sub parameters); it names a setting of the
//! partner's account. That much is *known* and holds for a word in any brackets. What is left is *guessed*, and only
//! where a macro is certain: by a longer word's last parts (`bv_keyword`), and by the parameter alone.
//!
//! On a tracking link the parameter comes first, because it is what a click keeps; the word is the network's own.

use super::parameters::{
    self, EMPTY_ON_LINK, LINK, PLACEHOLDERS, POSTBACK, SETTING_ENDINGS, SETTINGS, VAGUE, VAGUE_ON_LINK,
};
use super::table::{Row, Spelling, filtered, find, is_same};
use super::words::{
    self, ADV_STEMS, CLICK_PARAMETERS, MONEY_WEAK, PAYOUT_PARAMETERS, STRONG, SUB_STEMS, VAGUE_ENDINGS, WEAK,
};
use super::{Dialect, Place, Scope, Word};
use crate::template::vocabulary::{self, Availability};
use std::borrow::Cow;

/// Longest word that is looked at, in bytes.
const WORD_BYTES_MAX: usize = 96;

/// Most parts that may be left out before the last ones.
const PARTS_SKIPPED_MAX: usize = 3;

/// Parts that say nothing: `your_clickid_token`, `YOUR_MACRO_FOR_GOOGLE_AD_ID`, `dynamicSITE`.
const NOISE: &[&str] = &[
    "your",
    "my",
    "our",
    "the",
    "put",
    "enter",
    "insert",
    "replace",
    "macro",
    "for",
    "of",
    "here",
    "placeholder",
    "param",
    "parameter",
    "paramater",
    "value",
    "dynamic",
    "with",
    "token",
    "var",
];

/// Parts that speak to the author: an id behind them is the author's own at the partner, and no person's.
const ADDRESSED: &[&str] = &["your", "my", "put", "enter", "insert", "replace"];

/// Amounts of which are not what was sold: `tax_amount`, `shipping_price`.
const NO_SALES: &[&str] = &["tax", "vat", "shipping", "fee", "discount", "virtual", "refund"];

/// What a token of is no setting.
const EVENT_TOKENS: &[&str] = &[
    "click",
    "tracking",
    "event",
    "session",
    "push",
    "device",
    "purchase",
    "user",
    "impression",
    "visit",
    "install",
];

/// The values of a flag, written in place of a word.
const CHOICES: &[&str] = &["0|1", "1|0", "0/1", "1/0"];

/// The numbers that a sub parameter of ours has.
const SUBS: std::ops::RangeInclusive<u32> = 1..=10;

/// A word's parts, in lower case.
struct Parts(Vec<String>);

impl Parts {
    fn of(word: &str) -> Self {
        let mut parts = vec![String::new()];
        let mut before = None;
        for byte in word.bytes() {
            let is_break = !byte.is_ascii_alphanumeric();
            let is_hump = byte.is_ascii_uppercase() && before.is_some_and(|b: u8| b.is_ascii_lowercase());
            if (is_break || is_hump) && parts.last().is_some_and(|last| !last.is_empty()) {
                parts.push(String::new());
            }
            if !is_break && let Some(last) = parts.last_mut() {
                last.push(char::from(byte.to_ascii_lowercase()));
            }
            before = Some(byte);
        }
        parts.retain(|part| !part.is_empty());
        Self(parts)
    }

    fn snake(&self) -> String {
        self.0.join("_")
    }

    fn squashed(&self) -> String {
        self.0.concat()
    }

    /// Its letters, and the number behind them.
    fn numbered(&self) -> Option<(String, u32)> {
        let squashed = self.squashed();
        let letters = squashed.trim_end_matches(|c: char| c.is_ascii_digit());
        let number = squashed.get(letters.len()..).filter(|digits| digits.len() <= 2)?.parse().ok()?;
        (!letters.is_empty()).then(|| (letters.to_owned(), number))
    }
}

/// Whether it is a word, and no text with a word in it.
fn is_word(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.@~$ ".contains(&byte);
    name.len() <= WORD_BYTES_MAX
        && name.bytes().all(plain)
        && name.bytes().any(|byte| byte.is_ascii_alphabetic())
        && !name.starts_with(' ')
        && !name.ends_with(' ')
}

fn is_origin(place: Place) -> bool {
    matches!(place, Place::Scheme | Place::Host | Place::Userinfo)
}

/// What a word is known to mean.
pub(super) fn lookup(word: &Word<'_>) -> Option<Cow<'static, str>> {
    if is_origin(word.place) {
        return None;
    }
    if CHOICES.contains(&word.name) {
        // `tracking_enabled={0|1}`: the flag that the parameter is called.
        return find(STRONG, word.parameter?, Spelling::Folded).map(Cow::Borrowed);
    }
    if is_word(word.name) { known(word) } else { None }
}

/// What a word on a tracking link is known to mean: the parameter's meaning, if the word is one at all.
pub(super) fn lookup_link(word: &Word<'_>, own: &'static [&'static [Row]]) -> Option<Cow<'static, str>> {
    let by_word = lookup(word)?;
    if let Some(expression) = of_own_parameter(word.parameter, own) {
        return Some(expression);
    }
    let is_told = find(STRONG, &Parts::of(word.name).snake(), Spelling::Folded).is_some()
        && is_known_at_click(&by_word);
    // Where ads stand in groups, a `unit_id` is that of the group.
    if is_vague_on_link(word.parameter) && is_told && by_word != "placement" {
        return Some(by_word);
    }
    if let Some(expression) = of_link_parameter(word) {
        return Some(expression);
    }
    // A word that could mean several things, or what no click knows, is just what the parameter's name says.
    let is_sure = find(STRONG, &Parts::of(word.name).snake(), Spelling::Folded).is_some();
    // A network's `{account_id}` is what the network fills in; a secret is what the author typed in.
    let is_typed_in = by_word.starts_with("cfg.")
        && (word.parameter.is_none()
            || ["key", "token", "secret", "pass"].iter().any(|part| by_word.contains(part)));
    let says = is_sure && is_known_at_click(&by_word) || is_typed_in;
    Some(if says { by_word } else { link_parameter(word.parameter).unwrap_or(by_word) })
}

fn is_known_at_click(expression: &str) -> bool {
    let name = expression.split('|').next().unwrap_or_default();
    vocabulary::find(name)
        .is_none_or(|known| matches!(known.availability, Availability::Click | Availability::Later))
}

/// What a macro that nobody knows may mean.
pub(super) fn guess(word: &Word<'_>) -> Option<Cow<'static, str>> {
    if is_origin(word.place) || !is_word(word.name) {
        return None;
    }
    let parts = Parts::of(word.name);
    let is_placeholder =
        PLACEHOLDERS.contains(&parts.squashed().trim_end_matches(|c: char| c.is_ascii_digit()));
    let parameter = word.parameter.map(Parts::of);
    let by_parameter = parameter.as_ref().and_then(|parameter| {
        find(&[POSTBACK], &parameter.snake(), Spelling::Folded)
            .map(Cow::Borrowed)
            .or_else(|| numbered(parameter, None))
    });
    if let Some(parameter) = &parameter {
        if CLICK_PARAMETERS.contains(&parameter.squashed().as_str()) {
            return Some("partner_click_id".into());
        }
        if is_setting(parameter) {
            return Some(setting(parameter));
        }
        if !VAGUE.contains(&parameter.snake().as_str()) && by_parameter.is_some() {
            return by_parameter;
        }
    }
    let by_ending = if is_placeholder { None } else { by_ending(&parts) };
    by_ending
        .or(by_parameter)
        .or_else(|| parameter.filter(|_| is_placeholder).map(|parameter| setting(&parameter)))
}

/// What a macro on a tracking link stands for: the parameter it fills, whose name a click keeps.
pub(super) fn guess_link(word: &Word<'_>, own: &'static [&'static [Row]]) -> Option<Cow<'static, str>> {
    if is_origin(word.place) || !is_word(word.name) {
        return None;
    }
    let told = || by_ending(&Parts::of(word.name)).filter(|expression| is_known_at_click(expression));
    of_own_parameter(word.parameter, own)
        .or_else(|| told().filter(|_| is_vague_on_link(word.parameter)))
        .or_else(|| of_link_parameter(word))
        .or_else(told)
        .or_else(|| link_parameter(word.parameter))
}

/// The link parameter by its own name.
fn link_parameter(parameter: Option<&str>) -> Option<Cow<'static, str>> {
    let name = parameter?;
    let is_name = name.len() <= WORD_BYTES_MAX
        && name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.~$@".contains(&b));
    is_name.then(|| format!("param.{name}").into())
}

/// What a parameter of the system's own links holds.
fn of_own_parameter(parameter: Option<&str>, own: &'static [&'static [Row]]) -> Option<Cow<'static, str>> {
    find(own, parameter?, Spelling::AnyCase).map(Cow::Borrowed)
}

/// What a parameter that many links have holds.
fn of_link_parameter(word: &Word<'_>) -> Option<Cow<'static, str>> {
    let parameter = word.parameter?;
    let parts = Parts::of(parameter);
    if EMPTY_ON_LINK.contains(&parts.squashed().as_str()) && !is_same(parameter, word.name, Spelling::Folded)
    {
        // `pid=__PLAN_ID__`: two letters that each network has its own use for.
        return None;
    }
    if let Some(expression) = find(&[LINK], parameter, Spelling::Folded) {
        return Some(expression.into());
    }
    if parts.squashed().ends_with("clickid") {
        return Some("partner_click_id".into());
    }
    numbered(&parts, None)
}

/// Whether the word says more than the parameter: `campaign={campaign_id}`, `bid={banner_id}`.
fn is_vague_on_link(parameter: Option<&str>) -> bool {
    parameter.is_some_and(|parameter| VAGUE_ON_LINK.contains(&Parts::of(parameter).squashed().as_str()))
}

fn known(word: &Word<'_>) -> Option<Cow<'static, str>> {
    let parts = Parts::of(word.name);
    let snake = parts.snake();
    let parameter = word.parameter.map(|parameter| Parts::of(parameter).squashed());
    let at_click_id = word.scope == Scope::Postback
        && parameter.as_deref().is_some_and(|parameter| CLICK_PARAMETERS.contains(&parameter));
    let at_payout = parameter.as_deref().is_some_and(|parameter| PAYOUT_PARAMETERS.contains(&parameter));
    if let Some(expression) = find(STRONG, &snake, Spelling::Folded) {
        // Where a click id is wanted, `{utm_term}` may be the slot that it came in; and what a network calls the cost of
        // a lead is what it pays for it.
        return Some(match expression {
            "region" if snake == "state" && parameter.as_deref() == Some("status") => "status".into(),
            slot if at_click_id && snake.starts_with("utm_") => format!("partner_click_id||{slot}").into(),
            "cost_value" if at_payout && word.scope == Scope::Postback => "payout".into(),
            expression => expression.into(),
        });
    }
    // `user_id={uid}` is a person's.
    if snake == "uid" && matches!(parameter.as_deref(), Some("userid" | "customerid")) {
        return Some("customer_id".into());
    }
    if snake == "id"
        && word.scope == Scope::Postback
        && let Some(expression) = word
            .parameter
            .and_then(|parameter| find(&[POSTBACK], &Parts::of(parameter).snake(), Spelling::Folded))
    {
        return Some(expression.into());
    }
    if let Some(expression) = find(&[WEAK], &snake, Spelling::Folded) {
        return Some(if at_click_id { "partner_click_id" } else { expression }.into());
    }
    if let Some(expression) = find(&[MONEY_WEAK], &snake, Spelling::Folded) {
        return Some(if at_payout { "payout" } else { expression }.into());
    }
    if word.scope != Scope::Link
        && let Some(expression) = hashed(&parts).or_else(|| timed(&parts))
    {
        return Some(expression);
    }
    if let Some(expression) = numbered(&parts, at_click_id.then_some("partner_click_id")) {
        return Some(expression);
    }
    if is_setting(&parts) {
        return Some(setting(&parts));
    }
    // Names of our own that no list above has.
    vocabulary::find(&snake).filter(|known| known.name != "click_id").map(|known| known.name.into())
}

/// A word with the name of a hash before or behind it: `idfa_sha256`, `md5_oaid`.
fn hashed(parts: &Parts) -> Option<Cow<'static, str>> {
    const HASHES: &[&str] = &["md5", "sha1", "sha256"];
    let (first, last) = (parts.0.first()?.as_str(), parts.0.last()?.as_str());
    let (hash, rest) = match (HASHES.contains(&last), HASHES.contains(&first)) {
        (true, _) => (last, &parts.0[..parts.0.len() - 1]),
        (_, true) => (first, &parts.0[1..]),
        // Who says no more than that it is hashed means SHA-256, as all do by now; better than the plain value.
        _ if first == "hashed" => ("sha256", &parts.0[1..]),
        _ if last == "hashed" => ("sha256", &parts.0[..parts.0.len() - 1]),
        _ => return None,
    };
    let expression = find(STRONG, &rest.join("_"), Spelling::Folded)?;
    (!expression.contains("param.")).then(|| filtered(expression, hash))
}

/// A time with its unit behind it: `conversion_time_ms`, `install_ts_unix`, `click_timestamp_iso`.
fn timed(parts: &Parts) -> Option<Cow<'static, str>> {
    let (unit, stem) = parts.0.split_last()?;
    let expression = find(STRONG, &stem.join("_"), Spelling::Folded)
        .or_else(|| find(&[WEAK], &stem.join("_"), Spelling::Folded))?;
    let name = expression.split('|').next()?;
    let name = name.strip_suffix("_iso").unwrap_or(name);
    if !name.ends_with("_time") {
        return None;
    }
    let written = match unit.as_str() {
        "ms" | "msec" | "millis" | "milli" | "milliseconds" => format!("{name}_ms"),
        "unix" | "sec" | "secs" | "seconds" | "s" | "epoch" | "utc" | "ts" | "timestamp" => name.to_owned(),
        "iso" | "iso8601" | "rfc3339" => format!("{name}_iso"),
        _ => return None,
    };
    vocabulary::find(&written).map(|known| known.name.into())
}

/// A sub parameter, or one of the advertiser's own fields.
fn numbered(parts: &Parts, first: Option<&str>) -> Option<Cow<'static, str>> {
    let (letters, number) = parts.numbered()?;
    if ADV_STEMS.contains(&letters.as_str()) && SUBS.contains(&number) {
        return Some(format!("adv{number}").into());
    }
    if !SUB_STEMS.contains(&letters.as_str()) {
        return None;
    }
    let plain =
        if SUBS.contains(&number) { format!("sub{number}") } else { format!("param.{}", parts.snake()) };
    Some(match first {
        Some(first) => format!("{first}||{plain}").into(),
        None => plain.into(),
    })
}

/// The meaning of a longer word's last parts.
fn by_ending(parts: &Parts) -> Option<Cow<'static, str>> {
    let is_noise = |part: &String| NOISE.contains(&part.as_str());
    let rest: Vec<String> = parts.0.iter().filter(|part| !is_noise(part)).cloned().collect();
    let changed = rest.len() < parts.0.len();
    let is_addressed = parts.0.iter().any(|part| ADDRESSED.contains(&part.as_str()));
    if is_addressed
        && matches!(rest.concat().as_str(), "user" | "userid" | "id" | "aid" | "accountid" | "customerid")
    {
        return Some(setting(&Parts(rest)));
    }
    if rest.iter().any(|part| NO_SALES.contains(&part.as_str())) {
        return None;
    }
    for skipped in usize::from(!changed)..rest.len().min(PARTS_SKIPPED_MAX + 1) {
        let ending = rest[skipped..].join("_");
        // One part alone says too little, unless what stands before it is just somebody's mark: `S_SOURCE`.
        let is_single = skipped > 0 && rest.len() - skipped == 1;
        let is_mark = skipped <= 1 && rest[..skipped].iter().all(|part| part.len() <= 2);
        if is_single && (ending.len() < 2 || VAGUE_ENDINGS.contains(&ending.as_str())) && !is_mark {
            continue;
        }
        let found = find(STRONG, &ending, Spelling::Folded)
            .or_else(|| find(&[WEAK, MONEY_WEAK], &ending, Spelling::Folded).filter(|_| skipped <= 1));
        if let Some(expression) = found {
            return Some(expression.into());
        }
    }
    // `ml_sub1`: somebody's mark before a sub parameter.
    if let [mark, last] = rest.as_slice()
        && mark.len() <= 2
        && last.starts_with("sub")
        && let Some(expression) = numbered(&Parts(vec![last.clone()]), None)
    {
        return Some(expression);
    }
    let squashed = parts.squashed();
    let stems =
        ["clickid", "campaignid", "creativeid", "bannerid", "zoneid", "siteid", "offerid", "offer", "payout"];
    let stem = stems.iter().find(|stem| squashed.len() > stem.len() && squashed.ends_with(**stem))?;
    find(STRONG, stem, Spelling::Folded).map(Cow::Borrowed)
}

fn is_setting(parts: &Parts) -> bool {
    let snake = parts.snake();
    // A token is the author's, unless it is of something that happens.
    if let [before @ .., last] = parts.0.as_slice()
        && last == "token"
        && before.last().is_some_and(|of| !EVENT_TOKENS.iter().any(|token| of.contains(token)))
        && !before.iter().any(|part| NOISE.contains(&part.as_str()))
    {
        return true;
    }
    let spaced = format!(" {}", parts.0.join(" "));
    SETTINGS.iter().any(|name| is_same(name, &snake, Spelling::Folded))
        || SETTING_ENDINGS.iter().any(|ending| spaced.ends_with(&format!(" {ending}")))
}

fn setting(parts: &Parts) -> Cow<'static, str> {
    let name: String = parts.snake().chars().take(64).collect();
    format!("cfg.{name}").into()
}

/// A shared word's meaning in a system that has no such word. Where the system echoes the parameters of its links, one
/// of that name comes after it, or in its place if the word could mean several things.
pub(super) fn echoed(dialect: Dialect, expression: Cow<'static, str>, name: &str) -> Cow<'static, str> {
    let echoes = matches!(dialect, Dialect::Adjust | Dialect::Singular);
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !echoes || !is_name || expression.contains(['.', '|']) {
        return expression;
    }
    let is_sure = find(STRONG, &Parts::of(name).snake(), Spelling::Folded).is_some();
    if is_sure { format!("{expression}||param.{name}").into() } else { format!("param.{name}").into() }
}

/// The link parameter that a word is by its own name, in a system that echoes all of them.
pub(super) fn echo(dialect: Dialect, name: &str) -> Option<Cow<'static, str>> {
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (is_name && matches!(dialect, Dialect::Adjust)).then(|| format!("param.{name}").into())
}

/// What a shared word stands for, wherever it stands.
pub(super) fn word(word: &str) -> Option<&'static str> {
    let snake = Parts::of(word).snake();
    find(STRONG, &snake, Spelling::Folded).or_else(|| find(&[WEAK, MONEY_WEAK], &snake, Spelling::Folded))
}

/// The plain canonical name that a shared word stands for, for suggestions.
pub(super) fn plain_name(name: &str) -> Option<&'static str> {
    let expression = word(name)?;
    let name = expression.split(['|']).next()?;
    match name {
        "partner_click_id" => Some("click_id"),
        name if expression == name => vocabulary::find(name).map(|known| known.name),
        _ => None,
    }
}

/// The lists, for the table of words.
pub(super) const TABLES: &[&[Row]] = &[words::WEAK, words::MONEY_WEAK];

/// The parameters of tracking links.
pub(super) const LINK_TABLE: &[Row] = parameters::LINK;
