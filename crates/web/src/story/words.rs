//! Codes as sentences. Whole ones: they stand alone on a page, in a terminal and in JSON.

use roundtrip_domain::attribution::{Candidate, DeadEnd, MatchType, Verdict};
use roundtrip_domain::click::TouchKind;
use roundtrip_domain::endpoint::Wait;
use roundtrip_domain::postback::{Detail, Suppressed};
use roundtrip_domain::time::{Timestamp, human};
use roundtrip_store::ledger::{AttemptRow, DeliveryStory, EndpointRow, RuleStory, Why};

use super::shape::{Shared, Unmet};
use crate::waits;

/// "12.50 EUR", as in sentences.
pub(super) fn money(amount: &str, currency: Option<&str>) -> String {
    match currency {
        Some(currency) => format!("{amount} {currency}"),
        None => format!("{amount} without a currency"),
    }
}

/// A moment from another: "in 2 m", "3 h ago", "now".
pub(super) fn from_now(at: Timestamp, now: Timestamp) -> String {
    let ms = at.since(now);
    match ms.abs() {
        0..1_000 => "now".to_owned(),
        _ if ms > 0 => format!("in {}", human(ms)),
        _ => format!("{} ago", human(-ms)),
    }
}

/// How a touch was found, as the end of "found by …".
pub(super) const fn found_by(match_type: MatchType) -> &'static str {
    match match_type {
        MatchType::InstallReferrer => "the click id in the store's referrer",
        MatchType::ClickId => "the click id on the event",
        MatchType::Postback => "the click id in the inbound postback",
        MatchType::DeviceId => "the same device id on click and event",
    }
}

/// How the visitor came from the click to the event: a stable word and a sentence.
pub(super) const fn handover(match_type: MatchType) -> (&'static str, &'static str) {
    match match_type {
        MatchType::InstallReferrer => {
            ("store", "The store passed the click id on to the app in its install referrer.")
        }
        MatchType::ClickId => {
            ("landing", "The landing page or deep link kept the click id and passed it on.")
        }
        MatchType::Postback => ("postback", "The site kept the click id and sent it back with its postback."),
        MatchType::DeviceId => {
            ("device", "Nothing was passed on; the device id on the link and in the event is the same.")
        }
    }
}

/// What kind of touch happened, as the beginning of a sentence.
pub(super) const fn touched(kind: TouchKind) -> &'static str {
    match kind {
        TouchKind::Click => "A visitor followed the link",
        TouchKind::ServerClick => "The partner's server told of a click on the link",
        TouchKind::Impression => "The ad of the link was shown",
        TouchKind::Preview => "The link was previewed, not followed,",
    }
}

/// Why a candidate won or lost, with its age and its window.
pub(super) fn candidate(candidate: &Candidate) -> String {
    let window = human(candidate.window.ms());
    let age = match candidate.age_ms {
        age if age < 0 => format!("it came {} after the reference time", human(-age)),
        age => format!("it came {} before", human(age)),
    };
    let reason = candidate.verdict.sentence();
    match candidate.verdict {
        Verdict::Won => format!(
            "Won because {reason}: {age}, the window is {window}; found by {}.",
            found_by(candidate.match_type)
        ),
        Verdict::OutsideWindow => format!("Lost because {reason}: {age}, and the window is {window}."),
        Verdict::LateClick => format!("Lost because {reason}: {age}."),
        Verdict::WeakerTier | Verdict::EarlierTouch | Verdict::AlreadyEarned => {
            format!("Lost because {reason}: {age}, inside its window of {window}.")
        }
        Verdict::OtherApp
        | Verdict::OtherWorkspace
        | Verdict::Preview
        | Verdict::Impression
        | Verdict::OtherDevice => format!("Lost because {reason}; {age}."),
    }
}

/// Why a click id led nowhere.
pub(super) const fn dead_end(why: DeadEnd) -> &'static str {
    match why {
        DeadEnd::Malformed => "It is no click id: a click id is a UUID.",
        DeadEnd::NotOurs => {
            "None of this installation's keys made it: it was changed on the way, or is another system's."
        }
        DeadEnd::NotStored => "This installation made it, but its click was lost when it was made.",
        DeadEnd::Expired => "Its click is older than clicks are kept.",
    }
}

/// What became of a rule.
pub(super) fn rule(
    rule: &RuleStory,
    partner: Option<&str>,
    delivery: Option<&str>,
    condition: Option<&Unmet>,
    shared: Option<&Shared>,
) -> String {
    let partner = partner.unwrap_or("nobody");
    let shared = shared.map(|it| {
        let told = money(&it.amount, it.currency.as_deref());
        match it.how.as_str() {
            "exact" => format!(" Of the revenue it tells all: {told}."),
            how => format!(" Of the revenue it tells {told}, which is {} shared as {how}.", it.of),
        }
    });
    let shared = shared.unwrap_or_default();
    match (rule.suppressed, delivery) {
        (Some(Suppressed::Condition), _) if condition.is_some() => {
            let Some(Unmet { name, wanted, seen }) = condition else { return String::new() };
            let seen = match seen {
                Some(seen) => format!("{seen} was seen"),
                None => "nothing is known of that".to_owned(),
            };
            format!("Did not fire because its condition `{name}` asks for {wanted}, and {seen}.")
        }
        (Some(reason), _) => {
            let late = match &rule.detail {
                Some(Detail::Window { window, age_ms }) => {
                    format!(": {} later, and it tells for {window}", human(*age_ms))
                }
                Some(Detail::Callback { parameter, fault: None }) => format!(": there is no `{parameter}`"),
                Some(Detail::Callback { parameter, fault: Some(fault) }) => {
                    format!(" (`{parameter}`): {}", fault.sentence())
                }
                _ => String::new(),
            };
            format!("Did not fire because {}{late}.", reason.sentence())
        }
        (None, Some(delivery)) => format!("Fired: {partner} is told by {delivery}.{shared}"),
        (None, None) => format!("Fired for {partner}.{shared}"),
    }
}

/// A finding on an event; ingest made it, and told the sender in its answer.
pub(super) fn finding(code: &str) -> &'static str {
    match code {
        "currency_missing" => "It has revenue, but neither it nor the app names a currency.",
        "amount_rounded" => "Its amount had more than six decimals and was rounded half to even.",
        "value_cut" => "A value was longer than is kept and was cut.",
        "field_ignored" => "A field that Roundtrip does not know was left out.",
        "device_id_invalid" => "A device id is none and was left out.",
        "not_deduplicated" => "It carries nothing that tells a repeat of it apart, so a repeat counts again.",
        "deduplicated_by_click" => "Repeats of it are told apart by click and goal, for want of an order id.",
        "identity_missing" => "It names neither an installation, a person, a device nor a click.",
        "pending" => "It waits for approval: its sender says so, or did not prove who it is.",
        "status_unknown" => "Its status is a word that nobody is known to use; it was taken for none.",
        "status_untrusted" => "It names a status and did not prove its sender, so that was not believed.",
        "click_id_malformed" => "Its click id is no UUID.",
        "click_id_not_ours" => "None of this installation's keys made its click id.",
        "click_not_stored" => "Its click was lost when it was made.",
        "click_expired" => "Its click is older than clicks are kept.",
        _ => "The sender should look at this; the code says what was found.",
    }
}

fn times(sends: u32) -> String {
    match sends {
        1 => "1 send".to_owned(),
        sends => format!("{sends} sends"),
    }
}

/// Why a delivery is in its state, as the end of "given up because …".
pub(crate) fn why(reason: &str) -> String {
    match reason {
        "refused_by_receiver" => {
            "the receiver refused it with an answer that more sends do not change".to_owned()
        }
        "test_failed" => "it was a test, which is sent once".to_owned(),
        "attempts_exhausted" => "the last send of the schedule failed too".to_owned(),
        "redirect" => "the receiver redirects, and redirects are not followed".to_owned(),
        "test_too_old" => {
            "it was a test, and was not sent in the ten minutes in which somebody waits for it".to_owned()
        }
        "delivery_not_kept" => "its event or values are no longer kept".to_owned(),
        "template_not_kept" => "the rule's template of that version can no longer be read".to_owned(),
        "callback_refused" => {
            "the partner's links may not carry callbacks any more, or this one may not be told".to_owned()
        }
        "webhook_deleted" => "its webhook was deleted".to_owned(),
        "payload_not_kept" => "what it says is no longer kept and cannot be made again".to_owned(),
        "endpoint_gone" => "the receiver answered 410, and the endpoint was disabled for that".to_owned(),
        "store_unavailable" => "what it takes to send it could not be read at the time".to_owned(),
        "held_too_long" => {
            "its endpoint was stopped for longer than is held for one; a replay tells it after all".to_owned()
        }
        "host_full" => "as much is under way to its host as may be".to_owned(),
        "conversion_rejected" => "the conversion was rejected before".to_owned(),
        "accepted_by_receiver" => "the receiver has it".to_owned(),
        "sent_before_cancelled" => "the receiver had it before it was cancelled".to_owned(),
        "arrived_after_all" => {
            "the receiver had it, which was heard of after it had been given up or had expired".to_owned()
        }
        "planned" => "it waits for its first send".to_owned(),
        "replayed" => "it was asked for again".to_owned(),
        "delayed" => "its rule holds it back".to_owned(),
        "test" => "somebody tests the endpoint".to_owned(),
        "cancelled_by_owner" => "its owner cancelled it; a replay tells it after all".to_owned(),
        "decision_changed" => {
            "by a later decision the rule does not tell it, or says something else".to_owned()
        }
        "status_changed" => {
            "the conversion's status was changed again, and only the last change is told".to_owned()
        }
        "outside_acceptance_window" => "its receiver does not accept it any more".to_owned(),
        "horizon_reached" => "the time in which it is sent again is over".to_owned(),
        "aborted_by_receiver" => "the receiver asked not to be sent it again".to_owned(),
        other => outcome(other),
    }
}

/// What a send can come to, but for the statuses of answers, and the same in words.
pub(crate) const OUTCOMES: [(&str, &str); 23] = [
    ("timeout", "no answer came before the deadline"),
    ("connect", "the connection was refused"),
    ("connect_timeout", "the connection was not made in time"),
    ("dns", "the host's name was not resolved"),
    ("tls", "TLS could not be agreed on"),
    ("reset", "the connection ended before the answer"),
    ("protocol", "what came back is not HTTP"),
    ("pool_full", "all connections were in use"),
    ("token_unavailable", "the token that the request needs could not be fetched"),
    ("proxy", "the proxy that requests leave through could not be used"),
    ("local", "no connection could be opened from this machine"),
    (
        "refused_address",
        "the address is one that the server's settings do not allow; --allow-private opens a range",
    ),
    ("own_listener", "the address is this server's own"),
    ("plain_http_refused", "the URL is plain http, which only --allow-plain-http-out allows"),
    ("port_refused", "the port is one that only --outbound-port allows"),
    ("bad_url", "the filled URL is not one that can be called"),
    ("bad_request", "the filled request cannot be written as HTTP"),
    ("panicked", "sending it failed inside Roundtrip"),
    ("body_refused", "the receiver answered 2xx, and its body says that it was not taken"),
    (
        "body_cut_short",
        "the receiver answered 2xx, and its body broke off before it said whether it was taken",
    ),
    ("host_missing", "a setting of the partner that stands in the URL's host is empty"),
    ("auth_missing", "a setting of the partner that proves who sends the request is missing"),
    ("request_too_long", "the filled template is longer than what is sent"),
];

/// What a send came to, in words: `http_503`, `timeout`, ….
pub(crate) fn outcome(code: &str) -> String {
    if let Some(status) = code.strip_prefix("http_") {
        return format!("the receiver answered {status}");
    }
    let words = OUTCOMES.iter().find(|(known, _)| *known == code);
    words.map_or(code, |(_, words)| words).to_owned()
}

/// Why a delivery is in its state, in a list: of one that waits, what keeps it now.
pub(crate) fn listed(
    reason: &str,
    now_waits: Option<Why>,
    held: Option<&EndpointRow>,
    now: Timestamp,
) -> String {
    match now_waits {
        // When it is due stands in a field of its own; what it came to last says more.
        Some(it) if !is_plain(it.wait) => waits::because(it, held, now),
        _ => why(reason),
    }
}

/// How a delivery stands.
pub(super) fn delivery(delivery: &DeliveryStory, now: Timestamp) -> String {
    let sends = times(delivery.sends);
    let because = delivery.why(now).map(|why| (why.wait, waits::because(why, delivery.held.as_ref(), now)));
    match (delivery.state.as_str(), delivery.due) {
        ("held", Some(_)) => {
            let because = because.map_or_else(|| "its endpoint is stopped".to_owned(), |(_, text)| text);
            format!("Held after {sends}, because {because}.")
        }
        ("delivered", _) => {
            let who = if delivery.endpoint.postback().is_some() { "partner" } else { "webhook" };
            format!("Delivered: the {who} has it, after {sends}.")
        }
        ("scheduled", Some(due)) if delivery.sends == 0 && delivery.reason == "delayed" => {
            format!("Delayed as its rule says; it is sent at {due}, {}.", from_now(due, now))
        }
        // What is due and is not next has something in its way.
        ("scheduled", Some(_)) if because.as_ref().is_some_and(|(wait, _)| !is_plain(*wait)) => {
            let (_, because) = because.unwrap_or((Wait::Next, String::new()));
            format!("Waits after {sends}: {because}.")
        }
        ("scheduled", Some(due)) if delivery.sends == 0 => {
            format!("Waits for its first send, due {}.", from_now(due, now))
        }
        ("scheduled", Some(due)) => format!(
            "Waits after {sends}, because {}; sent again {}.",
            why(&delivery.reason),
            from_now(due, now)
        ),
        ("cancelled", _) if delivery.sends == 0 => {
            format!("Cancelled before it was sent, because {}.", why(&delivery.reason))
        }
        ("cancelled", _) => format!("Cancelled after {sends}, because {}.", why(&delivery.reason)),
        ("dead", _) => format!("Given up after {sends}, because {}.", why(&delivery.reason)),
        ("expired", _) if delivery.sends == 0 => {
            format!("Expired before it was sent, because {}.", why(&delivery.reason))
        }
        ("expired", _) => format!("Expired after {sends}, because {}.", why(&delivery.reason)),
        (state, _) => format!("It is {state} after {sends}: {}.", why(&delivery.reason)),
    }
}

/// Whether the time at which it is due says all there is to say.
pub(super) const fn is_plain(wait: Wait) -> bool {
    matches!(wait, Wait::Delayed | Wait::DueAt | Wait::Next)
}

/// What a send came to and what followed.
pub(super) fn attempt(row: &AttemptRow) -> String {
    let took = match row.total_us {
        us if us < 1_000 => format!("{us} µs"),
        us => human(us / 1_000),
    };
    let mut came = outcome(&row.outcome);
    if let Some(first) = came.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    match row.next.as_str() {
        "" => format!("{came}, after {took}."),
        next => format!("{came}, after {took}; {next}."),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use super::*;

    /// The sources that store reasons, and before which words a reason stands in them.
    const SOURCES: [(&str, &[&str]); 5] = [
        (
            "engine/src/deliver",
            &["reason: \"", "later(\"", "Refused(\"", "TEST_FAILED: &str = \"", "TEST_TOO_OLD: &str = \""],
        ),
        ("engine/src/sender/outcome.rs", &["=> \""]),
        (
            "domain/src/retry.rs",
            &[
                "reason: \"",
                "Dead(\"",
                "OUTSIDE_ACCEPTANCE: &str = \"",
                "_REACHED: &str = \"",
                "BODY_REFUSED: &str = \"",
                "BODY_CUT_SHORT: &str = \"",
            ],
        ),
        (
            "store/src/ledger",
            &[
                "HELD_TOO_LONG: &str = \"",
                "&item, \"",
                "earlier, \"",
                "DELAYED: &str = \"",
                "ARRIVED: &str = \"",
                "BY_OWNER: &str = \"",
                " REJECTED: &str = \"",
                "TEST_KIND: &str = \"",
            ],
        ),
        ("store/src/ledger/settle.rs", &["=> (\"delivered\", \"", "\"cancelled\" { \""]),
    ];

    fn files(path: &Path) -> Vec<PathBuf> {
        match path.is_dir() {
            false => vec![path.to_owned()],
            true => {
                let entries = std::fs::read_dir(path).expect("a directory of sources");
                entries.flat_map(|entry| files(&entry.expect("an entry").path())).collect()
            }
        }
    }

    fn stored() -> BTreeSet<String> {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut found = BTreeSet::new();
        for (place, marks) in SOURCES {
            for file in files(&crates.join(place)) {
                let text = std::fs::read_to_string(&file).expect("a source");
                for mark in marks {
                    let words = text.split(mark).skip(1).filter_map(|rest| rest.split('"').next());
                    found.extend(words.map(str::to_owned));
                }
            }
        }
        found
    }

    #[test]
    fn every_reason_that_is_stored_has_words() {
        let mut stored = stored();
        stored.extend(roundtrip_domain::endpoint::NotAllowed::ALL.map(|what| what.code().to_owned()));
        for known in
            ["held_too_long", "test_too_old", "webhook_deleted", "dns", "attempts_exhausted", "host_full"]
        {
            assert!(stored.contains(known), "{known} is stored, and was not found: {stored:?}");
        }
        let mute: Vec<_> = stored.iter().filter(|reason| why(reason) == **reason).collect();
        assert!(mute.is_empty(), "reasons without words: {mute:?}");
    }
}
