-- The records of a delivery, out of its row in the ledger. ?1 provider, ?2 event id.
-- Each register is set only by a newer version that speaks of it. Played again, nothing changes.
INSERT INTO records
  (provider, id, payer, payer_version, customer, customer_version, plan, plan_id, plan_free, plan_version,
   status, period_start, period_end, interval, cancel_at, canceled_at, ended_at, past_due_since, seats,
   failed_attempts, last_failure_at, occurred_at, event_id, version, subscription, trial_used, started_at)
SELECT e.provider, e.v ->> 'id',
  e.v ->> 'payer', iif(e.v ->> 'payer' IS NULL, '', e.v ->> 'version'),
  e.v ->> 'customer', iif(e.v ->> 'customer' IS NULL, '', e.v ->> 'version'),
  e.v ->> '$.plan.key', e.v ->> '$.plan.id', coalesce(e.v ->> '$.plan.free', 0),
  -- A plan known by its id alone yields to any that has a name: '!' sorts before every digit.
  CASE WHEN e.v ->> 'plan' IS NULL THEN ''
    WHEN e.v ->> '$.plan.key' IS e.v ->> '$.plan.id' THEN '!' || (e.v ->> 'version')
    ELSE e.v ->> 'version' END,
  -- Only the flat form can leave the state out; until something tells it, what is heard of is taken for active.
  coalesce(e.v ->> '$.state.status', 'active'),
  e.v ->> '$.state.period_start', e.v ->> '$.state.period_end', e.v ->> '$.state.interval',
  e.v ->> '$.state.cancel_at', e.v ->> '$.state.canceled_at', e.v ->> '$.state.ended_at',
  e.v ->> '$.state.past_due_since', e.v ->> '$.state.seats',
  coalesce(e.v ->> '$.state.failed_attempts', 0), e.v ->> '$.state.last_failure_at',
  e.v ->> 'occurred_at', e.event_id, iif(e.v ->> 'state' IS NULL, '', e.v ->> 'version'),
  e.v ->> 'subscription', e.v ->> 'trial', e.v ->> 'started_at'
-- LIMIT keeps the list apart from what is read out of it. Else SQLite would write an entry as text, and parse that, for each of its
-- fields: a quarter of all its work.
FROM (
  SELECT d.provider, d.event_id, j.value AS v FROM deliveries d, json_each(d.event, '$.records') j
  WHERE d.provider = ?1 AND d.event_id = ?2 LIMIT -1) e
WHERE true
ON CONFLICT (provider, id) DO UPDATE SET
  payer = iif(excluded.payer_version > payer_version, excluded.payer, payer),
  payer_version = max(payer_version, excluded.payer_version),
  customer = iif(excluded.customer_version > customer_version, excluded.customer, customer),
  customer_version = max(customer_version, excluded.customer_version),
  plan = iif(excluded.plan_version > plan_version, excluded.plan, plan),
  plan_id = iif(excluded.plan_version > plan_version, excluded.plan_id, plan_id),
  plan_free = iif(excluded.plan_version > plan_version, excluded.plan_free, plan_free),
  plan_version = max(plan_version, excluded.plan_version),
  status = iif(excluded.version > version, excluded.status, status),
  period_start = iif(excluded.version > version, excluded.period_start, period_start),
  period_end = iif(excluded.version > version, excluded.period_end, period_end),
  interval = iif(excluded.version > version, excluded.interval, interval),
  cancel_at = iif(excluded.version > version, excluded.cancel_at, cancel_at),
  canceled_at = iif(excluded.version > version, excluded.canceled_at, canceled_at),
  ended_at = iif(excluded.version > version, excluded.ended_at, ended_at),
  past_due_since = iif(excluded.version > version, excluded.past_due_since, past_due_since),
  seats = iif(excluded.version > version, excluded.seats, seats),
  failed_attempts = iif(excluded.version > version, excluded.failed_attempts, failed_attempts),
  last_failure_at = iif(excluded.version > version, excluded.last_failure_at, last_failure_at),
  -- The newest event about the state; while nothing has told the state, the newest that names the payer (which all of
  -- the flat form do), so that it is not the first to arrive.
  occurred_at = iif(excluded.version > version OR (version = '' AND excluded.version = ''
    AND excluded.payer_version > payer_version), excluded.occurred_at, occurred_at),
  event_id = iif(excluded.version > version OR (version = '' AND excluded.version = ''
    AND excluded.payer_version > payer_version), excluded.event_id, event_id),
  version = max(version, excluded.version),
  subscription = coalesce(subscription, excluded.subscription),
  trial_used = max(trial_used, excluded.trial_used),
  -- Two-argument min() is null when either is.
  started_at = min(coalesce(started_at, excluded.started_at), coalesce(excluded.started_at, started_at))
-- A row that would stay as it is must not be written: that is what a write costs.
WHERE excluded.version > version OR excluded.plan_version > plan_version OR excluded.payer_version > payer_version
  OR excluded.customer_version > customer_version OR excluded.trial_used > trial_used
  OR coalesce(excluded.started_at < started_at, started_at IS NULL AND excluded.started_at IS NOT NULL)
  OR (subscription IS NULL AND excluded.subscription IS NOT NULL)
