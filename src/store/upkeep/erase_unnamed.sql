-- Takes the content out of the deliveries that name nobody and show a record or a payment of the payer's. ?1 payer.
-- The planner would take the index by payer, in which is also every delivery that was ignored.
UPDATE deliveries INDEXED BY deliveries_unnamed SET event = '{}', body = NULL, detail = 'erased'
WHERE payer IS NULL AND event IS NOT NULL AND (EXISTS (
  SELECT 1 FROM json_each(deliveries.event, '$.records') e
  CROSS JOIN records r ON r.provider = deliveries.provider AND r.id = e.value ->> 'id'
  WHERE r.payer = ?1)
  OR EXISTS (
  SELECT 1 FROM json_each(deliveries.event, '$.payments') e
  CROSS JOIN payments q ON q.provider = deliveries.provider AND q.id = e.value ->> 'id'
  WHERE q.payer = ?1))
