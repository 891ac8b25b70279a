//! Rules that tell a group of partners.

use super::*;

/// A partner that was considered, and why it is not told.
type Heard = (Option<Id<kind::Partner>>, Result<(), Suppressed>);

/// Who is told or not by a rule for the group, and why.
fn group_outcomes(case: &Case) -> Vec<Heard> {
    case.plan().into_iter().map(|one| (one.partner, one.outcome.map(|_| ()))).collect()
}

#[test]
fn a_group_is_told_as_its_scope_says() {
    let of_group =
        |scope| case().with(|c| (c.rule.partner, c.rule.group, c.rule.scope) = (None, Some(GROUP), scope));
    assert_eq!(group_outcomes(&of_group(Scope::Attributed)), [(Some(ACME), Ok(()))]);
    assert_eq!(group_outcomes(&of_group(Scope::All)), [(Some(ACME), Ok(())), (Some(ZETA), Ok(()))]);
    let others = of_group(Scope::Attributed).with(|c| c.members = vec![ZETA]);
    assert_eq!(group_outcomes(&others), [(None, Err(Suppressed::OtherPartner))]);
    let organic = of_group(Scope::Attributed).with(|c| c.credit = Credit::Organic);
    assert_eq!(group_outcomes(&organic), [(None, Err(Suppressed::Unattributed))]);
    let gone = of_group(Scope::All).with(|c| c.members.clear());
    assert_eq!(group_outcomes(&gone), [(None, Err(Suppressed::NobodyToTell))]);
}
