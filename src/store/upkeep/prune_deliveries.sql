-- Deletes the looked-at rows of the ledger that are old and on which no state rests, so that what is left still gives the
-- same state when it is rebuilt. ?1 now, ?2 received before.
DELETE FROM deliveries
WHERE seq IN (
    SELECT d.seq FROM kept k
    CROSS JOIN deliveries d ON d.seq > k.value ->> 'from' AND d.seq <= k.value ->> 'to'
    WHERE k.name = 'prune' AND k.updated_at = ?1)
  AND received_at < ?2
  -- SQLite would give the highest number again, and a reader of pages would pass over what came under it.
  AND seq < (SELECT max(seq) FROM deliveries)
  AND event ->> 'deleted_at' IS NULL
  AND NOT EXISTS (
    SELECT 1 FROM json_each(deliveries.event, '$.payments') e
    CROSS JOIN payments p ON p.provider = deliveries.provider AND p.id = e.value ->> 'id'
    WHERE p.version = e.value ->> 'version')
  AND NOT EXISTS (
    SELECT 1 FROM json_each(deliveries.event, '$.links') e
    CROSS JOIN customers c ON c.provider = deliveries.provider AND c.id = e.value ->> 'customer'
    WHERE c.version = e.value ->> 'version')
  AND NOT EXISTS (
    SELECT 1 FROM json_each(deliveries.event, '$.records') e
    CROSS JOIN records r ON r.provider = deliveries.provider AND r.id = e.value ->> 'id'
    -- It set one of the registers.
    WHERE e.value ->> 'version' IN (r.version, r.payer_version, r.customer_version, ltrim(r.plan_version, '!'))
      -- It tells what those that set a register do not tell, and is the first that does. (Of those that name nobody the
      -- first cannot be found without walking them all, so each stays.)
      OR EXISTS (
        SELECT 1 FROM (
          SELECT 'trial' AS name, r.trial_used AS value
          UNION ALL SELECT 'started_at', r.started_at
          UNION ALL SELECT 'subscription', r.subscription) fact
        WHERE fact.value <> 0 AND e.value ->> fact.name = fact.value
          AND NOT EXISTS (
            SELECT 1 FROM deliveries o CROSS JOIN json_each(o.event, '$.records') x
            -- A version ends with the id of its event.
            WHERE o.provider = r.provider AND o.event_id IN (substr(r.version, 36), substr(r.payer_version, 36),
                substr(r.customer_version, 36), substr(ltrim(r.plan_version, '!'), 36))
              AND x.value ->> 'id' = r.id AND x.value ->> fact.name = fact.value)
          AND NOT EXISTS (
            SELECT 1 FROM deliveries o CROSS JOIN json_each(o.event, '$.records') x
            WHERE o.payer = deliveries.payer AND o.seq < deliveries.seq AND o.provider = r.provider
              AND x.value ->> 'id' = r.id AND x.value ->> fact.name = fact.value)))
