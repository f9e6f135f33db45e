-- Which rows of the ledger this run looks at: those after `from`, up to `to`; `next` is where the next run goes on. A
-- sweep that came to the end, or to rows that are too young, rests before it begins again. ?1 now, ?2 received before,
-- ?3 rows at most, ?4 begun again when the last run is older than this.
INSERT INTO kept (name, value, updated_at)
SELECT 'prune', json_object('from', start, 'to', top, 'next', iif(
    (SELECT received_at FROM deliveries WHERE seq = top) < ?2, top, 0)), ?1
FROM (
  SELECT start, (SELECT max(seq) FROM (SELECT seq FROM deliveries WHERE seq > start ORDER BY seq LIMIT ?3)) AS top
  FROM (
    SELECT coalesce((SELECT iif(value ->> 'next' = 0 AND updated_at > ?4, NULL, value ->> 'next')
      FROM kept WHERE name = 'prune'), iif(EXISTS (SELECT 1 FROM kept WHERE name = 'prune'), NULL, 0)) AS start))
WHERE start IS NOT NULL
ON CONFLICT (name) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at
