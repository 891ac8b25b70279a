//! Who signed in: random ids in memory, gone with the process, with a bound on their number and their life.
//!
//! The cookie holds the id and never the token. Ids are kept hashed, so that finding one tells nothing by its
//! timing. The token stays here because it is judged anew on each request.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, header};
use roundtrip_ambient::Entropy;
use roundtrip_domain::time::Timestamp;
use roundtrip_store::settings::hash_token;

const COOKIE: &str = "roundtrip_session";
/// Takes the cookie away.
pub(super) const COOKIE_GONE: &str = "roundtrip_session=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0";
/// How long a session lasts, in seconds: a working day.
const LIFE_S: i64 = 12 * 3_600;
/// Most sessions at once. The one that ends first makes room.
const SESSIONS_MAX: usize = 256;
/// Longest path that is gone back to after signing in.
const NEXT_BYTES_MAX: usize = 512;

struct Session {
    token: String,
    until: Timestamp,
}

/// The open sessions, by the hash of their ids.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<[u8; 32], Session>>);

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a session for a token that was judged. Returns the value of `Set-Cookie`.
    pub(super) fn open(&self, token: &str, entropy: &Entropy, now: Timestamp, is_https: bool) -> String {
        let mut bytes = [0; 32];
        entropy.fill(&mut bytes);
        let id = hex::encode(bytes);
        let mut open = self.lock();
        open.retain(|_, session| session.until > now);
        if open.len() >= SESSIONS_MAX
            && let Some(first) = open.iter().min_by_key(|(_, session)| session.until).map(|(hash, _)| *hash)
        {
            open.remove(&first);
        }
        let until = now.plus_ms(LIFE_S * 1_000);
        open.insert(hash_token(&id), Session { token: token.to_owned(), until });
        let secure = if is_https { "; Secure" } else { "" };
        format!("{COOKIE}={id}; Path=/; HttpOnly; SameSite=Strict; Max-Age={LIFE_S}{secure}")
    }

    /// The token that a session stands for, while it lasts.
    pub(super) fn token(&self, id: &str, now: Timestamp) -> Option<String> {
        let open = self.lock();
        open.get(&hash_token(id)).filter(|session| session.until > now).map(|session| session.token.clone())
    }

    /// Ends a session.
    pub(super) fn close(&self, id: &str) {
        self.lock().remove(&hash_token(id));
    }
}

/// The session's id in the cookies, if it has the form of one.
pub(super) fn id_of(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    cookies
        .flat_map(|text| text.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, value)| *name == COOKIE && value.len() == 64)
        .map(|(_, value)| value.to_owned())
}

/// Whether a form comes from a page of ours. Browsers send `Origin` with every POST; what sends none is no
/// browser and has no cookie that somebody else could borrow.
pub(super) fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value: &http::HeaderValue| value.to_str().unwrap_or("?"));
    if let Some(site) = text(header::HeaderName::from_static("sec-fetch-site"))
        && !matches!(site, "same-origin" | "none")
    {
        return false;
    }
    let Some(origin) = text(header::ORIGIN) else { return true };
    let authority = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    authority.is_some() && authority == text(header::HOST)
}

/// Whether a proxy before us speaks https with the browser. Believing it only makes the cookie stricter.
pub(super) fn is_https(headers: &HeaderMap) -> bool {
    headers.get("x-forwarded-proto").is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"https"))
}

/// A path of ours to go back to; anything else is the first page.
pub(super) fn local(next: Option<String>) -> String {
    next.filter(|path| {
        let plain = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
        let ours = path.starts_with('/') && !path.starts_with("//") && !path.starts_with("/login");
        plain && ours && path.len() <= NEXT_BYTES_MAX
    })
    .unwrap_or_else(|| "/".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (http::HeaderName::from_static(n), v.parse().unwrap())).collect()
    }

    #[test]
    fn sessions_end_and_have_a_bound() {
        let (sessions, entropy) = (Sessions::default(), Entropy::seeded(1));
        let at = Timestamp::from_ms(1_000_000);
        let id = |cookie: &str| cookie.split(['=', ';']).nth(1).unwrap().to_owned();
        let first = id(&sessions.open("a-token", &entropy, at, false));
        assert!(!first.contains("a-token") && first.len() == 64);
        assert_eq!(sessions.token(&first, at).as_deref(), Some("a-token"));
        assert_eq!(sessions.token(&first, at.plus_ms(LIFE_S * 1_000)), None, "it ends by itself");
        assert_eq!(sessions.token(&"0".repeat(64), at), None);
        for n in 1..=SESSIONS_MAX as i64 {
            sessions.open("b-token", &entropy, at.plus_ms(n), true);
        }
        assert_eq!(sessions.lock().len(), SESSIONS_MAX);
        assert_eq!(sessions.token(&first, at), None, "the oldest made room");
    }

    #[test]
    fn only_our_own_forms_and_paths_count() {
        let ours = [("host", "127.0.0.1:8081"), ("origin", "http://127.0.0.1:8081")];
        assert!(is_same_origin(&headers(&ours)));
        assert!(is_same_origin(&headers(&[("host", "127.0.0.1:8081")])));
        for bad in ["http://evil.example", "null", "http://127.0.0.1:8082", "file://127.0.0.1:8081"] {
            assert!(!is_same_origin(&headers(&[("host", "127.0.0.1:8081"), ("origin", bad)])), "{bad}");
        }
        assert!(!is_same_origin(&headers(&[("host", "a"), ("sec-fetch-site", "cross-site")])));
        assert_eq!(local(Some("/conversions/cnv_1?full=true".into())), "/conversions/cnv_1?full=true");
        for bad in ["//evil.example", "https://evil.example", "/\\evil.example", "/a\nb", "/login?next=/", ""]
        {
            assert_eq!(local(Some(bad.into())), "/", "{bad}");
        }
    }
}
