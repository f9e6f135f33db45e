-- The same for payments. ?1 provider, ?2 event id.
UPDATE payments INDEXED BY payments_by_customer SET payer = (
  SELECT c.payer FROM customers c WHERE c.provider = payments.provider AND c.id = payments.customer)
WHERE payer_version = '' AND payer IS NOT (
  SELECT c.payer FROM customers c WHERE c.provider = payments.provider AND c.id = payments.customer)
  AND provider = ?1 AND customer IN (
    SELECT e.value ->> 'customer' FROM deliveries d, json_each(d.event, '$.links') e
    WHERE d.provider = ?1 AND d.event_id = ?2
    UNION ALL
    SELECT e.value ->> 'customer' FROM deliveries d, json_each(d.event, '$.payments') e
    WHERE d.provider = ?1 AND d.event_id = ?2)
