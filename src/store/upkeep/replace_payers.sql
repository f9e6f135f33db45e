-- Those whose state was replaced: their deletion as it was rebuilt, and a version that makes every copy old.
INSERT INTO payers (payer, version, deleted_at)
SELECT x.id, 1, b.deleted_at FROM rebuilt_differences x LEFT JOIN rebuilt_payers b ON b.payer = x.id
WHERE x.what = 'changed'
ON CONFLICT (payer) DO UPDATE SET version = version + 1, deleted_at = excluded.deleted_at
