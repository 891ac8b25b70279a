//! Requests that look like clicks and are none: HEAD, prefetch, and the robots that make link previews.
//!
//! They are answered like a click, and kept, but earn nothing. The list names robots that say who they are; it is no
//! fraud check, and a robot that says it is a browser is not found here.

use axum::http::{HeaderMap, Method, header};

/// How the user agents of robots begin a word, lower case, sorted. In-app browsers of the same companies (`[FBAN/…`,
/// `Snapchat/…`, `[Pinterest/iOS]`) are visitors, and not here.
const ROBOTS: &[&str] = &[
    "adsbot-google",
    "applebot",
    "baiduspider",
    "bingbot",
    "bingpreview",
    "bitlybot",
    "bytespider",
    "discordbot",
    "duckduckbot",
    "embedly",
    "facebookbot",
    "facebookexternalhit",
    "facebot",
    "feedfetcher-google",
    "flipboardproxy",
    "google-inspectiontool",
    "google-pagerenderer",
    "google-read-aloud",
    "googlebot",
    "googleimageproxy",
    "iframely",
    "linkedinbot",
    "mastodon/",
    "mattermost-bot",
    "mediapartners-google",
    "meta-externalagent",
    "meta-externalfetcher",
    "microsoftpreview",
    "petalbot",
    "pinterestbot",
    "redditbot",
    "skypeuripreview",
    "slack-imgproxy",
    "slackbot",
    "snap url preview",
    "synapse",
    "telegrambot",
    "tumblr/",
    "twitterbot",
    "vkshare",
    "whatsapp/",
    "yandexbot",
    "zoombot",
];

/// Where the robots of each letter begin in the list, which is sorted; behind `z` its end.
const BEGINS: [usize; 27] = {
    let mut begins = [0; 27];
    let mut letter = 0;
    while letter < 26 {
        let mut at = begins[letter];
        while at < ROBOTS.len() && ROBOTS[at].as_bytes()[0] <= b'a' + letter as u8 {
            at += 1;
        }
        letter += 1;
        begins[letter] = at;
    }
    begins
};

/// Whether this request is no visit.
pub(super) fn is_preview(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::HEAD
        || ["sec-purpose", "purpose", "x-purpose", "x-moz"].iter().any(|name| {
            headers.get(*name).is_some_and(|value| {
                let value = value.as_bytes().to_ascii_lowercase();
                [b"prefetch".as_slice(), b"preview", b"prerender"].iter().any(|word| value.starts_with(word))
            })
        })
        || headers.get(header::USER_AGENT).is_some_and(|value| is_robot(value.as_bytes()))
}

/// Whether a user agent has a word that begins as one of the [`ROBOTS`] does. One pass; only beginnings of words are
/// compared, since this runs for every click.
fn is_robot(user_agent: &[u8]) -> bool {
    let mut inside_word = false;
    for (at, byte) in user_agent.iter().enumerate() {
        let begins = !inside_word && byte.is_ascii_alphabetic();
        inside_word = byte.is_ascii_alphanumeric();
        if begins {
            let rest = &user_agent[at..];
            let letter = usize::from(byte.to_ascii_lowercase() - b'a');
            let matches = |robot: &&str| {
                rest.get(..robot.len()).is_some_and(|head| head.eq_ignore_ascii_case(robot.as_bytes()))
            };
            if ROBOTS[BEGINS[letter]..BEGINS[letter + 1]].iter().any(matches) {
                return true;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn robots_are_told_from_in_app_browsers() {
        for robot in [
            "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_11_1) AppleWebKit/601.2.4 (KHTML, like Gecko) Version/9.0.1 Safari/601.2.4 facebookexternalhit/1.1 Facebot Twitterbot/1.0",
            "WhatsApp/2.23.20.0",
            "TelegramBot (like TwitterBot)",
            "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
            "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)",
            "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120 Mobile Safari/537.36 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            "Mozilla/5.0 (compatible; Snap URL Preview Service; bot; snapchat; https://developers.snap.com/robots)",
        ] {
            assert!(is_robot(robot.as_bytes()), "{robot}");
        }
        for visitor in [
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 [FBAN/FBIOS;FBAV/440.0]",
            "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 Chrome/120 Mobile Safari/537.36 Snapchat/12.5",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 [Pinterest/iOS]",
            "Mozilla/5.0 (Linux; Android 13; CUBOT X30) AppleWebKit/537.36 Chrome/120 Mobile Safari/537.36",
            "",
        ] {
            assert!(!is_robot(visitor.as_bytes()), "{visitor}");
        }
    }

    #[test]
    fn every_robot_of_the_list_is_found() {
        assert!(ROBOTS.is_sorted(), "each letter is one stretch");
        for robot in ROBOTS {
            assert!(is_robot(robot.to_ascii_uppercase().as_bytes()), "{robot}");
            assert!(
                !is_robot(robot.split_at(robot.len() - 1).0.as_bytes()),
                "{robot} is more than its beginning"
            );
        }
    }

    #[test]
    fn prefetch_says_so_in_one_of_four_headers() {
        for (name, value) in [
            ("sec-purpose", "prefetch;prerender"),
            ("purpose", "prefetch"),
            ("x-moz", "prefetch"),
            ("x-purpose", "preview"),
            ("sec-purpose", "Prefetch"),
        ] {
            let headers = HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
            assert!(is_preview(&Method::GET, &headers), "{name}: {value}");
        }
        assert!(is_preview(&Method::HEAD, &HeaderMap::new()));
        assert!(!is_preview(&Method::GET, &HeaderMap::new()));
    }
}
