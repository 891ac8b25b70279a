//! In what a postback that came before differs from the one that was recorded, and whether its status is believed.
//!
//! A status belongs to one conversion. A repeat that names another amount, currency, click or customer may mean
//! another one, and a booking by a sender who proved nothing may have taken the place of the real one: neither is
//! approved or rejected by what does not match it. Not judged here: who may change what a conversion is now.

use roundtrip_domain::click_id::ClickId;
use roundtrip_domain::event::{Event, PostbackFields};
use roundtrip_domain::status::Status;

use super::answer::Warning;

/// What differs, and what follows for the status.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Differs {
    /// Parameters with another value than at first.
    fields: Vec<&'static str>,
    /// Whether a status that comes with them is not applied.
    pub(super) forbids_status: bool,
}

/// What the conversion is: who and how much.
const IDENTITY: &[&str] = &["amount", "currency", "click_id", "customer_id"];

impl Differs {
    /// Compares a repeat with the one that was recorded. With a status, the comment is its reason and may differ, and
    /// what the repeat leaves out it says nothing about; only a booking without proof or without `order_id` is
    /// changed by nothing but its like.
    pub(super) fn between(first: &Event, sent: &Event, has_status: bool) -> Self {
        let fields = |event: &'_ Event| event.postback.clone().unwrap_or_default();
        let (a, b) = (fields(first), fields(sent));
        let micros = |event: &Event| event.revenue.as_ref().map(|r| r.amount.micros.to_string());
        let currency = |event: &Event| event.revenue.as_ref().and_then(|r| r.currency).map(|c| c.to_string());
        let click = |event: &Event| {
            let text = event.click_id.as_deref()?;
            let canonical = ClickId::parse(text.trim().as_bytes()).map(|id| id.to_string());
            Some(canonical.unwrap_or_else(|| text.to_owned()))
        };
        let commission = |p: &PostbackFields| p.commission.as_ref().map(|c| c.micros.to_string());
        let flag = |is: bool| is.then(String::new);
        let pairs = [
            ("amount", micros(first), micros(sent)),
            ("currency", currency(first), currency(sent)),
            ("click_id", click(first), click(sent)),
            ("customer_id", first.customer_id.clone(), sent.customer_id.clone()),
            ("order_id", a.order_id.clone(), b.order_id.clone()),
            ("commission", commission(&a), commission(&b)),
            ("conversion_rate", a.conversion_rate.clone(), b.conversion_rate.clone()),
            ("coupon", a.coupon.clone(), b.coupon.clone()),
            ("ref_id", a.ref_id.clone(), b.ref_id.clone()),
            ("ref_custom_id", a.ref_custom_id.clone(), b.ref_custom_id.clone()),
            ("new_customer", flag(a.new_customer), flag(b.new_customer)),
            ("skip_lifetime", flag(a.skip_lifetime), flag(b.skip_lifetime)),
            ("comment", a.comment.clone(), b.comment.clone()),
        ];
        // That it was booked for anyone's word stands among its findings; a trusted sender's `pending` does not.
        let is_unproven = first.findings.iter().any(|word| word == "pending");
        let is_strict = is_unproven || a.order_id.is_none();
        let mut differs = Self::default();
        for (name, was, is) in pairs {
            if was == is || (has_status && name == "comment") {
                continue;
            }
            differs.fields.push(name);
            differs.forbids_status |= is_strict || (IDENTITY.contains(&name) && is.is_some());
        }
        differs
    }

    /// Says which values differ, and that the status was not applied where it was not.
    pub(super) fn warn(&self, status: Option<Status>, warnings: &mut Vec<Warning>) {
        if self.fields.is_empty() {
            return;
        }
        let mut message = format!(
            "it was recorded before with other values ({}); those stay, and these are not recorded",
            self.fields.join(", ")
        );
        if let Some(status) = status.filter(|_| self.forbids_status) {
            message.push_str(&format!(
                "; the status {} was not applied, since it may be meant for another conversion",
                status.name()
            ));
            if warnings.iter().any(|warning| warning.code == "deduplicated_by_click") {
                message.push_str(": without order_id the same click and goal is taken for a repeat");
            }
        }
        warnings.push(Warning::new("fields_differ", "", message));
    }
}
