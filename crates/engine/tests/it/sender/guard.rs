use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};

use roundtrip_engine::sender::{
    Config, Exchange, Failure, Guard, Outcome, Request, Resolve, Sender, Subnet, SubnetError,
};

use super::receiver::Receiver;
use super::{AMPLE, loopback_guard, sender_with, until};

/// First and last address of every range that is never connected to, written out so that the table does
/// not share arithmetic with the code under test.
const REFUSED: [(&str, &str); 30] = [
    ("0.0.0.0", "0.255.255.255"),
    ("10.0.0.0", "10.255.255.255"),
    ("100.64.0.0", "100.127.255.255"),
    ("127.0.0.0", "127.255.255.255"),
    ("169.254.0.0", "169.254.255.255"),
    ("172.16.0.0", "172.31.255.255"),
    ("192.0.0.0", "192.0.0.255"),
    ("192.0.2.0", "192.0.2.255"),
    ("192.88.99.0", "192.88.99.255"),
    ("192.168.0.0", "192.168.255.255"),
    ("198.18.0.0", "198.19.255.255"),
    ("198.51.100.0", "198.51.100.255"),
    ("203.0.113.0", "203.0.113.255"),
    ("224.0.0.0", "239.255.255.255"),
    ("240.0.0.0", "255.255.255.255"),
    ("::", "ff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("::ffff:0.0.0.0", "::ffff:255.255.255.255"),
    ("64:ff9b::", "64:ff9b::ffff:ffff"),
    ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff"),
    ("100::", "100::ffff:ffff:ffff:ffff"),
    ("2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2600::5efe:a00:1", "2600::5efe:a00:1"),
];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The address just below and just above, where there is one.
fn neighbours(first: IpAddr, last: IpAddr) -> Vec<IpAddr> {
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => [
            first.to_bits().checked_sub(1).map(Ipv4Addr::from_bits),
            last.to_bits().checked_add(1).map(Ipv4Addr::from_bits),
        ]
        .into_iter()
        .flatten()
        .map(IpAddr::V4)
        .collect(),
        (IpAddr::V6(first), IpAddr::V6(last)) => [
            first.to_bits().checked_sub(1).map(Ipv6Addr::from_bits),
            last.to_bits().checked_add(1).map(Ipv6Addr::from_bits),
        ]
        .into_iter()
        .flatten()
        .map(IpAddr::V6)
        .collect(),
        _ => panic!("a range of two families"),
    }
}

#[test]
fn every_range_is_refused_to_its_edges_and_no_further() {
    let guard = Guard::default();
    let mut free_neighbours = 0;
    for (first, last) in REFUSED {
        let (first, last) = (ip(first), ip(last));
        for address in [first, last] {
            let refusal = guard.check_addr(address).unwrap_err();
            assert_eq!(refusal.address, address);
            assert!(!refusal.range.is_empty());
        }
        for address in neighbours(first, last) {
            let in_another = REFUSED.iter().any(|(first, last)| {
                let (first, last) = (ip(first), ip(last));
                first.is_ipv4() == address.is_ipv4() && (first..=last).contains(&address)
            });
            // The neighbours of the one ISATAP address are ISATAP addresses too.
            if !in_another && !first.to_string().contains("5efe") {
                assert_eq!(guard.check_addr(address), Ok(()), "{address}");
                free_neighbours += 1;
            }
        }
    }
    assert!(free_neighbours >= 35, "{free_neighbours}");
}

#[test]
fn public_addresses_pass_and_famous_bad_ones_do_not() {
    let guard = Guard::default();
    for public in ["1.1.1.1", "8.8.8.8", "93.184.215.14", "2606:4700::1111", "2a00:1450:4001:80b::200e"] {
        assert_eq!(guard.check_addr(ip(public)), Ok(()), "{public}");
    }
    for bad in [
        "169.254.169.254",
        "100.100.100.200",
        "fd00:ec2::254",
        "::1",
        "::127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:8.8.8.8",
        "::ffff:0:127.0.0.1",
        "64:ff9b::169.254.169.254",
        "64:ff9b::8.8.8.8",
        "2002:7f00:1::",
        "2001:0:4136:e378:8000:63bf:80ff:fffe",
        "2600::200:5efe:127.0.0.1",
        "2600::0:5efe:8.8.8.8",
    ] {
        assert!(guard.check_addr(ip(bad)).is_err(), "{bad}");
    }
}

#[test]
fn the_allow_list_opens_only_what_it_names() {
    let guard = |subnets: &[&str]| Guard {
        allow_private: subnets.iter().map(|subnet| subnet.parse().unwrap()).collect(),
        ..Guard::default()
    };
    let lan = guard(&["10.1.0.0/16", "fd12::/16"]);
    for (address, allowed) in [
        ("10.1.2.3", true),
        ("10.2.0.1", false),
        ("::ffff:10.1.2.3", false),
        ("fd12::1", true),
        ("fd13::1", false),
        ("fd12::5efe:127.0.0.1", false),
        ("fd12::5efe:10.1.0.1", true),
    ] {
        assert_eq!(lan.check_addr(ip(address)).is_ok(), allowed, "{address}");
    }
    // A form that carries IPv4 is as good as the IPv4 address in it, even when the form is allowed.
    let forms = guard(&["::/8", "2002::/16", "2001::/32"]);
    for (address, allowed) in [
        ("64:ff9b::8.8.8.8", true),
        ("64:ff9b::10.0.0.1", false),
        ("64:ff9b:1::8.8.8.8", true),
        ("64:ff9b:1::127.0.0.1", false),
        ("64:ff9b:1:a00:0:100::", false),
        ("64:ff9b:1:0:a:0:800:0", false),
        ("::ffff:8.8.8.8", true),
        ("::ffff:127.0.0.1", false),
        ("::ffff:0:10.0.0.1", false),
        ("::10.0.0.1", false),
        ("::1", true),
        ("2002:808:808::", true),
        ("2002:a00:1::", false),
        // Teredo: the client's address inverted, here 8.8.8.8 and 127.0.0.1.
        ("2001:0:808:808:0:0:f7f7:f7f7", true),
        ("2001:0:808:808:0:0:80ff:fffe", false),
    ] {
        assert_eq!(forms.check_addr(ip(address)).is_ok(), allowed, "{address}");
    }
}

#[test]
fn subnets_are_read_strictly() {
    for good in ["10.0.0.0/8", "0.0.0.0/0", "::/0", "fd00::/8", "127.0.0.1/32", "::1/128"] {
        assert_eq!(good.parse::<Subnet>().unwrap().to_string(), good);
    }
    assert_eq!("127.0.0.1".parse::<Subnet>().unwrap().to_string(), "127.0.0.1/32");
    assert!("0.0.0.0/0".parse::<Subnet>().unwrap().contains(ip("255.255.255.255")));
    assert!(!"0.0.0.0/0".parse::<Subnet>().unwrap().contains(ip("::1")));
    for bad in ["", "/8", "10.0.0/8", "10.0.0.0/33", "::/129", "10.0.0.0/-1", "10.0.0.0/", "localhost", "a/8"]
    {
        assert!(bad.parse::<Subnet>().is_err(), "{bad}");
    }
    let meant = SubnetError::HostBits("10.1.0.0/16".parse().unwrap());
    assert_eq!("10.1.2.0/16".parse::<Subnet>(), Err(meant));
    assert!("fd00::1/8".parse::<Subnet>().is_err());
}

async fn send(guard: Guard, url: &str) -> Exchange {
    let resolve = Resolve::scripted(|_| Err(io::Error::other("no such name")));
    let sender = Sender::new(&Config { resolve, ..Config::default() }, guard).unwrap();
    sender.send(Request::get(url), AMPLE).await
}

#[tokio::test]
async fn numeric_hosts_in_any_writing_are_addresses() {
    for host in [
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "127.0.1",
        "0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[0:0:0:0:0:ffff:7f00:1]",
        "%31%32%37.0.0.1",
        "①②⑦.0.0.1",
        "169.254.169.254",
        "user@127.0.0.1",
        "example.com@127.0.0.1",
    ] {
        let guard = Guard { allow_plain_http: true, ..Guard::default() };
        let exchange = send(guard, &format!("http://{host}/latest/meta-data")).await;
        assert_eq!(exchange.outcome, Outcome::Failed(Failure::RefusedAddress), "{host}: {exchange:?}");
        assert_eq!(exchange.evidence.timings.dns_us, None);
    }
}

#[tokio::test]
async fn the_system_resolver_is_checked_like_any_other() {
    let sender =
        Sender::new(&Config::default(), Guard { allow_plain_http: true, ..Guard::default() }).unwrap();
    let exchange = sender.send(Request::get("http://localhost/"), AMPLE).await;
    assert_eq!(exchange.outcome, Outcome::Failed(Failure::RefusedAddress), "{exchange:?}");
    assert!(exchange.evidence.timings.dns_us.is_some());
}

#[tokio::test]
async fn urls_schemes_and_ports_are_judged_before_anything_is_looked_up() {
    let open = || Guard { allow_plain_http: true, ..Guard::default() };
    for (guard, url, failure) in [
        (open(), "", Failure::BadUrl),
        (open(), "partner.example/x", Failure::BadUrl),
        (open(), "//partner.example/x", Failure::BadUrl),
        (open(), "http://", Failure::BadUrl),
        (open(), "http://a b/", Failure::BadUrl),
        (open(), "http://[::1/", Failure::BadUrl),
        (open(), "http://x:99999/", Failure::BadUrl),
        (open(), "http://[fe80::1%25eth0]/", Failure::BadUrl),
        (open(), "http://[fe80::1%eth0]/", Failure::BadUrl),
        (open(), "http://0x7f.0.0.0.1/", Failure::BadUrl),
        (open(), "http://256.1.1.1/", Failure::BadUrl),
        (open(), "http://127.0.0.1%00.example/", Failure::BadUrl),
        (open(), "ftp://partner.example/", Failure::BadUrl),
        (open(), "file:///etc/passwd", Failure::BadUrl),
        (open(), "javascript:alert(1)", Failure::BadUrl),
        (Guard::default(), "http://partner.example/", Failure::PlainHttpRefused),
        (open(), "http://partner.example:22/", Failure::PortRefused),
        (open(), "https://partner.example:25/", Failure::PortRefused),
        (open(), "http://partner.example:1023/", Failure::PortRefused),
        (open(), "http://partner.example:0/", Failure::BadUrl),
        (open(), "http://partner.example:1024/", Failure::Dns),
        (open(), "http://partner.example:443/", Failure::Dns),
        (Guard { ports_extra: vec![81], ..open() }, "http://partner.example:81/", Failure::Dns),
        (Guard::default(), "https://partner.example/", Failure::Dns),
    ] {
        let exchange = send(guard, url).await;
        assert_eq!(exchange.outcome, Outcome::Failed(failure), "{url}: {exchange:?}");
        assert_eq!(exchange.evidence.timings.dns_us.is_some(), failure == Failure::Dns, "{url}");
        assert_eq!(failure.is_trouble(), failure == Failure::Dns);
    }
}

#[tokio::test]
async fn one_bad_address_in_the_answer_rejects_the_name() {
    let receiver = Receiver::polite().await;
    for answer in [
        vec![ip("127.0.0.1"), ip("10.0.0.1")],
        vec![ip("10.0.0.1"), ip("127.0.0.1")],
        vec![ip("127.0.0.1"), ip("64:ff9b::10.0.0.1")],
        [vec![ip("127.0.0.1"); 40], vec![ip("192.168.0.1")]].concat(),
    ] {
        let resolve = Resolve::scripted(move |_| Ok(answer.clone()));
        let sender = sender_with(Config { resolve, ..Config::default() });
        let url = format!("http://mixed.example:{}/", receiver.address.port());
        let exchange = sender.send(Request::get(url), AMPLE).await;
        assert_eq!(exchange.outcome, Outcome::Failed(Failure::RefusedAddress), "{exchange:?}");
    }
    assert_eq!(receiver.seen.connections(), 0);
}

#[tokio::test]
async fn names_with_bad_addresses_alone_are_refused_in_every_form() {
    for bad in [
        "127.0.0.1",
        "169.254.169.254",
        "::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::7f00:1",
        "2002:7f00:1::",
        "fe80::1",
        "fd00:ec2::254",
    ] {
        let resolve = Resolve::scripted(move |_| Ok(vec![ip(bad)]));
        let guard = Guard { allow_plain_http: true, ..Guard::default() };
        let sender = Sender::new(&Config { resolve, ..Config::default() }, guard).unwrap();
        let exchange = sender.send(Request::get("http://partner.example:8080/"), AMPLE).await;
        assert_eq!(exchange.outcome, Outcome::Failed(Failure::RefusedAddress), "{bad}: {exchange:?}");
        let error = exchange.evidence.error.as_deref().unwrap();
        assert!(error.starts_with(&format!("{} is in ", ip(bad))), "{error}");
        assert!(!exchange.evidence.request_written && exchange.evidence.address.is_none());
    }
}

#[tokio::test]
async fn a_name_that_flips_gains_nothing() {
    // The receiver closes after each answer, so each send needs a new connection and a new look-up.
    let receiver = Receiver::once("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
    let lookups = AtomicUsize::new(0);
    let resolve = Resolve::scripted(move |_| {
        let first = lookups.fetch_add(1, Ordering::SeqCst) == 0;
        Ok(vec![ip(if first { "127.0.0.1" } else { "127.0.0.2" })])
    });
    let guard = Guard { allow_private: vec!["127.0.0.1".parse().unwrap()], ..loopback_guard() };
    let sender = Sender::new(&Config { resolve, ..Config::default() }, guard).unwrap();
    let url = format!("http://flip.example:{}/", receiver.address.port());
    // Were the name looked up again between check and connect, this one would reach 127.0.0.2.
    let first = sender.send(Request::get(&url), AMPLE).await;
    assert_eq!(first.outcome, Outcome::Answered { status: 200 }, "{first:?}");
    assert_eq!(first.evidence.address, Some(receiver.address));
    let second = sender.send(Request::get(&url), AMPLE).await;
    assert_eq!(second.outcome, Outcome::Failed(Failure::RefusedAddress), "{second:?}");
    assert_eq!(receiver.seen.connections(), 1);
}

#[tokio::test]
async fn the_next_checked_address_is_tried_when_one_does_not_connect() {
    let receiver = Receiver::polite().await;
    let resolve = Resolve::scripted(|_| Ok(vec![ip("::1"), ip("127.0.0.9"), ip("127.0.0.1")]));
    let sender = sender_with(Config { resolve, ..Config::default() });
    let url = format!("http://many.example:{}/", receiver.address.port());
    let exchange = sender.send(Request::get(url), AMPLE).await;
    assert_eq!(exchange.outcome, Outcome::Answered { status: 200 }, "{exchange:?}");
    assert_eq!(exchange.evidence.address, Some(receiver.address));
}

#[tokio::test]
async fn a_name_without_addresses_is_a_dns_failure() {
    let sender = sender_with(Config { resolve: Resolve::scripted(|_| Ok(Vec::new())), ..Config::default() });
    let exchange = sender.send(Request::get("http://empty.example/"), AMPLE).await;
    assert_eq!(exchange.outcome, Outcome::Failed(Failure::Dns));
}

#[tokio::test]
async fn our_own_listeners_are_refused_though_their_subnet_is_allowed() {
    let receiver = Receiver::polite().await;
    let everywhere = SocketAddr::new(ip("0.0.0.0"), receiver.address.port());
    for own in [receiver.address, everywhere] {
        let guard = Guard { own_listeners: vec![own], ..loopback_guard() };
        let sender = Sender::new(&Config::default(), guard.clone()).unwrap();
        let exchange = sender.send(Request::get(receiver.url()), AMPLE).await;
        assert_eq!(exchange.outcome, Outcome::Failed(Failure::OwnListener), "{own}: {exchange:?}");

        let guard = Guard { allow_own_listeners: true, ..guard };
        let sender = Sender::new(&Config::default(), guard).unwrap();
        let exchange = sender.send(Request::get(receiver.url()), AMPLE).await;
        assert_eq!(exchange.outcome, Outcome::Answered { status: 200 }, "{own}: {exchange:?}");
    }
    // Only the allowed sends got as far as a request.
    until("both requests are there", || receiver.seen.requests().len() == 2).await;
    let elsewhere = Guard { own_listeners: vec!["127.0.0.1:9".parse().unwrap()], ..loopback_guard() };
    assert_eq!(elsewhere.check_socket(receiver.address), Ok(()));
}
