-- Changes that wait to be passed on, in order for each payer. A row goes once its receiver has it, and none comes in where no
-- sink is set.
CREATE TABLE outbox (
  payer TEXT NOT NULL,
  -- The payer's version that the change made.
  sequence INTEGER NOT NULL,
  provider TEXT NOT NULL,
  event_id TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  -- When the payer's next one may be tried: the same for all that wait of one payer.
  next_at INTEGER NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  -- The run that is sending it, until `next_at`.
  claim TEXT,
  -- Why the last attempt failed.
  failure TEXT,
  -- Set once it was given up.
  dead_at INTEGER,
  PRIMARY KEY (payer, sequence)
) STRICT, WITHOUT ROWID;

CREATE INDEX outbox_due ON outbox (next_at, sequence) WHERE dead_at IS NULL;
CREATE INDEX outbox_claimed ON outbox (claim) WHERE claim IS NOT NULL;
CREATE INDEX outbox_dead ON outbox (dead_at) WHERE dead_at IS NOT NULL;
