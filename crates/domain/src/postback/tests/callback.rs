//! Rules that tell the click's own callback.

use super::*;
use crate::link_dialect::CallbackFault;

/// Won by acme's Adjust click with these parameters.
pub(super) fn clicked(query: &str) -> Credit {
    let mut touch = touch(query);
    touch.click.dialect = LinkDialect::Adjust;
    Credit::Touch(Box::new(Winner { touch, match_type: MatchType::ClickId }))
}

fn encoded(url: &str) -> String {
    percent_encoding::utf8_percent_encode(url, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// A conversion of that kind and name, won by a click with these callbacks, and a rule that tells them.
fn told(kind: ConversionKind, name: &str, callbacks: &[(&str, &str)]) -> Case {
    let query: Vec<String> = callbacks.iter().map(|(name, url)| format!("{name}={}", encoded(url))).collect();
    case().with(|c| {
        c.is_install = kind == ConversionKind::Install;
        c.event.name = name.into();
        c.rule.on = kind.clone();
        c.rule.request = Request::Callback;
        c.kind = kind;
        c.credit = clicked(&format!("label=l%2F1&{}", query.join("&")));
    })
}

#[track_caller]
fn goes_to(case: &Case, want: &str) {
    let considered = case.plan().remove(0);
    let values = considered.outcome.expect("planned");
    assert_eq!(stored_callback(&values), Some(Ok(want)));
}

#[track_caller]
fn refused(case: &Case, reason: Suppressed, parameter: &str, fault: Option<CallbackFault>) {
    let considered = case.plan().remove(0);
    assert_eq!(considered.outcome, Err(reason));
    assert_eq!(considered.detail, Some(Detail::Callback { parameter: parameter.into(), fault }));
}

const INSTALL: (&str, &str) = ("install_callback", "https://a.example/i");
const CONVERSION: (&str, &str) = ("adj_conversion_callback", "https://a.example/c");
const EVENT: (&str, &str) = ("event_callback_f0ob4r", "https://a.example/e");
const REJECTED: (&str, &str) = ("rejected_install_callback", "https://a.example/r");
const ALL: [(&str, &str); 4] = [CONVERSION, INSTALL, EVENT, REJECTED];

#[test]
fn each_kind_has_its_callback() {
    use ConversionKind as On;
    goes_to(&told(On::Install, "open", &ALL), INSTALL.1);
    goes_to(&told(On::Install, "open", &[EVENT, CONVERSION]), CONVERSION.1);
    for (kind, name) in [(On::Event, "level_up"), (On::Signup, "signup"), (On::Purchase, "purchase")] {
        let renamed = |c: &mut Case| c.rule.rename = [(name.into(), "f0ob4r".into())].into();
        goes_to(&told(kind.clone(), name, &ALL).with(renamed), EVENT.1);
        // Without a rename the name itself is the token.
        let parameter = format!("event_callback_{name}");
        refused(&told(kind, name, &ALL), Suppressed::NoCallback, &parameter, None);
    }
    let own = ("event_callback_purchase", "https://a.example/p");
    goes_to(&told(On::Purchase, "purchase", &[own]), own.1);
    let install = |c: &mut Case| c.is_install = true;
    goes_to(&told(On::Rejected, "open", &ALL).with(rejected).with(install), REJECTED.1);
    // A rejected purchase is no rejected install.
    let purchase = told(On::Rejected, "purchase", &ALL).with(rejected).plan().remove(0);
    assert_eq!((purchase.outcome, purchase.detail), (Err(Suppressed::NoCallback), None));
}

#[test]
fn what_is_missing_faulty_or_not_allowed_is_not_told() {
    use ConversionKind as On;
    let install = |callbacks: &[(&str, &str)]| told(On::Install, "open", callbacks);
    refused(&install(&[EVENT]), Suppressed::NoCallback, "install_callback", None);
    // A faulty one is not stepped over for another.
    for (url, fault) in [
        ("http://a.example/i", CallbackFault::NotHttps),
        ("https://127.0.0.1/i", CallbackFault::Host),
        ("https://u:p@a.example/i", CallbackFault::Userinfo),
    ] {
        let case = install(&[(INSTALL.0, url), CONVERSION]);
        refused(&case, Suppressed::CallbackRefused, "install_callback", Some(fault));
    }
    let case = install(&ALL).with(|c| c.callbacks = false);
    let not_allowed = Some(CallbackFault::NotAllowed);
    refused(&case, Suppressed::CallbackRefused, "install_callback", not_allowed);
    // Another system's link has no callbacks, whatever its parameters are called.
    let case = install(&ALL).with(|c| c.credit = won("install_callback=https%3A%2F%2Fa.example%2Fi"));
    refused(&case, Suppressed::NoCallback, "install_callback", None);
}

#[test]
fn only_the_winner_is_told() {
    let install = || told(ConversionKind::Install, "open", &ALL);
    check(&install().with(|c| c.rule.partner = Some(ZETA)), Err(Suppressed::OtherPartner));
    check(&install().with(|c| c.credit = Credit::Organic), Err(Suppressed::Unattributed));
    check(&install().with(|c| c.rule.partner = None), Ok(ACME));
    check(&install().with(|c| (c.rule.partner, c.rule.group) = (None, Some(GROUP))), Ok(ACME));
    // No document makes such a rule; if there were one, a partner that lost would not get the winner's callback.
    let everything = |c: &mut Case| (c.rule.partner, c.rule.scope) = (Some(ZETA), Scope::All);
    check(&install().with(everything), Err(Suppressed::NoCallback));
}

#[test]
fn the_values_that_it_asks_for_are_stored_and_what_is_hidden_stays_hidden() {
    let url = "https://a.example/e?l={label}&r={revenue}&a={app_token}&x={link.callback}";
    // By its last word `{link.callback}` may be a click id, and then it is the one that the click brought.
    let case = || {
        told(ConversionKind::Purchase, "purchase", &[("event_callback_purchase", url), ("click_id", "k7")])
    };
    let rendered = |case: &Case| {
        let values = case.plan().remove(0).outcome.expect("planned");
        let url = stored_callback(&values).expect("a callback").expect("a URL").to_owned();
        let template = crate::link_dialect::callback_template(&url).expect("a template");
        let stored = Stored { values: &values, cfg: None };
        template.url().render(&stored, None).url
    };
    let hidden = rendered(&case());
    assert!(hidden.starts_with("https://a.example/e?l=l%2F1&r=&a=&x="), "{hidden}");
    assert!(hidden.ends_with("&x=k7"), "no macro reads where it goes: {hidden}");
    // Adjust's word stands for the amount in the currency's minor unit.
    let shown = rendered(&case().with(|c| c.rule.share = Share::Exact));
    assert!(shown.starts_with("https://a.example/e?l=l%2F1&r=1250&a=&x="), "{shown}");
    assert_eq!(stored_callback(&super::case().plan().remove(0).outcome.unwrap()), None);
}
