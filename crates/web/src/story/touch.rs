//! A touch as it stands in a story, and the story of a click.

use std::collections::BTreeMap;

use roundtrip_domain::click::{Click as StoredClick, Touch};
use roundtrip_domain::facts::user_agent_platform;
use roundtrip_domain::id::{Id, Kind};
use roundtrip_domain::location::Location as StoredLocation;
use roundtrip_domain::settings::Settings;
use roundtrip_domain::time::Timestamp;
use roundtrip_store::ledger;

use super::mask::Mask;
use super::shape::{Click, ClickStory, Earned, Location, Named, Param};
use super::{Telling, tell, words};

/// Slugs by printed id.
pub(super) type Names = BTreeMap<String, String>;

/// An id with its slug.
pub(super) fn named<K: Kind>(id: Id<K>, names: &Names) -> Named {
    let id = id.to_string();
    Named { slug: names.get(&id).cloned(), id }
}

/// A touch, `now` telling how long ago it was.
pub(super) fn click(touch: &Touch, names: &Names, mask: &Mask, now: Timestamp) -> Click {
    let StoredClick { received_at, kind, .. } = touch.click;
    let params = touch.click.params();
    // What a parameter may show is told by what it means, whatever its system calls it.
    let shown =
        |name: &str, value: &str| mask.param(touch.click.dialect.canonical(name).unwrap_or_default(), value);
    let partner_click_id = params.get("click_id");
    let (partner, campaign) = (named(touch.click.partner, names), named(touch.click.campaign, names));
    let (link, app) = (named(touch.click.link, names), named(touch.click.app, names));
    let user_agent = touch.click.user_agent.as_deref();
    let sentence = format!(
        "{} {} of {} {}.",
        words::touched(kind),
        link.label(),
        partner.label(),
        words::from_now(received_at, now)
    );
    let full_text = |bytes: &[u8]| mask.shows_all().then(|| String::from_utf8_lossy(bytes).into_owned());
    Click {
        id: touch.id.to_string(),
        kind: kind.name().to_owned(),
        received_at: received_at.to_string(),
        sentence,
        partner,
        campaign,
        link,
        app,
        partner_click_id: params.text("click_id").map(|value| mask.param("click_id", &value)),
        params: params
            .iter()
            .filter(|param| partner_click_id.is_none_or(|shown| shown.name != param.name))
            .map(|param| Param { value: shown(param.name, &param.text()), name: param.name.to_owned() })
            .collect(),
        platform: user_agent.map(|text| user_agent_platform(text).name().to_owned()),
        ip: touch.click.ip.map(|ip| mask.ip(ip)),
        location: location(&touch.click.location),
        referer_host: touch.click.referer.as_deref().and_then(host),
        query: full_text(&touch.click.query),
        user_agent: user_agent.filter(|_| mask.shows_all()).map(str::to_owned),
        flags: touch.click.flags.names().map(str::to_owned).collect(),
    }
}

/// A location, if there is any.
pub(super) fn location(stored: &StoredLocation) -> Option<Location> {
    if stored.is_empty() {
        return None;
    }
    let [country, region, city, network] =
        ["country", "region", "city", "isp"].map(|name| stored.value(name));
    let place: Vec<&str> = [&city, &region, &country].into_iter().flatten().map(String::as_str).collect();
    let number = stored.asn.map(|asn| format!("AS{asn}"));
    let by = match (&network, number) {
        (Some(network), Some(number)) => Some(format!("{network} ({number})")),
        (network, number) => network.clone().or(number),
    };
    let parts: Vec<String> =
        [Some(place.join(", ")).filter(|place| !place.is_empty()), by].into_iter().flatten().collect();
    Some(Location { country, region, city, asn: stored.asn, network, sentence: parts.join(" · ") })
}

fn host(referer: &str) -> Option<String> {
    url::Url::parse(referer).ok()?.host_str().map(str::to_owned)
}

/// Names of what a click mentions, from the settings of now.
fn names_of(click: &StoredClick, settings: &Settings) -> Names {
    let mut names = Names::new();
    let mut put = |id: String, slug: Option<&String>| names.extend(slug.map(|slug| (id, slug.clone())));
    put(click.partner.to_string(), settings.partners.get(&click.partner).map(|p| &p.slug));
    put(click.campaign.to_string(), settings.campaigns.get(&click.campaign).map(|c| &c.slug));
    put(click.link.to_string(), settings.links.get(&click.link).map(|l| &l.public_id));
    put(click.app.to_string(), settings.apps.get(&click.app).map(|a| &a.slug));
    names
}

/// What a click earned of an event, from the event's story.
pub fn earned(story: &ledger::Story, click: roundtrip_domain::click_id::ClickId, telling: Telling) -> Earned {
    let latest = story.revisions.last();
    let holds = latest.and_then(|r| r.credit.winner()).is_some_and(|winner| winner.touch.id == click);
    Earned {
        event: story.event.id.to_string(),
        name: story.event.name.clone(),
        kind: latest.and_then(|r| r.kind.as_ref()).map(|kind| kind.name().to_owned()),
        received_at: story.event.received_at.to_string(),
        holds,
        sentence: tell(story, telling).sentence,
    }
}

/// The story of a click. `kept` says whether the click log still has it.
pub fn tell_click(
    touch: &Touch,
    kept: bool,
    settings: &Settings,
    events: Vec<Earned>,
    telling: Telling,
) -> ClickStory {
    let shown = click(touch, &names_of(&touch.click, settings), &Mask::new(telling.full), telling.now);
    let holds = events.iter().filter(|event| event.holds).count();
    let lead = shown.sentence.trim_end_matches('.');
    let sentence = match holds {
        0 if touch.click.kind.is_click() => format!("{lead}; it earned nothing so far."),
        0 => format!("{lead}; a touch of this kind earns nothing."),
        1 => format!("{lead}; it earned 1 event."),
        n => format!("{lead}; it earned {n} events."),
    };
    ClickStory { sentence, click: shown, kept, events }
}
