-- The deliveries about a payer: those that name it, those that name nobody and show a record or payment of it, and those that
-- could not be read and hold its id, or one that their provider has for it.
seq IN (
  SELECT n.seq FROM deliveries n WHERE n.payer = ?3
  UNION ALL
  SELECT u.seq FROM deliveries u INDEXED BY deliveries_unnamed WHERE u.payer IS NULL AND u.event IS NOT NULL AND (EXISTS (
    SELECT 1 FROM json_each(u.event, '$.records') e
    CROSS JOIN records r ON r.provider = u.provider AND r.id = e.value ->> 'id'
    WHERE r.payer = ?3)
    OR EXISTS (
    SELECT 1 FROM json_each(u.event, '$.payments') e
    CROSS JOIN payments q ON q.provider = u.provider AND q.id = e.value ->> 'id'
    WHERE q.payer = ?3))
  UNION ALL
  SELECT seq FROM deliveries INDEXED BY dead_letters WHERE outcome = 'dead_letter' AND (is_about(?3)))
