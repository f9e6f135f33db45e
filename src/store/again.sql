-- A delivery that comes again, counted. ?1 provider, ?2 event id, ?3 now. No row where the ledger does not hold its event:
-- then it is for deliver.sql to say what it is.
UPDATE deliveries SET attempts = attempts + 1, last_received_at = ?3
WHERE provider = ?1 AND event_id = ?2 AND event IS NOT NULL
RETURNING attempts
