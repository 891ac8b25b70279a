//! The page that tries an app's own scheme, and goes to the store when nothing happens.
//!
//! It loads nothing from anywhere, works without script through its two buttons, and its script is a constant:
//! values stand in attributes only, so that escaping them for HTML is all that is needed, and the policy
//! can name the script by its hash.

use std::fmt::Write;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use roundtrip_domain::settings::Platform;
use sha2::{Digest, Sha256};

/// How long the scheme is tried before the store, in milliseconds: iOS answers at once or never, Android asks.
const fn wait_ms(platform: Platform) -> u32 {
    match platform {
        Platform::Ios => 300,
        Platform::Android | Platform::Web => 5_000,
    }
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:20vh auto 0;max-width:20rem;padding:0 1rem;text-align:center;color-scheme:light dark}\
a{display:block;margin:1rem 0;padding:.9rem;border-radius:.6rem;background:#1f5eff;color:#fff;text-decoration:none}\
a+a{background:none;color:inherit;border:1px solid}";

const SCRIPT: &str = "(function(){var o=document.getElementById('open'),s=document.getElementById('otherwise'),t;\
function stop(){clearTimeout(t)}\
if(s){t=setTimeout(function(){location.replace(s.href)},+document.body.getAttribute('data-wait'));\
document.addEventListener('visibilitychange',function(){if(document.hidden)stop()});addEventListener('pagehide',stop)}\
location.href=o.href})()";

/// The value of `Content-Security-Policy` for the page.
pub(super) static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(SCRIPT),
        hash(STYLE)
    )
});

/// The page. Both URLs were judged before: neither has a scheme that runs anything.
pub(super) fn page(deep_link: &str, otherwise: Option<&str>, platform: Platform) -> String {
    let mut page = String::with_capacity(2_048);
    page.push_str("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>Opening the app</title>");
    // Writing to a String does not fail.
    let _ = write!(page, "<style>{STYLE}</style></head><body data-wait=\"{}\"><main>", wait_ms(platform));
    page.push_str("<p>Opening the app…</p>");
    let _ = write!(page, "<a id=\"open\" href=\"{}\">Open the app</a>", escape(deep_link));
    if let Some(url) = otherwise {
        let _ = write!(page, "<a id=\"otherwise\" href=\"{}\">Continue without it</a>", escape(url));
    }
    let _ = write!(page, "</main><script>{SCRIPT}</script></body></html>");
    page
}

/// Escapes text for HTML, attributes included.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_escaped_in_attributes_only() {
        let page = page(
            "myapp://x?a=1&b='\"</script><script>alert(1)//",
            Some("https://s.example/?a&\"onload=x"),
            Platform::Ios,
        );
        assert!(
            page.contains("href=\"myapp://x?a=1&amp;b=&#39;&quot;&lt;/script&gt;&lt;script&gt;alert(1)//\"")
        );
        assert!(page.contains("href=\"https://s.example/?a&amp;&quot;onload=x\""));
        assert_eq!(page.matches("<script>").count(), 1);
        assert_eq!(page.matches("</script>").count(), 1);
        assert!(page.contains("data-wait=\"300\""));
        for loaded in ["src=", "@import", "url(", "<link", "http-equiv"] {
            assert!(!page.contains(loaded), "nothing is loaded: {loaded}");
        }
    }

    #[test]
    fn android_waits_longer_and_a_page_without_store_has_one_button() {
        let page = page("myapp://x", None, Platform::Android);
        assert!(page.contains("data-wait=\"5000\"") && !page.contains("id=\"otherwise\""));
        assert!(!SCRIPT.contains("</") && !STYLE.contains("</"), "neither can end its element");
        assert!(POLICY.starts_with("default-src 'none'; script-src 'sha256-"));
    }
}
