-- Deletes payments of the looked-at rows that are old and say nothing any more: not the last that was paid, none that
-- came after it, not the last failure, nothing of a record for which something was paid back, nor one by which a later
-- attempt of the same payment is counted. What shows it must be one row of the ledger, which then goes as well
-- (prune_deliveries.sql): an older version left behind would bring it back when the state is rebuilt.
-- ?1 now, ?2 received before.
DELETE FROM payments
-- Both parts of the key, each by itself: as a pair SQLite tries every provider of the list with every id.
WHERE provider IN (
    SELECT DISTINCT d.provider FROM kept k
    CROSS JOIN deliveries d ON d.seq > k.value ->> 'from' AND d.seq <= k.value ->> 'to'
    WHERE k.name = 'prune' AND k.updated_at = ?1)
  AND id IN (
    SELECT e.value ->> 'id' FROM kept k
    CROSS JOIN deliveries d ON d.seq > k.value ->> 'from' AND d.seq <= k.value ->> 'to'
    CROSS JOIN json_each(d.event, '$.payments') e
    WHERE k.name = 'prune' AND k.updated_at = ?1 AND d.received_at < ?2)
  AND EXISTS (
    SELECT 1 FROM kept k CROSS JOIN deliveries d
    WHERE k.name = 'prune' AND d.provider = payments.provider AND d.event_id = payments.event_id
      AND d.seq > k.value ->> 'from' AND d.seq <= k.value ->> 'to' AND d.seq < (SELECT max(seq) FROM deliveries)
      AND d.received_at < ?2 AND d.payer = payments.payer
      AND json_array_length(d.event, '$.payments') = 1
      AND json_type(d.event, '$.records') IS NULL AND d.event ->> 'deleted_at' IS NULL)
  AND occurred_at < ?2
  AND created_at < (SELECT max(q.created_at) FROM payments q WHERE q.payer = payments.payer AND q.status = 'paid')
  AND NOT (status = 'failed' AND created_at >= (
    SELECT max(q.created_at) FROM payments q WHERE q.payer = payments.payer AND q.status = 'failed'))
  -- What was paid back, and what was paid for the same record, decide where refunds revoke.
  AND NOT EXISTS (SELECT 1 FROM payments q WHERE q.payer = payments.payer AND q.status IN ('refunded', 'disputed')
    AND q.record = payments.record AND +q.provider = payments.provider)
  -- Once for all payers of the looked-at rows, who may have many payments and deliveries. (The signs keep the planner from
  -- taking these for the key.)
  AND (+provider, +id) IN (
    SELECT q.provider, q.id
    FROM (
      -- As payment_attempts numbers them.
      SELECT p.provider, p.id,
        lead(p.id) OVER (PARTITION BY p.provider, coalesce(p.payment, p.id) ORDER BY p.created_at, p.id) AS later
      FROM (
        SELECT DISTINCT d.payer FROM kept k
        CROSS JOIN deliveries d ON d.seq > k.value ->> 'from' AND d.seq <= k.value ->> 'to'
        WHERE k.name = 'prune' AND k.updated_at = ?1 AND d.received_at < ?2
          AND json_type(d.event, '$.payments') IS NOT NULL) w
      CROSS JOIN payments p ON p.payer = w.payer) q
    WHERE q.later IS NULL)
  AND (+provider, +id) IN (
    SELECT o.provider, e.value ->> 'id'
    FROM (
      SELECT DISTINCT d.payer FROM kept k
      CROSS JOIN deliveries d ON d.seq > k.value ->> 'from' AND d.seq <= k.value ->> 'to'
      WHERE k.name = 'prune' AND k.updated_at = ?1 AND d.received_at < ?2
        AND json_type(d.event, '$.payments') IS NOT NULL) w
    CROSS JOIN deliveries o ON o.payer = w.payer
    CROSS JOIN json_each(o.event, '$.payments') e
    GROUP BY 1, 2 HAVING count(*) = 1)
