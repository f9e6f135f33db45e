-- Whose the records are that name no payer themselves: of the customers that a delivery links, and those it shows.
-- ?1 provider, ?2 event id.
-- The planner would take the key's first column.
UPDATE records INDEXED BY records_by_customer SET payer = (
  SELECT c.payer FROM customers c WHERE c.provider = records.provider AND c.id = records.customer)
WHERE payer_version = '' AND payer IS NOT (
  SELECT c.payer FROM customers c WHERE c.provider = records.provider AND c.id = records.customer)
  AND provider = ?1 AND customer IN (
    SELECT e.value ->> 'customer' FROM deliveries d, json_each(d.event, '$.links') e
    WHERE d.provider = ?1 AND d.event_id = ?2
    UNION ALL
    SELECT r.customer FROM deliveries d, json_each(d.event, '$.records') e
    CROSS JOIN records r ON r.provider = d.provider AND r.id = e.value ->> 'id'
    WHERE d.provider = ?1 AND d.event_id = ?2)
