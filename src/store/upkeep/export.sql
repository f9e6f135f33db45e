-- A page of the ledger, oldest first, each row as a line of JSON; `total` is one more than the limit where there is
-- another page. A page ends early when it has grown long. ?1 after this row, ?2 limit, ?3 payer.
SELECT d.seq AS seq, line(deliveries) AS line, w.total AS total
FROM (
  SELECT seq, count(*) OVER () AS total, row_number() OVER (ORDER BY seq) AS place,
    sum(size) OVER (ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
  FROM (
    SELECT seq, coalesce(length(event), 0) + coalesce(length(body), 0) AS size
    FROM deliveries WHERE seq > ?1 AND chosen ORDER BY seq LIMIT ?2 + 1)) w
CROSS JOIN deliveries d ON d.seq = w.seq
-- D1 and the worker hold a page in memory. The first row is always on it.
WHERE w.place <= ?2 AND coalesce(w.before, 0) < 4000000
ORDER BY d.seq
