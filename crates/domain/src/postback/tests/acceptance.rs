//! Until when a receiver accepts what it is told.

use super::*;

const HOUR: i64 = 3_600_000;

/// The deadline of the one delivery that is planned, in hours after noon; the click was 24 before it.
fn deadline(change: impl FnOnce(&mut Case)) -> Option<i64> {
    let planned = case().with(change).plan();
    let [one] = planned.as_slice() else { panic!("one rule: {planned:?}") };
    assert!(one.outcome.is_ok(), "{one:?}");
    one.deadline.map(|at| at.since(NOON) / HOUR)
}

fn install(case: &mut Case) {
    case.kind = ConversionKind::Install;
    case.rule.on = ConversionKind::Install;
    case.is_install = true;
    case.install_at = None;
}

#[test]
fn a_window_begins_with_the_click_or_the_conversion() {
    let two_days = Accepts::Within(Span::from_days(2));
    assert_eq!(deadline(|_| {}), None);
    assert_eq!(deadline(|c| c.rule.accepts = two_days), Some(24));
    let from_conversion = |c: &mut Case| {
        c.rule.accepts = two_days;
        c.rule.accepts_from = AcceptsFrom::Conversion;
        c.event.occurred_at = NOON.plus_ms(-HOUR);
    };
    assert_eq!(deadline(from_conversion), Some(47));
    let organic = |c: &mut Case| {
        c.rule.accepts = two_days;
        c.rule.scope = Scope::All;
        c.credit = Credit::Organic;
    };
    assert_eq!(deadline(organic), Some(48));
    let told_of_a_rivals = |c: &mut Case| {
        c.rule.accepts = two_days;
        c.rule.scope = Scope::All;
        c.rule.partner = Some(ZETA);
    };
    assert_eq!(deadline(told_of_a_rivals), Some(48), "acme's click is nothing that zeta knows of");
}

#[test]
fn a_partners_window_binds_its_installs_unless_the_rule_says_otherwise() {
    let day = Some(Span::from_days(1));
    assert_eq!(deadline(|c| c.partners_accept = day), None, "a purchase");
    let installs = |c: &mut Case| {
        install(c);
        c.partners_accept = day;
    };
    assert_eq!(deadline(installs), Some(0), "planned although its window is over");
    let longer = |c: &mut Case| {
        installs(c);
        c.rule.accepts = Accepts::Within(Span::from_days(3));
    };
    assert_eq!(deadline(longer), Some(48));
    let always = |c: &mut Case| {
        installs(c);
        c.rule.accepts = Accepts::Always;
    };
    assert_eq!(deadline(always), None);
}

#[test]
fn what_is_not_told_has_no_deadline() {
    let pending = |c: &mut Case| {
        c.rule.accepts = Accepts::Within(Span::from_days(2));
        c.status = Status::Pending;
    };
    assert_eq!(case().with(pending).plan()[0].deadline, None);
}
