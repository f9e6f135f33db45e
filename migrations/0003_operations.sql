-- Set once the payer's data was erased on request. The row stays as a tombstone, so that late events bring nothing back.
ALTER TABLE payers ADD COLUMN erased_at INTEGER;

-- What the worker keeps for itself between runs, as JSON: how far a sweep came, the provider's own catalog.
CREATE TABLE kept (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Records whose state we read from the provider ourselves and no delivery has brought since.
CREATE INDEX records_undelivered ON records (provider, occurred_at)
WHERE event_id >= 'reconciled_' AND event_id < 'reconciled`';

-- Deliveries that were refused, by cause. Nothing of them is kept but their number.
CREATE TABLE rejections (
  provider TEXT NOT NULL,
  cause TEXT NOT NULL,
  count INTEGER NOT NULL,
  last_at INTEGER NOT NULL,
  PRIMARY KEY (provider, cause)
) STRICT, WITHOUT ROWID;

-- Events that do not say whose the records they show are.
CREATE INDEX deliveries_unnamed ON deliveries (provider, seq) WHERE payer IS NULL AND event IS NOT NULL;

-- Those whose data was erased: a body that cannot be read is searched for each of their ids.
CREATE INDEX payers_erased ON payers (payer) WHERE erased_at IS NOT NULL;

-- Where a rebuild derives the state anew, to compare it with what is held. Columns as in the tables they stand for; empty
-- but for the time of a rebuild.
CREATE TABLE rebuilt_records (
  provider TEXT NOT NULL,
  id TEXT NOT NULL,
  payer TEXT,
  payer_version TEXT NOT NULL,
  customer TEXT,
  customer_version TEXT NOT NULL,
  plan TEXT,
  plan_id TEXT,
  plan_free INTEGER NOT NULL,
  plan_version TEXT NOT NULL,
  status TEXT NOT NULL,
  period_start INTEGER,
  period_end INTEGER,
  interval TEXT,
  cancel_at INTEGER,
  canceled_at INTEGER,
  ended_at INTEGER,
  past_due_since INTEGER,
  seats INTEGER,
  failed_attempts INTEGER NOT NULL,
  last_failure_at INTEGER,
  occurred_at INTEGER NOT NULL,
  event_id TEXT NOT NULL,
  version TEXT NOT NULL,
  subscription TEXT,
  trial_used INTEGER NOT NULL,
  started_at INTEGER,
  PRIMARY KEY (provider, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE rebuilt_payments (
  provider TEXT NOT NULL,
  id TEXT NOT NULL,
  payer TEXT,
  payment TEXT,
  status TEXT NOT NULL,
  amount INTEGER,
  currency TEXT,
  charge_type TEXT,
  failure_code TEXT,
  created_at INTEGER NOT NULL,
  occurred_at INTEGER NOT NULL,
  event_id TEXT NOT NULL,
  version TEXT NOT NULL,
  PRIMARY KEY (provider, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE rebuilt_payers (
  payer TEXT PRIMARY KEY,
  version INTEGER NOT NULL,
  deleted_at INTEGER,
  erased_at INTEGER
) STRICT, WITHOUT ROWID;

-- What differs, by table and key; under `changed` the payers whose state it is.
CREATE TABLE rebuilt_differences (
  what TEXT NOT NULL,
  provider TEXT NOT NULL,
  id TEXT NOT NULL,
  PRIMARY KEY (what, provider, id)
) STRICT, WITHOUT ROWID;

-- What we read from a provider by ourselves is in the ledger and is no delivery of the provider's.
DROP TRIGGER count_first_attempt;
CREATE TRIGGER count_first_attempt AFTER INSERT ON deliveries WHEN new.event_type IS NOT 'plangate.reconciled' BEGIN
  INSERT INTO delivery_counts (provider, outcome, detail, count, last_at)
  VALUES (new.provider, new.outcome, iif(new.outcome = 'ignored', coalesce(new.detail, ''), ''), 1, new.received_at)
  ON CONFLICT DO UPDATE SET count = count + 1, last_at = max(last_at, excluded.last_at);
END;
DROP TRIGGER count_later_attempt;
CREATE TRIGGER count_later_attempt AFTER UPDATE OF attempts ON deliveries WHEN new.event_type IS NOT 'plangate.reconciled' BEGIN
  INSERT INTO delivery_counts (provider, outcome, detail, count, last_at)
  VALUES (new.provider, iif(new.attempts = new.read_attempt, new.outcome, 'duplicate'), '', 1, new.last_received_at)
  ON CONFLICT DO UPDATE SET count = count + 1, last_at = max(last_at, excluded.last_at);
END;
