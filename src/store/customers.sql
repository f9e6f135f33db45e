-- The links of a delivery, out of its row in the ledger. ?1 provider, ?2 event id.
INSERT INTO customers (provider, id, payer, version)
SELECT d.provider, e.value ->> 'customer', e.value ->> 'payer', e.value ->> 'version'
FROM deliveries d, json_each(d.event, '$.links') e
WHERE d.provider = ?1 AND d.event_id = ?2
ON CONFLICT (provider, id) DO UPDATE SET payer = excluded.payer, version = excluded.version
WHERE excluded.version > version
