-- What a rebuild found, as one JSON text. ?1 differences at most, ?2 changed payers at most.
SELECT json_object(
  'records', json_object('live', (SELECT count(*) FROM records), 'rebuilt', (SELECT count(*) FROM rebuilt_records),
    'different', (SELECT count(*) FROM rebuilt_differences WHERE what = 'records')),
  'payments', json_object('live', (SELECT count(*) FROM payments), 'rebuilt', (SELECT count(*) FROM rebuilt_payments),
    'different', (SELECT count(*) FROM rebuilt_differences WHERE what = 'payments')),
  'deletions', json_object('live', (SELECT count(deleted_at) FROM payers),
    'rebuilt', (SELECT count(deleted_at) FROM rebuilt_payers),
    'different', (SELECT count(*) FROM rebuilt_differences WHERE what = 'payers')),
  'changed_payers', (SELECT count(*) FROM rebuilt_differences WHERE what = 'changed'),
  'changed', json((SELECT json_group_array(id) FROM (
    SELECT id FROM rebuilt_differences WHERE what = 'changed' ORDER BY id LIMIT ?2))),
  'differences', json((SELECT json_group_array(json_object(
      'table', what,
      'key', iif(what = 'payers', id, provider || '/' || id),
      -- Of a row that is in both, only what differs.
      'columns', json((SELECT json_group_array(c.key) FROM json_each(live) c
        WHERE rebuilt IS NOT NULL AND live ->> c.key IS NOT rebuilt ->> c.key)),
      'live', json((SELECT iif(live IS NULL, NULL, json_group_object(c.key, c.value)) FROM json_each(live) c
        WHERE rebuilt IS NULL OR live ->> c.key IS NOT rebuilt ->> c.key)),
      'rebuilt', json((SELECT iif(rebuilt IS NULL, NULL, json_group_object(c.key, c.value)) FROM json_each(rebuilt) c
        WHERE live IS NULL OR live ->> c.key IS NOT rebuilt ->> c.key))))
    FROM (
      SELECT what, provider, id,
        CASE what
          WHEN 'records' THEN (SELECT object(records) FROM records l WHERE l.provider = x.provider AND l.id = x.id)
          WHEN 'payments' THEN (SELECT object(payments) FROM payments l WHERE l.provider = x.provider AND l.id = x.id)
          ELSE json_object('deleted_at', (SELECT deleted_at FROM payers l WHERE l.payer = x.id)) END AS live,
        CASE what
          WHEN 'records' THEN
            (SELECT object(records) FROM rebuilt_records l WHERE l.provider = x.provider AND l.id = x.id)
          WHEN 'payments' THEN
            (SELECT object(payments) FROM rebuilt_payments l WHERE l.provider = x.provider AND l.id = x.id)
          ELSE json_object('deleted_at', (SELECT deleted_at FROM rebuilt_payers l WHERE l.payer = x.id)) END AS rebuilt
      FROM rebuilt_differences x WHERE what <> 'changed' ORDER BY what, provider, id LIMIT ?1)))) AS report
