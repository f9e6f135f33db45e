-- Whose state it is that differs.
INSERT INTO rebuilt_differences (what, provider, id)
SELECT 'changed', '', payer FROM (
  SELECT l.payer FROM rebuilt_differences x CROSS JOIN records l ON l.provider = x.provider AND l.id = x.id
  WHERE x.what = 'records'
  UNION
  SELECT b.payer FROM rebuilt_differences x CROSS JOIN rebuilt_records b ON b.provider = x.provider AND b.id = x.id
  WHERE x.what = 'records'
  UNION
  SELECT l.payer FROM rebuilt_differences x CROSS JOIN payments l ON l.provider = x.provider AND l.id = x.id
  WHERE x.what = 'payments'
  UNION
  SELECT b.payer FROM rebuilt_differences x CROSS JOIN rebuilt_payments b ON b.provider = x.provider AND b.id = x.id
  WHERE x.what = 'payments'
  UNION
  SELECT id FROM rebuilt_differences WHERE what = 'payers')
WHERE payer IS NOT NULL
