//! Device identifiers: their kinds, their canonical form, and the 64-bit print that finds them.
//!
//! All-zero ids are absent everywhere: platforms send them when a person withheld the real one
//! (Apple's ATT other than authorised, a deleted Android advertising id).

use std::fmt;
use std::hash::Hasher;

use siphasher::sip::SipHasher24;

/// A kind of raw identifier that can be matched. Numbers are stored: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum DeviceIdKind {
    /// Google advertising id.
    Gaid = 1,
    /// Apple's advertising id.
    Idfa = 2,
    /// Apple's vendor id; one per vendor and device, never used to match a click.
    Idfv = 3,
    /// Open advertising id (Huawei and others).
    Oaid = 4,
    /// Android's per-app device id.
    AndroidId = 5,
}

impl DeviceIdKind {
    /// All kinds, in the order in which a match is tried.
    pub const ALL: [Self; 5] = [Self::Gaid, Self::Idfa, Self::Oaid, Self::AndroidId, Self::Idfv];

    /// The parameter and field name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gaid => "gaid",
            Self::Idfa => "idfa",
            Self::Idfv => "idfv",
            Self::Oaid => "oaid",
            Self::AndroidId => "android_id",
        }
    }

    /// Whether an ad network can know it, so that it may tie a click to an install.
    pub const fn matches_clicks(self) -> bool {
        !matches!(self, Self::Idfv)
    }
}

/// A raw device id in canonical form: trimmed, lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId {
    /// Which identifier it is.
    pub kind: DeviceIdKind,
    /// Canonical text.
    pub text: String,
}

impl DeviceId {
    /// Longest accepted text, in bytes. Real ones have 16 to 64.
    pub const BYTES_MAX: usize = 128;

    /// Reads an id. `None` when it is empty, only zeros and hyphens, over-long, an unexpanded macro,
    /// or holds anything but printable ASCII without spaces.
    pub fn parse(kind: DeviceIdKind, text: &str) -> Option<Self> {
        let text = text.trim();
        let absent = text.bytes().all(|b| matches!(b, b'0' | b'-'));
        let legal =
            text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'{' | b'}' | b'$' | b'%' | b'#'));
        if absent || !legal || text.len() > Self::BYTES_MAX || crate::params::unexpanded(text.as_bytes()) {
            return None;
        }
        Some(Self { kind, text: text.to_ascii_lowercase() })
    }

    /// Text as platforms print it: Apple's ids upper case, others lower.
    pub fn display(&self) -> String {
        match self.kind {
            DeviceIdKind::Idfa | DeviceIdKind::Idfv => self.text.to_ascii_uppercase(),
            _ => self.text.clone(),
        }
    }
}

impl fmt::Debug for DeviceId {
    /// Personal data: prints the kind only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(…)", self.kind.name())
    }
}

/// What a print stands for; the `kind` of a side file's rows. Numbers are stored: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PrintKind {
    /// A raw device id of the kind with the same number.
    Gaid = 1,
    /// Apple's advertising id.
    Idfa = 2,
    /// Apple's vendor id.
    Idfv = 3,
    /// Open advertising id.
    Oaid = 4,
    /// Android's device id.
    AndroidId = 5,
    /// The partner's click id; its scope is the partner, not the app.
    PartnerClickId = 32,
    /// As [`Self::Gaid`], on an impression. Impressions have kinds of their own (64 more than the click's), so
    /// that no number of views can hide a click from a look-up that is bounded.
    ViewGaid = 65,
    /// As [`Self::Idfa`], on an impression.
    ViewIdfa = 66,
    /// As [`Self::Idfv`], on an impression.
    ViewIdfv = 67,
    /// As [`Self::Oaid`], on an impression.
    ViewOaid = 68,
    /// As [`Self::AndroidId`], on an impression.
    ViewAndroidId = 69,
    /// As [`Self::PartnerClickId`], on an impression.
    ViewPartnerClickId = 96,
}

impl PrintKind {
    /// Whether its scope is the partner; else it is the app.
    pub const fn is_of_partner(self) -> bool {
        matches!(self, Self::PartnerClickId | Self::ViewPartnerClickId)
    }

    /// The kind on an impression.
    #[must_use]
    pub const fn on_view(self) -> Self {
        match self {
            Self::Gaid | Self::ViewGaid => Self::ViewGaid,
            Self::Idfa | Self::ViewIdfa => Self::ViewIdfa,
            Self::Idfv | Self::ViewIdfv => Self::ViewIdfv,
            Self::Oaid | Self::ViewOaid => Self::ViewOaid,
            Self::AndroidId | Self::ViewAndroidId => Self::ViewAndroidId,
            Self::PartnerClickId | Self::ViewPartnerClickId => Self::ViewPartnerClickId,
        }
    }
}

impl From<DeviceIdKind> for PrintKind {
    fn from(kind: DeviceIdKind) -> Self {
        match kind {
            DeviceIdKind::Gaid => Self::Gaid,
            DeviceIdKind::Idfa => Self::Idfa,
            DeviceIdKind::Idfv => Self::Idfv,
            DeviceIdKind::Oaid => Self::Oaid,
            DeviceIdKind::AndroidId => Self::AndroidId,
        }
    }
}

/// Where a click can be found by what it carries: `(scope, kind, hash)`.
///
/// The scope is the 16 bytes of the app's id, or of the partner's for partner click ids. The hash is
/// SipHash-2-4 with an all-zero key over the kind's number and the canonical bytes: fixed and documented,
/// since side files outlive releases. It finds candidates; the click itself is compared afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Print {
    /// App or partner id, as a number.
    pub scope: u128,
    /// What is hashed.
    pub kind: PrintKind,
    /// SipHash-2-4 of kind and canonical bytes.
    pub hash: u64,
}

impl Print {
    /// The print of a raw device id inside an app.
    pub fn device(app: crate::id::Id<crate::id::kind::App>, id: &DeviceId) -> Self {
        let kind = id.kind.into();
        Self { scope: app.bits(), kind, hash: hash64(kind as u8, id.text.as_bytes()) }
    }

    /// The same print on an impression. The hash stays: it is over the click's kind.
    #[must_use]
    pub const fn on_view(self) -> Self {
        Self { kind: self.kind.on_view(), ..self }
    }

    /// The print of a partner's click id (its decoded bytes).
    pub fn partner_click_id(partner: crate::id::Id<crate::id::kind::Partner>, value: &[u8]) -> Self {
        let kind = PrintKind::PartnerClickId;
        Self { scope: partner.bits(), kind, hash: hash64(kind as u8, value) }
    }
}

/// The fixed 64-bit hash of the side files.
pub fn hash64(kind: u8, bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new();
    hasher.write_u8(kind);
    hasher.write(bytes);
    hasher.finish()
}

/// What a caller says of the device. Absent ids are `None`, whatever way they were withheld.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Device {
    /// `android`, `ios`, …, as sent, lower case.
    pub platform: Option<String>,
    /// Version of the operating system, as sent.
    pub os_version: Option<String>,
    /// Model name, as sent.
    pub model: Option<String>,
    /// Version of the app, as sent.
    pub app_version: Option<String>,
    /// Apple's tracking consent, as sent.
    pub att_status: Option<String>,
    /// Raw identifiers that are really there, in the order of [`DeviceIdKind::ALL`].
    pub ids: Vec<DeviceId>,
}

impl Device {
    /// The raw id of a kind.
    pub fn id(&self, kind: DeviceIdKind) -> Option<&DeviceId> {
        self.ids.iter().find(|id| id.kind == kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn withheld_ids_are_absent() {
        for absent in ["", " ", "00000000-0000-0000-0000-000000000000", "0", "{gaid}", "__GAID__", "a b"] {
            assert_eq!(DeviceId::parse(DeviceIdKind::Gaid, absent), None, "{absent:?}");
        }
        let id = DeviceId::parse(DeviceIdKind::Idfa, " 6D92078A-8246-4BA4-AE5B-76104861E7DC ").unwrap();
        assert_eq!(id.text, "6d92078a-8246-4ba4-ae5b-76104861e7dc");
        assert_eq!(id.display(), "6D92078A-8246-4BA4-AE5B-76104861E7DC");
        assert!(!format!("{id:?}").contains("6d92"), "personal data is not printed");
    }

    #[test]
    fn the_print_is_fixed_for_ever() {
        // Side files on disk hold these numbers; a change here makes every one of them useless.
        assert_eq!(hash64(1, b"6d92078a-8246-4ba4-ae5b-76104861e7dc"), 15_536_679_523_648_900_406);
    }
}
