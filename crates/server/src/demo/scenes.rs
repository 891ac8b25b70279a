//! The scenes of the demo, in order. Each says what it does, does it, and checks what came of it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use http::Method;
use serde_json::{Value, json};

use super::sink::{Received, Sink};
use super::visitor::{self, ANDROID, DESKTOP, IPHONE};
use crate::client::{Client, accepted};
use crate::terminal::line;

/// How long a postback may take to arrive. Far more than it needs; a loaded machine is no failure.
const POSTBACK_MAX: Duration = Duration::from_secs(30);
/// How long a decision may take to be readable.
const DECISION_MAX: Duration = Duration::from_secs(30);

/// What the scenes play with.
pub(crate) struct Stage<'a> {
    /// The public listener.
    pub(crate) public: String,
    /// The admin API.
    pub(crate) client: &'a Client,
    /// The partners.
    pub(crate) sink: &'a Sink,
    /// Tokens that `apply` printed, by slug.
    pub(crate) keys: HashMap<String, String>,
    /// Postbacks seen so far.
    pub(crate) seen: usize,
}

/// A click, as the demo remembers it to show it next to its postback.
struct Click {
    link: &'static str,
    partner_click_id: &'static str,
    /// Ours; empty where the destination cannot carry it (the App Store).
    id: String,
    at: Instant,
}

/// What the demo ends with.
pub(crate) struct Ending {
    /// Postbacks that had to come, and came.
    pub(crate) postbacks: usize,
    /// The purchase whose story is told in full.
    pub(crate) purchase: String,
    /// A conversion nobody was told of.
    pub(crate) organic: String,
}

impl Stage<'_> {
    /// Plays every scene.
    ///
    /// # Errors
    /// When anything did not go as it has to: a postback that did not come, or one too many.
    pub(crate) async fn play(&mut self) -> anyhow::Result<Ending> {
        self.title("1. An Android user clicks Acme's ad, installs, signs up, pays")?;
        let click = self
            .click(
                "acme-lumen",
                "acme-clk-001",
                "sub1=banner%20A&gaid=38400000-8cf0-11bd-b23e-10b96e40000d",
                ANDROID,
            )
            .await?;
        let install = json!({
            "event_id": "i-1", "event_name": "install", "install_id": "device-1",
            "install_referrer": {"referrer": format!("rt_click_id={}&utm_source=acme", click.id)},
            "device": {"platform": "android", "os_version": "16", "gaid": "38400000-8cf0-11bd-b23e-10b96e40000d"},
        });
        self.event("lumen-android-app", &install).await?;
        self.postback(&click, "/acme/install", &[("clickid", "acme-clk-001")]).await?;
        let signup = json!({"event_id": "s-1", "event_name": "registration_complete", "install_id": "device-1", "user": {"customer_id": "u_8842"}});
        self.event("lumen-android-app", &signup).await?;
        self.postback(&click, "/acme/event", &[("clickid", "acme-clk-001"), ("event", "lead")]).await?;
        let pay = json!({"event_id": "p-1", "event_name": "order_paid", "install_id": "device-1", "revenue": "19.99", "currency": "EUR"});
        let purchase = self.event("lumen-android-server", &pay).await?;
        let told = self.postback(&click, "/acme/event", &[("clickid", "acme-clk-001")]).await?;
        ensure!(
            told.body.contains("\"19.99\"") && told.body.contains("banner A"),
            "the amount or sub1 did not arrive: {}",
            told.body
        );

        self.title("2. The same purchase is reported twice, and an event that no rule tells of")?;
        let again = self.send("lumen-android-server", &pay).await?;
        ensure!(again["status"] == "duplicate", "the second report was answered {again}");
        self.say("event     order_paid again, same event_id → duplicate, nothing is told twice")?;
        let level = self
            .event(
                "lumen-android-app",
                &json!({"event_id": "l-3", "event_name": "level_3", "install_id": "device-1"}),
            )
            .await?;
        self.silence(&level, "other_event").await?;

        self.title("3. A visitor comes to the shop through Bluebird and orders")?;
        let order = self.click("bluebird-shop", "bb-77", "sub1=newsletter", DESKTOP).await?;
        let token = self.key("shop-postback")?;
        let url = format!(
            "{}/postback?token={token}&click_id={}&order_id=A-1001&amount=49.90&currency=EUR",
            self.public, order.id
        );
        let answer = visitor::request(Method::GET, &url, "shop-server", None, None).await?;
        ensure!(answer.status == 200, "the shop's postback was answered {}: {}", answer.status, answer.body);
        self.say("postback  the shop tells us: order A-1001, 49.90 EUR → 200")?;
        let told = self
            .postback(
                &order,
                "/bluebird/order",
                &[("cid", "bb-77"), ("order", "A-1001"), ("sub", "newsletter")],
            )
            .await?;
        ensure!(
            told.parameter("amount").as_deref() == Some(""),
            "the amount is not shared with Bluebird: {}",
            told.target
        );

        self.title("4. An install that nobody brought")?;
        let organic = self
            .event(
                "lumen-android-app",
                &json!({
                    "event_id": "i-2", "event_name": "install", "install_id": "device-2",
                    "install_referrer": {"referrer": "utm_source=google-play&utm_medium=organic"},
                }),
            )
            .await?;
        self.silence(&organic, "unattributed").await?;

        self.title("5. A click outside its window: the flash link counts for one second")?;
        let late = self.click("acme-flash", "acme-clk-002", "", ANDROID).await?;
        tokio::time::sleep(Duration::from_millis(1_300).saturating_sub(late.at.elapsed())).await;
        let install = json!({
            "event_id": "i-3", "event_name": "install", "install_id": "device-3",
            "install_referrer": {"referrer": format!("rt_click_id={}", late.id)},
        });
        let outside = self.event("lumen-android-app", &install).await?;
        self.silence(&outside, "unattributed").await?;

        self.title("6. A signup arrives before its install")?;
        let early = self.click("acme-lumen", "acme-clk-003", "", ANDROID).await?;
        let signup =
            json!({"event_id": "s-4", "event_name": "registration_complete", "install_id": "device-4"});
        let waiting = self.event("lumen-android-app", &signup).await?;
        self.silence(&waiting, "install_unknown").await?;
        let install = json!({
            "event_id": "i-4", "event_name": "install", "install_id": "device-4",
            "install_referrer": {"referrer": format!("rt_click_id={}", early.id)},
        });
        self.event("lumen-android-app", &install).await?;
        self.postbacks(&early, &[("/acme/install", "acme-clk-003"), ("/acme/event", "acme-clk-003")]).await?;

        self.title("7. An iPhone user clicks, and is known by the advertising id only")?;
        let ios = self
            .click("acme-lumen-ios", "acme-clk-004", "idfa=6D92078A-8246-4BA4-AE5B-76104861E7DC", IPHONE)
            .await?;
        let install = json!({
            "event_id": "i-5", "event_name": "install", "install_id": "device-5",
            "device": {"platform": "ios", "idfa": "6D92078A-8246-4BA4-AE5B-76104861E7DC", "att_status": "authorized"},
        });
        self.event("lumen-ios-server", &install).await?;
        self.postback(&ios, "/acme/install", &[("clickid", "acme-clk-004")]).await?;

        self.nothing_more().await?;
        Ok(Ending { postbacks: self.seen, purchase, organic })
    }

    fn title(&self, text: &str) -> anyhow::Result<()> {
        line(&format!("\n{text}"))?;
        Ok(())
    }

    fn say(&self, text: &str) -> anyhow::Result<()> {
        line(&format!("   {text}"))?;
        Ok(())
    }

    fn key(&self, slug: &str) -> anyhow::Result<String> {
        self.keys.get(slug).cloned().with_context(|| format!("apply printed no key {slug}"))
    }

    /// Follows a tracking link, to the landing page where that is ours.
    async fn click(
        &self,
        link: &'static str,
        partner_click_id: &'static str,
        more: &str,
        user_agent: &str,
    ) -> anyhow::Result<Click> {
        let at = Instant::now();
        let more = if more.is_empty() { String::new() } else { format!("&{more}") };
        let target = format!("/c/{link}?click_id={partner_click_id}{more}");
        let answer =
            visitor::request(Method::GET, &format!("{}{target}", self.public), user_agent, None, None)
                .await?;
        ensure!(answer.status == 302, "{target} was answered {}: {}", answer.status, answer.body);
        let location = answer.location.context("a redirect without a Location")?;
        let id = our_click_id(&location);
        ensure!(id.is_some() || location.starts_with("https://apps.apple.com/"), "no click id in {location}");
        self.say(&format!("click     {target}"))?;
        self.say(&format!("          302 → {}", shortened(&location)))?;
        if location.starts_with(&format!("http://{}", self.sink.address())) {
            let page = visitor::request(Method::GET, &location, user_agent, None, None).await?;
            ensure!(page.status == 200, "the landing page was answered {}", page.status);
            self.say("          200   the shop's page is open, its cookie keeps the click_id")?;
        }
        Ok(Click { link, partner_click_id, id: id.unwrap_or_default(), at })
    }

    async fn send(&self, key: &str, event: &Value) -> anyhow::Result<Value> {
        let token = self.key(key)?;
        let url = format!("{}/v1/events", self.public);
        let answer = visitor::request(Method::POST, &url, "lumen/4.2", Some(&token), Some(event)).await?;
        ensure!(answer.status == 202, "{event} was answered {}: {}", answer.status, answer.body);
        Ok(answer.body)
    }

    /// Reports an event; returns its conversion's id.
    async fn event(&self, key: &str, event: &Value) -> anyhow::Result<String> {
        let answer = self.send(key, event).await?;
        let name = event["event_name"].as_str().unwrap_or_default();
        let id =
            answer["conversion_id"].as_str().context("an accepted event has a conversion id")?.to_owned();
        self.say(&format!("event     {name:<22} 202 {id}"))?;
        Ok(id)
    }

    /// Waits for the next postback and checks it.
    async fn postback(
        &mut self,
        click: &Click,
        path: &str,
        parameters: &[(&str, &str)],
    ) -> anyhow::Result<Received> {
        let Some(told) = self.sink.wait_for(self.seen, POSTBACK_MAX).await else {
            bail!("the postback to {path} did not come within {} s", POSTBACK_MAX.as_secs());
        };
        self.seen += 1;
        ensure!(
            told.target.starts_with(&format!("{path}?")),
            "{path} had to be told, but {} was",
            told.target
        );
        for (name, value) in parameters {
            let is = told.parameter(name);
            ensure!(
                is.as_deref() == Some(value),
                "{name} had to be {value}, and is {is:?} in {}",
                told.target
            );
        }
        self.show(click, &told)?;
        Ok(told)
    }

    /// Waits for several postbacks that may come in any order.
    async fn postbacks(&mut self, click: &Click, wanted: &[(&str, &str)]) -> anyhow::Result<()> {
        let mut left = wanted.to_vec();
        while !left.is_empty() {
            let Some(told) = self.sink.wait_for(self.seen, POSTBACK_MAX).await else {
                bail!("these postbacks did not come within {} s: {left:?}", POSTBACK_MAX.as_secs());
            };
            self.seen += 1;
            let at = left.iter().position(|(path, id)| {
                told.target.starts_with(&format!("{path}?"))
                    && told.parameter("clickid").as_deref() == Some(id)
            });
            let at = at.with_context(|| format!("nobody asked for the postback {}", told.target))?;
            left.remove(at);
            self.show(click, &told)?;
        }
        Ok(())
    }

    /// A postback next to the click that earned it.
    fn show(&self, click: &Click, told: &Received) -> anyhow::Result<()> {
        self.say(&format!("told      {} {}", told.method, shortened(&told.target)))?;
        if !told.body.is_empty() {
            self.say(&format!("          {}", told.body))?;
        }
        self.say(&format!(
            "          earned by the click{} on {}, whose id at the partner is {}, {:.1} s before",
            if click.id.is_empty() { String::new() } else { format!(" {}", click.id) },
            click.link,
            click.partner_click_id,
            click.at.elapsed().as_secs_f32()
        ))
    }

    /// Waits until a conversion is decided, and checks that nobody is told and for what reason.
    async fn silence(&self, conversion: &str, reason: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + DECISION_MAX;
        let path = format!("/api/v1/conversions/{conversion}/explain");
        loop {
            let story = accepted(self.client.get(&path).await?)?;
            let text = story.to_string();
            if text.contains(&format!("\"{reason}\"")) {
                self.say(&format!("silence   no partner is told: {reason}"))?;
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{conversion} was not decided as {reason}: {text}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Checks that nothing waits and nothing came that nobody asked for.
    async fn nothing_more(&self) -> anyhow::Result<()> {
        let balance = accepted(self.client.get("/api/v1/balance").await?)?;
        ensure!(
            self.sink.count() == self.seen,
            "{} postbacks came, and {} had to: {balance}",
            self.sink.count(),
            self.seen
        );
        Ok(())
    }
}

/// Our click id in a destination: in Play's referrer, or as a parameter.
fn our_click_id(location: &str) -> Option<String> {
    let decoded: String = url::form_urlencoded::parse(location.split_once('?')?.1.as_bytes())
        .flat_map(|(name, value)| [format!("{name}={value}&")])
        .collect();
    for key in ["rt_click_id=", "click_id="] {
        if let Some(at) = decoded.find(key) {
            let id: String = decoded[at + key.len()..]
                .chars()
                .take_while(|c| c.is_ascii_hexdigit() || *c == '-')
                .collect();
            if id.len() == 36 {
                return Some(id);
            }
        }
    }
    None
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= 150 {
        text.to_owned()
    } else {
        text.chars().take(149).chain(['…']).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_our_click_id_where_it_travels() {
        let id = "01980a6e-7b1c-7005-8123-456789abcdef";
        for location in [
            format!(
                "https://play.google.com/store/apps/details?id=x&referrer=rt_click_id%3D{id}%26utm_source%3Dacme"
            ),
            format!("https://shop.example/?a=1&click_id={id}#top"),
        ] {
            assert_eq!(our_click_id(&location).as_deref(), Some(id), "{location}");
        }
        assert_eq!(our_click_id("https://shop.example/"), None);
        assert_eq!(our_click_id("https://shop.example/?click_id=short"), None);
    }
}
