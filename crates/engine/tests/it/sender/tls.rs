use std::io::Write as _;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use roundtrip_engine::sender::{
    Config, ConfigError, Exchange, Failure, Limits, Outcome, Request, Resolve, Sender,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::receiver::{OK, Receiver};
use super::{AMPLE, SHORT, loopback_guard};

/// A private authority, and the file an operator would point at it.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: tempfile::NamedTempFile,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(issuer.pem().as_bytes()).unwrap();
        Self { issuer, file }
    }

    fn server(&self, params: &CertificateParams) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap()
    }

    fn sender(&self) -> Sender {
        sender_trusting(Some(&self.file))
    }
}

fn sender_trusting(roots: Option<&tempfile::NamedTempFile>) -> Sender {
    let config = Config {
        extra_roots_file: roots.map(|file| file.path().to_owned()),
        resolve: Resolve::scripted(|_| Ok(vec!["127.0.0.1".parse().unwrap()])),
        ..Config::default()
    };
    Sender::new(&config, loopback_guard()).unwrap()
}

fn named(names: &[&str]) -> CertificateParams {
    CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap()
}

async fn receiver(config: ServerConfig) -> Receiver {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Receiver::start(move |_, stream, seen| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            while seen.request(&mut stream).await.is_some() {
                if stream.write_all(OK.as_bytes()).await.is_err() || stream.flush().await.is_err() {
                    break;
                }
            }
        }
    })
    .await
}

async fn call(sender: &Sender, receiver: &Receiver, host: &str) -> Exchange {
    let url = format!("https://{host}:{}/x", receiver.address.port());
    sender.send(Request::get(url), AMPLE).await
}

fn failed(exchange: &Exchange, because: &str) {
    assert_eq!(exchange.outcome, Outcome::Failed(Failure::Tls), "{exchange:?}");
    let error = exchange.evidence.error.as_deref().unwrap();
    assert!(error.contains(because), "{error}");
    assert!(!exchange.evidence.request_written);
}

#[tokio::test]
async fn a_private_authority_is_trusted_when_configured() {
    let authority = Authority::new();
    let mut config = authority.server(&named(&["partner.example", "127.0.0.1"]));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let receiver = receiver(config).await;
    let sender = authority.sender();
    let first = call(&sender, &receiver, "partner.example").await;
    assert_eq!(first.outcome, Outcome::Answered { status: 200 }, "{first:?}");
    let tls = first.evidence.tls.clone().unwrap();
    assert_eq!(tls.version, "TLSv1_3");
    assert!(tls.cipher.starts_with("TLS13_"), "{tls:?}");
    assert!(first.evidence.timings.tls_us.is_some() && first.evidence.timings.dns_us.is_some());

    let second = call(&sender, &receiver, "partner.example").await;
    assert!(second.evidence.reused, "{second:?}");
    assert_eq!(second.evidence.tls, Some(tls));
    assert_eq!(second.evidence.timings.tls_us, None);

    for host in ["127.0.0.1", "partner.example."] {
        let exchange = call(&sender, &receiver, host).await;
        assert_eq!(exchange.outcome, Outcome::Answered { status: 200 }, "{host}: {exchange:?}");
    }
}

#[tokio::test]
async fn tls_1_2_is_still_spoken() {
    let authority = Authority::new();
    let key = KeyPair::generate().unwrap();
    let certificate = named(&["partner.example"]).signed_by(&key, &authority.issuer).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    let exchange = call(&authority.sender(), &receiver(config).await, "partner.example").await;
    assert_eq!(exchange.outcome, Outcome::Answered { status: 200 }, "{exchange:?}");
    assert_eq!(exchange.evidence.tls.unwrap().version, "TLSv1_2");
}

#[tokio::test]
async fn wrong_names_unknown_authorities_and_old_certificates_are_refused() {
    let authority = Authority::new();
    let good = receiver(authority.server(&named(&["partner.example"]))).await;
    failed(&call(&authority.sender(), &good, "other.example").await, "not valid for name");
    failed(&call(&authority.sender(), &good, "127.0.0.1").await, "not valid for name");
    failed(&call(&sender_trusting(None), &good, "partner.example").await, "UnknownIssuer");
    failed(&call(&Authority::new().sender(), &good, "partner.example").await, "invalid peer certificate");

    let mut expired = named(&["partner.example"]);
    expired.not_before = date_time_ymd(2020, 1, 1);
    expired.not_after = date_time_ymd(2021, 1, 1);
    let expired = receiver(authority.server(&expired)).await;
    failed(&call(&authority.sender(), &expired, "partner.example").await, "expired");
    assert!(good.seen.requests().is_empty() && expired.seen.requests().is_empty());
}

#[tokio::test]
async fn a_certificate_that_vouches_for_itself_or_is_not_valid_yet_is_refused() {
    let authority = Authority::new();
    let key = KeyPair::generate().unwrap();
    let own = named(&["partner.example"]).self_signed(&key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![own.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    let alone = receiver(config).await;
    for sender in [authority.sender(), sender_trusting(None)] {
        let exchange = call(&sender, &alone, "partner.example").await;
        failed(&exchange, "invalid peer certificate");
        assert_eq!(exchange.evidence.address, Some(alone.address));
    }
    let mut early = named(&["partner.example"]);
    early.not_before = date_time_ymd(2090, 1, 1);
    early.not_after = date_time_ymd(2091, 1, 1);
    let early = receiver(authority.server(&early)).await;
    failed(&call(&authority.sender(), &early, "partner.example").await, "not valid yet");
    assert!(alone.seen.requests().is_empty() && early.seen.requests().is_empty());
}

#[tokio::test]
async fn a_handshake_that_drips_ends_with_the_connect_budget() {
    let authority = Authority::new();
    let dripping = Receiver::start(|_, mut stream, _| async move {
        let _ = stream.set_nodelay(true);
        // A handshake record of 16 KiB, byte by byte.
        let mut written = stream.write_all(&[0x16, 3, 3, 0x3f, 0xff, 2]).await;
        let mut pace = tokio::time::interval(std::time::Duration::from_millis(20));
        while written.is_ok() {
            pace.tick().await;
            written = stream.write_all(&[0]).await;
        }
    })
    .await;
    let url = format!("https://partner.example:{}/", dripping.address.port());
    let limits = Limits { connect_ms: 200, ..AMPLE };
    let began = std::time::Instant::now();
    let exchange = authority.sender().send(Request::get(url), limits).await;
    assert_eq!(exchange.outcome, Outcome::Failed(Failure::ConnectTimeout), "{exchange:?}");
    assert!(began.elapsed() < std::time::Duration::from_millis(1_500));
    assert!(exchange.evidence.timings.tls_us.is_some() && !exchange.evidence.request_written);
}

#[tokio::test]
async fn a_tunnel_is_spoken_through_with_the_receivers_own_name() {
    let authority = Authority::new();
    let good = receiver(authority.server(&named(&["partner.example"]))).await;
    let to = good.address;
    let proxy = Receiver::start(move |_, mut stream, seen| async move {
        if seen.request(&mut stream).await.is_some()
            && let Ok(mut behind) = tokio::net::TcpStream::connect(to).await
            && stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.is_ok()
        {
            let _ = tokio::io::copy_bidirectional(&mut stream, &mut behind).await;
        }
    })
    .await;
    let config = Config {
        extra_roots_file: Some(authority.file.path().to_owned()),
        resolve: Resolve::scripted(|_| Ok(vec!["127.0.0.1".parse().unwrap()])),
        proxy: Some(format!("http://{}", proxy.address).parse().unwrap()),
        ..Config::default()
    };
    let sender = Sender::new(&config, loopback_guard()).unwrap();
    let exchange = call(&sender, &good, "partner.example").await;
    assert_eq!(exchange.outcome, Outcome::Answered { status: 200 }, "{exchange:?}");
    assert!(exchange.evidence.tls.is_some() && exchange.evidence.via.is_some());
    assert!(proxy.seen.requests()[0].starts_with(&format!("CONNECT {to} HTTP/1.1\r\n")));
    // A proxy that leads elsewhere gains nothing but a failed handshake, and that is the endpoint's.
    failed(&call(&sender, &good, "other.example").await, "not valid for name");
}

#[tokio::test]
async fn a_server_that_offers_only_http_2_is_not_spoken_to() {
    let authority = Authority::new();
    let mut config = authority.server(&named(&["partner.example"]));
    config.alpn_protocols = vec![b"h2".to_vec()];
    let exchange = call(&authority.sender(), &receiver(config).await, "partner.example").await;
    failed(&exchange, "");
}

#[tokio::test]
async fn a_receiver_that_wants_a_client_certificate_is_a_tls_failure() {
    let authority = Authority::new();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.issuer.der().clone()).unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = named(&["partner.example"]).signed_by(&key, &authority.issuer).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    let receiver = receiver(config).await;
    let exchange = call(&authority.sender(), &receiver, "partner.example").await;
    // The alert may race with the end of the connection.
    assert!(matches!(exchange.outcome, Outcome::Failed(Failure::Tls | Failure::Reset)), "{exchange:?}");
    assert!(receiver.seen.requests().is_empty());
}

#[tokio::test]
async fn what_is_not_tls_is_a_tls_failure_and_silence_is_a_timeout() {
    let authority = Authority::new();
    let plain = Receiver::start(|_, mut stream, _| async move {
        let _ = stream.write_all(OK.as_bytes()).await;
        let _ = stream.read(&mut [0; 4096]).await;
    })
    .await;
    failed(&call(&authority.sender(), &plain, "partner.example").await, "");

    let closes = Receiver::start(|_, mut stream, _| async move {
        let _ = stream.read(&mut [0; 4096]).await;
    })
    .await;
    failed(&call(&authority.sender(), &closes, "partner.example").await, "");

    let silent = Receiver::start(|_, mut stream, _| async move {
        while stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {}
    })
    .await;
    let url = format!("https://partner.example:{}/", silent.address.port());
    let exchange = authority.sender().send(Request::get(url), SHORT).await;
    assert_eq!(exchange.outcome, Outcome::Failed(Failure::ConnectTimeout), "{exchange:?}");
    assert!(exchange.evidence.timings.tls_us.is_some() && !exchange.evidence.request_written);
}

#[test]
fn a_roots_file_without_certificates_stops_the_start() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    let missing = empty.path().with_extension("missing");
    let mut broken = tempfile::NamedTempFile::new().unwrap();
    broken.write_all(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    for path in [empty.path().to_owned(), missing, broken.path().to_owned()] {
        let config = Config { extra_roots_file: Some(path), ..Config::default() };
        let error = Sender::new(&config, loopback_guard()).unwrap_err();
        assert!(matches!(error, ConfigError::RootsRead { .. }), "{error}");
    }
    let config = Config { docs_url: Some("https://x/\r\nx-evil: 1".to_owned()), ..Config::default() };
    assert!(matches!(Sender::new(&config, loopback_guard()), Err(ConfigError::DocsUrl)));
}
