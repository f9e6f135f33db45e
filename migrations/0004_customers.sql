-- Which payer a customer of a provider is: told by any event that names both. All of the customer's records and payments
-- that name no payer themselves are that payer's, whatever came first.
CREATE TABLE customers (
  provider TEXT NOT NULL,
  id TEXT NOT NULL,
  payer TEXT NOT NULL,
  version TEXT NOT NULL,
  PRIMARY KEY (provider, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX customers_by_payer ON customers (payer);
CREATE INDEX records_by_customer ON records (provider, customer) WHERE payer_version = '';

ALTER TABLE payments ADD COLUMN customer TEXT;
-- The record that it pays for.
ALTER TABLE payments ADD COLUMN record TEXT;
-- How often charging was tried, where the provider counts.
ALTER TABLE payments ADD COLUMN tried INTEGER;
-- '' where the event does not say whose it is.
ALTER TABLE payments ADD COLUMN payer_version TEXT NOT NULL DEFAULT '';
UPDATE payments SET payer_version = version WHERE payer IS NOT NULL;
CREATE INDEX payments_by_customer ON payments (provider, customer) WHERE payer_version = '';

ALTER TABLE rebuilt_payments ADD COLUMN customer TEXT;
ALTER TABLE rebuilt_payments ADD COLUMN record TEXT;
ALTER TABLE rebuilt_payments ADD COLUMN tried INTEGER;
ALTER TABLE rebuilt_payments ADD COLUMN payer_version TEXT NOT NULL DEFAULT '';

CREATE TABLE rebuilt_customers (
  provider TEXT NOT NULL,
  id TEXT NOT NULL,
  payer TEXT NOT NULL,
  version TEXT NOT NULL,
  PRIMARY KEY (provider, id)
) STRICT, WITHOUT ROWID;

-- Every key under which a provider sold something: what the catalog does not map is listed, so that it can be mapped.
CREATE TABLE plan_keys (
  provider TEXT NOT NULL,
  key TEXT NOT NULL,
  id TEXT,
  PRIMARY KEY (provider, key)
) STRICT, WITHOUT ROWID;

INSERT OR IGNORE INTO plan_keys (provider, key, id) SELECT provider, plan, plan_id FROM records WHERE plan IS NOT NULL;

CREATE TRIGGER first_sold AFTER INSERT ON records WHEN new.plan IS NOT NULL BEGIN
  INSERT INTO plan_keys (provider, key, id) VALUES (new.provider, new.plan, new.plan_id)
  ON CONFLICT DO UPDATE SET id = coalesce(id, excluded.id) WHERE id IS NULL AND excluded.id IS NOT NULL;
END;

CREATE TRIGGER sold_otherwise AFTER UPDATE OF plan, plan_id ON records
WHEN new.plan IS NOT NULL AND (new.plan IS NOT old.plan OR new.plan_id IS NOT old.plan_id) BEGIN
  INSERT INTO plan_keys (provider, key, id) VALUES (new.provider, new.plan, new.plan_id)
  ON CONFLICT DO UPDATE SET id = coalesce(id, excluded.id) WHERE id IS NULL AND excluded.id IS NOT NULL;
END;
