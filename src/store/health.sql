-- What /healthz shows of the database, as one JSON text.
SELECT json_object(
  'migration', (SELECT name FROM d1_migrations ORDER BY id DESC LIMIT 1),
  'dead_letters', (SELECT count(*) FROM deliveries WHERE outcome = 'dead_letter'),
  'unassigned_records', (SELECT count(*) FROM records WHERE payer IS NULL),
  'deliveries', json((SELECT json_group_array(json_object(
    'provider', provider, 'outcome', outcome, 'detail', detail, 'count', count, 'last_at', last_at))
    FROM delivery_counts))) AS health
