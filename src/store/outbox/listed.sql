-- What waits, and what was given up, as operators read it: the oldest ?1 of each.
SELECT json_object(
  'pending', (SELECT count(*) FROM outbox WHERE dead_at IS NULL),
  'dead', (SELECT count(*) FROM outbox WHERE dead_at IS NOT NULL),
  'oldest_at', (SELECT strftime('%Y-%m-%dT%H:%M:%fZ', min(created_at) / 1000.0, 'unixepoch') FROM outbox WHERE dead_at IS NULL),
  'rows', json((SELECT coalesce(json_group_array(json_object(
    'payer', payer, 'sequence', sequence, 'provider', provider, 'event_id', event_id, 'created_at', strftime('%Y-%m-%dT%H:%M:%fZ', created_at / 1000.0, 'unixepoch'),
    'next_at', iif(dead_at IS NULL, strftime('%Y-%m-%dT%H:%M:%fZ', next_at / 1000.0, 'unixepoch'), NULL), 'attempts', attempts, 'failure', failure, 'dead_at', strftime('%Y-%m-%dT%H:%M:%fZ', dead_at / 1000.0, 'unixepoch'))), '[]')
  FROM (SELECT * FROM (SELECT * FROM outbox WHERE dead_at IS NOT NULL ORDER BY dead_at LIMIT ?1)
    UNION ALL SELECT * FROM (SELECT * FROM outbox WHERE dead_at IS NULL ORDER BY next_at, sequence LIMIT ?1))))) AS outbox
