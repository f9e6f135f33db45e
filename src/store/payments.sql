-- The payments of a delivery, out of its row in the ledger. ?1 provider, ?2 event id.
INSERT INTO payments
  (provider, id, payer, payment, status, amount, currency, charge_type, failure_code, created_at, occurred_at,
   event_id, version, customer, record, tried, payer_version)
SELECT e.provider, e.v ->> 'id', e.v ->> 'payer', e.v ->> 'payment', e.v ->> 'status',
  e.v ->> 'amount', e.v ->> 'currency', e.v ->> 'charge_type', e.v ->> 'failure_code',
  e.v ->> 'created_at', e.v ->> 'occurred_at', e.event_id, e.v ->> 'version',
  e.v ->> 'customer', e.v ->> 'record', e.v ->> 'attempt',
  iif(e.v ->> 'payer' IS NULL, '', e.v ->> 'version')
FROM (
  SELECT d.provider, d.event_id, j.value AS v FROM deliveries d, json_each(d.event, '$.payments') j
  WHERE d.provider = ?1 AND d.event_id = ?2 LIMIT -1) e
WHERE true
ON CONFLICT (provider, id) DO UPDATE SET
  payer = excluded.payer, payment = excluded.payment, status = excluded.status, amount = excluded.amount,
  currency = excluded.currency, charge_type = excluded.charge_type, failure_code = excluded.failure_code,
  created_at = excluded.created_at, occurred_at = excluded.occurred_at, event_id = excluded.event_id,
  version = excluded.version, customer = excluded.customer, record = excluded.record, tried = excluded.tried,
  payer_version = excluded.payer_version
WHERE excluded.version > version
