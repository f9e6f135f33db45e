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
