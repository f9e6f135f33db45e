-- The payments of a delivery, out of its row in the ledger. ?1 provider, ?2 event id.
INSERT INTO payments
  (provider, id, payer, payment, status, amount, currency, charge_type, failure_code, created_at, occurred_at,
   event_id, version, customer, record, tried, payer_version)
SELECT d.provider, e.value ->> 'id', e.value ->> 'payer', e.value ->> 'payment', e.value ->> 'status',
  e.value ->> 'amount', e.value ->> 'currency', e.value ->> 'charge_type', e.value ->> 'failure_code',
  e.value ->> 'created_at', e.value ->> 'occurred_at', d.event_id, e.value ->> 'version',
  e.value ->> 'customer', e.value ->> 'record', e.value ->> 'attempt',
  iif(e.value ->> 'payer' IS NULL, '', e.value ->> 'version')
FROM deliveries d, json_each(d.event, '$.payments') e
WHERE d.provider = ?1 AND d.event_id = ?2
ON CONFLICT (provider, id) DO UPDATE SET
  payer = excluded.payer, payment = excluded.payment, status = excluded.status, amount = excluded.amount,
  currency = excluded.currency, charge_type = excluded.charge_type, failure_code = excluded.failure_code,
  created_at = excluded.created_at, occurred_at = excluded.occurred_at, event_id = excluded.event_id,
  version = excluded.version, customer = excluded.customer, record = excluded.record, tried = excluded.tried,
  payer_version = excluded.payer_version
WHERE excluded.version > version
