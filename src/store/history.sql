-- The events of the ledger behind what a payer holds, as they were known at a time, newest first. Each row has `event`,
-- one JSON text, and `cut`, which is 1 when there may be more; where there is no event, one row says so.
-- ?1 payer, ?2 at, ?3 how many events, ?4 how many rows of the ledger are looked at for them.
WITH RECURSIVE
-- Most of what names a payer may be changes to the profile, each sign-in among them.
looked(seq) AS MATERIALIZED (SELECT seq FROM deliveries WHERE payer = ?1 ORDER BY seq DESC LIMIT ?4),
named(seq) AS MATERIALIZED (
  SELECT d.seq FROM looked CROSS JOIN deliveries d ON d.seq = looked.seq
  WHERE (json_type(d.event, '$.records') IS NOT NULL OR json_type(d.event, '$.payments') IS NOT NULL
      OR json_type(d.event, '$.deleted_at') IS NOT NULL)
    -- What could not be read at first was known when it could.
    AND iif(d.read_attempt > 1, d.last_received_at, d.received_at) <= ?2
  ORDER BY d.seq DESC LIMIT ?3 + 1),
-- No index leads from a record to the events that show it without naming its payer, so these are walked one by one.
unnamed(provider, seq, place) AS MATERIALIZED (
  SELECT DISTINCT provider, 9007199254740991, 0 FROM records WHERE payer = ?1
  UNION ALL
  SELECT unnamed.provider, (
    SELECT max(d.seq) FROM deliveries d
    WHERE d.provider = unnamed.provider AND d.payer IS NULL AND d.event IS NOT NULL AND d.seq < unnamed.seq), place + 1
  FROM unnamed WHERE seq IS NOT NULL AND place < ?4),
chosen(seq) AS (
  SELECT seq FROM named
  UNION
  SELECT d.seq FROM unnamed CROSS JOIN deliveries d ON d.seq = unnamed.seq
  WHERE iif(d.read_attempt > 1, d.last_received_at, d.received_at) <= ?2 AND EXISTS (
    SELECT 1 FROM json_each(d.event, '$.records') e
    CROSS JOIN records r ON r.provider = d.provider AND r.id = e.value ->> 'id' WHERE r.payer = ?1)
  UNION
  -- What set a record may be older than all of these. The event that gave something by hand has the grant's id.
  SELECT d.seq FROM (
    SELECT provider, id, event_id FROM records WHERE payer = ?1 ORDER BY status = 'ended', version DESC LIMIT 64) kept
  CROSS JOIN deliveries d ON d.provider = kept.provider AND d.event_id IN (kept.event_id, kept.id)
  WHERE d.event IS NOT NULL AND iif(d.read_attempt > 1, d.last_received_at, d.received_at) <= ?2)
SELECT
  (SELECT count(*) FROM looked) >= ?4 OR (SELECT count(*) FROM named) > ?3
    OR EXISTS (SELECT 1 FROM unnamed WHERE seq IS NOT NULL AND place >= ?4) AS cut,
  iif(d.seq IS NULL, NULL, json_object(
    'seq', d.seq, 'provider', d.provider, 'event_id', d.event_id, 'received_at', d.received_at, 'outcome', d.outcome,
    'event', json(d.event))) AS event
FROM (SELECT 1) LEFT JOIN chosen ON 1 LEFT JOIN deliveries d ON d.seq = chosen.seq
ORDER BY d.seq DESC
