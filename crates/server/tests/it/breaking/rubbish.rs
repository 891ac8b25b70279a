//! Requests nobody should send: whatever cannot be read about a visitor, the visitor leaves and the click is stored.

use http::HeaderName;
use http::header::{ACCEPT_LANGUAGE, REFERER, USER_AGENT};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{click, document, found, redirected};
use crate::house::{ANDROID, Call, Dice, House, Line, our_click_id};
use crate::process::WAIT;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

async fn house() -> House {
    let mut house = House::new(&["--trusted-proxy=127.0.0.0/8"]);
    house.start();
    house.apply(&document()).await;
    house
}

/// Everything that is odd about a request and can still be sent with a proper client.
fn odd_calls() -> Vec<(String, Call)> {
    let plain = || Call::get("/c/link?click_id=x");
    let mut calls = vec![("no browser".to_owned(), plain())];
    let long = "M".repeat(9_000);
    let noise: Vec<u8> = (0x80..=0xff_u8).collect();
    let agents: [&[u8]; 8] = [
        b"",
        b"\xff\xfe\xfd not UTF-8 \x80",
        "Приложение/1.0 (安卓 16; 🦊)".as_bytes(),
        b"(((((((((((((((Android",
        b"Mozilla/5.0 (Linux; Android 99999999999999999999; ) AppleWebKit/ Chrome/-1.0",
        b"${jndi:ldap://x.example/a} <script>alert(1)</script> {click_id} %00%ff",
        long.as_bytes(),
        &noise,
    ];
    for agent in agents {
        let about = format!("browser {:?}", String::from_utf8_lossy(&agent[..agent.len().min(40)]));
        calls.push((about, plain().header(USER_AGENT, agent)));
    }
    for name in [REFERER, ACCEPT_LANGUAGE] {
        for value in
            [&b"\xc3\x28\xa0\xa1"[..], long.as_bytes(), b"not a url at all", b"https://\xff.example/%zz"]
        {
            calls.push((format!("{name}"), click("").header(name.clone(), value)));
        }
    }
    let many = vec!["203.0.113.7"; 400].join(", ");
    let forwarded: [&[u8]; 12] = [
        b"",
        b",",
        b",,,,",
        b"unknown",
        b"999.999.999.999",
        b"203.0.113.7:99999999",
        b"[::1",
        b"_hidden, _obfuscated:x",
        b"203.0.113.7, \xff\xff",
        b"for=192.0.2.60;proto=http",
        b"127.0.0.1, 127.0.0.1, ::ffff:10.0.0.1",
        many.as_bytes(),
    ];
    for value in forwarded {
        let about = format!("forwarded for {:?}", String::from_utf8_lossy(&value[..value.len().min(40)]));
        let call = click("").header(FORWARDED_FOR, value).header(FORWARDED_FOR, value);
        calls.push((about, call.header(FORWARDED_PROTO, b"\xffhttps, gopher")));
    }
    calls
}

/// Query strings that no parser likes.
fn odd_queries() -> Vec<(String, String)> {
    let mut queries: Vec<(String, String)> = [
        "click_id=%",
        "click_id=%zz",
        "click_id=%c3%28&sub1=%ff%fe",
        "click_id={clickid}",
        "click_id=__CLICKID__&gaid={gaid}",
        "&&&&==&=&",
        "click_id=a&click_id=b&click_id=c",
        "ip=999.1.1.1&user_agent=%00%0d%0a",
        "gaid=not-a-device&idfa=0000&oaid=%00",
        "click_id=%0d%0aSet-Cookie:%20a=b",
        "sub1=%F0%9F%A6%8A&sub2=%u0041",
        "s2s=2&format=xml",
        "[]=1&a[b]=c&;=;",
    ]
    .into_iter()
    .map(|query| (query.to_owned(), query.to_owned()))
    .collect();
    let filler = |bytes: usize| "a".repeat(bytes);
    queries.push(("one value of 16 KiB".to_owned(), format!("click_id=x&sub1={}", filler(16 * 1024))));
    queries.push(("a partner click id of 16 KiB".to_owned(), format!("click_id={}", filler(16 * 1024))));
    queries.push(("escapes of 16 KiB".to_owned(), format!("click_id=x&q={}", "%ff".repeat(16 * 1024 / 3))));
    let names: Vec<String> = (0..1_500).map(|n| format!("p{n}={n}")).collect();
    queries.push(("1,500 parameters".to_owned(), names.join("&")));
    queries
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_never_drops_a_click() {
    let house = house().await;
    let mut line = Line::to(&house.public());
    let mut ids = Vec::new();
    let queries = odd_queries()
        .into_iter()
        .map(|(about, query)| (about, Call::get(&format!("/c/link?{query}")).browser(ANDROID)));
    let all: Vec<(String, Call)> = odd_calls().into_iter().chain(queries).collect();
    for (about, call) in &all {
        let (id, answer) = redirected(&mut line, call).await;
        assert!(!answer.is_unstored(), "{about}: not stored");
        assert!(
            !answer.location().contains(['\r', '\n']) && answer.headers.get("set-cookie").is_none(),
            "{about}"
        );
        ids.push((about, id));
    }
    let mut admin = house.admin();
    for (about, id) in &ids {
        let answer = admin.ask(&format!("/api/v1/clicks/{id}?full=true")).await;
        assert_eq!(answer.status, 200, "{about}: {}", answer.text());
        assert_eq!(answer.json()["click"]["link"]["slug"], "link", "{about}");
    }
    assert_eq!(house.metric("roundtrip_ingest_touches_unstored_total").await, 0.0);
    let report = admin.get("/api/v1/report").await;
    assert_eq!(report["total"]["clicks"], all.len(), "{report}");
}

/// What bytes are drawn from.
#[derive(Clone, Copy, PartialEq)]
enum Noise {
    /// What a request target may carry. Raw bytes that are no UTF-8 are refused by the HTTP library before us.
    Target,
    /// What a header's value may carry.
    Header,
    /// Everything but the end of a line.
    Wild,
}

impl Noise {
    fn holds(self, byte: u8) -> bool {
        match self {
            Self::Target => byte.is_ascii_graphic() && !b"\"#<>\\^`".contains(&byte),
            Self::Header => byte > b' ' && byte != 0x7f,
            Self::Wild => !matches!(byte, b'\r' | b'\n'),
        }
    }

    fn draw(self, dice: &Dice, len_max: usize) -> Vec<u8> {
        let bytes = std::iter::repeat_with(|| dice.below(256) as u8).filter(|byte| self.holds(*byte));
        bytes.take(dice.below(len_max)).collect()
    }
}

/// Bytes by chance in query and headers. A request that is no HTTP may be refused; what is redirected is stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_is_refused_or_stored_and_stops_nobody() {
    const SEED: u64 = 20_261_121;
    let house = house().await;
    let dice = Dice::seeded(SEED);
    let mut stored = Vec::new();
    for round in 0..300 {
        let (target, header) =
            if dice.one_in(5) { (Noise::Wild, Noise::Wild) } else { (Noise::Target, Noise::Header) };
        let mut request = b"GET /c/link?click_id=x&sub1=".to_vec();
        request.extend(target.draw(&dice, 60));
        request.extend(b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\nuser-agent: ");
        request.extend(header.draw(&dice, 80));
        request.extend(b"\r\nx-forwarded-for: ");
        request.extend(header.draw(&dice, 30));
        request.extend(b"\r\n\r\n");
        let text = exchange(&house.public(), &request).await;
        let status = text.get(9..12).unwrap_or_default();
        match status {
            "302" => {
                assert!(!text.contains("x-roundtrip-click"), "seed {SEED}, round {round}: {text}");
                let location = text
                    .lines()
                    .find_map(|line| line.strip_prefix("location: "))
                    .expect("a redirect has one");
                stored.push(
                    our_click_id(location)
                        .unwrap_or_else(|| panic!("seed {SEED}, round {round}: {location}")),
                );
            }
            "400" => {}
            _ => panic!("seed {SEED}, round {round}: {text:?} for {:?}", String::from_utf8_lossy(&request)),
        }
    }
    assert!(stored.len() > 150, "only {} of the requests were HTTP", stored.len());
    assert_eq!(found(&house, &stored).await, stored.len());
}

/// Some browsers and many scripts send letters as they are. Bytes that are no UTF-8 are refused by the HTTP library, which
/// is the one thing about a link that can strand a visitor.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn raw_letters_in_a_link_are_taken() {
    let house = house().await;
    let ask = async |sub: &[u8]| {
        let request =
            [b"GET /c/link?click_id=x&sub1=", sub, b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"]
                .concat();
        exchange(&house.public(), &request).await
    };
    let text = ask("лето-🦊".as_bytes()).await;
    assert!(text.starts_with("HTTP/1.1 302 ") && !text.contains("x-roundtrip-click"), "{text}");
    let location = text.lines().find_map(|line| line.strip_prefix("location: ")).expect("a redirect has one");
    let id = our_click_id(location).expect("it carries our id");
    let story = house.admin().get(&format!("/api/v1/clicks/{id}?full=true")).await;
    assert!(story.to_string().contains("лето-🦊"), "{story}");
    let text = ask(b"\xe9t\xe9").await;
    assert!(text.starts_with("HTTP/1.1 400 "), "{text}");
    assert_eq!(found(&house, &[id]).await, 1);
}

/// Sends bytes and reads whatever comes until the end.
async fn exchange(address: &str, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(request).await.expect("it reads");
    let mut answer = Vec::new();
    let read = tokio::time::timeout(WAIT, stream.read_to_end(&mut answer));
    // A server that refuses a head may hang up before it has read all of it.
    drop(read.await.expect("the server answers or hangs up"));
    String::from_utf8_lossy(&answer).into_owned()
}
