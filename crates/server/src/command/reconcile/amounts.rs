//! What the two sides of a comparison come to in money, and line by line where they say different things.

use std::collections::BTreeMap;

use roundtrip_domain::money::{self, Amount};
use roundtrip_web::reconcile::{Finding, Reconciliation, Row, Verdict};

/// Most differences that are shown one by one; `--csv` writes all.
const DIFFERENCES: usize = 10;

/// Sums in millionths, by currency; what names none stands under an empty one.
type Sums = BTreeMap<String, i64>;

/// Reads `10.00 EUR`, or an amount without a currency.
fn read(text: &str) -> Option<(String, i64)> {
    let (amount, currency) = text.split_once(' ').unwrap_or((text, ""));
    Some((currency.to_owned(), Amount::parse(amount).ok()?.micros))
}

fn add(sums: &mut Sums, amount: Option<(String, i64)>) {
    if let Some((currency, micros)) = amount {
        let sum = sums.entry(currency).or_default();
        *sum = sum.saturating_add(micros);
    }
}

/// `47.00 EUR`, several with `and` between them.
fn words(sums: &Sums) -> String {
    let one = |(currency, micros): (&String, &i64)| {
        format!("{} {currency}", money::decimal(*micros, 2)).trim_end().to_owned()
    };
    sums.iter().map(one).collect::<Vec<_>>().join(" and ")
}

/// What the list comes to, part by part, and what of ours it lacks; nothing for lists without amounts.
pub(super) fn sums(result: &Reconciliation, rows: &[Row]) -> Vec<String> {
    let verdicts: BTreeMap<u64, Verdict> =
        result.findings.iter().filter_map(|finding| Some((finding.line?, finding.verdict))).collect();
    let (mut all, mut parts) = (Sums::new(), BTreeMap::<Option<Verdict>, Sums>::new());
    for row in rows {
        let amount = row.amount.as_deref().and_then(|amount| Amount::parse(amount).ok());
        let amount = amount.map(|amount| (row.currency.clone().unwrap_or_default(), amount.micros));
        add(&mut all, amount.clone());
        add(parts.entry(verdicts.get(&row.line).copied()).or_default(), amount);
    }
    let mut lines = Vec::new();
    if !all.is_empty() {
        let part = |(verdict, sums): (&Option<Verdict>, &Sums)| {
            let name =
                verdict.map_or_else(|| "matched".to_owned(), |verdict| verdict.name().replace('_', " "));
            format!("{} {name}", words(sums))
        };
        let parts: Vec<String> = parts.iter().filter(|(_, sums)| !sums.is_empty()).map(part).collect();
        lines.push(format!("Amounts of the list: {} = {}", words(&all), parts.join(" + ")));
    }
    let here = |verdict: Verdict| {
        let mut sums = Sums::new();
        let of = result.findings.iter().filter(|finding| finding.verdict == verdict);
        of.for_each(|finding| add(&mut sums, finding.here.as_deref().and_then(read)));
        sums
    };
    let (missing, other) = (here(Verdict::MissingThere), here(Verdict::OtherAmount));
    if !missing.is_empty() {
        lines.push(format!("Amounts here that are missing there: {}", words(&missing)));
    }
    if !other.is_empty() {
        lines.push(format!("Amounts here of what has another amount there: {}", words(&other)));
    }
    lines
}

/// Where both sides say something of the same, and not the same.
pub(super) fn differences(findings: &[Finding]) -> Vec<String> {
    let is_meant = |finding: &&Finding| matches!(finding.verdict, Verdict::OtherAmount | Verdict::OtherTime);
    let differing: Vec<&Finding> = findings.iter().filter(is_meant).collect();
    if differing.is_empty() {
        return Vec::new();
    }
    let one = |finding: &&Finding| {
        let or = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
        let line = finding.line.map_or_else(String::new, |line| format!("line {line}, "));
        let event = finding.event.as_deref().unwrap_or("?");
        format!("  {line}{event}: here {}, in the list {}", or(&finding.here), or(&finding.there))
    };
    let mut lines = vec![String::new(), "What differs:".to_owned()];
    lines.extend(differing.iter().take(DIFFERENCES).map(one));
    if differing.len() > DIFFERENCES {
        lines.push(format!("  … and {} more; --csv FILE writes all", differing.len() - DIFFERENCES));
    }
    lines
}

#[cfg(test)]
mod tests {
    use roundtrip_web::reconcile::{Cause, Totals};

    use super::*;

    fn row(line: u64, amount: &str, currency: Option<&str>) -> Row {
        Row { line, amount: Some(amount.to_owned()), currency: currency.map(str::to_owned), ..Row::default() }
    }

    fn finding(verdict: Verdict, line: Option<u64>, here: Option<&str>, there: Option<&str>) -> Finding {
        Finding {
            verdict,
            cause: Cause::AmountDiffers,
            detail: None,
            sentence: String::new(),
            line,
            event: Some("evt_1".to_owned()),
            kind: None,
            click_id: None,
            order_id: None,
            here: here.map(str::to_owned),
            there: there.map(str::to_owned),
            replay: None,
        }
    }

    #[test]
    fn both_sides_are_added_up_by_verdict_and_currency() {
        let result = Reconciliation {
            totals: Totals::default(),
            clean: false,
            findings: vec![
                finding(Verdict::OtherAmount, Some(2), Some("12.00 EUR"), Some("7.50 EUR")),
                finding(Verdict::MissingHere, Some(3), None, Some("1.00 USD")),
                finding(Verdict::MissingThere, None, Some("3.00 EUR"), None),
                finding(Verdict::MissingThere, None, None, None),
            ],
            findings_left_off: 0,
            time_zone_off_by: None,
        };
        let rows = [row(1, "10.00", Some("EUR")), row(2, "7.50", Some("EUR")), row(3, "1.00", Some("USD"))];
        insta::assert_snapshot!(sums(&result, &rows).join("\n"), @r"
        Amounts of the list: 17.50 EUR and 1.00 USD = 10.00 EUR matched + 7.50 EUR other amount + 1.00 USD missing here
        Amounts here that are missing there: 3.00 EUR
        Amounts here of what has another amount there: 12.00 EUR
        ");
        insta::assert_snapshot!(differences(&result.findings).join("\n"), @r"

        What differs:
          line 2, evt_1: here 12.00 EUR, in the list 7.50 EUR
        ");
        assert!(
            sums(&Reconciliation { findings: Vec::new(), ..result }, &[]).is_empty(),
            "no amounts, no sums"
        );
        assert!(differences(&[]).is_empty());
    }

    #[test]
    fn of_many_differences_some_are_shown() {
        let many: Vec<Finding> =
            (0..12).map(|n| finding(Verdict::OtherTime, Some(n), Some("a"), None)).collect();
        let shown = differences(&many);
        assert_eq!(shown.len(), 2 + DIFFERENCES + 1);
        assert_eq!(shown.last().map(String::as_str), Some("  … and 2 more; --csv FILE writes all"));
    }
}
