-- What /healthz shows of the database, as one JSON text. ?1 when a change is so old that it should have been delivered.
SELECT json_object(
  'migration', (SELECT name FROM d1_migrations ORDER BY id DESC LIMIT 1),
  'dead_letters', (SELECT count(*) FROM deliveries WHERE outcome = 'dead_letter'),
  'unassigned_records', (SELECT count(*) FROM records WHERE payer IS NULL),
  'deliveries', json((SELECT json_group_array(json_object(
    'provider', provider, 'outcome', outcome, 'detail', detail, 'count', count, 'last_at', last_at))
    FROM delivery_counts)),
  'sold', json((SELECT json_group_array(json_object('provider', provider, 'key', key, 'id', id)) FROM plan_keys)),
  'rejections', json((SELECT json_group_array(json_object(
    'provider', provider, 'cause', cause, 'count', count, 'last_at', last_at)) FROM rejections)),
  'sweeps', json((SELECT json_group_array(json_object('name', name, 'sweep', json(value)))
    FROM kept WHERE name > 'sweep:' AND name < 'sweep;')),
  -- What changed before we first looked was never to be delivered to us.
  'undelivered', json((SELECT json_group_array(json_object('provider', provider, 'count', count, 'last_at', last_at))
    FROM (SELECT u.provider AS provider, count(*) AS count, max(u.occurred_at) AS last_at
      FROM kept k CROSS JOIN records u ON u.provider = substr(k.name, 7) AND u.occurred_at > k.value ->> 'since'
      WHERE k.name > 'sweep:' AND k.name < 'sweep;' AND u.occurred_at <= ?1
        AND u.event_id >= 'reconciled_' AND u.event_id < 'reconciled`'
      GROUP BY u.provider)))) AS health
