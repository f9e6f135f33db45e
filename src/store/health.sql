-- What /healthz shows of the database, as one JSON text. ?1 when a change is so old that it should have been delivered.
SELECT json_object(
  'migration', (SELECT name FROM d1_migrations ORDER BY id DESC LIMIT 1),
  'dead_letters', (SELECT count(*) FROM deliveries WHERE outcome = 'dead_letter'),
  'unassigned_records', (SELECT count(*) FROM records WHERE payer IS NULL),
  -- Of very many any of the first will do.
  'unsent_since', (SELECT min(created_at)
    FROM (SELECT created_at FROM outbox WHERE dead_at IS NULL ORDER BY next_at, sequence LIMIT 200)),
  'deliveries', json((SELECT json_group_array(json_object(
    'provider', provider, 'outcome', outcome, 'detail', detail, 'count', count, 'last_at', last_at))
    FROM delivery_counts)),
  -- A price that is made for each customer is a key each, and D1 answers no text above 2 MB. First one key of each product.
  'sold', json((SELECT json_group_array(json_object('provider', provider, 'key', key, 'id', id))
    FROM (SELECT * FROM plan_keys
      ORDER BY row_number() OVER (PARTITION BY provider, coalesce(id, key) ORDER BY key DESC), provider, key LIMIT 5000))),
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
