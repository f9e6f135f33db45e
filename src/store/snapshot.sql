-- All that is needed to decide for one payer, as the one JSON text that KV also holds. ?3 now; D1 binds every number as
-- REAL, which JSON would show. What is null in a record is left out, by the merge of RFC 7396: it is a fifth of what every check
-- reads that has nothing in memory. The records are put in as text before the last brace, as json() would read and write
-- them all anew.
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
    SELECT json_group_array(json_patch('{}', json_object(
      'provider', provider, 'id', id, 'plan', plan, 'plan_id', plan_id, 'free', plan_free, 'status', status,
      'customer', customer, 'subscription', subscription, 'started_at', started_at,
      'period_start', period_start, 'period_end', period_end, 'interval', interval, 'cancel_at', cancel_at,
      'canceled_at', canceled_at, 'ended_at', ended_at, 'past_due_since', past_due_since, 'seats', seats,
      'failed_attempts', failed_attempts, 'last_failure_at', last_failure_at, 'refunded_at', (
        -- Searched by the index, as a payer may have many payments; by IN the two would be made a table first.
        SELECT max(q.occurred_at) FROM (VALUES ('refunded'), ('disputed')) back
        CROSS JOIN payments q ON q.payer = who.payer AND q.status = back.column1
        -- A subscription is paid for whole, with all its items.
        WHERE q.record IN (kept.id, kept.subscription)
          -- Else the planner would take the key's first column.
          AND +q.provider = kept.provider
          -- Where no start of the period is told, the next charge begins one.
          AND (kept.period_start IS NOT NULL OR NOT EXISTS (
            SELECT 1 FROM payments paid WHERE paid.payer = who.payer AND paid.status = 'paid'
              AND paid.created_at > q.occurred_at AND paid.charge_type = 'recurring' AND paid.record = q.record
              AND +paid.provider = q.provider))), 'occurred_at', occurred_at,
      'event_id', event_id)))
    -- What may grant comes first, however old, so that no number of other records hides it; then what says why not,
    -- the latest of what is over last.
    FROM (SELECT * FROM records WHERE payer = who.payer
      ORDER BY status = 'ended',
        CASE status WHEN 'active' THEN 0 WHEN 'trialing' THEN 0 WHEN 'canceled' THEN 0 WHEN 'past_due' THEN 0 ELSE 1 END,
        coalesce(period_end <= ?3, status = 'canceled'), version DESC
      LIMIT 64) kept) || '}')
