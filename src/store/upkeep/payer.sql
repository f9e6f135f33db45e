-- A payer's own row, as one JSON text. ?1 payer.
SELECT json_object('payer', payer, 'version', version, 'deleted_at', deleted_at, 'erased_at', erased_at) AS payer
FROM payers WHERE payer = ?1
