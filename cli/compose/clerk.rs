//! Clerk's events, in the shape of its webhook catalog, and the flat form that many guides show.
//!
//! Keys are in alphabetical order, as Clerk's own are. Sources: <https://github.com/clerk/openapi-specs>
//! (`webhooks/2025-04-15.yml`) and clerk/javascript `packages/backend/src/api/resources/JSON.ts`; where the two differ
//! a field of either is sent, but never two names of one field.

mod billing;
mod directory;
mod flat;

use plangate::time::Timestamp;
use serde_json::{Value, json};

use super::{Composed, Composer, USER, Wish, WishedPayer, names, refuse_misplaced, shape_of};
use crate::failure::Failure;

pub(super) struct Clerk;

/// The organization, when nobody says.
const ORG: &str = "org_example";
/// The instance, unless `CLERK_INSTANCE_ID` names ours: an event of another instance is ignored.
const INSTANCE: &str = "ins_plangate_example";
/// When the invented users and organizations were made: 2025-01-01, in milliseconds.
const CREATED_AT: i64 = 1_735_689_600_000;

/// What `data` looks like.
#[derive(Clone, Copy)]
enum Shape {
    /// A subscription with all its items; the text is the status of the paid one. Some also have a flat form.
    Subscription { status: &'static str, has_flat_form: bool },
    /// The flat form, which has types of event that Clerk does not have.
    Flat,
    /// One subscription item, in this status.
    Item { status: &'static str },
    /// An attempt to charge, in this status.
    Payment { status: &'static str },
    /// Users, organizations and what belongs to them.
    Directory(fn(&Scene<'_>) -> Value),
}

/// Every type of event that Clerk documents, once documented, or that senders of the flat form use.
const EVENTS: &[(&str, Shape)] = &[
    ("subscription.created", Shape::Subscription { status: "active", has_flat_form: true }),
    ("subscription.updated", Shape::Subscription { status: "active", has_flat_form: true }),
    ("subscription.active", Shape::Subscription { status: "active", has_flat_form: false }),
    ("subscription.pastDue", Shape::Subscription { status: "past_due", has_flat_form: false }),
    ("subscription.deleted", Shape::Flat),
    ("subscription.payment_failed", Shape::Flat),
    ("subscriptionItem.created", Shape::Item { status: "incomplete" }),
    ("subscriptionItem.updated", Shape::Item { status: "active" }),
    ("subscriptionItem.active", Shape::Item { status: "active" }),
    ("subscriptionItem.canceled", Shape::Item { status: "canceled" }),
    ("subscriptionItem.upcoming", Shape::Item { status: "upcoming" }),
    ("subscriptionItem.ended", Shape::Item { status: "ended" }),
    ("subscriptionItem.abandoned", Shape::Item { status: "abandoned" }),
    ("subscriptionItem.incomplete", Shape::Item { status: "incomplete" }),
    ("subscriptionItem.pastDue", Shape::Item { status: "past_due" }),
    ("subscriptionItem.freeTrialEnding", Shape::Item { status: "active" }),
    ("subscriptionItem.expired", Shape::Item { status: "expired" }),
    ("paymentAttempt.created", Shape::Payment { status: "pending" }),
    ("paymentAttempt.updated", Shape::Payment { status: "paid" }),
    ("user.created", Shape::Directory(directory::user)),
    ("user.updated", Shape::Directory(directory::user)),
    ("user.deleted", Shape::Directory(directory::deleted)),
    ("session.created", Shape::Directory(directory::session)),
    ("session.pending", Shape::Directory(directory::session)),
    ("session.ended", Shape::Directory(directory::session)),
    ("session.removed", Shape::Directory(directory::session)),
    ("session.revoked", Shape::Directory(directory::session)),
    ("organization.created", Shape::Directory(directory::organization)),
    ("organization.updated", Shape::Directory(directory::organization)),
    ("organization.deleted", Shape::Directory(directory::deleted)),
    ("organizationMembership.created", Shape::Directory(directory::membership)),
    ("organizationMembership.updated", Shape::Directory(directory::membership)),
    ("organizationMembership.deleted", Shape::Directory(directory::membership)),
    ("organizationDomain.created", Shape::Directory(directory::domain)),
    ("organizationDomain.updated", Shape::Directory(directory::domain)),
    ("organizationDomain.deleted", Shape::Directory(directory::deleted)),
    ("organizationInvitation.created", Shape::Directory(directory::invitation)),
    ("organizationInvitation.accepted", Shape::Directory(directory::invitation)),
    ("organizationInvitation.revoked", Shape::Directory(directory::invitation)),
    ("role.created", Shape::Directory(directory::role)),
    ("role.updated", Shape::Directory(directory::role)),
    ("role.deleted", Shape::Directory(directory::deleted)),
    ("permission.created", Shape::Directory(directory::permission)),
    ("permission.updated", Shape::Directory(directory::permission)),
    ("permission.deleted", Shape::Directory(directory::deleted)),
    ("email.created", Shape::Directory(directory::email)),
    ("sms.created", Shape::Directory(directory::sms)),
    ("waitlistEntry.created", Shape::Directory(directory::waitlist_entry)),
    ("waitlistEntry.updated", Shape::Directory(directory::waitlist_entry)),
];

impl Composer for Clerk {
    fn provider(&self) -> &'static str {
        "clerk"
    }

    fn event_types(&self) -> Vec<&'static str> {
        names(EVENTS)
    }

    fn statuses(&self) -> &'static [&'static str] {
        &["active", "past_due", "canceled", "upcoming", "ended", "abandoned", "incomplete", "expired"]
    }

    fn compose(&self, event_type: &str, wish: &Wish) -> Result<Composed, Failure> {
        let shape = shape_of(self, EVENTS, event_type)?;
        check(event_type, shape, wish)?;
        let scene = Scene::new(event_type, wish);
        let payer = scene.payer.key();
        Ok(match if wish.flat { Shape::Flat } else { shape } {
            Shape::Subscription { status, .. } => scene.enveloped(&billing::subscription(&scene, status), payer),
            Shape::Flat => {
                let body = json!({"type": event_type, "timestamp": scene.at(), "data": flat::data(&scene)});
                Composed { body, about: payer }
            }
            Shape::Item { status } => scene.enveloped(&billing::standalone_item(&scene, status), payer),
            Shape::Payment { status } => scene.enveloped(&billing::payment_attempt(&scene, status), payer),
            Shape::Directory(data) => {
                let data = data(&scene);
                let about = data.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
                scene.enveloped(&data, about)
            }
        })
    }
}

fn check(event_type: &str, shape: Shape, wish: &Wish) -> Result<(), Failure> {
    let is_flat = matches!(shape, Shape::Flat) || wish.flat;
    let is_directory = matches!(shape, Shape::Directory(_));
    let refused = [
        ("--flat", wish.flat && !matches!(shape, Shape::Flat | Shape::Subscription { has_flat_form: true, .. })),
        ("--plan", is_directory && wish.plan.is_some()),
        ("--status", is_directory && wish.status.is_some()),
        ("--period-end", is_directory && wish.period_end.is_some()),
        ("--trial", (is_directory || matches!(shape, Shape::Flat)) && wish.trial),
        ("--seats", (is_directory || is_flat) && wish.seats.is_some()),
        ("--org", event_type.starts_with("user.") && wish.org.is_some()),
    ];
    refuse_misplaced(event_type, &refused)?;
    if !is_directory {
        wish.check_one_payer(event_type)?;
    }
    wish.check_ids()
}

/// What the parts of one event share.
struct Scene<'a> {
    event_type: &'a str,
    wish: &'a Wish,
    user: &'a str,
    org: &'a str,
    payer: WishedPayer<'a>,
    instance: &'a str,
}

impl<'a> Scene<'a> {
    fn new(event_type: &'a str, wish: &'a Wish) -> Self {
        let user = wish.user.as_deref().unwrap_or(USER);
        let org = wish.org.as_deref().unwrap_or(ORG);
        let instance = wish.instance_id.as_deref().unwrap_or(INSTANCE);
        Self { event_type, wish, user, org, payer: wish.payer(), instance }
    }

    /// When it happened, in milliseconds.
    fn at(&self) -> i64 {
        self.wish.at.as_millis()
    }

    /// `millis` later (earlier, when negative), in milliseconds.
    fn after(&self, millis: i64) -> i64 {
        self.wish.at.plus_millis(millis).as_millis()
    }

    /// When the object of a `.created` event was made; others are about an older one.
    fn created_at(&self) -> i64 {
        if self.event_type.ends_with(".created") { self.at() } else { self.at().min(CREATED_AT) }
    }

    fn enveloped(&self, data: &Value, about: String) -> Composed {
        let body = json!({
            "object": "event",
            "type": self.event_type,
            "instance_id": self.instance,
            "timestamp": self.at(),
            "event_attributes": {"http_request": {
                "client_ip": "203.0.113.9",
                "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
            }},
            "data": data,
        });
        Composed { body, about }
    }
}

/// Milliseconds, or null.
fn millis(moment: Option<Timestamp>) -> Option<i64> {
    moment.map(Timestamp::as_millis)
}
