-- What we hold of the records that a provider's API shows, of further items of the subscriptions among them, and what else
-- of its records the payer has, as one JSON text; and whose data was erased, of the payers that it shows. ?1 provider,
-- ?2 ids as a JSON list, ?3 payer, if it is about one, ?4 payers as a JSON list.
SELECT json_object('erased', json((
  SELECT json_group_array(p.payer) FROM json_each(?4) e CROSS JOIN payers p ON p.payer = e.value
  WHERE p.erased_at IS NOT NULL)), 'records', json_group_array(json_object(
  'id', id, 'payer', payer, 'plan', plan, 'plan_id', plan_id, 'status', status, 'period_start', period_start,
  'period_end', period_end, 'past_due_since', past_due_since, 'seats', seats, 'subscription', subscription,
  'occurred_at', occurred_at, 'event_id', event_id, 'version', version))) AS held
FROM (
  SELECT r.* FROM json_each(?2) e CROSS JOIN records r ON r.provider = ?1 AND r.id = e.value
  UNION
  -- `<subscription>/<item>`: '0' comes after '/'.
  SELECT r.* FROM json_each(?2) e CROSS JOIN records r
  ON r.provider = ?1 AND r.id > e.value || '/' AND r.id < e.value || '0'
  UNION
  SELECT * FROM records WHERE payer = ?3 AND provider = ?1 AND status <> 'ended')
