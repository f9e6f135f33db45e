CREATE TABLE IF NOT EXISTS yardstick_events (id TEXT PRIMARY KEY, type TEXT, payer TEXT, received_at INTEGER, body TEXT);
CREATE TABLE IF NOT EXISTS yardstick_items (
  id TEXT PRIMARY KEY, payer TEXT NOT NULL, plan TEXT, status TEXT, period_end INTEGER, updated_at INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS yardstick_items_by_payer ON yardstick_items (payer);
