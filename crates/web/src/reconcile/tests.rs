//! Tests of the join: each cause from a made list and made facts, and the sums for any.

use proptest::prelude::*;

use super::join::Join;
use super::*;

const DAY: i64 = 86_400_000;
const HOUR: i64 = 3_600_000;

/// Thursday, 2026-06-04, 00:00 UTC.
const START: Timestamp = Timestamp::from_ms(1_780_531_200_000);

fn at(hours: i64) -> Timestamp {
    START.plus_ms(hours * HOUR)
}

fn terms() -> Terms {
    let (from, to) = (START, START.plus_ms(DAY));
    Terms { against: Against::Told, from, to, listed: None, tolerance_ms: TOLERANCE_MS }
}

fn delivery(n: u64, state: &str, reason: &str, ended: Option<Timestamp>) -> Delivery {
    Delivery {
        id: format!("dlv_{n}"),
        state: state.into(),
        reason: reason.into(),
        ended_at: ended.map(|at| at.to_string()),
    }
}

/// An install of click `c<n>`, delivered at once.
fn fact(n: u64, when: Timestamp) -> Fact {
    Fact {
        event: format!("evt_{n:026}"),
        kind: "install".into(),
        name: "install".into(),
        told_as: vec!["install".into()],
        status: "approved".into(),
        environment: "production".into(),
        received_at: when.to_string(),
        occurred_at: when.to_string(),
        amount: None,
        currency: None,
        told_amounts: Vec::new(),
        order_id: None,
        source_event_id: None,
        click_id: None,
        partner_click_id: Some(format!("c{n}")),
        suppressed: Vec::new(),
        deliveries: vec![delivery(n, "delivered", "accepted_by_receiver", Some(when))],
    }
}

fn sale(n: u64, when: Timestamp, amount: &str) -> Fact {
    Fact {
        kind: "purchase".into(),
        name: "sale".into(),
        told_as: vec!["sale".into()],
        amount: Some(amount.into()),
        currency: Some("EUR".into()),
        told_amounts: vec![amount.into()],
        order_id: Some(format!("o{n}")),
        ..fact(n, when)
    }
}

fn untold(n: u64, state: &str, reason: &str) -> Fact {
    Fact { deliveries: vec![delivery(n, state, reason, None)], ..fact(n, at(5)) }
}

fn row(line: u64, click: &str) -> Row {
    Row { line, click_id: Some(click.into()), ..Row::default() }
}

fn join(rows: Vec<Row>, facts: Vec<Fact>, terms: Terms) -> Reconciliation {
    let mut join = Join::new(rows, terms);
    facts.into_iter().for_each(|fact| join.offer(fact));
    let result = join.finish(usize::MAX);
    assert_eq!(result.totals.differences(), (0, 0), "{result:?}");
    result
}

/// One line against one fact: verdict and cause, or that they match.
#[track_caller]
fn check(row: Option<Row>, fact: Option<Fact>, want: Option<(Verdict, Cause)>) {
    let result = join(row.clone().into_iter().collect(), fact.clone().into_iter().collect(), terms());
    let found = result.findings.first().map(|finding| (finding.verdict, finding.cause));
    assert_eq!(found, want, "{row:?} {fact:?}");
    assert!(result.findings.len() <= 1, "{result:?}");
}

#[test]
fn each_cause_of_one_line_and_one_fact_is_named() {
    use Cause as C;
    use Verdict as V;
    let listed = || Some(row(1, "c1"));
    let amount = |amount: &str| Some(Row { amount: Some(amount.into()), ..row(1, "c1") });
    let time = |time: Timestamp| Some(Row { time: Some(time.to_string()), ..row(1, "c1") });
    check(listed(), Some(fact(1, at(5))), None);
    check(amount("12.50"), Some(sale(1, at(5), "12.50")), None);
    check(amount("12.504"), Some(sale(1, at(5), "12.50")), None);
    check(amount("13.50"), Some(sale(1, at(5), "12.50")), Some((V::OtherAmount, C::AmountDiffers)));
    check(amount("1250"), Some(sale(1, at(5), "12.50")), Some((V::OtherAmount, C::MinorUnits)));
    check(amount("13"), Some(sale(1, at(5), "12.50")), Some((V::OtherAmount, C::Rounded)));
    let dollars = amount("12.50").map(|row| Row { currency: Some("usd".into()), ..row });
    check(dollars, Some(sale(1, at(5), "12.50")), Some((V::OtherAmount, C::OtherCurrency)));
    let secret = Fact { told_amounts: Vec::new(), ..sale(1, at(5), "12.50") };
    check(amount("3"), Some(secret), Some((V::OtherAmount, C::AmountNotTold)));
    check(amount("3"), Some(fact(1, at(5))), Some((V::OtherAmount, C::AmountNotTold)));
    check(time(at(5).plus_ms(TOLERANCE_MS)), Some(fact(1, at(5))), None);
    check(time(at(7)), Some(fact(1, at(5))), Some((V::OtherTime, C::TimeZone)));
    check(time(at(5).plus_ms(40 * 60_000)), Some(fact(1, at(5))), Some((V::OtherTime, C::TimeDiffers)));
    let day = |n: i64| {
        let to = Some(START.plus_ms((n + 1) * DAY).to_string());
        Some(Row { time: Some(START.plus_ms(n * DAY).to_string()), time_to: to, ..row(1, "c1") })
    };
    check(day(0), Some(fact(1, at(22))), None);
    check(day(1), Some(fact(1, at(22))), Some((V::OtherTime, C::DayBoundary)));
    check(day(1), Some(fact(1, at(5))), Some((V::OtherTime, C::TimeDiffers)));

    // What both sides agree on is no difference; what should have arrived is one.
    let suppressed = Fact { deliveries: Vec::new(), suppressed: vec!["not_first".into()], ..fact(1, at(5)) };
    let quiet = Fact { deliveries: Vec::new(), ..fact(1, at(5)) };
    let pending = Fact { status: "pending".into(), ..suppressed.clone() };
    let rejected = Fact { status: "rejected".into(), ..fact(1, at(5)) };
    let test = Fact { environment: "sandbox".into(), ..fact(1, at(5)) };
    for (fact, cause, verdict) in [
        (suppressed, C::NeverSent, V::NotTold),
        (quiet, C::NoRule, V::NotTold),
        (pending, C::Pending, V::NotTold),
        (rejected, C::Rejected, V::NotTold),
        (test, C::Test, V::NotTold),
        (untold(1, "cancelled", "rejected"), C::Cancelled, V::NotTold),
        (untold(1, "dead", "http_500"), C::Failed, V::MissingThere),
        (untold(1, "expired", "acceptance_window"), C::Expired, V::MissingThere),
        (untold(1, "scheduled", "http_503"), C::Waiting, V::MissingThere),
        (untold(1, "held", "paused"), C::Held, V::MissingThere),
    ] {
        check(None, Some(fact.clone()), Some((verdict, cause)));
        check(listed(), Some(fact), Some((V::MissingHere, cause)));
    }
    check(None, Some(fact(1, at(5))), Some((V::MissingThere, C::Delivered)));
    let late = Fact { deliveries: vec![delivery(1, "delivered", "", Some(at(25)))], ..fact(1, at(23)) };
    check(None, Some(late), Some((V::MissingThere, C::Late)));
    check(listed(), None, Some((V::MissingHere, C::NeverOurs)));
    check(
        Some(Row { line: 1, order_id: Some("x".into()), ..Row::default() }),
        None,
        Some((V::MissingHere, C::OrderUnknown)),
    );
    check(Some(Row { line: 1, ..Row::default() }), None, Some((V::MissingHere, C::NoKey)));
    let elsewhere = Row { time: Some(at(80).to_string()), ..row(1, "c9") };
    check(Some(elsewhere), None, Some((V::Outside, C::OutsidePeriod)));
}

#[test]
fn keys_are_trusted_in_their_order_and_narrow_each_other() {
    let click = "0197a3f0-0000-7000-8000-000000000001";
    let mut install = fact(1, at(1));
    install.click_id = Some(click.into());
    let mut first = sale(2, at(2), "5");
    let mut second = sale(3, at(3), "7");
    (first.partner_click_id, second.partner_click_id) = (Some("c1".into()), Some("c1".into()));
    let facts = || vec![install.clone(), first.clone(), second.clone()];
    let named = |line, event: &str| Row { event: Some(event.into()), ..row(line, "c1") };
    // By name, then by amount, then by time; whatever the order of the lines.
    let amount = |row: Row, amount: &str| Row { amount: Some(amount.into()), ..row };
    let rows = vec![amount(named(1, "SALE"), "7.00"), amount(named(2, "sale"), "5"), named(3, "install")];
    let result = join(rows, facts(), terms());
    assert_eq!((result.totals.matched, result.clean), (3, true), "{result:?}");
    // By our own click id in the same column, with or without hyphens; by event id and conversion id; by order.
    let by_event = |line, id: &str| Row { line, event_id: Some(id.into()), ..Row::default() };
    let rows = vec![
        row(1, &click.replace('-', "")),
        by_event(2, &first.event.replace("evt_", "cnv_")),
        Row { line: 3, order_id: Some("o3".into()), ..Row::default() },
    ];
    assert!(join(rows, facts(), terms()).clean);
    // A third sale of two.
    let rows = vec![named(1, "sale"), named(2, "sale"), named(3, "sale"), named(4, "install")];
    let result = join(rows, facts(), terms());
    let repeats: Vec<_> = result.findings.iter().map(|f| (f.line, f.cause)).collect();
    assert_eq!(repeats, [(Some(3), Cause::ListedTwice)]);
    // An event that we know nothing of, beside one that took the only fact of the click.
    let rows = vec![named(1, "install"), named(2, "level_9")];
    let result = join(rows, vec![install], terms());
    let causes: Vec<_> = result.findings.iter().map(|f| (f.line, f.cause)).collect();
    assert_eq!(causes, [(Some(2), Cause::OtherEvent)]);
}

#[test]
fn a_line_that_says_the_same_as_an_earlier_one_is_a_duplicate_and_no_other_amount() {
    let mut facts = vec![sale(1, at(2), "5"), sale(2, at(3), "7")];
    facts.iter_mut().for_each(|fact| fact.partner_click_id = Some("c1".into()));
    let sold = |line, amount: &str, hour| Row {
        amount: Some(amount.into()),
        time: Some(at(hour).to_string()),
        ..row(line, "c1")
    };
    // The first sale twice, and the second one not at all.
    let result = join(vec![sold(1, "5", 2), sold(2, "5", 2)], facts.clone(), terms());
    let found: Vec<_> = result.findings.iter().map(|f| (f.line, f.verdict, f.cause)).collect();
    assert_eq!(
        found,
        [(Some(2), Verdict::Duplicate, Cause::ListedTwice), (None, Verdict::MissingThere, Cause::Delivered),]
    );
    assert_eq!(result.findings[0].event.as_ref(), Some(&facts[0].event), "it says of what");
    // Another amount at the time of the second sale is that one, told wrong.
    let result = join(vec![sold(1, "5", 2), sold(2, "5", 3)], facts, terms());
    let found: Vec<_> = result.findings.iter().map(|f| (f.line, f.cause)).collect();
    assert_eq!(found, [(Some(2), Cause::AmountDiffers)]);
}

#[test]
fn of_some_kinds_nothing_else_is_missed_and_nothing_else_is_compared() {
    let facts = vec![fact(1, at(1)), sale(2, at(2), "5"), fact(3, at(3)), sale(4, at(4), "7")];
    let rows = vec![row(1, "c1"), row(2, "c2")];
    let mut joined = Join::new(rows.clone(), terms()).of_kinds(vec!["purchase"]);
    facts.iter().cloned().for_each(|fact| joined.offer(fact));
    let result = joined.finish(usize::MAX);
    assert_eq!(result.totals.differences(), (0, 0), "{result:?}");
    let found: Vec<_> = result.findings.iter().map(|f| (f.line, f.verdict, f.cause)).collect();
    assert_eq!(
        found,
        [(Some(1), Verdict::Outside, Cause::OtherKind), (None, Verdict::MissingThere, Cause::Delivered)]
    );
    assert_eq!(join(rows, facts, terms()).totals.missing_there, 2, "all kinds without it");
    assert_eq!(kinds(&["install".into(), "purchase".into()]), Ok(vec!["install", "purchase"]));
    assert_eq!(kinds(&["purchases".into()]), Err("purchases".into()));
}

#[test]
fn a_replay_explains_a_repeat() {
    let mut twice = fact(1, at(1));
    twice.deliveries.push(delivery(9, "delivered", "", Some(at(2))));
    let result = join(vec![row(1, "c1"), row(2, "c1")], vec![twice], terms());
    assert_eq!(result.findings.iter().map(|f| f.cause).collect::<Vec<_>>(), [Cause::ToldTwice]);
}

#[test]
fn a_time_zone_that_the_list_betrays_explains_what_it_lacks() {
    let rows: Vec<Row> = (1..=3)
        .map(|n| Row { time: Some(at(10 + n as i64 + 2).to_string()), ..row(n, &format!("c{n}")) })
        .collect();
    let mut facts: Vec<Fact> = (1..=3).map(|n| fact(n, at(10 + n as i64))).collect();
    // 23:00 UTC is one o'clock of the next day there.
    facts.push(fact(4, at(23)));
    facts.push(fact(5, at(12)));
    let result = join(rows, facts, terms());
    assert_eq!(result.time_zone_off_by.as_deref(), Some("+02:00"));
    let missing: Vec<_> = result
        .findings
        .iter()
        .filter(|f| f.verdict == Verdict::MissingThere)
        .map(|f| (f.cause, f.replay.as_deref()))
        .collect();
    assert_eq!(missing, [(Cause::Delivered, Some("dlv_5")), (Cause::DayBoundary, None)]);
    // The same when the reader knows the zone and says which days the list is about.
    let listed = Some((START.plus_ms(-2 * HOUR), at(22)));
    let result = join(Vec::new(), vec![fact(4, at(23))], Terms { listed, ..terms() });
    assert_eq!(result.findings[0].cause, Cause::DayBoundary);
}

#[test]
fn orders_are_compared_with_purchases() {
    let terms = Terms { against: Against::Orders, ..terms() };
    let order = |line, id: &str, amount: &str| Row {
        line,
        order_id: Some(id.into()),
        amount: Some(amount.into()),
        currency: Some("EUR".into()),
        ..Row::default()
    };
    let quiet = |fact: Fact| Fact { deliveries: Vec::new(), told_amounts: Vec::new(), ..fact };
    let rejected = Fact { status: "rejected".into(), ..sale(3, at(1), "3") };
    let pending = Fact { status: "pending".into(), ..sale(4, at(1), "4") };
    let facts = vec![sale(1, at(1), "1"), sale(2, at(1), "2"), rejected, pending, sale(5, at(1), "5")];
    let rows = vec![
        order(1, "o1", "1"),
        order(2, "o2", "2.5"),
        order(3, "o3", "3"),
        order(4, "o4", "4"),
        order(6, "o6", "6"),
    ];
    let result = join(rows, facts.into_iter().map(quiet).collect(), terms);
    let causes: Vec<_> = result.findings.iter().map(|f| f.cause).collect();
    use Cause as C;
    assert_eq!(
        causes,
        [C::AmountDiffers, C::Rejected, C::Pending, C::OrderUnknown, C::NotInOrders],
        "{result:?}"
    );
}

proptest! {
    /// Whatever is listed and whatever happened: each line and each fact has one verdict.
    #[test]
    fn the_sums_always_add_up(
        rows in prop::collection::vec((0_u64..12, 0_usize..4, 0_i64..80, prop::option::of(0_u64..9)), 0..30),
        facts in prop::collection::vec((0_u64..12, 0_usize..7, -30_i64..60, prop::option::of(0_u64..9), 1_usize..3), 0..30),
        max in 0_usize..40,
    ) {
        let rows: Vec<Row> = rows.into_iter().enumerate().map(|(line, (n, form, hours, amount))| {
            let mut made = match form {
                0 | 1 => row(line as u64, &format!("c{n}")),
                2 => Row { line: line as u64, event_id: Some(format!("evt_{n:026}")), ..Row::default() },
                _ => Row { line: line as u64, order_id: Some(format!("o{n}")), ..Row::default() },
            };
            made.amount = amount.map(|n| n.to_string());
            made.time = (form != 1).then(|| at(hours).to_string());
            made
        }).collect();
        let states = ["delivered", "scheduled", "dead", "expired", "cancelled", "held"];
        let facts: Vec<Fact> = facts.into_iter().enumerate().map(|(i, (n, state, hours, amount, deliveries))| {
            let mut made = sale(n, at(hours), &amount.unwrap_or(0).to_string());
            made.event = format!("evt_{i:026}");
            made.deliveries = states.get(state).map_or(Vec::new(), |state| {
                (0..deliveries).map(|d| delivery(d as u64, state, "", Some(at(hours)))).collect()
            });
            made
        }).collect();
        let mut join = Join::new(rows.clone(), terms());
        let in_period = facts.iter().filter(|f| (START..START.plus_ms(DAY)).contains(&f.received())).count() as u64;
        facts.into_iter().for_each(|fact| join.offer(fact));
        let result = join.finish(max);
        let totals = result.totals;
        prop_assert_eq!(totals.differences(), (0, 0));
        prop_assert_eq!(totals.rows, rows.len() as u64);
        prop_assert!(totals.facts >= in_period);
        prop_assert!(result.findings.len() <= max);
        let listed = result.findings.len() as u64 + result.findings_left_off;
        let not_matched = totals.rows - totals.matched + totals.missing_there + totals.not_told;
        prop_assert_eq!(listed, not_matched);
    }
}
