//! Buckets: where exports can go besides folders, and sealed clicks besides the data directory (`segments`).
//!
//! The cast: `object_store` knows S3, Google's and Azure's dialects, signs requests and tries again what failed; it reads
//! credentials from the environment as each vendor's own tools do (`AWS_…`, `GOOGLE_…`, `AZURE_…`). [`Wire`] is how its
//! requests leave: our own connections, so that no second HTTP client, TLS stack or reader of proxies comes in.
//!
//! Commands write exports with the rights of whoever runs them, the server segments with its own. Plain HTTP goes to loopback, and elsewhere only
//! where the environment allows it (`AWS_ALLOW_HTTP=true`) or `object_store` asks a machine's own metadata service.

mod segments;

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use object_store::client::{
    ClientConfigKey, ClientOptions, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest,
    HttpResponse, HttpResponseBody, HttpService,
};
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt as _, PutPayload, RetryConfig, WriteMultipart};
use tokio_rustls::rustls::pki_types::ServerName;
use url::Url;

pub(crate) use self::segments::SegmentBuckets;
use crate::client::{connect, tls_connector};

/// The buckets that this program was built for.
pub(crate) const SCHEMES: &[&str] = &[
    #[cfg(feature = "s3")]
    "s3",
    #[cfg(feature = "gcs")]
    "gs",
    #[cfg(feature = "azure")]
    "az",
];
/// Files up to here are put in one request, and larger ones in pieces of it, in bytes.
const PIECE: usize = 8 << 20;
/// How long connecting may take, TLS included.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How long one request may take, which carries [`PIECE`] bytes at most.
const REQUEST_MAX: Duration = Duration::from_secs(120);
/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// A folder in a bucket.
pub(crate) struct Bucket {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    shown: String,
}

impl Bucket {
    /// Of a URL such as `s3://NAME/FOLDER`.
    ///
    /// # Errors
    /// When the URL cannot be used, or the environment lacks what the vendor needs.
    pub(crate) fn of(text: &str) -> anyhow::Result<Self> {
        let url = Url::parse(text).with_context(|| format!("read the bucket {text}"))?;
        let prefix = Path::from_url_path(url.path()).with_context(|| format!("read the bucket {text}"))?;
        let store = open(&url, &RetryConfig::default(), Wire::default())
            .with_context(|| format!("open the bucket {text}"))?;
        Ok(Self { store, prefix, shown: text.to_owned() })
    }

    /// As it was given.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    fn path(&self, name: &str) -> Path {
        name.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }

    /// What is there under that name, if anything is; small files only.
    pub(crate) async fn get(&self, name: &str) -> anyhow::Result<Option<Bytes>> {
        let reading = async { self.store.get(&self.path(name)).await?.bytes().await };
        match reading.await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("read {name} in {}", self.shown)),
        }
    }

    /// Whether there is something under that name.
    pub(crate) async fn has(&self, name: &str) -> anyhow::Result<bool> {
        match self.store.head(&self.path(name)).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error).with_context(|| format!("look for {name} in {}", self.shown)),
        }
    }

    /// Puts a small file there.
    pub(crate) async fn put(&self, name: &str, bytes: Vec<u8>) -> anyhow::Result<()> {
        let put = self.store.put(&self.path(name), PutPayload::from(bytes)).await;
        put.map(drop).with_context(|| format!("put {name} into {}", self.shown))
    }

    /// Puts a file there, in pieces if it is large. Nobody sees it before it is whole.
    pub(crate) async fn put_file(&self, name: &str, mut file: File) -> anyhow::Result<()> {
        file.seek(SeekFrom::Start(0)).context("read what came")?;
        let mut piece = read_piece(&mut file)?;
        if piece.len() < PIECE {
            return self.put(name, piece).await;
        }
        let putting = || format!("put {name} into {}", self.shown);
        let upload = self.store.put_multipart(&self.path(name)).await.with_context(putting)?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PIECE);
        loop {
            // One piece at a time: of a larger file no more than two are in memory.
            upload.wait_for_capacity(1).await.with_context(putting)?;
            let is_last = piece.len() < PIECE;
            upload.put(piece.into());
            if is_last {
                break;
            }
            piece = read_piece(&mut file)?;
        }
        upload.finish().await.map(drop).with_context(putting)
    }
}

fn read_piece(file: &mut File) -> anyhow::Result<Vec<u8>> {
    let mut piece = Vec::with_capacity(PIECE);
    file.take(PIECE as u64).read_to_end(&mut piece).context("read what came")?;
    Ok(piece)
}

fn open(url: &Url, retries: &RetryConfig, wire: Wire) -> anyhow::Result<Arc<dyn ObjectStore>> {
    match url.scheme() {
        #[cfg(feature = "s3")]
        "s3" => {
            let builder = object_store::aws::AmazonS3Builder::from_env().with_http_connector(wire);
            Ok(Arc::new(builder.with_retry(retries.clone()).with_url(url.as_str()).build()?))
        }
        #[cfg(feature = "gcs")]
        "gs" => {
            let builder = object_store::gcp::GoogleCloudStorageBuilder::from_env().with_http_connector(wire);
            Ok(Arc::new(builder.with_retry(retries.clone()).with_url(url.as_str()).build()?))
        }
        #[cfg(feature = "azure")]
        "az" => {
            let builder = object_store::azure::MicrosoftAzureBuilder::from_env().with_http_connector(wire);
            Ok(Arc::new(builder.with_retry(retries.clone()).with_url(url.as_str()).build()?))
        }
        other => bail!("this program is not built for {other}://"),
    }
}

/// One connection for each request. There are a few requests for each file, and none is kept open in between.
#[derive(Debug, Clone, Copy)]
struct Wire {
    may_http: bool,
    /// How long one request may take.
    request_max: Duration,
    /// The longest answer that is read, in bytes.
    answer_max: usize,
}

impl Default for Wire {
    fn default() -> Self {
        Self { may_http: false, request_max: REQUEST_MAX, answer_max: ANSWER_BYTES_MAX }
    }
}

impl HttpConnector for Wire {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let allowed = options.get_config_value(&ClientConfigKey::AllowHttp);
        Ok(HttpClient::new(Self { may_http: allowed.as_deref() == Some("true"), ..*self }))
    }
}

/// A failure below HTTP, in words.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
struct Failed(anyhow::Error);

#[async_trait]
impl HttpService for Wire {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let failed = |kind| move |error: anyhow::Error| HttpError::new(kind, Failed(error));
        let (mut parts, body) = request.into_parts();
        let target = Target::of(&parts.uri, self.may_http).map_err(failed(HttpErrorKind::Unknown))?;
        parts.headers.insert(header::HOST, target.authority);
        parts.uri = target.path;
        let body = body.collect().await?.to_bytes();
        let request = http::Request::from_parts(parts, Full::new(body));
        let connecting = tokio::time::timeout(CONNECT_MAX, async {
            let stream = connect(&target.host, target.port).await?;
            anyhow::Ok(match target.tls {
                false => Either::Plain(stream),
                true => {
                    let name = ServerName::try_from(target.host.clone()).context("use the host's name")?;
                    Either::Tls(Box::new(
                        tls_connector()?.connect(name, stream).await.context("agree on TLS")?,
                    ))
                }
            })
        });
        let stream = connecting
            .await
            .unwrap_or_else(|_| bail!("cannot connect within {} s", CONNECT_MAX.as_secs()))
            .map_err(failed(HttpErrorKind::Connect))?;
        let exchange = async {
            match stream {
                Either::Plain(stream) => exchange(stream, request, self.answer_max).await,
                Either::Tls(stream) => exchange(*stream, request, self.answer_max).await,
            }
        };
        match tokio::time::timeout(self.request_max, exchange).await {
            Ok(answered) => answered.map_err(failed(HttpErrorKind::Interrupted)),
            Err(_) => {
                let error = anyhow::anyhow!("no answer within {} s", self.request_max.as_secs());
                Err(failed(HttpErrorKind::Timeout)(error))
            }
        }
    }
}

enum Either {
    Plain(tokio::net::TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<tokio::net::TcpStream>>),
}

/// Where a request goes.
struct Target {
    host: String,
    port: u16,
    tls: bool,
    authority: HeaderValue,
    path: Uri,
}

impl Target {
    fn of(uri: &Uri, may_http: bool) -> anyhow::Result<Self> {
        let host = uri.host().context("use the bucket's address: it has no host")?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let tls = uri.scheme_str() == Some("https");
        let address: Option<std::net::IpAddr> = host.parse().ok();
        let is_loopback = host == "localhost" || address.is_some_and(|address| address.is_loopback());
        if !tls && !may_http && !is_loopback {
            bail!("use the bucket's address {host}: it is plain HTTP to another machine; use https");
        }
        let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or(&host);
        // What stands before an @ is not for the header.
        let authority = authority.rsplit('@').next().unwrap_or(authority);
        let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        Ok(Self {
            port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            tls,
            authority: HeaderValue::from_str(authority).context("read the bucket's host")?,
            path: path.parse().context("read the bucket's address")?,
            host,
        })
    }
}

async fn exchange<S>(
    stream: S,
    request: http::Request<Full<Bytes>>,
    answer_max: usize,
) -> anyhow::Result<HttpResponse>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.context("begin HTTP")?;
    // It ends with the answer, and what ends it early is seen by whoever reads the answer.
    tokio::spawn(async move { drop(connection.await) });
    let answer = sender.send_request(request).await.context("send the request")?;
    let (parts, body) = answer.into_parts();
    let body = Limited::new(body, answer_max).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!("{error}")).context("read the answer")?.to_bytes();
    let body = Full::new(body).map_err(|never| match never {});
    Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_stays_on_this_machine() {
        let to = |uri: &str, may| Target::of(&uri.parse().unwrap(), may);
        let target = to("http://127.0.0.1:9000/b/k?x=1", false).unwrap();
        assert_eq!((target.host.as_str(), target.port, target.tls), ("127.0.0.1", 9000, false));
        assert_eq!(
            (target.authority.to_str().unwrap(), target.path.to_string().as_str()),
            ("127.0.0.1:9000", "/b/k?x=1")
        );
        let target = to("https://b.s3.eu-central-1.amazonaws.com/k", false).unwrap();
        assert_eq!((target.port, target.tls), (443, true));
        assert_eq!(to("http://[::1]:9000/k", false).unwrap().host, "::1");
        assert!(to("http://minio.internal:9000/k", false).is_err());
        assert!(to("http://minio.internal:9000/k", true).is_ok());
        assert!(to("/k", false).is_err());
    }

    #[tokio::test]
    async fn large_files_are_put_in_pieces_and_come_back_whole() {
        let store = Arc::new(object_store::memory::InMemory::new());
        let bucket = Bucket { store, prefix: Path::from("a b"), shown: "memory".to_owned() };
        assert!(!bucket.has("dt=1/x").await.unwrap());
        for length in [0, 5, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 2 * PIECE + 7] {
            let bytes: Vec<u8> = (0..length).map(|n| (n / 251) as u8).collect();
            let mut file = tempfile::tempfile().unwrap();
            std::io::Write::write_all(&mut file, &bytes).unwrap();
            bucket.put_file("dt=1/x", file).await.unwrap();
            assert!(bucket.get("dt=1/x").await.unwrap().as_deref() == Some(&bytes[..]), "{length} bytes");
        }
        assert!(bucket.has("dt=1/x").await.unwrap());
    }
}
