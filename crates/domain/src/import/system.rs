//! Whose a URL is, and whether it is a tracking URL or a postback: by host, by the form of the path, by parameters
//! that only one system has. Hosts and forms are those of the vendors' own pages.
//!
//! Not relied on for more than a proposal: many systems share their words, and most run under their customers' own
//! host names.

use crate::link_dialect::{CallbackKind, LinkDialect};
use crate::problem::{Code, Problem};
use crate::template::{Availability, Dialect, Parts, Template, UseKind, vocabulary};

use super::pasted::Pasted;
use super::{Candidate, Named};

use LinkDialect as D;

/// Names of systems as people write them, in lower case without spaces, and how their links and macros are written.
const NAMES: &[(&str, Option<LinkDialect>, Option<Dialect>)] = &[
    ("roundtrip", Some(D::Linkrunner), Some(Dialect::Canonical)),
    ("canonical", Some(D::Linkrunner), Some(Dialect::Canonical)),
    ("generic", Some(D::Generic), Some(Dialect::Generic)),
    ("linkrunner", Some(D::Linkrunner), Some(Dialect::Linkrunner)),
    ("tracknow", Some(D::Tracknow), Some(Dialect::Tracknow)),
    ("appsflyer", Some(D::AppsFlyer), Some(Dialect::Appsflyer)),
    ("onelink", Some(D::AppsFlyer), Some(Dialect::Appsflyer)),
    ("adjust", Some(D::Adjust), Some(Dialect::Adjust)),
    ("branch", Some(D::Branch), Some(Dialect::Branch)),
    ("singular", Some(D::Singular), Some(Dialect::Singular)),
    ("kochava", Some(D::Kochava), Some(Dialect::Kochava)),
    ("airbridge", Some(D::Airbridge), Some(Dialect::Airbridge)),
    ("appmetrica", Some(D::AppMetrica), Some(Dialect::Appmetrica)),
    ("trackier", Some(D::Trackier), Some(Dialect::Trackier)),
    ("tenjin", Some(D::Tenjin), Some(Dialect::Generic)),
    ("mytracker", Some(D::MyTracker), Some(Dialect::Generic)),
    ("tune", Some(D::Tune), Some(Dialect::Tune)),
    ("hasoffers", Some(D::Tune), Some(Dialect::Tune)),
    ("everflow", Some(D::Everflow), Some(Dialect::Everflow)),
    ("affise", Some(D::Affise), Some(Dialect::Affise)),
    ("scaleo", Some(D::Scaleo), Some(Dialect::Scaleo)),
    ("cake", Some(D::Cake), Some(Dialect::Cake)),
    ("keitaro", Some(D::Keitaro), Some(Dialect::Keitaro)),
    ("voluum", Some(D::Voluum), Some(Dialect::Voluum)),
    ("binom", Some(D::Binom), Some(Dialect::Binom)),
    ("bemob", Some(D::BeMob), Some(Dialect::Bemob)),
    ("redtrack", Some(D::Generic), Some(Dialect::Redtrack)),
    ("admitad", Some(D::Generic), Some(Dialect::Admitad)),
];

/// Hosts on which systems take clicks. Their postbacks may come in there as well.
const HOSTS: &[(&str, LinkDialect)] = &[
    ("abr.ge", D::Airbridge),
    ("adj.st", D::Adjust),
    ("adjust.com", D::Adjust),
    ("affise.com", D::Affise),
    ("airbridge.io", D::Airbridge),
    ("app.link", D::Branch),
    ("appmetrica.yandex.com", D::AppMetrica),
    ("appmetrica.yandex.ru", D::AppMetrica),
    ("appsflyer.com", D::AppsFlyer),
    ("bemobtrcks.com", D::BeMob),
    ("bnc.lt", D::Branch),
    ("branch.io", D::Branch),
    ("everflow.io", D::Everflow),
    ("g2afse.com", D::Affise),
    ("go.link", D::Adjust),
    ("go2cloud.org", D::Tune),
    ("hasoffers.com", D::Tune),
    ("impression.link", D::Branch),
    ("kochava.com", D::Kochava),
    ("linkrunner.io", D::Linkrunner),
    ("onelink.me", D::AppsFlyer),
    ("scaleo.io", D::Scaleo),
    ("scaletrk.com", D::Scaleo),
    ("singular.net", D::Singular),
    ("smart.link", D::Kochava),
    ("sng.link", D::Singular),
    ("tenjin.com", D::Tenjin),
    ("tenjin.io", D::Tenjin),
    ("tracknow.info", D::Tracknow),
    ("trackier.com", D::Trackier),
    ("trackier.io", D::Trackier),
    ("trk.mail.ru", D::MyTracker),
    ("voluumtrk.com", D::Voluum),
];

/// Parameters of links that only one system has, or hardly any other.
const PARAMETERS: &[(&str, LinkDialect)] = &[
    ("$3p", D::Branch),
    ("~campaign", D::Branch),
    ("~click_id", D::Branch),
    ("~secondary_publisher", D::Branch),
    ("ad_campaign_id", D::Keitaro),
    ("adj_adgroup", D::Adjust),
    ("adj_campaign", D::Adjust),
    ("adj_creative", D::Adjust),
    ("adj_label", D::Adjust),
    ("adj_t", D::Adjust),
    ("af_ad", D::AppsFlyer),
    ("af_adset", D::AppsFlyer),
    ("af_c_id", D::AppsFlyer),
    ("af_click_lookback", D::AppsFlyer),
    ("af_dp", D::AppsFlyer),
    ("af_media_source", D::AppsFlyer),
    ("af_prt", D::AppsFlyer),
    ("af_r", D::AppsFlyer),
    ("af_siteid", D::AppsFlyer),
    ("af_sub1", D::AppsFlyer),
    ("aifa", D::Singular),
    ("externalId", D::BeMob),
    ("externalid", D::Voluum),
    ("mt_campaign", D::MyTracker),
    ("mt_network", D::MyTracker),
    ("mt_sub1", D::MyTracker),
    ("partner_campaign_id", D::Kochava),
    ("partner_campaign_name", D::Kochava),
    ("pcn", D::Singular),
    ("psid", D::Singular),
    ("sub_id_1", D::Keitaro),
];

/// Paths at which systems are told of conversions, in lower case: whole last segments.
const TOLD_AT: &[&str] = &[
    "acquisition",
    "aff_goal",
    "aff_l",
    "aff_lsr",
    "callback",
    "conv",
    "conversion",
    "conversion.json",
    "conversions",
    "event",
    "events",
    "goal",
    "install",
    "installs",
    "p.ashx",
    "pb",
    "pixel",
    "pixel.track",
    "postback",
    "postbacks",
];

/// Parameters that only a conversion has.
const TOLD_WITH: &[&str] = &[
    "adv_sub",
    "advertiser_id",
    "amount",
    "cnv_id",
    "cnv_status",
    "conversion_id",
    "conversion_time",
    "currency",
    "event",
    "event_id",
    "event_name",
    "event_time",
    "event_value",
    "goal",
    "goal_id",
    "install_time",
    "nid",
    "order_id",
    "payout",
    "revenue",
    "security_token",
    "status",
    "sum",
    "transaction_id",
    "txid",
];

/// Below this nothing is said for certain: a word or two that both kinds have.
const SCORE_MIN: u32 = 5;
/// By how much one kind must be ahead of the other.
const AHEAD: u32 = 3;

/// What a hint names.
///
/// # Errors
/// When it names no system.
pub(super) fn named(hint: &str) -> Result<Named, Problem> {
    let lower = hint.to_lowercase();
    let words = || lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let joined: String = words().collect();
    let known = NAMES.iter().find(|(name, ..)| joined == *name);
    let known = known.or_else(|| NAMES.iter().find(|(name, ..)| words().any(|word| word == *name)));
    known.map(|(_, link, macros)| Named { link: *link, macros: *macros }).ok_or_else(|| {
        let names: Vec<&str> = NAMES.iter().map(|(name, ..)| *name).collect();
        let message =
            format!("`{}` is no system known here; known are {}", hint.escape_debug(), names.join(", "));
        Problem::new(Code::ImportSystemUnknown, "from", message)
    })
}

/// The form of a tracking URL that has one, and whose it is.
fn form(url: &Pasted) -> Option<(LinkDialect, &'static str)> {
    let segments: Vec<&str> = url.segments().collect();
    let last = segments.last().copied().unwrap_or_default();
    let has = |names: &[&str]| names.iter().all(|name| url.has(name));
    let is_root = segments.is_empty();
    match segments.as_slice() {
        [.., "aff_c" | "aff_i"] => return Some((D::Tune, "its path is `/aff_c` or `/aff_i`")),
        ["v1", "cpi", "click", ..] => return Some((D::Kochava, "its path is `/v1/cpi/click`")),
        ["v0", "click" | "impression", ..] => return Some((D::Tenjin, "its path begins with `/v0/click/`")),
        [_, "s2s" | "c2s", "click" | "impression", "app", ..] => {
            return Some((D::AppsFlyer, "its path is that of the engagements API"));
        }
        ["serve", ..] => return Some((D::AppMetrica, "its path begins with `/serve/`")),
        [first, ..] if first.starts_with('@') => return Some((D::Airbridge, "its path begins with `/@`")),
        ["c", _] if has(&["pid"]) => return Some((D::Trackier, "it is `/c/…` with `pid`")),
        _ => {}
    }
    let is_token = |text: &str| {
        text.len() >= 6
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
            && !TOLD_AT.contains(&text)
    };
    if url.is_at("adjust.com")
        && matches!(segments.as_slice(), [token] | ["impression", token] if is_token(token))
    {
        return Some((D::Adjust, "its path is a token"));
    }
    if last == "click" {
        if has(&["campaign_id", "ref_id"]) {
            return Some((D::Tracknow, "it is `/click` with `campaign_id` and `ref_id`"));
        }
        if has(&["campaign_id", "pub_id"]) {
            return Some((D::Trackier, "it is `/click` with `campaign_id` and `pub_id`"));
        }
        if has(&["o", "a"]) {
            return Some((D::Scaleo, "it is `/click` with `o` and `a`"));
        }
        if has(&["offer_id", "pid"]) {
            return Some((D::Affise, "it is `/click` with `offer_id` and `pid`"));
        }
    }
    if last == "click.php" && url.has("key") {
        return Some((D::Binom, "it is `/click.php` with `key`"));
    }
    if (is_root || last == "click.track") && has(&["a", "c"]) {
        return Some((D::Cake, "it has `a` and `c`"));
    }
    if is_root && has(&["c", "click_id"]) {
        return Some((D::Linkrunner, "it is `/?c=…` with `click_id`"));
    }
    if has(&["oid", "affid"]) {
        return Some((D::Everflow, "it has `oid` and `affid`"));
    }
    // Everflow's coded links: two short words of capitals and digits.
    let is_code = |text: &&str| {
        (5..=8).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
            && text.bytes().any(|b| b.is_ascii_digit())
    };
    if segments.len() == 2 && segments.iter().all(is_code) {
        return Some((D::Everflow, "its path is two codes of capitals and digits"));
    }
    if url.has("pid") && (url.has("clickid") || url.has("c")) {
        return Some((D::AppsFlyer, "it has `pid` with `c` or `clickid`"));
    }
    let is_uuid = |text: &str| text.len() == 36 && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    if let [only] = segments.as_slice() {
        if is_uuid(only) {
            return Some((D::Voluum, "its path is a UUID"));
        }
        if url.has("external_id") {
            return Some((D::Keitaro, "it is `/ALIAS` with `external_id`"));
        }
    }
    if matches!(segments.as_slice(), ["go", id] if is_uuid(id)) {
        return Some((D::BeMob, "its path is `/go/` and a UUID"));
    }
    None
}

/// What a tracking URL says of its system, the best first; the shared words close the list.
pub(super) fn candidates(url: &Pasted, named: Option<LinkDialect>) -> Vec<Candidate> {
    let mut found: Vec<(LinkDialect, u8, Vec<String>)> = Vec::new();
    let mut add = |dialect: LinkDialect, weight: u8, because: String| match found
        .iter_mut()
        .find(|(known, ..)| *known == dialect)
    {
        Some((_, sum, reasons)) => {
            *sum = sum.saturating_add(weight).min(99);
            reasons.push(because);
        }
        None => found.push((dialect, weight, vec![because])),
    };
    if let Some(named) = named {
        add(named, 60, "it is named".to_owned());
    }
    if let Some((domain, dialect)) = HOSTS.iter().find(|(domain, _)| url.is_at(domain)) {
        add(*dialect, 50, format!("the URL leads to {domain}"));
    }
    if let Some((dialect, because)) = form(url) {
        add(dialect, 35, because.to_owned());
    }
    for (name, dialect) in PARAMETERS {
        if url.has(name) {
            add(*dialect, 15, format!("it has `{name}`"));
        }
    }
    if url.pairs.iter().any(|pair| CallbackKind::parse(&pair.name).is_some()) {
        add(D::Adjust, 30, "it carries callbacks".to_owned());
    }
    found.sort_by_key(|(dialect, weight, _)| (std::cmp::Reverse(*weight), *dialect));
    let mut all: Vec<Candidate> = found
        .into_iter()
        .map(|(dialect, certainty, because)| Candidate {
            system: dialect.name().to_owned(),
            because: because.join("; "),
            certainty,
        })
        .collect();
    if all.iter().all(|one| one.system != D::Generic.name()) {
        let (system, certainty) = (D::Generic.name().to_owned(), 10);
        let because = "the words that mean one thing wherever they are used".to_owned();
        all.push(Candidate { system, because, certainty });
    }
    all
}

/// What speaks for a tracking URL, and how much.
fn for_link(url: &Pasted) -> (u32, Vec<String>) {
    let mut reasons = Vec::new();
    let mut score = 0;
    if let Some((dialect, because)) = form(url) {
        score += 10;
        reasons.push(format!("{because}, as in links of {}", dialect.name()));
    }
    if let Some((domain, _)) = HOSTS.iter().find(|(domain, _)| url.is_at(domain)) {
        score += 5;
        reasons.push(format!("{domain} takes clicks"));
    }
    for (name, dialect) in PARAMETERS {
        if url.has(name) && score < 24 {
            score += 3;
            reasons.push(format!("`{name}` is a parameter of {}'s links", dialect.name()));
        }
    }
    if url.pairs.iter().any(|pair| CallbackKind::parse(&pair.name).is_some()) {
        score += 10;
        reasons.push("it carries callbacks, as Adjust's links do".to_owned());
    }
    let last = url.segments().last().unwrap_or_default().to_ascii_lowercase();
    if matches!(last.as_str(), "click" | "clk" | "imp" | "impression" | "view" | "click.php") {
        score += 5;
        reasons.push(format!("its path ends in `{last}`"));
    }
    (score, reasons)
}

/// What speaks for a postback, and how much.
fn for_rule(url: &Pasted) -> (u32, Vec<String>) {
    let mut reasons = Vec::new();
    let mut score = 0;
    let mut told_at = url.segments().map(str::to_ascii_lowercase).filter(|segment| {
        TOLD_AT.contains(&segment.as_str())
            || segment.starts_with("conv-")
            || ["postback", "callback", "conversion"].iter().any(|word| segment.contains(word))
    });
    if let Some(segment) = told_at.next() {
        score += 10;
        reasons.push(format!("its path has `{segment}`"));
    }
    if url.has("cnv_id") || url.has("nid") && url.has("transaction_id") {
        score += 10;
        reasons.push(
            "it has `cnv_id`, or `nid` and `transaction_id`, which name a click of another system".to_owned(),
        );
    }
    let label = url.host.split('.').next().unwrap_or_default();
    // `s2s.adjust.com` takes clicks.
    let takes_clicks = HOSTS.iter().any(|(domain, _)| url.is_at(domain));
    let words = ["postback", "callback", "s2s", "conversion", "event"];
    if !takes_clicks && words.iter().any(|word| label.contains(word)) {
        score += 5;
        reasons.push(format!("its host begins with `{label}`"));
    }
    let with: Vec<&str> = TOLD_WITH.iter().copied().filter(|name| url.has(name)).collect();
    score += 3 * u32::try_from(with.len().min(3)).unwrap_or(3);
    reasons.extend(with.iter().map(|name| format!("`{name}` belongs to a conversion")));
    let parts = Parts { dialect: Dialect::Generic, ..Parts::get(url.text.clone()) };
    let (template, _) = Template::parse(parts);
    let mut words: Vec<&str> = template
        .macros()
        .filter(|used| used.kind == UseKind::Value)
        .filter(|used| {
            vocabulary::find(&used.key).is_some_and(|known| known.availability == Availability::Event)
        })
        .map(|used| used.text.as_str())
        .collect();
    words.dedup();
    score += 3 * u32::try_from(words.len().min(4)).unwrap_or(4);
    reasons.extend(words.iter().take(4).map(|word| format!("`{word}` is known at a conversion only")));
    (score, reasons)
}

/// Whether a URL is a link or a postback.
///
/// # Errors
/// When it could be both, or neither; the message says what speaks for which.
pub(super) fn kind(url: &Pasted, named: Option<Named>) -> Result<super::Kind, Problem> {
    let ((link, for_link), (rule, for_rule)) = (for_link(url), for_rule(url));
    if link >= SCORE_MIN.max(rule + AHEAD) {
        return Ok(super::Kind::Link);
    }
    if rule >= SCORE_MIN.max(link + AHEAD) {
        return Ok(super::Kind::Rule);
    }
    let told = |reasons: &[String]| {
        if reasons.is_empty() { "nothing".to_owned() } else { reasons.join("; ") }
    };
    let of =
        named.and_then(|named| named.link).map_or(String::new(), |dialect| format!(" of {}", dialect.name()));
    let message = format!(
        "it can be a tracking link{of} or a postback. For a link speaks: {}. For a postback speaks: {}. Say which: \
         --as link, --as postback (`as` in the API)",
        told(&for_link),
        told(&for_rule)
    );
    Err(Problem::new(Code::ImportAmbiguous, "as", message))
}
