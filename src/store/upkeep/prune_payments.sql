-- Deletes payments of the looked-at rows that are old and say nothing any more: not the last that was paid, none that
-- came after it, not the last failure, nor one by which a later attempt of the same payment is counted. What shows it
-- must be one row of the ledger, which then goes as well (prune_deliveries.sql): an older version left behind would
-- bring it back when the state is rebuilt. ?1 now, ?2 received before.
DELETE FROM payments
WHERE (provider, id, version) IN (
    SELECT d.provider, e.value ->> 'id', e.value ->> 'version'
    FROM kept k
    CROSS JOIN deliveries d ON d.seq > k.value ->> 'from' AND d.seq <= k.value ->> 'to'
    CROSS JOIN json_each(d.event, '$.payments') e
    WHERE k.name = 'prune' AND k.updated_at = ?1
      AND d.received_at < ?2 AND d.seq < (SELECT max(seq) FROM deliveries)
      AND d.payer = e.value ->> 'payer'
      AND json_array_length(d.event, '$.payments') = 1
      AND json_type(d.event, '$.records') IS NULL AND d.event ->> 'deleted_at' IS NULL)
  AND occurred_at < ?2
  AND created_at < (SELECT max(q.created_at) FROM payments q WHERE q.payer = payments.payer AND q.status = 'paid')
  AND NOT (status = 'failed' AND created_at >= (
    SELECT max(q.created_at) FROM payments q WHERE q.payer = payments.payer AND q.status = 'failed'))
  AND NOT EXISTS (
    -- The planner would take the key, and walk all payments of the provider.
    SELECT 1 FROM payments q INDEXED BY payments_by_payer WHERE q.payer = payments.payer AND q.provider = payments.provider
      AND q.payment = payments.payment AND q.id <> payments.id AND q.created_at >= payments.created_at)
  AND 1 = (
    SELECT count(*) FROM deliveries o CROSS JOIN json_each(o.event, '$.payments') e
    WHERE o.payer = payments.payer AND o.provider = payments.provider AND e.value ->> 'id' = payments.id)
