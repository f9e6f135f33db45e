-- All that is needed to decide for one payer, as the one JSON text that KV also holds. ?3 now; D1 binds every number as
-- REAL, which JSON would show. What is null in a record is left out, by the merge of RFC 7396: it is a fifth of what every check
-- reads that has nothing in memory. What is never null is merged into, as one function takes 32 arguments by D1's documentation.
-- The records are put in as text before the last brace, as json() would read and write them all anew.
iif(who.payer IS NULL, NULL, rtrim(json_object(
  'payer', who.payer,
  'version', coalesce(p.version, 0),
  'as_of', CAST(?3 AS INTEGER),
  'deleted_at', p.deleted_at,
  'failed_attempts', (
    SELECT coalesce(sum(coalesce(tried, 1)), 0) FROM payments
    WHERE payer = who.payer AND status = 'failed' AND created_at > coalesce(
      (SELECT max(created_at) FROM payments WHERE payer = who.payer AND status = 'paid'), 0)),
  'last_failure', json((
    SELECT json_object('at', occurred_at, 'code', failure_code) FROM payments
    WHERE payer = who.payer AND status = 'failed'
    -- In the order of the index, which needs no sorting.
    ORDER BY created_at DESC, provider DESC, id DESC LIMIT 1)),
  'trial_used', coalesce((SELECT max(trial_used) FROM records WHERE payer = who.payer), 0)), '}') || ',"records":' || (
    SELECT json_group_array(json_patch(json_object(
      'provider', provider, 'id', id, 'free', plan_free, 'status', status, 'failed_attempts', failed_attempts,
      'occurred_at', occurred_at, 'event_id', event_id), json_object(
      'plan', plan, 'plan_id', plan_id, 'customer', customer, 'subscription', subscription, 'started_at', started_at,
      'period_start', period_start, 'period_end', period_end, 'interval', interval, 'cancel_at', cancel_at,
      'canceled_at', canceled_at, 'ended_at', ended_at, 'past_due_since', past_due_since, 'seats', seats,
      'last_failure_at', last_failure_at, 'refunded_at', (
        -- Searched by the index, as a payer may have many payments; by IN the two would be made a table first.
        SELECT max(q.occurred_at) FROM (VALUES ('refunded'), ('disputed')) back
        CROSS JOIN payments q ON q.payer = who.payer AND q.status = back.column1
        -- A subscription is paid for whole, with all its items.
        WHERE q.record IN (kept.id, kept.subscription)
          -- Else the planner would take the key's first column.
          AND +q.provider = kept.provider
          -- What was charged on top of the period pays for none.
          AND NOT EXISTS (
            SELECT 1 FROM payments extra WHERE extra.payer = who.payer AND extra.status = 'paid'
              AND extra.payment = q.payment AND extra.charge_type = 'subscription_charge' AND +extra.provider = q.provider)
          -- Where no start of the period is told, the next charge begins one.
          AND (kept.period_start IS NOT NULL OR NOT EXISTS (
            SELECT 1 FROM payments paid WHERE paid.payer = who.payer AND paid.status = 'paid'
              AND paid.created_at > q.occurred_at AND paid.charge_type = 'recurring' AND paid.record = q.record
              AND +paid.provider = q.provider))))))
    -- What may grant comes first, however old, so that no number of other records hides it; then what says why not,
    -- the latest of what is over last. Of more than are shown, what a newer one says again (the same thing bought once more,
    -- without end) comes after what no other says.
    FROM (SELECT held.*
      -- With a limit it is looked for once, and not for each record.
      FROM (SELECT EXISTS (SELECT 1 FROM records WHERE payer = who.payer LIMIT 1 OFFSET 64) AS are_cut LIMIT 1)
      CROSS JOIN records held ON held.payer = who.payer
      ORDER BY status = 'ended',
        CASE status WHEN 'active' THEN 0 WHEN 'trialing' THEN 0 WHEN 'canceled' THEN 0 WHEN 'past_due' THEN 0 ELSE 1 END,
        coalesce(period_end <= ?3, status = 'canceled'),
        are_cut AND EXISTS (
          SELECT 1 FROM records newer WHERE newer.payer = held.payer AND newer.version > held.version
            AND +newer.provider = held.provider
            AND (newer.plan, newer.status, newer.period_end) IS (held.plan, held.status, held.period_end)),
        version DESC
      LIMIT 64) kept) || '}')
