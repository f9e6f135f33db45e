-- Times are milliseconds since the Unix epoch. A payer is `user:<id>` or `org:<id>`. Versions compare as text.

-- The ledger: every delivery once, by the provider's idempotency key. State is derived from its `event`.
CREATE TABLE deliveries (
  seq INTEGER PRIMARY KEY,
  provider TEXT NOT NULL,
  event_id TEXT NOT NULL,
  event_type TEXT,
  payer TEXT,
  occurred_at INTEGER,
  received_at INTEGER NOT NULL,
  last_received_at INTEGER NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 1,
  -- The attempt whose body counts: the first one that could be read.
  read_attempt INTEGER NOT NULL DEFAULT 1,
  -- stored | stale | ignored | dead_letter
  outcome TEXT NOT NULL,
  -- Why it was ignored, or could not be read.
  detail TEXT,
  -- The event in normal form; null when ignored or unreadable.
  event TEXT,
  -- The raw body of a dead letter, card numbers masked; null otherwise.
  body TEXT,
  UNIQUE (provider, event_id)
) STRICT;

CREATE INDEX dead_letters ON deliveries (provider, received_at) WHERE outcome = 'dead_letter';

-- The smallest objects providers send whole. Four registers (payer, customer, plan, state), each with the version that
-- last set it; '' where nothing has.
CREATE TABLE records (
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
  -- -1 is unlimited; null where the plan is not sold by the seat.
  seats INTEGER,
  failed_attempts INTEGER NOT NULL,
  last_failure_at INTEGER,
  occurred_at INTEGER NOT NULL,
  event_id TEXT NOT NULL,
  version TEXT NOT NULL,
  subscription TEXT,
  -- Once 1, always 1.
  trial_used INTEGER NOT NULL,
  -- The earliest that any event told.
  started_at INTEGER,
  PRIMARY KEY (provider, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX records_by_payer ON records (payer, version);

-- Attempts to charge. Never a field of a card.
CREATE TABLE payments (
  provider TEXT NOT NULL,
  id TEXT NOT NULL,
  payer TEXT,
  payment TEXT,
  status TEXT NOT NULL,
  -- In the smallest unit of the currency.
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

CREATE INDEX payments_by_payer ON payments (payer, status, created_at);

-- The same with the number of the attempt: 1 for the first charge of a payment, 2 for the first retry. Counted on
-- reading, so that attempts may arrive in any order.
CREATE VIEW payment_attempts AS
SELECT *, row_number() OVER (PARTITION BY provider, coalesce(payment, id) ORDER BY created_at, id) AS attempt
FROM payments;

-- Everyone we have heard of. `version` grows with every delivery about the payer. A tombstone stays for good.
CREATE TABLE payers (
  payer TEXT PRIMARY KEY,
  version INTEGER NOT NULL,
  deleted_at INTEGER
) STRICT, WITHOUT ROWID;

-- How many deliveries came to what, and the last of each: what /healthz shows without reading the ledger.
CREATE TABLE delivery_counts (
  provider TEXT NOT NULL,
  -- An outcome of `deliveries`, or `duplicate`.
  outcome TEXT NOT NULL,
  detail TEXT NOT NULL,
  count INTEGER NOT NULL,
  last_at INTEGER NOT NULL,
  PRIMARY KEY (provider, outcome, detail)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER count_first_attempt AFTER INSERT ON deliveries BEGIN
  INSERT INTO delivery_counts (provider, outcome, detail, count, last_at)
  VALUES (new.provider, new.outcome, iif(new.outcome = 'ignored', coalesce(new.detail, ''), ''), 1, new.received_at)
  ON CONFLICT DO UPDATE SET count = count + 1, last_at = max(last_at, excluded.last_at);
END;

CREATE TRIGGER count_later_attempt AFTER UPDATE OF attempts ON deliveries BEGIN
  INSERT INTO delivery_counts (provider, outcome, detail, count, last_at)
  VALUES (new.provider, iif(new.attempts = new.read_attempt, new.outcome, 'duplicate'), '', 1, new.last_received_at)
  ON CONFLICT DO UPDATE SET count = count + 1, last_at = max(last_at, excluded.last_at);
END;
