//! What an owner sets up: apps, campaigns, partners, links, rules, keys.
//!
//! These are the checked forms that the program runs on. The documents that people write (file, API,
//! pages) are read and judged in `store::settings`; a [`Settings`] that exists is consistent.
//! Settings feed decisions, a rule tells a partner, a check looks for fraud: the words are kept apart.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use ipnet::IpNet;

use crate::click::LinkDialect;
use crate::condition::Condition;
use crate::event::ConversionKind;
use crate::id::{Id, WorkspaceNo, kind};
use crate::link_address::{Address, Addresses};
use crate::money::Currency;
use crate::rate::Rate;
use crate::retry::{Late, Retry};
use crate::sharing::Share;
use crate::template::{Template, UrlTemplate};
use crate::time::Span;
use crate::webhook::Webhook;

/// What an app runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Platform {
    /// Android.
    Android,
    /// iOS and iPadOS.
    Ios,
    /// A web site or shop.
    Web,
}

impl Platform {
    /// Its word in the API and the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Android => "android",
            Self::Ios => "ios",
            Self::Web => "web",
        }
    }

    /// Whether it has installations.
    pub const fn is_mobile(self) -> bool {
        !matches!(self, Self::Web)
    }

    /// The default click window: 7 days for apps, 30 for the web.
    pub const fn click_window(self) -> Span {
        match self {
            Self::Web => Span::from_days(30),
            _ => Span::from_days(7),
        }
    }
}

/// The hard maximum of any click window.
pub const CLICK_WINDOW_MAX: Span = Span::from_days(90);
/// How long a partner is told of a user's events, unless the rule says otherwise.
pub const POSTBACK_WINDOW: Span = Span::from_days(30);

/// The longest that a rule may delay a delivery: what is told later than a week is not told in time.
pub const DELAY_MAX: Span = Span::from_days(7);

/// How inbound postbacks of an app prove who sent them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PostbackAuth {
    /// Senders that need no token.
    pub addresses: Vec<IpNet>,
    /// Set by hand (`auth = "none"`): anyone may send, and everything books as pending.
    pub none: bool,
}

/// A mobile app or a web site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Its id.
    pub id: Id<kind::App>,
    /// Its key in file and API.
    pub slug: String,
    /// For people.
    pub name: String,
    /// What it runs on.
    pub platform: Platform,
    /// Package name or bundle id.
    pub bundle_id: Option<String>,
    /// The store's page; without one, Android's is made from the bundle id.
    pub store_url: Option<String>,
    /// The currency of events that name none.
    pub currency: Option<Currency>,
    /// What its own event names mean.
    pub events: BTreeMap<String, ConversionKind>,
    /// How long a click may earn something here; a link can say otherwise.
    pub click_window: Span,
    /// Who may send postbacks.
    pub postback: PostbackAuth,
}

impl App {
    /// What an event of this name is. The birth of an installation is decided elsewhere.
    pub fn kind_of(&self, event_name: &str) -> ConversionKind {
        if let Some(kind) = self.events.get(event_name) {
            return kind.clone();
        }
        match event_name {
            "signup" => ConversionKind::Signup,
            "purchase" => ConversionKind::Purchase,
            _ => ConversionKind::Event,
        }
    }
}

/// A campaign of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Campaign {
    /// Its id.
    pub id: Id<kind::Campaign>,
    /// Its key in file and API.
    pub slug: String,
    /// For people.
    pub name: String,
    /// The app that it promotes.
    pub app: Id<kind::App>,
    /// `campaign_id` on links and postbacks; unique in the workspace.
    pub public_id: String,
    /// Where a visitor lands on the web; a destination template.
    pub landing_page: Option<Arc<UrlTemplate>>,
    /// Parameters that every inbound postback must carry.
    pub mandatory: Vec<String>,
}

/// An affiliate or ad network.
#[derive(Clone, PartialEq, Eq)]
pub struct Partner {
    /// Its id.
    pub id: Id<kind::Partner>,
    /// Its key in file and API.
    pub slug: String,
    /// For people; `utm_source` and `{pid}`.
    pub name: String,
    /// Its public id; unique in the workspace.
    pub ref_id: String,
    /// Its own settings, for `{cfg.…}` macros. May hold secrets: never printed.
    pub cfg: BTreeMap<String, String>,
    /// Whether its links may carry their own callback URLs, for rules whose request is [`Request::Callback`].
    pub in_link_callbacks: bool,
    /// Most sends a second, all rules together.
    pub rate: Option<Rate>,
    /// How long after the click it accepts installs, where the rule that tells them says nothing else.
    pub accepts_within: Option<Span>,
}

impl fmt::Debug for Partner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Partner").field("id", &self.id).field("slug", &self.slug).finish_non_exhaustive()
    }
}

/// Where a link leads, by platform. Each is a destination template.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Destinations {
    /// For Android; without one, the app's store page with our referrer.
    pub android: Option<Arc<UrlTemplate>>,
    /// For iOS; without one, the app's store page.
    pub ios: Option<Arc<UrlTemplate>>,
    /// For everything else; without one, the campaign's landing page.
    pub web: Option<Arc<UrlTemplate>>,
    /// Tried first on a phone: opens the app where it is installed.
    pub deep_link: Option<Arc<UrlTemplate>>,
    /// When nothing else fits.
    pub fallback: Option<Arc<UrlTemplate>>,
}

/// A tracking link: campaign × partner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its id.
    pub id: Id<kind::Link>,
    /// What stands in the URL; unique in the installation. Also its slug.
    pub public_id: String,
    /// Its campaign.
    pub campaign: Id<kind::Campaign>,
    /// The campaign's app.
    pub app: Id<kind::App>,
    /// Whose link it is.
    pub partner: Id<kind::Partner>,
    /// How its parameters are named.
    pub dialect: LinkDialect,
    /// Where it leads.
    pub destinations: Destinations,
    /// Prefixes of destinations that a request may ask for.
    pub allow_destinations: Vec<String>,
    /// How long its clicks may earn something; else the app's.
    pub click_window: Option<Span>,
    /// Where else it is found, beside its public id.
    pub addresses: Vec<Address>,
}

/// Partners that a rule tells together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartnerGroup {
    /// Its id.
    pub id: Id<kind::PartnerGroup>,
    /// Its key in file and API.
    pub slug: String,
    /// For people.
    pub name: String,
    /// Its members, at least one, each once, by id.
    pub partners: Vec<Id<kind::Partner>>,
}

/// Which conversions a rule tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Those that its partner won.
    Attributed,
    /// All of them; what only the winner may see is empty for others.
    All,
}

/// What a rule sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// The rule's own request.
    Template(Arc<Template>),
    /// The winning click's own callback, where its partner's links may carry them. Only with
    /// [`Scope::Attributed`].
    Callback,
}

impl Request {
    /// The rule's own request; `None` where each click brings one.
    pub fn template(&self) -> Option<&Arc<Template>> {
        match self {
            Self::Template(template) => Some(template),
            Self::Callback => None,
        }
    }
}

impl From<Template> for Request {
    fn from(template: Template) -> Self {
        Self::Template(Arc::new(template))
    }
}

/// How long a rule's receiver accepts what it is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Accepts {
    /// Installs as long as their partner does; anything else for ever.
    #[default]
    AsPartner,
    /// For ever, whatever the partner says.
    Always,
    /// That long.
    Within(Span),
}

/// From when the time counts in which a receiver accepts something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AcceptsFrom {
    /// The partner's click; where it has none, the conversion.
    #[default]
    Click,
    /// The conversion.
    Conversion,
}

/// What a partner is told, when and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its id.
    pub id: Id<kind::Rule>,
    /// Its key in file and API.
    pub slug: String,
    /// The settings version that last changed it; deliveries name it.
    pub version: u64,
    /// The app whose conversions it tells of.
    pub app: Id<kind::App>,
    /// The partner that is told; `None`: the group, else whichever partner won.
    pub partner: Option<Id<kind::Partner>>,
    /// The partners that are told; never beside `partner`. With [`Scope::Attributed`] the one of them that won.
    pub group: Option<Id<kind::PartnerGroup>>,
    /// The kind of conversion.
    pub on: ConversionKind,
    /// For kind `event`: the names. Empty: any name.
    pub events: Vec<String>,
    /// The request.
    pub request: Request,
    /// Attributed only, or all.
    pub scope: Scope,
    /// Only the first conversion of its kind for an installation, customer or click.
    pub first_only: bool,
    /// How much of the revenue is told, by every money macro alike.
    pub share: Share,
    /// What else must be true of a conversion; all of them.
    pub conditions: Vec<Condition>,
    /// How long after the decision it is sent; at most [`DELAY_MAX`].
    pub delay: Span,
    /// Event names as the partner knows them. When not empty, other names are not told (`unmapped`).
    pub rename: BTreeMap<String, String>,
    /// Also tells of sandbox events, beside those of production.
    pub sandbox: bool,
    /// Also tells of pending conversions.
    pub pending: bool,
    /// How long after the install (or click) the partner is told.
    pub window: Span,
    /// Most sends a second, to each partner that it tells.
    pub rate: Option<Rate>,
    /// How often it is sent, and when that is a success.
    pub retry: Retry,
    /// How long its receiver accepts it.
    pub accepts: Accepts,
    /// From when that counts.
    pub accepts_from: AcceptsFrom,
    /// What becomes of what is later.
    pub late: Late,
}

impl Rule {
    /// How long that partner accepts what this rule tells it; `None`: for ever. A partner's own window binds its
    /// installs only.
    pub fn accepts_of(&self, partner: Option<&Partner>) -> Option<Span> {
        match self.accepts {
            Accepts::Within(window) => Some(window),
            Accepts::Always => None,
            Accepts::AsPartner if self.on == ConversionKind::Install => partner?.accepts_within,
            Accepts::AsPartner => None,
        }
    }
}

/// What a key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// Ships inside apps and pages.
    Client,
    /// Reports events from a server.
    Server,
    /// Stands as `token` in inbound postbacks.
    Postback,
    /// Speaks to the API.
    Admin,
}

impl KeyKind {
    /// Its word in the API and the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Postback => "postback",
            Self::Admin => "admin",
        }
    }
}

/// What an admin key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyScope {
    /// Read settings, reports, stories.
    Read,
    /// Change settings.
    Write,
    /// Replay deliveries.
    Replay,
    /// See personal data whole, in what the other scopes open.
    Personal,
}

impl KeyScope {
    /// Its word in the API and the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Replay => "replay",
            Self::Personal => "personal",
        }
    }
}

/// A credential. Only its hash is known.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// Its id.
    pub id: Id<kind::Key>,
    /// Its key in file and API.
    pub slug: String,
    /// What it may be used for.
    pub kind: KeyKind,
    /// The app it speaks for; always there for client and server keys.
    pub app: Option<Id<kind::App>>,
    /// SHA-256 of the token.
    pub hash: [u8; 32],
    /// For admin keys.
    pub scopes: Vec<KeyScope>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// One version of all that a workspace's owner set up; immutable, with the indexes that look-ups need.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The workspace's number.
    pub workspace: WorkspaceNo,
    /// Its slug, which is the namespace in URLs.
    pub slug: String,
    /// Counts up with each change; decisions name it.
    pub version: u64,
    /// By id.
    pub apps: HashMap<Id<kind::App>, Arc<App>>,
    /// By id.
    pub campaigns: HashMap<Id<kind::Campaign>, Arc<Campaign>>,
    /// By id.
    pub partners: HashMap<Id<kind::Partner>, Arc<Partner>>,
    /// By id.
    pub links: HashMap<Id<kind::Link>, Arc<Link>>,
    /// By id.
    pub groups: HashMap<Id<kind::PartnerGroup>, Arc<PartnerGroup>>,
    /// By app, in the order of their slugs.
    pub rules: HashMap<Id<kind::App>, Vec<Arc<Rule>>>,
    /// What the owner is told, in the order of the slugs.
    pub webhooks: Vec<Arc<Webhook>>,
    /// By hash.
    pub keys: HashMap<[u8; 32], Arc<Key>>,
    /// Where rules and webhooks stand, by their ids.
    places: Places,
}

/// Of which app a rule is, and where it stands among that one's.
type RulePlace = (Id<kind::App>, usize);

/// Where rules and webhooks stand among the others, found when somebody asks for the first time. Who asks looks whether
/// it is true: the lists can be changed.
#[derive(Debug, Clone, Default)]
struct Places {
    rules: OnceLock<HashMap<Id<kind::Rule>, RulePlace>>,
    webhooks: OnceLock<HashMap<Id<kind::Webhook>, usize>>,
}

impl Settings {
    /// Settings of a workspace in which nothing is set up.
    pub fn empty(workspace: WorkspaceNo, slug: impl Into<String>) -> Self {
        Self {
            workspace,
            slug: slug.into(),
            version: 0,
            apps: HashMap::new(),
            campaigns: HashMap::new(),
            partners: HashMap::new(),
            links: HashMap::new(),
            groups: HashMap::new(),
            rules: HashMap::new(),
            webhooks: Vec::new(),
            keys: HashMap::new(),
            places: Places::default(),
        }
    }

    /// The click window that holds for a link.
    pub fn click_window(&self, app: &App, link: Id<kind::Link>) -> Span {
        self.links.get(&link).and_then(|l| l.click_window).unwrap_or(app.click_window).min(CLICK_WINDOW_MAX)
    }

    /// The campaign of that public id.
    pub fn campaign_by_public_id(&self, public_id: &str) -> Option<&Arc<Campaign>> {
        self.campaigns.values().find(|c| c.public_id == public_id)
    }

    /// The partner of that public id.
    pub fn partner_by_ref_id(&self, ref_id: &str) -> Option<&Arc<Partner>> {
        self.partners.values().find(|p| p.ref_id == ref_id)
    }

    /// The link of a campaign and a partner (Tracknow's click form names both); the first by public id.
    pub fn link_of(&self, campaign: Id<kind::Campaign>, partner: Id<kind::Partner>) -> Option<&Arc<Link>> {
        self.links
            .values()
            .filter(|l| l.campaign == campaign && l.partner == partner)
            .min_by(|a, b| a.public_id.cmp(&b.public_id))
    }

    /// A rule by its id, whatever its app.
    pub fn rule(&self, id: Id<kind::Rule>) -> Option<&Arc<Rule>> {
        let places = self.places.rules.get_or_init(|| {
            let of_app = |(app, rules): (&Id<kind::App>, &Vec<Arc<Rule>>)| {
                let app = *app;
                rules
                    .iter()
                    .map(|rule| rule.id)
                    .enumerate()
                    .map(move |(at, id)| (id, (app, at)))
                    .collect::<Vec<_>>()
            };
            self.rules.iter().flat_map(of_app).collect()
        });
        let there = places.get(&id).and_then(|(app, at)| self.rules.get(app)?.get(*at));
        there.filter(|rule| rule.id == id).or_else(|| self.rules.values().flatten().find(|r| r.id == id))
    }

    /// A webhook by its id.
    pub fn webhook(&self, id: Id<kind::Webhook>) -> Option<&Arc<Webhook>> {
        let places = self
            .places
            .webhooks
            .get_or_init(|| self.webhooks.iter().enumerate().map(|(at, webhook)| (webhook.id, at)).collect());
        let there = places.get(&id).and_then(|at| self.webhooks.get(*at));
        there
            .filter(|webhook| webhook.id == id)
            .or_else(|| self.webhooks.iter().find(|webhook| webhook.id == id))
    }
}

/// The current settings of every workspace, with what is looked up without knowing the workspace.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    workspaces: Vec<Arc<Settings>>,
    /// Where each workspace stands among them.
    numbers: HashMap<WorkspaceNo, usize>,
    links: HashMap<String, (usize, Id<kind::Link>)>,
    addresses: Addresses<(usize, Id<kind::Link>)>,
    /// Paths of addresses, with the hosts that they name and the workspaces that have them.
    path_owners: HashMap<String, Vec<(Option<String>, usize)>>,
    keys: HashMap<[u8; 32], (usize, Arc<Key>)>,
}

impl Catalog {
    /// Indexes the settings of all workspaces.
    pub fn new(workspaces: Vec<Arc<Settings>>) -> Self {
        let mut this = Self { workspaces, ..Self::default() };
        for (at, settings) in this.workspaces.iter().enumerate() {
            this.numbers.insert(settings.workspace, at);
            for link in settings.links.values() {
                this.links.insert(link.public_id.clone(), (at, link.id));
                for address in &link.addresses {
                    this.addresses.add(address, (at, link.id));
                    let owner = (address.host().map(str::to_owned), at);
                    this.path_owners.entry(address.path().to_owned()).or_default().push(owner);
                }
            }
            for key in settings.keys.values() {
                this.keys.insert(key.hash, (at, key.clone()));
            }
        }
        this
    }

    /// Every workspace's settings.
    pub fn workspaces(&self) -> &[Arc<Settings>] {
        &self.workspaces
    }

    /// The settings of a workspace.
    pub fn workspace(&self, number: WorkspaceNo) -> Option<&Arc<Settings>> {
        self.workspaces.get(*self.numbers.get(&number)?)
    }

    /// The settings of a namespace.
    pub fn namespace(&self, slug: &str) -> Option<&Arc<Settings>> {
        self.workspaces.iter().find(|s| s.slug == slug)
    }

    /// The link of that public id, case-sensitive, and its workspace's settings.
    pub fn link(&self, public_id: &str) -> Option<(&Arc<Settings>, &Arc<Link>)> {
        let (at, id) = self.links.get(public_id)?;
        let settings = &self.workspaces[*at];
        Some((settings, settings.links.get(id)?))
    }

    /// The link that has the address of this request beside its public id, its workspace's settings, and
    /// whether requests there are impressions.
    pub fn link_at(
        &self,
        host: Option<&str>,
        path: &str,
        query: &[u8],
    ) -> Option<(&Arc<Settings>, &Arc<Link>, bool)> {
        let (is_view, (at, id)) = self.addresses.find(host, path, query)?;
        let settings = &self.workspaces[at];
        Some((settings, settings.links.get(&id)?, is_view))
    }

    /// Whether a workspace other than this one has a link of that public id, or of that address (in the
    /// form in which an [`Address`] is printed, which begins with a slash).
    ///
    /// A path belongs to one workspace, on a host or on all: of two addresses that share it the one that says more
    /// would take the other's clicks.
    pub fn is_taken_elsewhere(&self, name: &str, workspace: WorkspaceNo) -> bool {
        let is_other = |at: usize| self.workspaces[at].workspace != workspace;
        if !name.starts_with('/') {
            return self.links.get(name).is_some_and(|(at, _)| is_other(*at));
        }
        let (host, path) = host_and_path(name);
        self.path_owners.get(&path).into_iter().flatten().any(|(theirs, at)| {
            let overlaps = match (theirs.as_deref(), host) {
                (Some(theirs), Some(ours)) => theirs.eq_ignore_ascii_case(ours),
                _ => true,
            };
            overlaps && is_other(*at)
        })
    }

    /// How many public ids of links there are; fewer than links if two workspaces share one.
    pub fn links_count(&self) -> usize {
        self.links.len()
    }

    /// The key of that hash, and its workspace's settings. Hashing first makes the look-up's timing
    /// tell nothing about the token.
    pub fn key(&self, hash: &[u8; 32]) -> Option<(&Arc<Settings>, &Arc<Key>)> {
        let (at, key) = self.keys.get(hash)?;
        Some((&self.workspaces[*at], key))
    }
}

/// Host and decoded path of an address as it is printed.
fn host_and_path(printed: &str) -> (Option<&str>, String) {
    let (host, rest) =
        match printed.strip_prefix("//").and_then(|rest| rest.find('/').map(|at| rest.split_at(at))) {
            Some((host, rest)) => (Some(host), rest),
            None => (None, printed),
        };
    let path = rest.split_once('?').map_or(rest, |(path, _)| path);
    (host, percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned())
}
