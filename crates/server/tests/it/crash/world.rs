//! What is set up for the crash test: three apps, three partners, and rules whose URLs say who is told of what.

use serde_json::{Value, json};

/// A tracking link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    /// Its id.
    pub(super) slug: &'static str,
    /// What it promotes.
    pub(super) app: &'static str,
    /// Whose it is.
    pub(super) partner: &'static str,
}

/// The apps; the shop is the one on the web.
pub(super) const APPS: [&str; 3] = ["alpha", "beta", "shop"];

/// All links. `carol` has none, so nobody may ever tell her anything.
pub(super) const LINKS: [Link; 6] = [
    Link { slug: "acme-alpha", app: "alpha", partner: "acme" },
    Link { slug: "blue-alpha", app: "alpha", partner: "blue" },
    Link { slug: "acme-beta", app: "beta", partner: "acme" },
    Link { slug: "blue-beta", app: "beta", partner: "blue" },
    Link { slug: "acme-shop", app: "shop", partner: "acme" },
    Link { slug: "blue-shop", app: "shop", partner: "blue" },
];

/// Who is told of what: app, kind, and the partner that the rule names, if it names one.
const RULES: [(&str, &str, Option<&str>); 10] = [
    ("alpha", "install", Some("acme")),
    ("alpha", "install", Some("blue")),
    ("alpha", "install", Some("carol")),
    ("alpha", "signup", Some("acme")),
    ("alpha", "purchase", Some("acme")),
    ("alpha", "purchase", Some("blue")),
    ("beta", "install", None),
    ("beta", "signup", None),
    ("beta", "purchase", Some("blue")),
    ("shop", "purchase", None),
];

/// Whether the partner that won a conversion is told of it.
pub(super) fn is_told(app: &str, kind: &str, partner: &str) -> bool {
    RULES.iter().any(|rule| rule.0 == app && rule.1 == kind && rule.2.is_none_or(|named| named == partner))
}

/// Where it is told.
pub(super) fn path(app: &str, kind: &str, partner: &str) -> String {
    format!("/told/{partner}/{app}/{kind}")
}

/// The settings; partners listen at `host`.
pub(super) fn document(host: &str) -> Value {
    let mut document = json!({
        "apps": {
            "alpha": { "platform": "android", "bundle_id": "com.example.alpha", "currency": "EUR" },
            "beta": { "platform": "android", "bundle_id": "com.example.beta", "currency": "USD" },
            "shop": { "platform": "web", "currency": "EUR" },
        },
        "campaigns": {}, "partners": {}, "links": {}, "rules": {},
        "keys": { "shop-postback": { "kind": "postback", "app": "shop" } },
    });
    for app in APPS {
        document["campaigns"][app] = json!({ "app": app });
        if app != "shop" {
            document["keys"][format!("{app}-client")] = json!({ "kind": "client", "app": app });
            document["keys"][format!("{app}-server")] = json!({ "kind": "server", "app": app });
        }
    }
    for partner in ["acme", "blue", "carol"] {
        document["partners"][partner] = json!({ "cfg": { "host": host, "me": partner } });
    }
    for link in LINKS {
        document["links"][link.slug] = json!({ "campaign": link.app, "partner": link.partner });
        if link.app == "shop" {
            document["links"][link.slug]["destinations"] = json!({ "web": "https://shop.example/summer" });
        }
    }
    for (app, kind, partner) in RULES {
        let slug = format!("{}-{app}-{kind}", partner.unwrap_or("any"));
        let url = format!(
            "http://{{cfg.host}}/told/{{cfg.me}}/{app}/{kind}?clickid={{click_id}}&rt={{rt_click_id}}&event_id={{event_id}}"
        );
        document["rules"][&slug] = json!({ "app": app, "on": kind, "url": url });
        if let Some(partner) = partner {
            document["rules"][&slug]["partner"] = partner.into();
        }
    }
    document
}
