  )), '[]') AS due
FROM outbox who
LEFT JOIN payers p ON p.payer = who.payer
LEFT JOIN deliveries d ON d.provider = who.provider AND d.event_id = who.event_id
WHERE who.claim = ?1
