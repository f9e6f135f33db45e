//! What each provider can do to a purchase, and how it tells of it.

use crate::world::Change::{self, *};
use crate::world::{Sub, World};

pub struct Shape {
    pub label: &'static str,
    pub provider: &'static str,
    pub can: &'static [Change],
    pub tell: fn(&mut World, &Sub, &Sub, Change),
    /// How finely it tells time, in milliseconds.
    pub resolution: i64,
    /// A period that is not paid begins all the same.
    pub rolls: bool,
    /// It begins with an event of its own, before the charge.
    pub rolls_first: bool,
    pub has_grace: bool,
    /// What is past due for so long is unpaid.
    pub dunning_days: Option<i64>,
    pub resumes_anew: bool,
    /// Another plan is another item.
    pub switches_items: bool,
    /// Says of a refund which subscription it was of.
    pub tells_refunds: bool,
    pub one_per_payer: bool,
    /// Changes that may follow each other so fast that the provider gives both one time, and that can be told apart all
    /// the same. Not so: at Stripe two changes of seats or of plans in a second, which are documented ties; at Lemon Squeezy
    /// a cancellation and its withdrawal, a failure and its recovery, a pause and its end in a second, of which the one
    /// further along wins.
    pub at_once: &'static [(Change, Change)],
}

const OTHERWISE: Shape = Shape {
    label: "",
    provider: "",
    can: &[],
    tell: |_, _, _, _| {},
    resolution: 1,
    rolls: false,
    rolls_first: false,
    has_grace: false,
    dunning_days: None,
    resumes_anew: false,
    switches_items: false,
    tells_refunds: false,
    one_per_payer: false,
    at_once: &[],
};

const STRIPE: &[Change] = &[
    Buy, BuyPending, BuyTrial, BuyOnce, Pay, FailAgain, Recover, GiveUp, Unpaid, Cancel, Uncancel, EndNow, Switch,
    AddItem, DropItem, Seats, Refund,
];

const STRIPE_AT_ONCE: &[(Change, Change)] = &[
    (BuyPending, Pay),
    (Buy, Cancel),
    (Buy, AddItem),
    (BuyTrial, Cancel),
    (Cancel, Uncancel),
    (Fail, Recover),
    (Fail, GiveUp),
    (FailAgain, Unpaid),
    (FailAgain, GiveUp),
    (Switch, Cancel),
    (Seats, Cancel),
    (Cancel, EndNow),
    (Switch, EndNow),
    (Recover, EndNow),
];

const IN_TURN: &[(Change, Change)] = &[
    (BuyPending, Pay),
    (Buy, Cancel),
    (BuyTrial, Cancel),
    (Fail, GiveUp),
    (FailAgain, GiveUp),
    (Switch, Cancel),
    (Seats, Cancel),
    (Cancel, EndNow),
    (Switch, EndNow),
];

pub static SHAPES: [Shape; 7] = [
    Shape {
        label: "clerk",
        at_once: IN_TURN,
        provider: "clerk",
        can: &[Buy, BuyPending, BuyTrial, Pay, FailAgain, Recover, GiveUp, Cancel, Uncancel, EndNow, Switch, Seats],
        tell: crate::clerk::tell,
        switches_items: true,
        one_per_payer: true,
        ..OTHERWISE
    },
    Shape {
        label: "stripe",
        at_once: STRIPE_AT_ONCE,
        provider: "stripe",
        can: STRIPE,
        tell: crate::stripe::tell,
        resolution: 1_000,
        rolls: true,
        rolls_first: true,
        ..OTHERWISE
    },
    Shape {
        label: "stripe, before basil",
        at_once: STRIPE_AT_ONCE,
        provider: "stripe",
        can: STRIPE,
        tell: crate::stripe::tell_before_basil,
        resolution: 1_000,
        rolls: true,
        rolls_first: true,
        ..OTHERWISE
    },
    Shape {
        label: "lemonsqueezy",
        at_once: IN_TURN,
        provider: "lemonsqueezy",
        can: &[
            Buy, BuyTrial, BuyOnce, FailAgain, Recover, GiveUp, Unpaid, Cancel, Uncancel, Pause, PauseFree, Resume,
            Switch, Seats, Refund,
        ],
        tell: crate::lemonsqueezy::tell,
        resolution: 1_000,
        // <https://docs.lemonsqueezy.com/help/online-store/recovery-dunning>
        dunning_days: Some(14),
        tells_refunds: true,
        ..OTHERWISE
    },
    Shape {
        label: "paddle",
        at_once: IN_TURN,
        provider: "paddle",
        can: &[
            Buy, BuyTrial, BuyOnce, FailAgain, Recover, GiveUp, Cancel, Uncancel, EndNow, PauseSoon, Pause, Resume,
            Switch, AddItem, DropItem, Seats, Refund,
        ],
        tell: crate::paddle::tell,
        rolls: true,
        resumes_anew: true,
        tells_refunds: true,
        ..OTHERWISE
    },
    Shape {
        label: "revenuecat",
        provider: "revenuecat",
        can: &[Buy, BuyTrial, BuyOnce, Recover, GiveUp, Cancel, Uncancel, EndNow, PauseSoon, Resume, Switch],
        tell: crate::revenuecat::tell,
        has_grace: true,
        resumes_anew: true,
        ..OTHERWISE
    },
    Shape {
        label: "polar",
        at_once: IN_TURN,
        provider: "polar",
        can: &[
            Buy, BuyPending, BuyTrial, BuyOnce, Pay, FailAgain, Recover, GiveUp, Cancel, Uncancel, EndNow, PauseSoon,
            Resume, Switch, Seats, Refund,
        ],
        tell: crate::polar::tell,
        rolls: true,
        rolls_first: true,
        resumes_anew: true,
        tells_refunds: true,
        ..OTHERWISE
    },
];
