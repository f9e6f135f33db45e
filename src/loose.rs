//! What waits for an operator: records that nobody knows whose they are, and keys of plans that the catalog does not map.
//! Both are kept and grant nothing; both count from the moment they are known, without a new event.

use serde::Serialize;

use crate::catalog::Catalog;
use crate::json::{self, Fields, Unreadable};
use crate::time::Timestamp;

/// What `src/store/loose.sql` answers.
#[derive(Debug)]
pub struct Found {
    unassigned: Vec<Unassigned>,
    sold: Vec<Sold>,
}

/// Something that a provider sold, by the provider's key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Sold {
    /// The provider.
    pub provider: String,
    /// The price, product or variant id.
    pub key: String,
    /// The provider's other id of it.
    pub id: Option<String>,
}

/// A record that nobody knows whose it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Unassigned {
    /// The provider.
    pub provider: String,
    /// The provider's id of it.
    pub id: String,
    /// The provider's id of the customer.
    pub customer: Option<String>,
    /// The plan key.
    pub plan: Option<String>,
    /// Its status, where an event told one.
    pub status: Option<String>,
    /// End of the current period.
    pub period_end: Option<Timestamp>,
    /// When the object last changed at the provider.
    pub occurred_at: Timestamp,
    /// The event that showed it so.
    pub event_id: String,
}

impl Unassigned {
    fn read(fields: Fields<'_>) -> Result<Self, Unreadable> {
        Ok(Self {
            provider: fields.need("provider", Fields::text)?,
            id: fields.need("id", Fields::text)?,
            customer: fields.text("customer")?,
            plan: fields.text("plan")?,
            status: fields.text("status")?,
            period_end: fields.moment("period_end")?,
            occurred_at: fields.need("occurred_at", Fields::moment)?,
            event_id: fields.need("event_id", Fields::text)?,
        })
    }
}

impl Sold {
    /// Reads it out of what the database answered.
    ///
    /// # Errors
    /// [`Unreadable`], when it is something else.
    pub fn read(fields: Fields<'_>) -> Result<Self, Unreadable> {
        Ok(Self {
            provider: fields.need("provider", Fields::text)?,
            key: fields.need("key", Fields::text)?,
            id: fields.text("id")?,
        })
    }
}

/// What waits.
#[derive(Debug, Serialize)]
pub struct Loose {
    /// Records without a payer.
    pub unassigned: Vec<Unassigned>,
    /// Keys without a plan.
    pub unmapped: Vec<Sold>,
}

impl Found {
    /// Reads what the database answered.
    ///
    /// # Errors
    /// [`Unreadable`], when it is something else.
    pub fn parse(json: &str) -> Result<Self, Unreadable> {
        let json = json::parse(json.as_bytes())?;
        let fields = Fields::of(&json)?;
        let unassigned = fields.need("unassigned", |fields, name| fields.objects(name, Unassigned::read))?;
        Ok(Self { unassigned, sold: fields.need("sold", |fields, name| fields.objects(name, Sold::read))? })
    }

    /// What of it waits, by this catalog.
    #[must_use]
    pub fn loose(self, catalog: &Catalog) -> Loose {
        Loose { unassigned: self.unassigned, unmapped: unmapped(self.sold, catalog) }
    }
}

/// The keys that the catalog maps to no plan.
#[must_use]
pub fn unmapped(sold: Vec<Sold>, catalog: &Catalog) -> Vec<Sold> {
    let is_mapped = |sold: &Sold| catalog.plan_for(&sold.provider, Some(&sold.key), sold.id.as_deref()).is_some();
    // What operators give is named by the catalog already.
    sold.into_iter().filter(|sold| sold.provider != crate::store::OPERATOR && !is_mapped(sold)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_catalog_maps_by_either_id_waits_for_nobody() {
        let catalog = Catalog::parse(r#"{"pro":{"ids":{"clerk":["price_1","prod_2"]}}}"#).unwrap();
        let found = Found::parse(
            r#"{"unassigned":[{"provider":"stripe","id":"sub_1","customer":"cus_1","plan":null,"status":"active",
                "period_end":1767225600000,"occurred_at":1767225600000,"event_id":"evt_1"}],"sold":[
                {"provider":"nobody","key":"price_1","id":null},
                {"provider":"nobody","key":"price_2","id":"prod_2"},
                {"provider":"clerk","key":"slug","id":null},
                {"provider":"operator","key":"feature:x","id":null}]}"#,
        );
        let loose = found.unwrap().loose(&catalog);
        let keys: Vec<_> = loose.unmapped.iter().map(|sold| sold.key.as_str()).collect();
        assert_eq!(keys, ["price_1", "price_2"], "of another provider");
        assert_eq!(
            serde_json::to_string(&loose.unassigned).unwrap(),
            r#"[{"provider":"stripe","id":"sub_1","customer":"cus_1","plan":null,"status":"active","period_end":"2026-01-01T00:00:00Z","occurred_at":"2026-01-01T00:00:00Z","event_id":"evt_1"}]"#
        );
        assert!(Found::parse("[]").is_err());
    }
}
