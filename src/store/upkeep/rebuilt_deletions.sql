-- Which deletions are not the same. The rest of a payer's row is not derived from the ledger alone: its version also
-- counts rows that are no longer there.
INSERT INTO rebuilt_differences (what, provider, id)
SELECT 'payers', '', l.payer FROM payers l LEFT JOIN rebuilt_payers b ON b.payer = l.payer
WHERE b.deleted_at IS NOT l.deleted_at
UNION ALL
SELECT 'payers', '', b.payer FROM rebuilt_payers b LEFT JOIN payers l ON l.payer = b.payer
WHERE l.payer IS NULL
