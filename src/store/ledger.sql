-- A page of the ledger, newest first, as one JSON text; one row more than the limit, so that the reader knows whether
-- there is another page. Each filter is off where it is null. ?1 provider, ?2 type, ?3 payer, ?4 outcome, ?5 since,
-- ?6 until, ?7 cursor, ?8 limit, ?9 event id.
SELECT coalesce(json_group_array(json_object(
  'seq', seq, 'provider', provider, 'event_id', event_id, 'type', event_type, 'payer', payer,
  'occurred_at', occurred_at, 'received_at', received_at, 'last_received_at', last_received_at, 'attempts', attempts,
  'outcome', outcome, 'detail', detail, 'event', event, 'body', body)), '[]') AS page
FROM (
  SELECT * FROM deliveries
  WHERE (?1 IS NULL OR provider = ?1) AND (?2 IS NULL OR event_type = ?2) AND (?3 IS NULL OR payer = ?3)
    AND (?4 IS NULL OR outcome = ?4) AND (?5 IS NULL OR received_at >= ?5) AND (?6 IS NULL OR received_at < ?6)
    AND (?7 IS NULL OR seq < ?7) AND (?9 IS NULL OR event_id = ?9)
  ORDER BY seq DESC LIMIT ?8 + 1)
