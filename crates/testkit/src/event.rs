//! Events in a few words.

use roundtrip_domain::click::Touch;
use roundtrip_domain::device::{DeviceId, DeviceIdKind};
use roundtrip_domain::event::{Environment, Event, InstallReferrer, PostbackFields, Revenue, Source};
use roundtrip_domain::money::{Amount, Currency};
use roundtrip_domain::referrer::CLICK_ID_KEY;
use roundtrip_domain::time::Timestamp;

/// What an event tells, word by word. Values that cannot be read panic: they are the test's own.
pub trait Tell: Sized {
    /// Of which installation.
    fn of(self, install_id: &str) -> Self;
    /// Which touch, by its id.
    fn click(self, touch: &Touch) -> Self;
    /// Which touch, by a click id as text.
    fn click_text(self, text: &str) -> Self;
    /// Which touch, in Play's referrer.
    fn referrer(self, touch: &Touch) -> Self;
    /// Whose Google advertising id.
    fn gaid(self, text: &str) -> Self;
    /// Which person.
    fn customer(self, customer_id: &str) -> Self;
    /// How much, in EUR.
    fn revenue(self, amount: &str) -> Self;
    /// When it happened, as its sender claims.
    fn claims(self, at: Timestamp) -> Self;
    /// With these properties: a JSON object.
    fn properties(self, json: &str) -> Self;
    /// That it does not count.
    fn sandbox(self) -> Self;
    /// That it came through `/postback`, with this goal.
    fn postback(self, goal: Option<&str>, pending: bool) -> Self;
}

impl Tell for Event {
    fn of(self, install_id: &str) -> Self {
        Self { install_id: Some(install_id.to_owned()), ..self }
    }

    fn click(self, touch: &Touch) -> Self {
        self.click_text(&touch.id.to_string())
    }

    fn click_text(self, text: &str) -> Self {
        Self { click_id: Some(text.to_owned()), ..self }
    }

    fn referrer(self, touch: &Touch) -> Self {
        let referrer = format!("utm_source=x&{CLICK_ID_KEY}={}", touch.id);
        Self { referrer: Some(InstallReferrer { referrer, ..Default::default() }), ..self }
    }

    fn gaid(mut self, text: &str) -> Self {
        self.device.ids.push(DeviceId::parse(DeviceIdKind::Gaid, text).expect("a device id"));
        self
    }

    fn customer(self, customer_id: &str) -> Self {
        Self { customer_id: Some(customer_id.to_owned()), ..self }
    }

    fn revenue(self, amount: &str) -> Self {
        let amount = Amount::parse(amount).expect("an amount");
        Self { revenue: Some(Revenue { amount, currency: Currency::parse("EUR"), verified: true }), ..self }
    }

    fn claims(self, at: Timestamp) -> Self {
        Self { occurred_at: at, ..self }
    }

    fn properties(self, json: &str) -> Self {
        Self { properties: Some(json.to_owned()), ..self }
    }

    fn sandbox(self) -> Self {
        Self { environment: Environment::Sandbox, ..self }
    }

    fn postback(self, goal: Option<&str>, pending: bool) -> Self {
        let fields = PostbackFields { goal: goal.map(str::to_owned), pending, ..Default::default() };
        Self { source: Source::Postback, postback: Some(fields), ..self }
    }
}
