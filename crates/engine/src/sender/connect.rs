//! Opening a connection: look up, check every address, connect to one that was checked (or have the operator's proxy
//! connect to it), handshake. The
//! name is looked up once per connection and never again between check and connect, so a name server that
//! changes its answer gains nothing.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::evidence::{Evidence, TlsFacts};
use super::guard::{Guard, Refusal};
use super::outcome::{Failure, Fault};
use super::proxy::Proxy;
use super::request::Target;
use super::resolve::Resolve;
use super::tap::{Stream, micros};

/// How many of a name's addresses are tried. All of them are checked.
const ADDRESSES_TRIED_MAX: usize = 6;

pub(super) struct Connector {
    pub(super) guard: Guard,
    pub(super) resolve: Resolve,
    pub(super) tls: TlsConnector,
    pub(super) bind_v4: Option<Ipv4Addr>,
    pub(super) bind_v6: Option<Ipv6Addr>,
    pub(super) proxy: Option<Proxy>,
}

/// A connected stream and what is known about it.
pub(super) struct Opened {
    pub(super) stream: Stream,
    pub(super) address: SocketAddr,
    pub(super) tls: Option<TlsFacts>,
}

impl Connector {
    /// Opens a connection to `target` until `deadline`. Phases and the address go into `evidence` as they
    /// are reached.
    pub(super) async fn open(
        &self,
        target: &Target,
        deadline: Instant,
        evidence: &mut Evidence,
    ) -> Result<Opened, Fault> {
        let addresses = self.addresses(target, deadline, evidence).await?;
        for &address in &addresses {
            self.guard.check_socket(SocketAddr::new(address, target.key.port)).map_err(Refusal::fault)?;
        }

        let began = Instant::now();
        let connected =
            self.connect(&in_turn_by_family(addresses), target.key.port, deadline, evidence).await;
        evidence.timings.connect_us = Some(micros(began.elapsed()));
        let (stream, address) = connected?;

        if !target.key.https {
            return Ok(Opened { stream: Stream::Plain(stream), address, tls: None });
        }
        let began = Instant::now();
        let handshaken = self.handshake(target, stream, deadline).await;
        evidence.timings.tls_us = Some(micros(began.elapsed()));
        let stream = handshaken?;
        let tls = tls_facts(&stream);
        Ok(Opened { stream: Stream::Tls(Box::new(stream)), address, tls })
    }

    async fn addresses(
        &self,
        target: &Target,
        deadline: Instant,
        evidence: &mut Evidence,
    ) -> Result<Vec<IpAddr>, Fault> {
        if let Some(address) = target.address {
            return Ok(vec![address]);
        }
        let began = Instant::now();
        let found = timeout_at(deadline, self.resolve.resolve(&target.key.host)).await;
        evidence.timings.dns_us = Some(micros(began.elapsed()));
        match found {
            Err(_) => Err(Fault::new(Failure::Dns, "the name was not resolved in time")),
            Ok(Err(error)) => Err(Fault::new(Failure::Dns, error.to_string())),
            Ok(Ok(addresses)) if addresses.is_empty() => {
                Err(Fault::new(Failure::Dns, "the name has no address"))
            }
            Ok(Ok(addresses)) => Ok(addresses),
        }
    }

    async fn connect(
        &self,
        addresses: &[IpAddr],
        port: u16,
        deadline: Instant,
        evidence: &mut Evidence,
    ) -> Result<(TcpStream, SocketAddr), Fault> {
        let mut last = Fault::new(Failure::Connect, "the name has no address");
        for (tried, &address) in addresses.iter().enumerate() {
            let now = Instant::now();
            if tried > 0 && now >= deadline {
                break;
            }
            let target = SocketAddr::new(address, port);
            evidence.address = Some(target);
            // Each address gets an even share of what is left, so that one that swallows packets does not
            // use up the budget of the next.
            let left = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
            let share = deadline.saturating_duration_since(now) / left.max(1);
            let connected = async {
                match &self.proxy {
                    None => self.connect_one(target).await,
                    Some(proxy) => self.connect_through(proxy, target).await,
                }
            };
            match timeout_at(now + share, connected).await {
                Ok(Ok(stream)) if self.proxy.is_some() => return Ok((stream, target)),
                Ok(Ok(stream)) => {
                    let local = stream.local_addr().map_err(|error| fault_of_connect(&error))?;
                    self.guard.check_connected(local, target).map_err(Refusal::fault)?;
                    return Ok((stream, target));
                }
                Ok(Err(fault)) => last = fault,
                Err(_) if self.proxy.is_some() => {
                    let detail = format!("no connection through the proxy within {} ms", ms(share));
                    last = Fault::new(Failure::Proxy, detail);
                }
                Err(_) => {
                    let detail = format!("no connection within {} ms", ms(share));
                    last = Fault::new(Failure::ConnectTimeout, detail);
                }
            }
        }
        Err(last)
    }

    async fn connect_one(&self, target: SocketAddr) -> Result<TcpStream, Fault> {
        let local = |error: io::Error| Fault::new(Failure::Local, format!("open a socket here: {error}"));
        let socket =
            if target.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(local)?;
        let bound = match target {
            SocketAddr::V4(_) => self.bind_v4.map(IpAddr::V4),
            SocketAddr::V6(_) => self.bind_v6.map(IpAddr::V6),
        };
        if let Some(address) = bound {
            let fault = |error| Fault::new(Failure::Local, format!("send from {address}: {error}"));
            socket.bind(SocketAddr::new(address, 0)).map_err(fault)?;
        }
        let stream = socket.connect(target).await.map_err(|error| fault_of_connect(&error))?;
        stream.set_nodelay(true).map_err(|error| fault_of_connect(&error))?;
        Ok(stream)
    }

    /// A tunnel to `target`, whose address was checked. The proxy's own address is the operator's word.
    async fn connect_through(&self, proxy: &Proxy, target: SocketAddr) -> Result<TcpStream, Fault> {
        let addresses = match proxy.address {
            Some(address) => vec![address],
            None => self.resolve.resolve(&proxy.host).await.map_err(|error| {
                Fault::new(Failure::Proxy, format!("the proxy's name was not resolved: {error}"))
            })?,
        };
        let mut last = Fault::new(Failure::Proxy, "the proxy's name has no address");
        for address in in_turn_by_family(addresses) {
            match self.connect_one(SocketAddr::new(address, proxy.port)).await {
                Ok(mut stream) => {
                    proxy.tunnel(&mut stream, target).await?;
                    return Ok(stream);
                }
                Err(fault) if fault.failure == Failure::Local => last = fault,
                Err(fault) => {
                    let detail = format!("the proxy was not reached: {}", fault.detail);
                    last = Fault::new(Failure::Proxy, detail);
                }
            }
        }
        Err(last)
    }

    async fn handshake(
        &self,
        target: &Target,
        stream: TcpStream,
        deadline: Instant,
    ) -> Result<TlsStream<TcpStream>, Fault> {
        let name = match target.address {
            Some(address) => ServerName::IpAddress(address.into()),
            // Certificates name hosts without the root's dot.
            None => ServerName::try_from(target.key.host.trim_end_matches('.').to_owned())
                .map_err(|_| Fault::new(Failure::Tls, "the host cannot be the name of a certificate"))?,
        };
        match timeout_at(deadline, self.tls.connect(name, stream)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(Fault::new(Failure::Tls, error.to_string())),
            Err(_) => Err(Fault::new(Failure::ConnectTimeout, "the TLS handshake did not finish in time")),
        }
    }
}

fn fault_of_connect(error: &io::Error) -> Fault {
    let failure = match error.kind() {
        io::ErrorKind::TimedOut => Failure::ConnectTimeout,
        _ => Failure::Connect,
    };
    Fault::new(failure, error.to_string())
}

/// The resolver's order, but each second one of the other family while there are any, so that a machine
/// without working IPv6 reaches an IPv4 address on the second try.
fn in_turn_by_family(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let first_v6 = addresses.first().is_some_and(IpAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|a| a.is_ipv6() == first_v6);
    let mut turns = Vec::with_capacity(ADDRESSES_TRIED_MAX);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    while turns.len() < ADDRESSES_TRIED_MAX {
        let before = turns.len();
        turns.extend(first.next());
        turns.extend(second.next());
        if turns.len() == before {
            break;
        }
    }
    turns.truncate(ADDRESSES_TRIED_MAX);
    turns
}

fn tls_facts(stream: &TlsStream<TcpStream>) -> Option<TlsFacts> {
    let (_, connection) = stream.get_ref();
    let version = connection.protocol_version()?.as_str()?.to_owned();
    let cipher = connection.negotiated_cipher_suite()?.suite().as_str()?.to_owned();
    Some(TlsFacts { version, cipher })
}

fn ms(duration: Duration) -> u128 {
    duration.as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_and_the_number_of_tries_is_bounded() {
        let v4 = |last| IpAddr::V4(Ipv4Addr::new(198, 51, 100, last));
        let v6 = |last| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last));
        assert_eq!(in_turn_by_family(vec![v6(1), v6(2), v4(1)]), [v6(1), v4(1), v6(2)]);
        assert_eq!(in_turn_by_family(vec![v4(1), v4(2)]), [v4(1), v4(2)]);
        assert_eq!(in_turn_by_family((0..50).map(v4).collect()).len(), ADDRESSES_TRIED_MAX);
        assert!(in_turn_by_family(Vec::new()).is_empty());
    }
}
