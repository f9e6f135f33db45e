-- What waits for somebody: records that nobody knows whose they are, the newest first, and every key under which a
-- provider sold something (of very many, as in health.sql), as one JSON text. ?1 records at most.
SELECT json_object(
  'unassigned', json((SELECT json_group_array(json_object(
    'provider', provider, 'id', id, 'customer', customer, 'plan', plan, 'status', status, 'period_end', period_end,
    'occurred_at', occurred_at, 'event_id', event_id))
    FROM (SELECT * FROM records WHERE payer IS NULL ORDER BY version DESC LIMIT ?1))),
  'sold', json((SELECT json_group_array(json_object('provider', provider, 'key', key, 'id', id))
    FROM (SELECT * FROM plan_keys
      ORDER BY row_number() OVER (PARTITION BY provider, coalesce(id, key) ORDER BY key DESC), provider, key LIMIT 5000)))) AS loose
