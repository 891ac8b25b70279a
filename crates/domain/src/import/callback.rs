//! Rules from the callbacks that Adjust's links carry inside: one each, beside the link.

use crate::event::ConversionKind;
use crate::link_dialect::CallbackKind;
use crate::template::{Dialect, Parts};

use super::pasted::Pair;
use super::{Account, Input, MASKED, RuleDraft, canonical, postback};
use crate::template::Template;

/// A callback as a rule; `None` where no rule is like it, which is then said. `click_word` is the link's own name of
/// the network's click id.
#[expect(
    clippy::too_many_arguments,
    reason = "each is another part of one link, and this is called from one place"
)]
pub(super) fn rule(
    input: &Input,
    partner: &str,
    app: &str,
    pair: &Pair,
    kind: &CallbackKind,
    click_word: Option<&str>,
    cfg: &mut Vec<(String, String)>,
    account: &mut Account,
) -> Option<RuleDraft> {
    let what = format!("parameter {}", pair.name);
    let url = pair.text();
    let (on, tail) = match kind {
        CallbackKind::Install => (ConversionKind::Install, "install".to_owned()),
        CallbackKind::Conversion => {
            account.lose(
                &what,
                &url,
                "it is also sent on a reattribution, and a rule has no such kind",
                "the rule tells of installs",
            );
            (ConversionKind::Install, "conversion".to_owned())
        }
        CallbackKind::Event(token) => {
            (ConversionKind::Event, format!("event-{}", token.to_ascii_lowercase()))
        }
        other => {
            let reason = match other {
                CallbackKind::Reattribution => "a rule does not tell of reattributions",
                CallbackKind::Session => "sessions are not told",
                CallbackKind::Click => "a partner is not told of clicks",
                CallbackKind::Impression => "a partner is not told of impressions",
                _ => "what a check refused is not told",
            };
            account.lose(&what, &url, reason, "leave it out, or ask the partner what it needs it for");
            return None;
        }
    };
    let slug = format!("{partner}-{tail}");
    let field = format!("rules.{slug}");
    let mut parts = Parts { dialect: Dialect::Adjust, ..Parts::get(url.clone()) };
    let Ok(read) = super::pasted::Pasted::read(&url) else {
        account.lose(&what, &url, "its value is no URL", "take the callback from the link and correct it");
        return None;
    };
    let mut inner = Account::default();
    postback::request(&read, &mut parts, &field, input.share_revenue, cfg, &mut inner);
    if let Some(word) = click_word {
        click_id(&mut parts, word, &mut inner);
    }
    let shown = cfg
        .iter()
        .fold(url.clone(), |shown, (_, secret)| shown.replace(&format!("={secret}"), &format!("={MASKED}")));
    account.carry(&what, &shown, &field, "the callback is a rule of its own; the link no longer carries it");
    // What stands inside is told with the callback that it stands in.
    account.carried.extend(inner.carried.into_iter().map(|mut one| {
        one.what = format!("{} in {}", one.what, pair.name);
        one
    }));
    for mut one in inner.lost {
        one.what = format!("{} in {}", one.what, pair.name);
        account.lose(one.what, &one.value, one.reason, one.fix);
    }
    account.missing.extend(inner.missing);
    let mut events = Vec::new();
    if let CallbackKind::Event(token) = kind {
        events.push(token.clone());
        account.miss(
            format!("{field}.events"),
            format!("`{token}` is Adjust's token of an event; which event of yours it stands for is not in the URL"),
            "write the event's own name in its place",
        );
    }
    let canonical = canonical::rewritten(&parts);
    Some(RuleDraft {
        slug,
        app: app.to_owned(),
        partner: partner.to_owned(),
        on,
        events,
        parts,
        canonical,
        share_revenue: input.share_revenue,
    })
}

/// Writes the network's click id by the word that means it whatever the link calls it. A conversion without one is
/// not told then.
fn click_id(parts: &mut Parts, word: &str, account: &mut Account) {
    let (pasted, plain) = (format!("{{{word}}}"), "{click_id}");
    if word == "click_id" || !parts.url.contains(&pasted) {
        return;
    }
    let url = parts.url.replace(&pasted, plain);
    let (template, _) = Template::parse(Parts { url: url.clone(), ..parts.clone() });
    if !template.uses_partner_click_id() {
        return;
    }
    parts.url = url;
    let what = format!("macro {pasted}");
    for one in account.carried.iter_mut().filter(|one| one.what == what) {
        one.to = "{partner_click_id}".to_owned();
        one.note = format!("written `{plain}`, the network's click id whatever the link calls it");
    }
    account
        .missing
        .retain(|one| !one.field.ends_with("macro_guessed") && !one.field.ends_with("no_partner_click_id"));
}
