-- Whom a delivery is about: as it says, or as an earlier event about the same record, payment or customer said.
-- ?1 provider, ?2 event id.
-- CROSS JOIN keeps the order of the two: the planner would walk all of the provider's records instead.
SELECT coalesce(d.payer, (
  SELECT r.payer FROM json_each(d.event, '$.records') e
  CROSS JOIN records r ON r.provider = d.provider AND r.id = e.value ->> 'id'
  WHERE r.payer IS NOT NULL LIMIT 1), (
  SELECT q.payer FROM json_each(d.event, '$.payments') e
  CROSS JOIN payments q ON q.provider = d.provider AND q.id = e.value ->> 'id'
  WHERE q.payer IS NOT NULL LIMIT 1))
FROM deliveries d WHERE d.provider = ?1 AND d.event_id = ?2
