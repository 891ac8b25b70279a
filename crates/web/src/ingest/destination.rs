//! Where a visitor goes: the link's destinations, tried in the order of the visitor's platform.
//!
//! | visitor | first | then | then |
//! | --- | --- | --- | --- |
//! | Android | deep link | `destinations.android`, else Google Play with our referrer | web, campaign's landing page, fallback |
//! | iOS | deep link | `destinations.ios`, else the App Store | web, campaign's landing page, fallback |
//! | others | `destinations.web` | the campaign's landing page | the store's page, fallback |
//!
//! What the request asked for (and the allow-list let pass) comes before the link's own of the same kind.
//! Everything here is pure: the click is recorded before it is called, and nothing it finds can lose the click.

use roundtrip_domain::facts::ClickValues;
use roundtrip_domain::settings::{App, Link, Platform};
use roundtrip_domain::template::UrlTemplate;

use super::allow::{Asked, is_forbidden};
use super::play;

/// Where a visitor goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Onward {
    /// To this URL.
    Redirect(String),
    /// To an app's own scheme, which no redirect can try: a page does, and goes to the store when nothing happens.
    OpenApp {
        /// The deep link.
        deep_link: String,
        /// Where to go without the app.
        otherwise: Option<String>,
    },
    /// Nowhere: the link has nothing for this visitor.
    Nowhere,
}

/// What a choice is made from.
pub(super) struct Choice<'a> {
    /// The click, its id and its workspace's settings.
    pub(super) values: &'a ClickValues<'a>,
    /// The link.
    pub(super) link: &'a Link,
    /// What the request asked for.
    pub(super) asked: &'a Asked,
    /// What the visitor is on.
    pub(super) platform: Platform,
}

impl Choice<'_> {
    /// Makes it.
    pub(super) fn onward(&self) -> Onward {
        let deep_link = self.deep_link();
        if let Some(url) = &deep_link
            && is_http(url)
        {
            return Onward::Redirect(url.clone());
        }
        let place = self.place();
        match (deep_link, place) {
            (Some(deep_link), otherwise) => Onward::OpenApp { deep_link, otherwise },
            (None, Some(url)) if is_http(&url) || self.platform.is_mobile() => Onward::Redirect(url),
            // A desktop browser has no app for a scheme of its own.
            (None, _) => Onward::Nowhere,
        }
    }

    fn app(&self) -> Option<&App> {
        self.values.settings.apps.get(&self.link.app).map(|app| &**app)
    }

    /// The deep link, on a phone that can have the app.
    fn deep_link(&self) -> Option<String> {
        let own = match self.platform {
            Platform::Android => &self.link.destinations.android,
            Platform::Ios => &self.link.destinations.ios,
            Platform::Web => return None,
        };
        let runs_here =
            self.app().is_none_or(|app| app.platform == self.platform || app.platform == Platform::Web);
        if !runs_here && own.is_none() {
            return None;
        }
        self.given(&self.asked.deep_link).or_else(|| self.filled(self.link.destinations.deep_link.as_deref()))
    }

    fn place(&self) -> Option<String> {
        let (asked, destinations) = (self.asked, &self.link.destinations);
        let (asked_here, own) = match self.platform {
            Platform::Android => (&asked.android, destinations.android.as_deref()),
            Platform::Ios => (&asked.ios, destinations.ios.as_deref()),
            Platform::Web => (&asked.web, None),
        };
        let campaign = self.values.settings.campaigns.get(&self.link.campaign);
        let landing_page = || self.filled(campaign.and_then(|c| c.landing_page.as_deref()));
        let fallback =
            || self.given(&asked.fallback).or_else(|| self.filled(destinations.fallback.as_deref()));
        let has_store = self.app().is_some_and(|app| app.platform == self.platform);
        self.given(asked_here)
            .or_else(|| self.given(&asked.any))
            .or_else(|| self.filled(own))
            .or_else(|| if has_store { self.store() } else { None })
            .or_else(|| self.filled(destinations.web.as_deref()))
            .or_else(landing_page)
            .or_else(|| match self.platform {
                Platform::Web => self.store().or_else(fallback),
                // The other platform's store is of little use on a phone, and comes last.
                _ => fallback().or_else(|| self.store()),
            })
    }

    /// The app's page in its store. Stores read nothing but Play's referrer, so they get no click id.
    fn store(&self) -> Option<String> {
        let app = self.app()?;
        match (&app.store_url, &app.bundle_id) {
            (Some(url), _) => self.finished(url.clone(), true),
            (None, Some(package)) if app.platform == Platform::Android => {
                self.finished(play::page(package), true)
            }
            _ => None,
        }
    }

    fn given(&self, url: &Option<String>) -> Option<String> {
        self.finished(url.clone()?, false)
    }

    fn filled(&self, template: Option<&UrlTemplate>) -> Option<String> {
        let template = template?;
        let rendered = template.render(self.values, None);
        if rendered.too_long {
            return None;
        }
        let has_click_id = template.macros().any(|used| used.key == "rt_click_id");
        self.finished(rendered.url, has_click_id)
    }

    /// Adds what must travel along. `None` for what no visitor can be sent to.
    fn finished(&self, url: String, has_click_id: bool) -> Option<String> {
        let scheme = scheme(&url)?;
        if is_forbidden(&scheme) || !url.bytes().all(|b| b.is_ascii_graphic()) {
            return None;
        }
        Some(if play::is_page(&url) {
            play::with_referrer(&url, self.values)
        } else if has_click_id || is_app_store(&url) {
            url
        } else {
            with_click_id(&url, &self.values.id.to_string())
        })
    }
}

/// The scheme, lower-case; `None` when there is none or nothing follows it.
fn scheme(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once(':')?;
    let legal = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    let is_empty = rest.bytes().all(|b| b == b'/') && matches!(scheme, "http" | "https");
    (legal && !is_empty).then(|| scheme.to_ascii_lowercase())
}

fn is_http(url: &str) -> bool {
    matches!(scheme(url).as_deref(), Some("http" | "https"))
}

/// Apple's store reads no parameter of ours.
fn is_app_store(url: &str) -> bool {
    ["https://apps.apple.com/", "https://itunes.apple.com/", "itms-apps://", "itms-appss://"]
        .iter()
        .any(|prefix| url.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix)))
}

/// Puts `click_id` behind the query and before the fragment. On a landing page the word means ours, so one
/// that stands there already gives way.
fn with_click_id(url: &str, id: &str) -> String {
    let (rest, fragment) = url.split_once('#').map_or((url, None), |(rest, fragment)| (rest, Some(fragment)));
    let (base, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut out = String::with_capacity(url.len() + 48);
    out.push_str(base);
    let mut separator = '?';
    let is_ours = |pair: &&str| *pair == "click_id" || pair.starts_with("click_id=");
    for pair in query.split('&').filter(|pair| !pair.is_empty() && !is_ours(pair)) {
        out.push(separator);
        out.push_str(pair);
        separator = '&';
    }
    out.push(separator);
    out.push_str("click_id=");
    out.push_str(id);
    if let Some(fragment) = fragment {
        out.push('#');
        out.push_str(fragment);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use roundtrip_domain::click::{Click, Flags, LinkDialect, TouchKind};
    use roundtrip_domain::click_id::ClickId;
    use roundtrip_domain::id::{Id, WorkspaceNo};
    use roundtrip_domain::params::{Params, decode};
    use roundtrip_domain::referrer::{self, Referrer};
    use roundtrip_domain::settings::{Campaign, Destinations, Partner, Settings};
    use roundtrip_domain::template::{Dialect, Scope};
    use roundtrip_domain::time::Timestamp;

    use super::*;

    const ID: &str = "0198c3d2-2a00-7005-8000-00630badcafe";

    fn template(url: &str) -> Option<Arc<UrlTemplate>> {
        (!url.is_empty()).then(|| Arc::new(UrlTemplate::parse(url, Scope::Destination, Dialect::Canonical).0))
    }

    /// What a case sets; the rest is empty.
    #[derive(Default, Clone)]
    struct World {
        app: Option<Platform>,
        store_url: Option<&'static str>,
        bundle_id: Option<&'static str>,
        android: &'static str,
        ios: &'static str,
        web: &'static str,
        deep_link: &'static str,
        fallback: &'static str,
        landing_page: &'static str,
        partner: &'static str,
        query: &'static str,
        asked: Asked,
    }

    impl World {
        fn onward(&self, platform: Platform) -> Onward {
            let mut settings = Settings::empty(WorkspaceNo::DEFAULT, "default");
            let (app, campaign, partner) = (Id::from_bits(1), Id::from_bits(2), Id::from_bits(3));
            settings.apps.insert(
                app,
                Arc::new(App {
                    id: app,
                    slug: "shop".into(),
                    name: "Shop".into(),
                    platform: self.app.unwrap_or(Platform::Web),
                    bundle_id: self.bundle_id.map(str::to_owned),
                    store_url: self.store_url.map(str::to_owned),
                    currency: None,
                    events: Default::default(),
                    click_window: Platform::Web.click_window(),
                    postback: Default::default(),
                }),
            );
            settings.campaigns.insert(
                campaign,
                Arc::new(Campaign {
                    id: campaign,
                    slug: "summer".into(),
                    name: "Summer & Sun".into(),
                    app,
                    public_id: "4711".into(),
                    landing_page: template(self.landing_page),
                    mandatory: vec![],
                }),
            );
            settings.partners.insert(
                partner,
                Arc::new(Partner {
                    id: partner,
                    slug: "acme".into(),
                    name: if self.partner.is_empty() { "Acme" } else { self.partner }.into(),
                    ref_id: "p-1".into(),
                    cfg: Default::default(),
                    in_link_callbacks: false,
                    rate: None,
                    accepts_within: None,
                }),
            );
            let link = Link {
                id: Id::from_bits(4),
                public_id: "lnk".into(),
                campaign,
                app,
                partner,
                dialect: LinkDialect::Linkrunner,
                destinations: Destinations {
                    android: template(self.android),
                    ios: template(self.ios),
                    web: template(self.web),
                    deep_link: template(self.deep_link),
                    fallback: template(self.fallback),
                },
                allow_destinations: vec![],
                click_window: None,
                addresses: vec![],
            };
            let click = Click {
                workspace: WorkspaceNo::DEFAULT,
                app,
                campaign,
                partner,
                link: link.id,
                kind: TouchKind::Click,
                dialect: LinkDialect::Linkrunner,
                flags: Flags::default(),
                received_at: Timestamp::from_ms(0),
                query: self.query.into(),
                ip: None,
                user_agent: None,
                referer: None,
                language: None,
                location: Default::default(),
            };
            let params = Params::parse(self.query.as_bytes());
            let id = ClickId::parse(ID.as_bytes()).unwrap();
            let values = ClickValues { id, click: &click, params: &params, settings: &settings };
            Choice { values: &values, link: &link, asked: &self.asked, platform }.onward()
        }

        #[track_caller]
        fn goes(&self, platform: Platform, want: &str) {
            let want = want.replace("ID", ID);
            let want = if want.is_empty() { Onward::Nowhere } else { Onward::Redirect(want) };
            assert_eq!(self.onward(platform), want, "{platform:?}");
        }

        /// Redirects to Play, and gives the referrer's text as an app would read it.
        #[track_caller]
        fn referrer(&self, url: &str) -> String {
            let Onward::Redirect(to) = self.onward(Platform::Android) else { panic!("no redirect") };
            let (page, raw) = to.split_once("&referrer=").unwrap();
            assert_eq!(page, url);
            assert!(!raw.contains(['&', '=', '#', ' ']), "encoded once as a whole: {raw}");
            let text = String::from_utf8(decode(raw.as_bytes())).unwrap();
            let ours = Referrer::Ours { click_id: ID.into() };
            assert_eq!(referrer::parse(&text), ours, "decoded once by the store");
            assert_eq!(referrer::parse(raw), ours, "handed over still encoded");
            let twice =
                percent_encoding::utf8_percent_encode(raw, percent_encoding::NON_ALPHANUMERIC).to_string();
            assert_eq!(referrer::parse(&twice), ours, "encoded once more on its way");
            text
        }
    }

    const ANDROID: World = World {
        app: Some(Platform::Android),
        store_url: None,
        bundle_id: Some("com.example.shop"),
        android: "",
        ios: "",
        web: "",
        deep_link: "",
        fallback: "",
        landing_page: "",
        partner: "",
        query: "",
        asked: Asked {
            android: None,
            ios: None,
            web: None,
            any: None,
            deep_link: None,
            fallback: None,
            is_refused: false,
        },
    };
    const PLAY: &str = "https://play.google.com/store/apps/details?id=com.example.shop";

    #[test]
    fn android_goes_to_play_with_our_referrer() {
        assert_eq!(
            ANDROID.referrer(PLAY),
            format!("rt_click_id={ID}&utm_source=Acme&utm_medium=affiliate&utm_campaign=Summer%20%26%20Sun")
        );
        let google = World { query: "gclid=Cj0-x_1&wbraid=w%26w&utm_medium=cpi", ..ANDROID };
        assert_eq!(
            google.referrer(PLAY),
            format!(
                "rt_click_id={ID}&utm_source=Acme&utm_medium=cpi&utm_campaign=Summer%20%26%20Sun&gclid=Cj0-x_1&wbraid=w%26w"
            )
        );
        World { store_url: Some("https://appgallery.example/app/C1"), ..ANDROID }
            .goes(Platform::Android, "https://appgallery.example/app/C1");
    }

    #[test]
    fn a_long_referrer_loses_what_only_people_read() {
        let long = World { partner: Box::leak("ä".repeat(60).into_boxed_str()), ..ANDROID };
        assert_eq!(
            long.referrer(PLAY),
            format!("rt_click_id={ID}&utm_medium=affiliate&utm_campaign=Summer%20%26%20Sun")
        );
        let gclid = "g".repeat(190);
        let full = World { query: Box::leak(format!("gclid={gclid}").into_boxed_str()), ..ANDROID };
        assert_eq!(full.referrer(PLAY), format!("rt_click_id={ID}&gclid={gclid}"));
        let absurd =
            World { query: Box::leak(format!("gclid={}", "g".repeat(600)).into_boxed_str()), ..ANDROID };
        assert!(!absurd.referrer(PLAY).contains("gclid"));
    }

    #[test]
    fn a_template_that_is_a_play_page_gets_the_referrer_merged() {
        let own = World { android: "https://play.google.com/store/apps/details?id=a.b&hl=de", ..ANDROID };
        own.referrer("https://play.google.com/store/apps/details?id=a.b&hl=de");
        let merged = World {
            android: "https://play.google.com/store/apps/details?id=a.b&referrer=utm_source%3Dmine%26af_tranid%3Dx&hl=de",
            ..ANDROID
        };
        let text = merged.referrer("https://play.google.com/store/apps/details?id=a.b&hl=de");
        assert_eq!(
            text,
            format!(
                "rt_click_id={ID}&utm_source=mine&af_tranid=x&utm_medium=affiliate&utm_campaign=Summer%20%26%20Sun"
            )
        );
        World {
            android: "https://play.google.com/store/apps/details?id=a.b&referrer=rt_click_id%3D{click_id}",
            ..ANDROID
        }
        .goes(
            Platform::Android,
            "https://play.google.com/store/apps/details?id=a.b&referrer=rt_click_id%3DID",
        );
        World { android: "market://details?id=a.b", ..ANDROID }.referrer("market://details?id=a.b");
    }

    #[test]
    fn ios_goes_to_its_store() {
        let ios = World { app: Some(Platform::Ios), ..World::default() };
        World { store_url: Some("https://apps.apple.com/app/id1"), ..ios.clone() }
            .goes(Platform::Ios, "https://apps.apple.com/app/id1");
        World { ios: "https://apps.apple.com/app/id2?pt=1&ct={sub1}", query: "sub1=a+b", ..ios.clone() }
            .goes(Platform::Ios, "https://apps.apple.com/app/id2?pt=1&ct=a+b");
        World { ios: "https://shop.example/ios", ..ios.clone() }
            .goes(Platform::Ios, "https://shop.example/ios?click_id=ID");
        World { web: "https://shop.example/", ..ios.clone() }
            .goes(Platform::Ios, "https://shop.example/?click_id=ID");
        ios.goes(Platform::Ios, "");
    }

    #[test]
    fn the_web_goes_down_its_ladder() {
        let all = World {
            web: "https://shop.example/w",
            landing_page: "https://shop.example/l",
            fallback: "https://shop.example/f",
            ..ANDROID
        };
        all.goes(Platform::Web, "https://shop.example/w?click_id=ID");
        let all = World { web: "", ..all };
        all.goes(Platform::Web, "https://shop.example/l?click_id=ID");
        let all = World { landing_page: "", store_url: Some("https://apps.apple.com/app/id1"), ..all };
        all.goes(Platform::Web, "https://apps.apple.com/app/id1");
        let all = World { store_url: None, bundle_id: None, ..all };
        all.goes(Platform::Web, "https://shop.example/f?click_id=ID");
        World { fallback: "", ..all }.goes(Platform::Web, "");
        // On a phone of the other platform the store comes last.
        let other = World { fallback: "https://shop.example/f", ..ANDROID };
        other.goes(Platform::Ios, "https://shop.example/f?click_id=ID");
    }

    #[test]
    fn landing_pages_carry_our_click_id_once() {
        for (template, want) in [
            ("https://s.example", "https://s.example?click_id=ID"),
            ("https://s.example/?a=1", "https://s.example/?a=1&click_id=ID"),
            ("https://s.example/?", "https://s.example/?click_id=ID"),
            ("https://s.example/p#top", "https://s.example/p?click_id=ID#top"),
            ("https://s.example/p?a=1#x?y=2", "https://s.example/p?a=1&click_id=ID#x?y=2"),
            ("https://s.example/?click_id=old&b=2", "https://s.example/?b=2&click_id=ID"),
            ("https://s.example/?cid={click_id}", "https://s.example/?cid=ID"),
            ("https://s.example/{rt_click_id}/x", "https://s.example/ID/x"),
            ("https://s.example/?theirs={partner_click_id}", "https://s.example/?theirs=p%261&click_id=ID"),
        ] {
            World { web: template, query: "click_id=p%261", ..World::default() }.goes(Platform::Web, want);
        }
    }

    #[test]
    fn what_cannot_be_gone_to_is_passed_over() {
        for bad in ["javascript:alert(1)", "data:text/html,x", "https://", "relative/path", "//host/x"] {
            World { web: bad, fallback: "https://s.example/", ..World::default() }
                .goes(Platform::Web, "https://s.example/?click_id=ID");
        }
        World { web: "myapp://x", ..World::default() }.goes(Platform::Web, "");
    }

    #[test]
    fn a_request_asks_before_the_link_offers() {
        let asked = Asked {
            any: Some("https://s.example/asked".into()),
            ios: Some("https://s.example/asked-ios".into()),
            fallback: Some("https://s.example/asked-fallback".into()),
            ..Asked::default()
        };
        let world = World { web: "https://s.example/w", asked, ..ANDROID };
        world.goes(Platform::Web, "https://s.example/asked?click_id=ID");
        world.goes(Platform::Android, "https://s.example/asked?click_id=ID");
        world.goes(Platform::Ios, "https://s.example/asked-ios?click_id=ID");
        let fallback = Asked { fallback: Some("https://s.example/fb".into()), ..Asked::default() };
        World { fallback: "https://s.example/own", asked: fallback, ..World::default() }
            .goes(Platform::Web, "https://s.example/fb?click_id=ID");
    }

    #[test]
    fn deep_links_are_for_phones_that_can_have_the_app() {
        let world = World { deep_link: "https://app.example/p/1", web: "https://s.example/", ..ANDROID };
        world.goes(Platform::Android, "https://app.example/p/1?click_id=ID");
        world.goes(Platform::Web, "https://s.example/?click_id=ID");
        world.goes(Platform::Ios, "https://s.example/?click_id=ID");
        let scheme = World { deep_link: "myapp://p/1?x={sub1}", query: "sub1='\"<", ..world };
        let Onward::OpenApp { deep_link, otherwise } = scheme.onward(Platform::Android) else { panic!() };
        assert_eq!(deep_link, format!("myapp://p/1?x=%27%22%3C&click_id={ID}"));
        assert!(otherwise.unwrap().starts_with(PLAY));
        let both = World { ios: "https://apps.apple.com/app/id1", ..scheme };
        assert!(
            matches!(both.onward(Platform::Ios), Onward::OpenApp { otherwise: Some(url), .. } if url.ends_with("id1"))
        );
    }
}
