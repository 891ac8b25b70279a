//! The partners: one loopback port that takes what they are told, remembers it, and is unwell now and then.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use http::{StatusCode, Uri};

use super::Dice;

/// Something that a partner was told.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    /// The path.
    pub(crate) path: String,
    /// The parameters, decoded.
    pub(crate) parameters: BTreeMap<String, String>,
    /// Whether the partner took it.
    pub(crate) taken: bool,
}

impl Told {
    /// A parameter; empty when it is not there.
    pub(crate) fn parameter(&self, name: &str) -> &str {
        self.parameters.get(name).map_or("", String::as_str)
    }
}

struct Inbox {
    told: Mutex<Vec<Told>>,
    is_unwell: AtomicBool,
    is_refusing: AtomicBool,
    dice: Dice,
}

/// The partners' port. It ends with the test's runtime.
#[derive(Clone)]
pub(crate) struct Partners {
    address: SocketAddr,
    inbox: Arc<Inbox>,
}

impl Partners {
    /// Opens it.
    pub(crate) async fn open(seed: u64) -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let told = Mutex::default();
        let inbox = Arc::new(Inbox {
            told,
            is_unwell: AtomicBool::new(false),
            is_refusing: AtomicBool::new(false),
            dice: Dice::seeded(seed),
        });
        let router = Router::new().fallback(take).with_state(inbox.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, inbox }
    }

    /// Host and port.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether one in fifty is answered 503.
    pub(crate) fn set_unwell(&self, is_unwell: bool) {
        self.inbox.is_unwell.store(is_unwell, Ordering::SeqCst);
    }

    /// Whether all is answered 404.
    pub(crate) fn set_refusing(&self, is_refusing: bool) {
        self.inbox.is_refusing.store(is_refusing, Ordering::SeqCst);
    }

    /// Everything they were told, in the order of arrival.
    pub(crate) fn told(&self) -> Vec<Told> {
        self.inbox.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn take(State(inbox): State<Arc<Inbox>>, uri: Uri) -> StatusCode {
    let query = uri.query().unwrap_or_default();
    let parameters = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    if inbox.is_refusing.load(Ordering::SeqCst) {
        let told = Told { path: uri.path().to_owned(), parameters, taken: false };
        inbox.told.lock().unwrap_or_else(PoisonError::into_inner).push(told);
        return StatusCode::NOT_FOUND;
    }
    let taken = !(inbox.is_unwell.load(Ordering::SeqCst) && inbox.dice.one_in(50));
    let told = Told { path: uri.path().to_owned(), parameters, taken };
    inbox.told.lock().unwrap_or_else(PoisonError::into_inner).push(told);
    if taken { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
