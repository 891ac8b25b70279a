//! Where the sender may connect: addresses, ports, and never our own listeners.
//!
//! The ranges are the union of what careful webhook senders refuse, taken from the registries of
//! special-purpose addresses (RFC 6890, RFC 4291, RFC 6052, RFC 5214, RFC 9602, RFC 9637). The guard looks at
//! addresses only after a name has been resolved; it is NOT relied on to recognise "bad looking" host
//! names, because `url` has already turned octal, hex and short numeric hosts into plain addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use roundtrip_domain::endpoint::NotAllowed;

use super::outcome::{Failure, Fault};

/// Special-purpose IPv4: first address, prefix length in bits, and the words an operator reads.
const REFUSED_V4: &[(Ipv4Addr, u8, &str)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8, "0.0.0.0/8 (this network)"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "10.0.0.0/8 (private)"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "100.64.0.0/10 (carrier-grade NAT)"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "127.0.0.0/8 (loopback)"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "169.254.0.0/16 (link-local, cloud metadata)"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "172.16.0.0/12 (private)"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "192.0.0.0/24 (protocol assignments)"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "192.0.2.0/24 (documentation)"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "192.88.99.0/24 (6to4 relay)"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "192.168.0.0/16 (private)"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "198.18.0.0/15 (benchmarking)"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "198.51.100.0/24 (documentation)"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "203.0.113.0/24 (documentation)"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "224.0.0.0/4 (multicast)"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "240.0.0.0/4 (reserved, broadcast)"),
];

/// Special-purpose IPv6, the narrower range before the one that holds it so that the reason is exact.
const REFUSED_V6: &[(Ipv6Addr, u8, &str)] = &[
    (Ipv6Addr::UNSPECIFIED, 128, "::/128 (unspecified)"),
    (Ipv6Addr::LOCALHOST, 128, "::1/128 (loopback)"),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, "::ffff:0:0/96 (IPv4-mapped)"),
    (Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96, "::ffff:0:0:0/96 (IPv4-translated)"),
    (Ipv6Addr::UNSPECIFIED, 96, "::/96 (IPv4-compatible)"),
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96, "64:ff9b::/96 (NAT64)"),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, "64:ff9b:1::/48 (local NAT64)"),
    (Ipv6Addr::UNSPECIFIED, 8, "::/8 (reserved)"),
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64, "100::/64 (discard)"),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, "2001::/32 (Teredo)"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "2001:db8::/32 (documentation)"),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "2002::/16 (6to4)"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "3fff::/20 (documentation)"),
    (Ipv6Addr::new(0x5f00, 0, 0, 0, 0, 0, 0, 0), 16, "5f00::/16 (segment routing)"),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, "fc00::/7 (unique local, cloud metadata)"),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, "fe80::/10 (link-local)"),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, "fec0::/10 (site-local)"),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, "ff00::/8 (multicast)"),
];

/// A block of addresses in CIDR form, such as `10.1.0.0/16` or `fd00::/8`. A bare address is a block of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subnet {
    network: IpAddr,
    prefix: u8,
}

/// Why a text is not a [`Subnet`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubnetError {
    /// The part before the slash is not an IPv4 or IPv6 address.
    #[error("read the subnet: `{0}` is not an IP address")]
    Address(String),
    /// The part after the slash is not a whole number of bits of this family (0–32, 0–128).
    #[error("read the subnet: `{0}` is not a prefix length of this address family")]
    Prefix(String),
    /// The address has bits set beyond the prefix, which is nearly always a typing mistake that would
    /// silently allow more than was meant.
    #[error("read the subnet: bits are set beyond the prefix; did you mean `{0}`")]
    HostBits(Subnet),
}

impl Subnet {
    /// The block of `prefix` bits that starts at `network`.
    ///
    /// # Errors
    /// When the prefix is longer than the family's addresses (32 or 128 bits), or `network` has bits set
    /// beyond it.
    pub fn new(network: IpAddr, prefix: u8) -> Result<Self, SubnetError> {
        let (width, bits) = match network {
            IpAddr::V4(v4) => (32, u128::from(v4.to_bits()) << 96),
            IpAddr::V6(v6) => (128, v6.to_bits()),
        };
        if prefix > width {
            return Err(SubnetError::Prefix(prefix.to_string()));
        }
        let kept = bits & mask_128(prefix);
        if kept == bits {
            return Ok(Self { network, prefix });
        }
        let network = match network {
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & (mask_128(prefix) >> 96) as u32)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(kept)),
        };
        Err(SubnetError::HostBits(Self { network, prefix }))
    }

    /// Whether `address` lies in this block. Families are never mixed: `::ffff:10.0.0.1` is not in
    /// `10.0.0.0/8`.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.network, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => in_v4(network, self.prefix, address),
            (IpAddr::V6(network), IpAddr::V6(address)) => in_v6(network, self.prefix, address),
            _ => false,
        }
    }
}

impl FromStr for Subnet {
    type Err = SubnetError;

    fn from_str(text: &str) -> Result<Self, SubnetError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let network: IpAddr = address.parse().map_err(|_| SubnetError::Address(address.to_owned()))?;
        let prefix = match prefix {
            Some(prefix) => prefix.parse().map_err(|_| SubnetError::Prefix(prefix.to_owned()))?,
            None if network.is_ipv4() => 32,
            None => 128,
        };
        Self::new(network, prefix)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

/// Why an address is not connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{address} is in {range}")]
pub struct Refusal {
    /// The address that was refused, as the resolver gave it.
    pub address: IpAddr,
    /// The range it fell into, in CIDR form with a word of what the range is for.
    pub range: &'static str,
}

/// The operator's rules for outbound connections. The default is the strictest: public addresses, https.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    /// Blocks among the refused ranges that the operator opens. An IPv6 form that carries an IPv4 address
    /// (NAT64, mapped, 6to4 …) also needs that IPv4 address to be acceptable on its own.
    pub allow_private: Vec<Subnet>,
    /// Whether `http://` destinations may be called at all.
    pub allow_plain_http: bool,
    /// Ports below 1024 that may be called besides 80 and 443. From 1024 up every port may.
    pub ports_extra: Vec<u16>,
    /// Where this process itself listens. A subnet in `allow_private` does not open these: somebody who
    /// allows `10.0.0.0/8` for a colleague's receiver does not mean our own admin listener.
    pub own_listeners: Vec<SocketAddr>,
    /// Whether `own_listeners` may be called after all.
    pub allow_own_listeners: bool,
}

impl Guard {
    /// Whether this address may be connected to, ports aside.
    ///
    /// # Errors
    /// The range that refuses it.
    pub fn check_addr(&self, address: IpAddr) -> Result<(), Refusal> {
        let Some(range) = refused_range(address) else { return Ok(()) };
        let refusal = Refusal { address, range };
        if !self.allow_private.iter().any(|subnet| subnet.contains(address)) {
            return Err(refusal);
        }
        match embedded_v4(address) {
            Embedded::None => Ok(()),
            Embedded::Unclear => Err(refusal),
            Embedded::Address(v4) => {
                self.check_addr(IpAddr::V4(v4)).map_err(|inner| Refusal { address, range: inner.range })
            }
        }
    }

    /// Whether this address and port may be connected to: [`Self::check_addr`], and not one of our own
    /// listeners that is bound to exactly this address.
    ///
    /// # Errors
    /// The range that refuses it, or that it is our own listener.
    pub fn check_socket(&self, target: SocketAddr) -> Result<(), Refusal> {
        self.check_addr(target.ip())?;
        if !self.allow_own_listeners && self.own_listeners.contains(&target) {
            return Err(Refusal { address: target.ip(), range: OWN_LISTENER });
        }
        Ok(())
    }

    /// The part of the own-listener rule that can only be judged on an open connection: a listener bound
    /// to "every address" is reached through any address of this machine, and the system then picks that
    /// same address as the source. No byte has been sent at this point.
    pub(super) fn check_connected(&self, local: SocketAddr, peer: SocketAddr) -> Result<(), Refusal> {
        if self.allow_own_listeners {
            return Ok(());
        }
        let own_machine = local.ip() == peer.ip() || (local.ip().is_loopback() && peer.ip().is_loopback());
        let own_port =
            self.own_listeners.iter().any(|own| own.ip().is_unspecified() && own.port() == peer.port());
        if own_machine && own_port {
            return Err(Refusal { address: peer.ip(), range: OWN_LISTENER });
        }
        Ok(())
    }

    /// Whether a URL of this scheme and port may be called at all.
    pub(super) fn check_scheme_and_port(&self, https: bool, port: u16) -> Result<(), Fault> {
        if !https && !self.allow_plain_http {
            return Err(refused(NotAllowed::PlainHttp, "the URL is plain http"));
        }
        let open = matches!(port, 80 | 443) || port >= 1024 || self.ports_extra.contains(&port);
        if port == 0 {
            return Err(Fault::new(Failure::BadUrl, "nobody listens on port 0"));
        }
        if !open {
            return Err(refused(NotAllowed::Port, &format!("port {port} is not one that is called")));
        }
        Ok(())
    }
}

impl Refusal {
    /// The end of a send because of it, with what would allow it.
    pub(super) fn fault(self) -> Fault {
        match self.range {
            OWN_LISTENER => Fault::new(Failure::OwnListener, self.to_string()),
            _ => refused(NotAllowed::Address, &self.to_string()),
        }
    }
}

/// What the operator's settings do not allow, with the switch that does.
fn refused(what: NotAllowed, sentence: &str) -> Fault {
    let failure = match what {
        NotAllowed::PlainHttp => Failure::PlainHttpRefused,
        NotAllowed::Port => Failure::PortRefused,
        NotAllowed::Address => Failure::RefusedAddress,
    };
    Fault::new(failure, format!("{sentence}; {} allows it", what.switch()))
}

const OWN_LISTENER: &str = "own listener";

fn refused_range(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => REFUSED_V4
            .iter()
            .find(|(network, prefix, _)| in_v4(*network, *prefix, v4))
            .map(|(_, _, range)| *range),
        IpAddr::V6(v6) => REFUSED_V6
            .iter()
            .find(|(network, prefix, _)| in_v6(*network, *prefix, v6))
            .map(|(_, _, range)| *range)
            .or_else(|| is_isatap(v6).then_some("ISATAP interface id")),
    }
}

/// The IPv4 address that packets to an IPv6 address would end up at.
enum Embedded {
    /// It carries none.
    None,
    /// It carries this one.
    Address(Ipv4Addr),
    /// It may carry one, in a layout that cannot be told from others.
    Unclear,
}

fn embedded_v4(address: IpAddr) -> Embedded {
    let IpAddr::V6(v6) = address else { return Embedded::None };
    let bits = v6.to_bits();
    let low = Ipv4Addr::from_bits(bits as u32);
    let [s0, s1, s2, ..] = v6.segments();
    if v6.is_unspecified() || v6.is_loopback() {
        return Embedded::None;
    }
    if bits >> 32 == 0
        || bits >> 32 == 0xffff
        || bits >> 32 == 0xffff_0000
        || bits >> 32 == 0x0064_ff9b_u128 << 64
        || is_isatap(v6)
    {
        return Embedded::Address(low);
    }
    if (s0, s1, s2) == (0x64, 0xff9b, 1) {
        // RFC 6052 has layouts for /48 to /96 in this range. Only the /96 one has its low bits in use;
        // the others end in 24 zero bits, and guessing between them could let a private address through.
        if bits.trailing_zeros() >= 24 {
            return Embedded::Unclear;
        }
        return Embedded::Address(low);
    }
    if s0 == 0x2002 {
        return Embedded::Address(Ipv4Addr::from_bits((bits >> 80) as u32));
    }
    if (s0, s1) == (0x2001, 0) {
        // Teredo stores the client's address inverted.
        return Embedded::Address(Ipv4Addr::from_bits(!(bits as u32)));
    }
    Embedded::None
}

/// RFC 5214: the interface id is `0000:5efe` or `0200:5efe` and then an IPv4 address, under any prefix.
fn is_isatap(address: Ipv6Addr) -> bool {
    let marker = (address.to_bits() >> 32) as u32;
    marker & 0xfdff_ffff == 0x0000_5efe
}

fn mask_128(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0)
}

fn in_v4(network: Ipv4Addr, prefix: u8, address: Ipv4Addr) -> bool {
    let mask = (mask_128(prefix.min(32)) >> 96) as u32;
    network.to_bits() & mask == address.to_bits() & mask
}

fn in_v6(network: Ipv6Addr, prefix: u8, address: Ipv6Addr) -> bool {
    let mask = mask_128(prefix);
    network.to_bits() & mask == address.to_bits() & mask
}
