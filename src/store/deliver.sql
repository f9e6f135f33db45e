-- The delivery's row in the ledger. ?1 provider, ?2 event id, ?3 event type, ?4 payer, ?5 occurred at, ?6 now,
-- ?7 outcome when it is not for the state to say, ?8 detail, if there is one to give, ?9 event, ?10 body.
INSERT INTO deliveries
  (provider, event_id, event_type, payer, occurred_at, received_at, last_received_at, outcome, detail, event, body)
SELECT ?1, ?2, ?3, iif(gone, NULL, ?4), ?5, ?6, ?6,
  CASE
    WHEN gone THEN 'ignored'
    WHEN ?7 IS NOT NULL THEN ?7
    -- Only who it is about, which is never too late to say.
    WHEN json_type(?9, '$.records') IS NULL AND json_type(?9, '$.payments') IS NULL THEN 'stored'
    -- Stored is what changes a row: the condition under which records.sql writes one, in terms of the event.
    WHEN EXISTS (
      SELECT 1 FROM (SELECT value AS v FROM json_each(?9, '$.records') LIMIT -1) e
      LEFT JOIN records r ON r.provider = ?1 AND r.id = e.v ->> 'id'
      WHERE r.id IS NULL
        OR (e.v ->> 'state' IS NOT NULL AND e.v ->> 'version' > r.version)
        OR (e.v ->> 'plan' IS NOT NULL AND r.plan_version <
          iif(e.v ->> '$.plan.key' IS e.v ->> '$.plan.id', '!', '') || (e.v ->> 'version'))
        OR (e.v ->> 'payer' IS NOT NULL AND e.v ->> 'version' > r.payer_version)
        OR (e.v ->> 'customer' IS NOT NULL AND e.v ->> 'version' > r.customer_version)
        OR e.v ->> 'trial' > r.trial_used
        OR e.v ->> 'started_at' < coalesce(r.started_at, e.v ->> 'started_at' + 1)
        OR (r.subscription IS NULL AND e.v ->> 'subscription' IS NOT NULL)
    ) THEN 'stored'
    WHEN EXISTS (
      SELECT 1 FROM json_each(?9, '$.payments') e
      LEFT JOIN payments p ON p.provider = ?1 AND p.id = e.value ->> 'id'
      WHERE p.id IS NULL OR e.value ->> 'version' > p.version
    ) THEN 'stored'
    WHEN EXISTS (
      SELECT 1 FROM json_each(?9, '$.links') e
      LEFT JOIN customers c ON c.provider = ?1 AND c.id = e.value ->> 'customer'
      WHERE c.id IS NULL OR e.value ->> 'version' > c.version
    ) THEN 'stored'
    ELSE 'stale'
  END,
  -- Tied: what we hold was told by another event with the same times, equally far along, and is otherwise. The event id
  -- decides, which only makes every order end alike; the provider can be asked.
  coalesce(iif(gone, 'erased', ?8), (
    SELECT 'tied' FROM (SELECT value AS v FROM json_each(?9, '$.records') LIMIT -1) e
    CROSS JOIN records h ON h.provider = ?1 AND h.id = e.v ->> 'id'
    WHERE substr(e.v ->> 'version', 1, 34) = substr(h.version, 1, 34) AND h.event_id <> ?2
      AND e.v ->> 'state' IS NOT NULL
      AND (h.status, h.period_end, h.past_due_since, h.seats, h.plan) IS NOT (
        e.v ->> '$.state.status', e.v ->> '$.state.period_end', e.v ->> '$.state.past_due_since',
        e.v ->> '$.state.seats', coalesce(e.v ->> '$.plan.key', h.plan))
    LIMIT 1)),
  iif(gone, '{}', ?9), iif(gone, NULL, ?10)
-- Whether it is about somebody whose data was erased: nothing of the person comes back. An event that names nobody is
-- kept, as nobody can say whose it is; at most it leaves a record that is nobody's and grants nothing.
FROM (SELECT EXISTS (SELECT 1 FROM payers WHERE erased_at IS NOT NULL) AND (
  EXISTS (SELECT 1 FROM payers WHERE payer = ?4 AND erased_at IS NOT NULL)
  OR EXISTS (SELECT 1 FROM json_each(?9, '$.records') e
    CROSS JOIN payers p ON p.payer = e.value ->> 'payer' AND p.erased_at IS NOT NULL)
  OR EXISTS (SELECT 1 FROM json_each(?9, '$.payments') e
    CROSS JOIN payers p ON p.payer = e.value ->> 'payer' AND p.erased_at IS NOT NULL)
  -- A body that could not be read may still hold the id.
  OR (?10 IS NOT NULL AND EXISTS (SELECT 1 FROM payers WHERE erased_at IS NOT NULL AND mentions(?10, payer))))
  AS gone)
WHERE true
-- Seen before. If we could not use it then and can now (it was resent after a fix), or can tell at least that it is not for us,
-- this attempt is the one that counts.
ON CONFLICT (provider, event_id) DO UPDATE SET
  attempts = attempts + 1,
  last_received_at = excluded.last_received_at,
  (read_attempt, event_type, payer, occurred_at, outcome, detail, body) = (
    SELECT attempts + 1, excluded.event_type, excluded.payer, excluded.occurred_at, excluded.outcome, excluded.detail, NULL
    WHERE event IS NULL AND excluded.event IS NOT NULL OR outcome = 'dead_letter' AND excluded.outcome = 'ignored'
    UNION ALL SELECT read_attempt, event_type, payer, occurred_at, outcome, detail, body
    LIMIT 1),
  event = coalesce(event, excluded.event)
RETURNING iif(attempts = read_attempt, outcome, 'duplicate') AS outcome, detail
