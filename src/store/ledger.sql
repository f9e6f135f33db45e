-- A page of the ledger, newest first, as one JSON text; `left` says how many rows more there would be, of one more than the
-- limit. Each filter is off where it is null. ?1 provider, ?2 type, ?3 payer, ?4 outcome, ?5 since, ?6 until, ?7 cursor,
-- ?8 limit, ?9 event id.
SELECT coalesce(json_group_array(json_object(
  'seq', seq, 'provider', provider, 'event_id', event_id, 'type', event_type, 'payer', payer,
  'occurred_at', occurred_at, 'received_at', received_at, 'last_received_at', last_received_at, 'attempts', attempts,
  'outcome', outcome, 'detail', detail, 'event', event, 'body', body, 'left', total - place)), '[]') AS page
FROM (
  SELECT d.*, w.total, w.place
  FROM (
    SELECT seq, count(*) OVER () AS total, row_number() OVER (ORDER BY seq DESC) AS place,
      sum(size) OVER (ORDER BY seq DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
    FROM (
      SELECT seq, coalesce(octet_length(event), 0) + coalesce(octet_length(body), 0) AS size FROM deliveries
      WHERE (?1 IS NULL OR provider = ?1) AND (?2 IS NULL OR event_type = ?2) AND (?3 IS NULL OR payer = ?3)
        AND (?4 IS NULL OR outcome = ?4) AND (?5 IS NULL OR received_at >= ?5) AND (?6 IS NULL OR received_at < ?6)
        AND (?7 IS NULL OR seq < ?7) AND (?9 IS NULL OR event_id = ?9)
      ORDER BY seq DESC LIMIT ?8 + 1)) w
  CROSS JOIN deliveries d ON d.seq = w.seq
  -- D1 answers no text longer than 2 MB, and as text within JSON this is up to two thirds longer. The first row, with a body of
  -- 512 KiB at most, is always on the page.
  WHERE w.place <= ?8 AND coalesce(w.before, 0) < 600000
  ORDER BY d.seq DESC)
