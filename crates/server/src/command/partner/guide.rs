//! The page for partners, in Markdown: `docs/partners/guide.md`. Names, bounds, schedules, reasons and macros come from
//! the code that acts on them; a test compares the page with the one in `docs/`.

use std::fmt::Write as _;

use roundtrip_domain::device::DeviceIdKind;
use roundtrip_domain::params::{NAME_BYTES_MAX, PARAMS_MAX, QUERY_BYTES_MAX, VALUE_BYTES_MAX};
use roundtrip_domain::postback::Suppressed;
use roundtrip_domain::retry::{ABORT_HEADER, POSTBACK_WAITS_MS, RETRY_AFTER_MAX_MS};
use roundtrip_domain::settings::{CLICK_WINDOW_MAX, DELAY_MAX, POSTBACK_WINDOW, Platform};
use roundtrip_domain::template::{Availability, Dialect, FAMILIES, Macro, VOCABULARY, vocabulary};
use roundtrip_domain::time::human;
use roundtrip_engine::sender::{Failure, Limits};

/// Parameters of a link that are data of the ad or the partner: name and example. What each one stands for is the
/// macro's meaning, because each is a macro of the same name.
const PARAMETERS: &[(&str, &str)] = &[
    ("click_id", "a1b2c3"),
    ("aff_id", "12"),
    ("pub_id", "34"),
    ("offer_id", "56"),
    ("creative_id", "78"),
    ("ad_group", "lookalike_2pct"),
    ("ad_group_id", "815"),
    ("ad", "video_a"),
    ("ad_id", "99"),
    ("keyword", "running+shoes"),
    ("site_id", "site-7"),
    ("sub_site_id", "site-7-3"),
    ("sub1", "a"),
    ("cost_model", "cpi"),
    ("cost_value", "1.20"),
    ("cost_currency", "EUR"),
];

/// The page.
pub(super) fn page() -> String {
    let mut out = String::from(HEAD);
    links(&mut out);
    click_ids(&mut out);
    touches(&mut out);
    fires(&mut out);
    request(&mut out);
    macros(&mut out);
    answers(&mut out);
    proof(&mut out);
    trying(&mut out);
    out
}

const HEAD: &str = "# For affiliates and networks\n\n\
What a partner needs to work with a Roundtrip installation: the links to use, how its click id comes back, what fires \
and when, what we make of its answers. This page is generated from the code (`crates/server/src/command/partner/`); a \
test compares. `roundtrip partner guide` prints it; `roundtrip partner sheet PARTNER` writes the page of one partner, \
with its own links, postbacks and samples.\n\n\
Words: *we* are the installation, *you* are the partner. A *click* is a visitor who followed your link, or one that your \
server told us of; an *event* is an install, signup, purchase or anything else the app reports.\n\n";

/// A size in bytes, in words.
fn bytes(n: usize) -> String {
    if n >= 1024 && n.is_multiple_of(1024) { format!("{} KiB", n / 1024) } else { format!("{n} bytes") }
}

fn links(out: &mut String) {
    out.push_str(
        "## Your link\n\n\
         | form | is |\n| --- | --- |\n\
         | `https://HOST/c/LINK?click_id=…` | a click |\n\
         | `https://HOST/?c=LINK&click_id=…`, `https://HOST/LINK?click_id=…` | the same |\n\
         | `https://HOST/click?campaign_id=…&ref_id=…&click_id=…` | the same, where you know the campaign's and your own public id instead of a link |\n\
         | any of them with `s2s=1` | a click that your server tells us of |\n\
         | `https://HOST/i/LINK?click_id=…` | an impression |\n\n\
         Link ids are case-sensitive. HEAD, prefetch and link-preview requests are answered and earn nothing.\n\n\
         ### Parameters\n\n\
         | parameter | is | example |\n| --- | --- | --- |\n",
    );
    for (name, example) in PARAMETERS {
        let meaning = vocabulary::find(name).map_or("", |known| known.meaning);
        let (shown, meaning) = match *name {
            "click_id" => ("`click_id`".to_owned(), "**your** click id"),
            "sub1" => ("`sub1` … `sub10`".to_owned(), "yours to use"),
            name => (format!("`{name}`"), meaning),
        };
        let _ = writeln!(out, "| {shown} | {meaning} | `{example}` |");
    }
    for kind in DeviceIdKind::ALL {
        let name = kind.name();
        if let Some(known) = vocabulary::find(name).filter(|_| kind.matches_clicks()) {
            let _ = writeln!(
                out,
                "| `{name}` | {}, raw; all-zero is absent | `{}` |",
                known.meaning, known.example
            );
        }
    }
    let _ = writeln!(
        out,
        "| `campaign`, `campaign_id` | the campaign by your own name and id; `{{campaign}}` and `{{campaign_id}}` give them \
         back, and are ours where the link has none or your system did not fill them in | `summer_uac` |\n\
         | any other | kept, and yours to have back as a macro of its own name | `banner=blue` |\n\n\
         A value has at most {}, a name {}, a query {} and {PARAMS_MAX} parameters. What is longer is cut and flagged, \
         and the click counts all the same. A parameter that stands twice counts the first time.\n\n\
         A link may name other parameters: its owner chooses the names (the link's dialect), and its sheet says which.\n",
        bytes(VALUE_BYTES_MAX),
        bytes(NAME_BYTES_MAX),
        bytes(QUERY_BYTES_MAX),
    );
}

fn click_ids(out: &mut String) {
    let _ = writeln!(
        out,
        "## Your click id\n\n\
         - Percent-encode it as in any URL. What comes back in `{{click_id}}` decodes to the very value that you sent, \
         also where it holds `%2f`, `+`, a space, or bytes that are no UTF-8. `{{click_id|raw}}` gives the very bytes.\n\
         - At most {} as received; a longer one is cut, so it would not come back whole.\n\
         - A click without one, or with a macro that your system did not fill in (`{{clickid}}`, `__CLICKID__`), is kept, \
         flagged and counted. It can earn an install; a postback whose template has `{{click_id}}` is not sent for it \
         (`{}`).\n\
         - Ours travels on to the app's store or page by itself; you need not carry it.\n",
        bytes(VALUE_BYTES_MAX),
        Suppressed::NoPartnerClickId.code(),
    );
}

fn touches(out: &mut String) {
    out.push_str(
        "## Clicks from your server\n\n\
         Call the link with `s2s=1` and the visitor's own `ip` and `user_agent`, at the moment of the click. The answer is \
         204, or with `format=json` 200 and our click id. `gaid`, `idfa` or `oaid` make the match certain.\n\n\
         ## Impressions\n\n\
         Load `/i/LINK` with the parameters of a click. The answer is a transparent 1×1 GIF that is never cached.\n\n\
         ## What our links answer\n\n\
         | status | means |\n| --- | --- |\n\
         | 302 | the visitor goes on; the click is on the disk |\n\
         | 302 with `X-Roundtrip-Click: unstored` | the visitor goes on; the click could not be kept and can earn nothing |\n\
         | 200 | a small page that opens the app and goes on to the store, or JSON where it was asked for |\n\
         | 204 | a click told by a server was kept |\n\
         | 404 | there is no such link |\n\
         | 503 | a click told by a server was not kept: send it again |\n\n\
         Errors carry a stable code; [errors.md](../errors.md) has a paragraph on each.\n\n",
    );
}

fn fires(out: &mut String) {
    let days = |ms: i64| human(ms).replace(" d", " days");
    let _ = writeln!(
        out,
        "## What fires, and when\n\n\
         A postback is sent for a conversion that your click earned, by the rules that the installation set up for you: one \
         per app and kind.\n\n\
         | kind | is |\n| --- | --- |\n\
         | `install` | the first install or open of an installation; a reinstall is told as an event |\n\
         | `signup`, `purchase` | what the app's owner calls so |\n\
         | `event` | anything else, by name; a rule may list the names and may rename them to yours |\n\
         | `rejected` | a conversion was rejected |\n\
         | `status_change` | a conversion's status became approved or pending |\n\n\
         - **Whose it is.** The latest click that can be tied to the install inside its window: {} for apps, {} for the web, \
         at most {}, unless app or link say otherwise. An event belongs to whom its install belongs to, for life.\n\
         - **How long you are told.** {} after the install (or click), unless the rule says otherwise.\n\
         - **First only.** A rule may tell only the first of a kind.\n\
         - **Revenue.** Not told unless the rule shares it; every money macro is empty then.\n\
         - **All conversions.** A rule may tell you of what others won. What only the winner may see is empty then.\n\
         - **Conditions.** A rule may tell only of some conversions: by country, platform, system version, event, amount or \
         a parameter of the link. Your sheet lists them.\n\
         - **Delay.** A rule may wait before it sends, at most {}.\n\
         - **Pending.** A conversion that waits for approval is told only by a rule that asks for it; `{{status}}` says so.\n\n\
         ### Rejections and other changes of status\n\n\
         A conversion can be rejected, or approved later, by the owner or by a postback of the shop. That is a fact of its \
         own, and is told by rules of its own: `on = \"rejected\"` and `on = \"status_change\"`. Without such a \
         rule you are not told of it.\n\n\
         | macro | in such a postback |\n| --- | --- |\n\
         | `{{event_id}}` | new: the change's own id |\n\
         | `{{relates_to}}` | the `{{event_id}}` of the conversion that changed |\n\
         | `{{transaction_id}}` | the conversion's id, as before |\n\
         | `{{status}}`, `{{old_status}}` | what it is now, and what it was: `approved`, `pending` or `rejected` |\n\
         | `{{is_rejected}}` | 1 for a rejection, else 0 |\n\
         | `{{reject_reason}}` | why it was rejected, as the owner wrote it |\n\n\
         All other macros say of the conversion what they always say. A conversion can change more than once: the latest \
         change counts.\n\n\
         A rule that was considered and did not fire leaves its reason, which the owner can look up:\n\n\
         | reason | nothing was sent because |\n| --- | --- |",
        days(Platform::Android.click_window().ms()),
        days(Platform::Web.click_window().ms()),
        days(CLICK_WINDOW_MAX.ms()),
        days(POSTBACK_WINDOW.ms()),
        days(DELAY_MAX.ms()),
    );
    for reason in Suppressed::ALL {
        let _ = writeln!(out, "| `{}` | {} |", reason.code(), reason.sentence());
    }
    out.push('\n');
}

fn request(out: &mut String) {
    let Limits { connect_ms, total_ms, body_kept_max, .. } = Limits::POSTBACK;
    let dialects: Vec<String> =
        Dialect::ALL.iter().map(|dialect| format!("`{}`", dialect.as_str())).collect();
    let _ = writeln!(
        out,
        "## The request\n\n\
         GET, POST or PUT to the URL that you gave, over https unless the operator allows http. HTTP/1.1, no cookies, no \
         compression, no redirects. Connecting takes at most {}, all of it {}. `User-Agent` is `Roundtrip/VERSION`; \
         `x-roundtrip-delivery` and `x-roundtrip-attempt` name the delivery and the attempt.\n\n\
         Give the URL in your own macros: a rule names the dialect it is written in ({}).\n\n\
         The first {} of your answer are kept with the attempt, so that both sides can argue from the same bytes.\n",
        human(connect_ms.cast_signed()),
        human(total_ms.cast_signed()),
        dialects.join(", "),
        bytes(body_kept_max),
    );
}

/// A group of macros: its title, what to say of it, and who is in it.
type Group = (&'static str, &'static str, fn(&Macro) -> bool);

fn macros(out: &mut String) {
    out.push_str(
        "## Macros\n\n\
         Written `{name}`, with filters `{name|lower|sha1}` and `{first||second}`; [macros.md](../macros.md) has the filters. \
         A missing value is empty; a macro that nobody knows is the link's parameter of that name.\n\n",
    );
    let groups: [Group; 4] = [
        ("For whoever is told", "", |m| {
            !m.money && !m.winner_only && m.availability != Availability::Sending
        }),
        (
            "For the winner only",
            "Empty for a partner that is told of a conversion that it did not win.",
            |m| m.winner_only && !m.money,
        ),
        ("Money", "Empty unless the rule shares revenue.", |m| m.money),
        ("The sending", "New for each attempt.", |m| m.availability == Availability::Sending),
    ];
    for (title, about, holds) in groups {
        let _ = writeln!(out, "### {title}\n");
        if !about.is_empty() {
            let _ = writeln!(out, "{about}\n");
        }
        out.push_str("| macro | is | example |\n| --- | --- | --- |\n");
        let filled = VOCABULARY.iter().filter(|known| known.availability != Availability::Later);
        for known in filled.filter(|known| holds(known)) {
            let _ = writeln!(out, "| `{{{}}}` | {} | `{}` |", known.name, known.meaning, known.example);
        }
        for known in FAMILIES.iter().filter(|known| holds(known)) {
            let _ = writeln!(out, "| `{{{}NAME}}` | {} | `{}` |", known.name, known.meaning, known.example);
        }
        out.push('\n');
    }
    let later: Vec<String> = VOCABULARY
        .iter()
        .filter(|known| known.availability == Availability::Later)
        .map(|known| format!("`{{{}}}`", known.name))
        .collect();
    if !later.is_empty() {
        let _ = writeln!(out, "Known, and empty in this version: {}.\n", later.join(", "));
    }
}

fn answers(out: &mut String) {
    let waits: Vec<String> = POSTBACK_WAITS_MS.iter().map(|ms| human(*ms)).collect();
    let in_all = human(POSTBACK_WAITS_MS.iter().sum());
    let trouble: Vec<String> = Failure::ALL
        .iter()
        .filter(|failure| failure.is_trouble())
        .map(|failure| format!("`{}`", failure.code()))
        .collect();
    let _ = writeln!(
        out,
        "## What your answer means\n\n\
         | answer | then |\n| --- | --- |\n\
         | 2xx | delivered |\n\
         | 408, 425, 429, 5xx | sent again |\n\
         | none ({}) | sent again |\n\
         | 3xx | not followed; given up, listed, and can be replayed |\n\
         | anything else | refused by you; given up, listed, and can be replayed |\n\n\
         - **Retries.** {} sends over {in_all}: after {}. Each wait may be up to a quarter longer.\n\
         A rule can have its own schedule, further statuses that are sent again, and a text that the body of a 2xx must hold.\n\
         - **Retry-After** is honoured, up to {}. A slow partner delays no other.\n\
         - **Stop.** Answer with the header `{ABORT_HEADER}: true` and a status that is not 2xx: it is given up at once.\n\
         - **Acceptance window.** If you refuse conversions after some time, say how long: the last send is pulled inside \
         it, and what is later expires instead of being refused.\n\
         - **Idempotency.** At least once: after a crash, or when your answer was lost, the same fact is sent again. \
         `{{event_id}}` is the same through all retries and replays: count each one once. `x-roundtrip-delivery` is new for a \
         replay, so it is nothing to count by.\n\
         - **What changes later.** A rejection or another change of status is a postback of its own, with a new `{{event_id}}` \
         and the old one in `{{relates_to}}`, where a rule tells you of changes. If a conversion turns out to be another \
         partner's, nothing is sent to take it back.\n",
        trouble.join(", "),
        POSTBACK_WAITS_MS.len() + 1,
        waits.join(", "),
        human(RETRY_AFTER_MAX_MS),
    );
}

fn proof(out: &mut String) {
    let is_signed =
        vocabulary::find("signature").is_some_and(|known| known.availability != Availability::Later);
    out.push_str("## That it was us\n\n");
    out.push_str(if is_signed {
        "- **Signature.** A template can carry `{signature}`; the rule says which fields it covers, and the secret is one \
         of your settings; your sheet says how it is computed. It covers the decoded values, where `+` and `%20` are a space \
         and `%2f` is `/`; only `{x|raw}` puts in the received bytes. Decode first, then compute, and compare in constant \
         time.\n"
    } else {
        "- **Signature.** This version computes none: `{signature}` is empty.\n"
    });
    out.push_str(
        "- **Token.** Give us one, as a setting of yours, and have it in the URL, a header or the body (`{cfg.token}`). It is \
         masked in everything that we keep and show.\n\
         - **Authorization.** A rule can send basic authentication, a bearer token, or a token that we fetch from your OAuth2 \
         server (client credentials) and renew before it ends. If you answer 401 to a token that we kept, we fetch another \
         and send again at once, one time.\n\
         - **Address.** Requests leave from the addresses of the operator's machine or proxy: ask the operator, who finds \
         them at `GET /api/v1/egress`.\n\n",
    );
}

fn trying(out: &mut String) {
    out.push_str(
        "## Trying it\n\n\
         - The app's test events are marked `sandbox`. They are kept, shown and never counted, and you are told of them only \
         by a rule that asks for it (`sandbox = true`).\n\
         - `roundtrip template test URL` shows what a template becomes with sample values and what is odd about it; with \
         `--send` it sends that one request to you for real, and shows your answer.\n\
         - `roundtrip explain ID` tells the story of a conversion, event, delivery or click: what was decided, what was sent, \
         what you answered, or why nothing was sent.\n\
         - Your system may be in the [template library](../library.md): it says how your click id reaches our link.\n",
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_docs_is_the_generated_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/partners/guide.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == page(),
            "docs/partners/guide.md is stale: run UPDATE_DOCS=1 cargo test -p roundtrip-server guide"
        );
    }

    #[test]
    fn every_parameter_is_a_macro() {
        for (name, _) in PARAMETERS {
            assert!(vocabulary::find(name).is_some(), "{name}");
        }
    }

    #[test]
    fn every_macro_and_reason_is_on_the_page() {
        let page = page();
        for known in VOCABULARY {
            assert_eq!(page.matches(&format!("`{{{}}}`", known.name)).count().min(1), 1, "{}", known.name);
        }
        for reason in Suppressed::ALL {
            assert!(page.contains(reason.code()), "{}", reason.code());
        }
        assert!(page.contains("10 sends over 23 h 42 m"), "{page}");
    }
}
