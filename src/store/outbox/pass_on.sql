-- What a delivery changed is to be passed on, behind whatever of its payer waits. ?1 provider, ?2 event id, ?3 now.
INSERT INTO outbox (payer, sequence, provider, event_id, created_at, next_at)
SELECT who.payer, p.version, ?1, ?2, ?3,
  coalesce((SELECT max(o.next_at) FROM outbox o WHERE o.payer = who.payer AND o.dead_at IS NULL), ?3)
FROM who
JOIN payers p ON p.payer = who.payer
JOIN deliveries d ON d.provider = ?1 AND d.event_id = ?2
WHERE d.attempts = d.read_attempt AND d.outcome = 'stored'
ON CONFLICT DO NOTHING
