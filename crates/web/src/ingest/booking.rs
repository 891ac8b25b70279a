//! What an inbound postback comes to: the checks, in their order, and the event that would be recorded.
//!
//! Tracknow's parameters. The order is form, credentials, campaign, identity, mandatory parameters, amounts: someone
//! without credentials hears nothing of what exists. A click that cannot be found is no problem: the conversion is
//! recorded unattributed, with a warning, since refusing it would lose money that was earned.

use std::sync::Arc;

use roundtrip_domain::attribution::DeadEnd;
use roundtrip_domain::click::Touch;
use roundtrip_domain::click_id::ClickId;
use roundtrip_domain::device::Device;
use roundtrip_domain::event::{Environment, Event, PostbackFields, Revenue, Source};
use roundtrip_domain::money::Amount;
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::settings::{App, Campaign, Catalog, Key, Partner, Settings};
use roundtrip_domain::status::Status;
use roundtrip_domain::time::Timestamp;
use roundtrip_store::click_log::Found;
use roundtrip_store::ledger::{Idempotency, NewEvent};
use sha2::{Digest, Sha256};

use super::answer::Warning;
use super::event::{
    ID_BYTES_MAX, check_name, click_id_malformed, findings, read_amount, read_currency, warn_of_money,
};
use super::origin::Origin;
use super::parameters::Parameters;
use super::{Ingest, auth, json};

/// What a postback without `goal` is.
const GOAL_DEFAULT: &str = "purchase";
/// Longest comment, in bytes.
const COMMENT_BYTES_MAX: usize = 2_048;

const KEY_ORDER: u8 = 3;
const KEY_CLICK: u8 = 4;

/// What a postback was found to be.
#[derive(Default)]
pub(super) struct Booking {
    /// What stands against it, the first one first. Empty: it can be recorded.
    pub(super) problems: Vec<Problem>,
    /// What is odd.
    pub(super) warnings: Vec<Warning>,
    /// The record, when there is nothing against it.
    pub(super) new: Option<NewEvent>,
    /// The campaign that it would be booked on, once that is known.
    pub(super) campaign: Option<Arc<Campaign>>,
    /// The partner whose click or `ref_id` it names.
    pub(super) partner: Option<Arc<Partner>>,
    /// The conversion's status, as a sender that proved who it is says.
    pub(super) status: Option<Status>,
    /// Whether its word for that says only that the conversion came before.
    pub(super) says_repeat: bool,
}

/// What the click id led to.
enum Led {
    /// There is none.
    Nowhere,
    /// To a click of this namespace.
    To(Box<Touch>),
    /// To nothing.
    Dead(DeadEnd),
    /// To a click of another namespace.
    Elsewhere,
    /// The log could not be read.
    Unread,
}

/// A request to be booked.
pub(super) struct Desk<'a> {
    pub(super) ingest: &'a Ingest,
    pub(super) catalog: &'a Catalog,
    pub(super) settings: &'a Settings,
    pub(super) origin: Origin,
    pub(super) now: Timestamp,
    /// Stop at the first problem; else find all that the sender may hear of.
    pub(super) first_only: bool,
}

impl Desk<'_> {
    /// Judges a postback. The error is a store that cannot answer.
    pub(super) async fn book(&self, read: Parameters) -> Result<Booking, Problem> {
        let mut booking = Booking { problems: read.problems.clone(), ..Booking::default() };
        if self.is_done(&booking) {
            return Ok(booking);
        }
        let key = match self.key(&read) {
            Ok(key) => key,
            Err(problem) => {
                booking.problems.push(problem);
                return Ok(booking);
            }
        };
        let click_id = read.params.text("click_id");
        let named = read.params.text("campaign_id");
        let led = self.find(click_id.as_deref()).await;
        let known = named.as_deref().and_then(|id| self.settings.campaign_by_public_id(id));
        let of_click = match &led {
            Led::To(touch) => self.settings.campaigns.get(&touch.click.campaign),
            _ => None,
        };
        let campaign = if named.is_some() { known } else { of_click };
        let app = campaign.and_then(|c| self.settings.apps.get(&c.app));

        let pending = match self.admit(key, app) {
            Ok(pending) => pending,
            Err(problem) => {
                booking.problems.push(problem);
                return Ok(booking);
            }
        };
        match (campaign, app) {
            (Some(campaign), Some(_)) => booking.campaign = Some(campaign.clone()),
            _ if matches!(led, Led::Unread) && named.is_none() => {
                return Err(Problem::new(
                    Code::StoreUnavailable,
                    "click_id",
                    "the click could not be looked up",
                ));
            }
            _ if named.is_some() => booking.problems.push(Problem::new(
                Code::CampaignUnknown,
                "campaign_id",
                "the namespace has no campaign of this public id",
            )),
            _ => booking.problems.push(Problem::new(
                Code::CampaignMissing,
                "campaign_id",
                "there is no campaign_id, and no click that has one",
            )),
        }
        self.judge_click(&led, campaign, &mut booking);
        if self.is_done(&booking) {
            return Ok(booking);
        }
        if pending {
            let message = "the app takes postbacks from anyone, so this one waits for approval";
            booking.warnings.push(Warning::new("pending", "token", message));
        }
        booking.says_repeat = read.params.text("status").is_some_and(|word| Status::is_repeat_word(&word));
        booking.status = status(&read, pending, &mut booking.warnings);
        // What is rejected at once was pending before: the rejection is a change like any other.
        let pending = pending || matches!(booking.status, Some(Status::Pending | Status::Rejected));
        if let Led::To(touch) = &led {
            booking.partner = self.settings.partners.get(&touch.click.partner).cloned();
        }
        self.fill(&read, click_id, campaign.zip(app), pending, &mut booking);
        Ok(booking)
    }

    fn is_done(&self, booking: &Booking) -> bool {
        self.first_only && !booking.problems.is_empty()
    }

    /// The key of the token, if there is a token. Where nobody could be let in without one, nothing is looked up
    /// for strangers.
    fn key(&self, read: &Parameters) -> Result<Option<&Arc<Key>>, Problem> {
        match &read.token {
            Some(token) => auth::postback_key(token, self.settings, self.catalog).map(Some),
            None if self.settings.apps.values().any(|app| self.lets_in(app).is_some()) => Ok(None),
            None => Err(token_missing()),
        }
    }

    /// Whether an app takes this sender without a token, and whether that books as pending.
    fn lets_in(&self, app: &App) -> Option<bool> {
        let is_listed =
            self.origin.client.is_some_and(|ip| app.postback.addresses.iter().any(|net| net.contains(&ip)));
        if is_listed { Some(false) } else { app.postback.none.then_some(true) }
    }

    /// Whether the sender may book on the app, and whether that is pending.
    fn admit(&self, key: Option<&Arc<Key>>, app: Option<&Arc<App>>) -> Result<bool, Problem> {
        match (key, app) {
            (Some(key), Some(app)) if key.app.is_some_and(|id| id != app.id) => {
                Err(Problem::new(Code::TokenInvalid, "token", "the token is another app's"))
            }
            (Some(_), _) => Ok(false),
            (None, Some(app)) => self.lets_in(app).ok_or_else(token_missing),
            (None, None) => Err(token_missing()),
        }
    }

    async fn find(&self, click_id: Option<&str>) -> Led {
        let Some(text) = click_id else { return Led::Nowhere };
        let Some(id) = ClickId::parse(text.trim().as_bytes()) else { return Led::Dead(DeadEnd::Malformed) };
        match self.ingest.state.clicks.find(id).await {
            Ok(Found::Touch(touch)) if touch.click.workspace == self.settings.workspace => Led::To(touch),
            Ok(Found::Touch(_)) => Led::Elsewhere,
            Ok(Found::NotOurs) => Led::Dead(DeadEnd::NotOurs),
            Ok(Found::NotStored) => Led::Dead(DeadEnd::NotStored),
            Ok(Found::Expired) => Led::Dead(DeadEnd::Expired),
            Err(error) => {
                tracing::warn!(error = %error, "a postback's click could not be looked up");
                Led::Unread
            }
        }
    }

    fn judge_click(&self, led: &Led, campaign: Option<&Arc<Campaign>>, booking: &mut Booking) {
        let mut warn = |code: &'static str, message: &str| {
            booking.warnings.push(Warning::new(code, "click_id", message))
        };
        match led {
            Led::Nowhere | Led::Unread => {}
            Led::Dead(DeadEnd::Malformed) => booking.warnings.push(click_id_malformed()),
            Led::Dead(why @ DeadEnd::NotOurs) => {
                warn(why.code(), "this installation did not make this click id")
            }
            Led::Dead(why @ DeadEnd::NotStored) => {
                warn(why.code(), "the click's record was lost when it was made")
            }
            Led::Dead(why @ DeadEnd::Expired) => warn(why.code(), "the click is older than clicks are kept"),
            Led::Elsewhere => booking.problems.push(Problem::new(
                Code::NamespaceMismatch,
                "click_id",
                "the click is of another namespace",
            )),
            Led::To(touch) => match campaign {
                Some(campaign) if campaign.app != touch.click.app => {
                    warn(Code::ClickOtherApp.text(), "the click promotes another app; it earns nothing here");
                }
                Some(campaign) if campaign.id != touch.click.campaign => booking.problems.push(Problem::new(
                    Code::CampaignMismatch,
                    "campaign_id",
                    "the click is of another campaign of this app",
                )),
                _ => {}
            },
        }
    }

    /// Identity, mandatory parameters, amounts; and the record, if nothing stands against it.
    fn fill(
        &self,
        read: &Parameters,
        click_id: Option<String>,
        booked_on: Option<(&Arc<Campaign>, &Arc<App>)>,
        pending: bool,
        booking: &mut Booking,
    ) {
        let Booking { problems, warnings, partner, .. } = booking;
        let text = |name: &str, bytes_max: usize, problems: &mut Vec<Problem>| {
            let value = read.params.text(name)?;
            let value = value.trim();
            if value.len() > bytes_max {
                let message = format!("the value has {} bytes, at most {bytes_max} are allowed", value.len());
                problems.push(Problem::new(Code::ValueTooLong, name, message));
            }
            (!value.is_empty()).then(|| value.to_owned())
        };
        let coupon = text("coupon", ID_BYTES_MAX, problems);
        let ref_id = text("ref_id", ID_BYTES_MAX, problems);
        let customer_id = text("customer_id", ID_BYTES_MAX, problems);
        if click_id.is_none() && coupon.is_none() && ref_id.is_none() && customer_id.is_none() {
            let message = "there is neither click_id nor coupon, ref_id or customer_id";
            problems.push(Problem::new(Code::IdentityMissing, "click_id", message));
        }
        if let Some(ref_id) = &ref_id {
            match self.settings.partner_by_ref_id(ref_id) {
                Some(found) => *partner = partner.take().or_else(|| Some(found.clone())),
                None => problems.push(Problem::new(
                    Code::PartnerUnknown,
                    "ref_id",
                    "the namespace has no partner of this public id",
                )),
            }
        }
        for name in booked_on.iter().flat_map(|(campaign, _)| &campaign.mandatory) {
            if name != "token" && text(name, usize::MAX, problems).is_none() {
                problems.push(Problem::new(
                    Code::ParameterMissing,
                    name,
                    "the campaign demands this parameter",
                ));
            }
        }
        let money = |name: &str, problems: &mut Vec<Problem>| -> Option<Amount> {
            read_amount(&text(name, usize::MAX, problems)?, name).map_err(|p| problems.push(p)).ok()
        };
        let amount = money("amount", problems);
        let commission = money("commission", problems);
        // A rate is a decimal too, and is kept as it was sent.
        let conversion_rate = money("conversion_rate", problems).map(|rate| rate.text);
        let currency = text("currency", usize::MAX, problems)
            .and_then(|code| read_currency(&code, "currency").map_err(|p| problems.push(p)).ok());
        let goal = text("goal", usize::MAX, problems);
        let name = goal.clone().unwrap_or_else(|| GOAL_DEFAULT.to_owned());
        if let Err(problem) = check_name(&name, "goal") {
            problems.push(problem);
        }
        let order_id = text("order_id", ID_BYTES_MAX, problems);
        let ref_custom_id = text("ref_custom_id", ID_BYTES_MAX, problems);
        let comment = text("comment", COMMENT_BYTES_MAX, problems);
        let flag = |name: &str, problems: &mut Vec<Problem>| match text(name, usize::MAX, problems).as_deref()
        {
            None | Some("false" | "0" | "no") => false,
            Some("true" | "1" | "yes") => true,
            Some(_) => {
                problems.push(Problem::new(Code::ParameterInvalid, name, "this is neither true nor false"));
                false
            }
        };
        let new_customer = flag("new_customer", problems);
        let skip_lifetime = flag("skip_lifetime", problems);
        let Some((campaign, app)) = booked_on.filter(|_| problems.is_empty()) else { return };

        let fields = PostbackFields {
            campaign: Some(campaign.id),
            goal,
            order_id,
            commission,
            conversion_rate,
            coupon,
            ref_id,
            ref_custom_id,
            new_customer,
            skip_lifetime,
            comment,
            pending,
            query: read.query.clone(),
        };
        let click_id = click_id.map(|text| text[..text.floor_char_boundary(ID_BYTES_MAX)].to_owned());
        let idempotency = key(&name, &fields, click_id.as_deref(), warnings).map(|key| Idempotency {
            scope: campaign.id.bits(),
            key,
            fields: hash(
                &name,
                &fields,
                amount.as_ref(),
                currency.as_ref().map(|c| c.as_str()),
                [click_id.as_deref(), customer_id.as_deref()],
            ),
        });
        let revenue =
            amount.map(|amount| Revenue { amount, currency: currency.or(app.currency), verified: true });
        if let Some(revenue) = &revenue {
            warn_of_money(revenue, "amount", warnings);
        }
        let event = Event {
            id: self.ingest.state.ledger.event_id(self.now),
            workspace: self.settings.workspace,
            app: app.id,
            source: Source::Postback,
            source_event_id: fields.order_id.clone(),
            name,
            environment: Environment::Production,
            received_at: self.now,
            occurred_at: self.now,
            install_id: None,
            click_id,
            referrer: None,
            customer_id,
            device: Device::default(),
            revenue,
            properties: None,
            consent: None,
            // Address and browser are the advertiser's server's, and say nothing about the person.
            ip: None,
            user_agent: None,
            location: Default::default(),
            postback: Some(fields),
            change: None,
            findings: findings(warnings),
        };
        booking.new = Some(NewEvent { event, idempotency });
    }
}

/// The status that a postback names, as far as its sender is believed.
fn status(read: &Parameters, is_untrusted: bool, warnings: &mut Vec<Warning>) -> Option<Status> {
    let word = read.params.text("status")?;
    match Status::of_word(&word) {
        Some(Status::Pending) if is_untrusted => None,
        Some(_) if is_untrusted => {
            let message =
                "the sender did not prove who it is, so the status is not believed; it waits for approval";
            warnings.push(Warning::new("status_untrusted", "status", message));
            None
        }
        Some(status) => Some(status),
        None => {
            let message = "the status is no word that is known; approved, pending and rejected are";
            warnings.push(Warning::new("status_unknown", "status", message));
            None
        }
    }
}

fn token_missing() -> Problem {
    Problem::new(
        Code::TokenMissing,
        "token",
        "there is no token, and the sender's address is on no list of this app",
    )
}

/// What makes a postback the same as an earlier one of its campaign.
fn key(
    name: &str,
    fields: &PostbackFields,
    click_id: Option<&str>,
    warnings: &mut Vec<Warning>,
) -> Option<Vec<u8>> {
    let (kind, what) = match (&fields.order_id, click_id) {
        (Some(order_id), _) => (KEY_ORDER, order_id.clone()),
        (None, Some(click_id)) => {
            let message =
                "without order_id a click has one conversion per goal; another one counts as a duplicate";
            warnings.push(Warning::new("deduplicated_by_click", "order_id", message));
            let canonical = ClickId::parse(click_id.trim().as_bytes()).map(|id| id.to_string());
            (KEY_CLICK, canonical.unwrap_or_else(|| click_id.to_owned()))
        }
        (None, None) => {
            let message =
                "there is neither order_id nor click_id, so the same postback sent again is recorded again";
            warnings.push(Warning::new("not_deduplicated", "order_id", message));
            return None;
        }
    };
    // Hashed, so that a key has one length however long its parts are.
    let mut hasher = Sha256::new();
    json::frame(&mut hasher, name.as_bytes());
    json::frame(&mut hasher, what.as_bytes());
    Some([&[kind], hasher.finalize().as_slice()].concat())
}

/// The first 16 bytes of a hash over what was sent.
fn hash(
    name: &str,
    fields: &PostbackFields,
    amount: Option<&Amount>,
    currency: Option<&str>,
    ids: [Option<&str>; 2],
) -> [u8; 16] {
    let mut hasher = Sha256::new();
    let commission = fields.commission.as_ref().map(|a| a.micros.to_string());
    let amount = amount.map(|a| a.micros.to_string());
    let rest = [
        Some(name),
        amount.as_deref(),
        commission.as_deref(),
        currency,
        fields.order_id.as_deref(),
        fields.conversion_rate.as_deref(),
        fields.coupon.as_deref(),
        fields.ref_id.as_deref(),
        fields.ref_custom_id.as_deref(),
        fields.comment.as_deref(),
        fields.new_customer.then_some("new_customer"),
        fields.skip_lifetime.then_some("skip_lifetime"),
    ];
    for text in rest.into_iter().chain(ids) {
        hasher.update([u8::from(text.is_some())]);
        json::frame(&mut hasher, text.unwrap_or_default().as_bytes());
    }
    let mut first = [0; 16];
    first.copy_from_slice(&hasher.finalize()[..16]);
    first
}
