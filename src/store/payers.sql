-- The payer's row. A deletion is never taken back: an event that comes after it cannot bring the payer back.
INSERT INTO payers (payer, version, deleted_at)
SELECT who.payer, 1, d.event ->> 'deleted_at'
FROM who CROSS JOIN deliveries d
WHERE who.payer IS NOT NULL AND d.provider = ?1 AND d.event_id = ?2 AND d.attempts = d.read_attempt
ON CONFLICT (payer) DO UPDATE SET
  version = version + 1,
  deleted_at = min(coalesce(deleted_at, excluded.deleted_at), coalesce(excluded.deleted_at, deleted_at))
