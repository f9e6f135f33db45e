//! What is sold: which plan gives which features and limits, and which of a provider's ids means which plan.
//!
//! It comes from `[vars.PLANS.<plan>]` in `wrangler.toml`, so it differs between environments and no id stands in code.
//! An empty catalog is fine for Clerk, whose plan slugs are plan keys as they stand.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::api::ApiPlan;
use crate::json::{self, Fields, Json, Unreadable};
use crate::ordered::{self, Map, Set};
use crate::payer::PayerKind;
use crate::provider;

/// The plans, by key.
#[derive(Clone, Default, Debug)]
pub struct Catalog {
    plans: Map<String, Plan>,
}

/// One plan.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Plan {
    /// What it gives.
    pub features: Set<String>,
    /// How much of something it gives.
    pub limits: Map<String, Limit>,
    /// Plans that it contains.
    pub includes: Set<String>,
    /// Held without paying, when nothing paid grants.
    pub free: bool,
    /// Who can hold a free plan: users, unless it says otherwise.
    pub payer: Option<PayerKind>,
    /// The price, product or variant ids that mean this plan, by provider.
    pub ids: Map<String, Set<String>>,
    /// What a provider's own catalog says it gives, by who holds it: a user's plan and an organization's may share a name.
    synced: Map<PayerKind, Synced>,
}

/// What a provider's own catalog says of a plan.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct Synced {
    features: Set<String>,
    free: bool,
}

/// How much of something: a number, or `"unlimited"`. Answered as a number or null.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit {
    /// So many.
    Of(u64),
    /// No limit.
    Unlimited,
}

impl Limit {
    /// The more generous of the two.
    #[must_use]
    pub fn or_more(self, other: Self) -> Self {
        match (self, other) {
            (Self::Of(one), Self::Of(two)) => Self::Of(one.max(two)),
            _ => Self::Unlimited,
        }
    }
}

impl Serialize for Limit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Of(number) => serializer.serialize_u64(*number),
            Self::Unlimited => serializer.serialize_none(),
        }
    }
}

impl Plan {
    /// Adds what a provider lists under the plan's name.
    fn add(&mut self, provider: &str, listed: &ApiPlan) {
        if let Some(id) = &listed.id {
            self.ids.update(provider.to_owned(), Set::default(), |ids| ids.extend([id.clone()]));
        }
        for kind in [PayerKind::User, PayerKind::Org] {
            if listed.payer.is_none_or(|payer| payer == kind) {
                self.synced.update(kind, Synced::default(), |synced| {
                    synced.features.extend(listed.features.iter().flatten().cloned());
                    synced.free |= listed.free;
                });
            }
        }
    }
}

impl Limit {
    fn read(value: &Json<'_>) -> Result<Self, Unreadable> {
        match (value.as_u64(), value.as_str()) {
            (Some(number), _) => Ok(Self::Of(number)),
            (None, Some("unlimited")) => Ok(Self::Unlimited),
            _ => Err(Unreadable::new("a limit is a whole number or \"unlimited\"")),
        }
    }
}

impl Plan {
    fn read(entry: &Json<'_>) -> Result<Self, Unreadable> {
        let fields = Fields::of(entry)?.only(&["features", "limits", "includes", "free", "payer", "ids"])?;
        let mut plan = Self {
            features: fields.text_set("features")?.unwrap_or_default(),
            includes: fields.text_set("includes")?.unwrap_or_default(),
            free: fields.truth("free")?.unwrap_or_default(),
            payer: PayerKind::read(fields, "payer")?,
            ..Self::default()
        };
        if let Some(limits) = fields.object("limits")? {
            for (what, limit) in limits.entries() {
                plan.limits.insert(what.to_owned(), Limit::read(limit)?);
            }
        }
        if let Some(ids) = fields.object("ids")? {
            for (provider, _) in ids.entries() {
                plan.ids.insert(provider.to_owned(), ids.need(provider, Fields::text_set)?);
            }
        }
        Ok(plan)
    }
}

impl Catalog {
    /// Reads the JSON form of `PLANS`.
    ///
    /// # Errors
    /// [`CatalogError`] says which plan is wrong and how.
    pub fn parse(json: &str) -> Result<Self, CatalogError> {
        let unreadable = |error: Unreadable| CatalogError { plan: None, cause: error.to_string() };
        let json = json::parse_sent(json.as_bytes()).map_err(unreadable)?;
        let mut plans = Map::new();
        for (key, entry) in Fields::of(&json).map_err(unreadable)?.entries() {
            let key = key.to_owned();
            let wrong = |cause: String| CatalogError { plan: Some(key.clone()), cause };
            if key.is_empty() || key.contains(':') {
                return Err(wrong("a plan's key may be neither empty nor contain a colon".into()));
            }
            let plan = Plan::read(entry).map_err(|error| wrong(error.to_string()))?;
            if let Some(unknown) = plan.ids.keys().find(|name| provider::named(name).is_none()) {
                return Err(wrong(format!("`ids` names `{unknown}`, which is no provider")));
            }
            plans.insert(key, plan);
        }
        for (key, plan) in plans.iter() {
            if let Some(unknown) = plan.includes.iter().find(|included| !plans.contains_key(*included)) {
                return Err(CatalogError {
                    plan: Some(key.clone()),
                    cause: format!("includes `{unknown}`, which is no plan"),
                });
            }
        }
        Ok(Self { plans })
    }

    /// The catalog with what a provider lists of its own plans. The provider adds to what the operator wrote and takes
    /// nothing of it away.
    #[must_use]
    pub fn with(mut self, provider: &str, plans: &[ApiPlan]) -> Self {
        for listed in plans.iter().filter(|listed| !listed.key.is_empty() && !listed.key.contains(':')) {
            self.plans.update(listed.key.clone(), Plan::default(), |plan| plan.add(provider, listed));
        }
        self
    }

    /// Whether there are no plans in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.plans.is_empty()
    }

    /// Whether it has a plan of that name.
    #[must_use]
    pub fn knows_plan(&self, name: &str) -> bool {
        self.plans.contains_key(name)
    }

    /// Whether any plan gives that feature.
    #[must_use]
    pub fn knows_feature(&self, name: &str) -> bool {
        let gives = |plan: &Plan| {
            plan.features.contains(name) || plan.synced.values().any(|synced| synced.features.contains(name))
        };
        self.plans.values().any(gives)
    }

    /// The plan that a provider's plan key, or its id of the plan, means. A Clerk slug means itself.
    #[must_use]
    pub fn plan_for<'a>(&'a self, provider: &str, key: Option<&'a str>, id: Option<&str>) -> Option<&'a str> {
        let mapped = [key, id].into_iter().flatten().find_map(|wanted| {
            let maps = |plan: &Plan| plan.ids.get(provider).is_some_and(|ids| ids.contains(wanted));
            self.plans.iter().find(|(_, plan)| maps(plan)).map(|(name, _)| name.as_str())
        });
        mapped.or_else(|| key.filter(|_| provider::named(provider).is_some_and(provider::Provider::names_plans)))
    }

    /// Whether the plan is held without paying.
    #[must_use]
    pub fn is_free(&self, plan: &str, kind: PayerKind) -> bool {
        match self.plans.get(plan) {
            Some(entry) if entry.synced.get(&kind).is_some_and(|synced| synced.free) => true,
            Some(entry) => entry.free && entry.payer.unwrap_or(PayerKind::User) == kind,
            None => plan == kind.default_free_plan(),
        }
    }

    /// The plan that a payer of this kind holds when nothing paid grants.
    #[must_use]
    pub fn free_plan(&self, kind: PayerKind) -> &str {
        let free = self.plans.iter().find(|(name, _)| self.is_free(name, kind));
        free.map_or(kind.default_free_plan(), |(name, _)| name)
    }

    /// The plan and all that it includes, directly or by way of another.
    #[must_use]
    pub fn contained<'a>(&'a self, plan: &'a str) -> Set<&'a str> {
        let mut contained = Set::default();
        let mut open = vec![plan];
        while let Some(next) = open.pop() {
            if contained.insert(next)
                && let Some(entry) = self.plans.get(next)
            {
                open.extend(entry.includes.iter().map(String::as_str));
            }
        }
        contained
    }

    /// The features of a plan and of all that it includes, held by this kind of payer.
    #[must_use]
    pub fn features<'a>(&'a self, plan: &'a str, kind: PayerKind) -> Set<&'a str> {
        let of = |entry: &'a Plan| {
            let synced = entry.synced.get(&kind).into_iter().flat_map(|synced| &synced.features);
            entry.features.iter().chain(synced).map(String::as_str)
        };
        ordered::set(self.entries(plan).flat_map(of))
    }

    /// The limits of a plan and of all that it includes; of two for the same thing the more generous.
    #[must_use]
    pub fn limits<'a>(&'a self, plan: &'a str) -> Map<&'a str, Limit> {
        let mut limits: Map<&str, Limit> = Map::new();
        for (name, limit) in self.entries(plan).flat_map(|entry| entry.limits.iter()) {
            limits.update(name, *limit, |known| *known = known.or_more(*limit));
        }
        limits
    }

    fn entries<'a>(&'a self, plan: &'a str) -> impl Iterator<Item = &'a Plan> {
        self.contained(plan).into_iter().filter_map(|name| self.plans.get(name))
    }
}

/// Why a catalog cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CatalogError {
    /// The plan that is wrong; none when it is the whole.
    pub plan: Option<String>,
    /// How.
    pub cause: String,
}

impl fmt::Display for CatalogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.plan {
            Some(plan) => write!(f, "plan `{plan}`: {}", self.cause),
            None => f.write_str(&self.cause),
        }
    }
}

impl std::error::Error for CatalogError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog() -> Catalog {
        Catalog::parse(
            r#"{
                "starter": {"free": true, "features": ["themes"], "limits": {"projects": 1}},
                "basic": {"features": ["export"], "limits": {"projects": 10, "seats": 5}},
                "pro": {"features": ["api"], "includes": ["basic"], "limits": {"projects": "unlimited", "seats": 3},
                        "ids": {"clerk": ["cplan_pro"]}}
            }"#,
        )
        .unwrap()
    }

    #[test]
    fn a_plan_gives_what_it_includes_and_the_more_generous_limit() {
        let catalog = catalog();
        assert_eq!(catalog.contained("pro"), ordered::set(["basic", "pro"]));
        assert_eq!(catalog.features("pro", PayerKind::User), ordered::set(["api", "export"]));
        assert_eq!(catalog.limits("pro"), ordered::map([("projects", Limit::Unlimited), ("seats", Limit::Of(5))]));
        assert_eq!(catalog.features("elsewhere", PayerKind::User), Set::default());
    }

    #[test]
    fn plans_that_include_one_another_are_no_endless_loop() {
        let catalog = Catalog::parse(r#"{"a":{"includes":["b"]},"b":{"includes":["a"]}}"#).unwrap();
        assert_eq!(catalog.contained("a"), ordered::set(["a", "b"]));
    }

    #[test]
    fn free_plans_are_the_catalogs_or_clerks_own() {
        let catalog = catalog();
        assert_eq!(catalog.free_plan(PayerKind::User), "starter");
        assert_eq!(catalog.free_plan(PayerKind::Org), "free_org");
        assert_eq!(Catalog::default().free_plan(PayerKind::User), "free_user");
        assert!(!catalog.is_free("pro", PayerKind::User));
        assert!(!catalog.is_free("starter", PayerKind::Org));
    }

    #[test]
    fn a_clerk_slug_is_a_plan_and_an_id_is_mapped() {
        let catalog = catalog();
        assert_eq!(catalog.plan_for("clerk", Some("pro"), None), Some("pro"));
        assert_eq!(catalog.plan_for("clerk", Some("professional"), Some("cplan_pro")), Some("pro"));
        assert_eq!(catalog.plan_for("clerk", Some("unheard_of"), None), Some("unheard_of"));
        assert_eq!(catalog.plan_for("nobody", Some("pro"), None), None);
    }

    #[test]
    fn a_providers_own_plans_add_to_what_the_operator_wrote() {
        let listed = |key: &str, payer, free, features: &[&str]| ApiPlan {
            key: key.into(),
            id: Some(format!("cplan_{key}")),
            payer,
            free,
            features: Some(features.iter().map(|feature| (*feature).to_owned()).collect()),
        };
        let catalog = catalog().with(
            "clerk",
            &[
                listed("pro", Some(PayerKind::User), false, &["themes"]),
                listed("pro", Some(PayerKind::Org), false, &["audit"]),
                listed("team", Some(PayerKind::Org), false, &["sso"]),
                listed("none", Some(PayerKind::Org), true, &["reading"]),
                listed("a:b", None, true, &["x"]),
            ],
        );
        assert_eq!(catalog.features("pro", PayerKind::User), ordered::set(["api", "export", "themes"]));
        assert_eq!(catalog.features("pro", PayerKind::Org), ordered::set(["api", "export", "audit"]));
        assert_eq!(catalog.plan_for("clerk", Some("squad"), Some("cplan_team")), Some("team"));
        assert!(catalog.knows_plan("team") && catalog.knows_feature("sso") && !catalog.knows_plan("a:b"));
        assert_eq!(catalog.free_plan(PayerKind::Org), "none");
        assert_eq!(catalog.free_plan(PayerKind::User), "starter");
        assert_eq!(catalog.limits("pro").iter().count(), 2);
    }

    #[test]
    fn a_wrong_catalog_says_what_is_wrong() {
        let cases = [
            ("[]", "an object was expected"),
            (r#"{"a:b":{}}"#, "plan `a:b`: a plan's key may be neither empty nor contain a colon"),
            (
                r#"{"a":{"feature":[]}}"#,
                "plan `a`: unknown field `feature`, expected one of `features`, `limits`, `includes`, `free`, `payer`, `ids`",
            ),
            (r#"{"a":{"includes":["b"]}}"#, "plan `a`: includes `b`, which is no plan"),
            (r#"{"a":{"ids":{"strype":["p"]}}}"#, "plan `a`: `ids` names `strype`, which is no provider"),
            (r#"{"a":{"limits":{"x":-1}}}"#, "plan `a`: a limit is a whole number or \"unlimited\""),
        ];
        for (json, expected) in cases {
            assert_eq!(Catalog::parse(json).unwrap_err().to_string(), expected);
        }
    }
}
