-- Which rows of a table and of its rebuilt copy are not the same.
INSERT INTO rebuilt_differences (what, provider, id)
SELECT 'records', l.provider, l.id FROM records l
LEFT JOIN rebuilt_records b ON b.provider = l.provider AND b.id = l.id
WHERE b.id IS NULL OR (columns(l)) IS NOT (columns(b))
UNION ALL
SELECT 'records', b.provider, b.id FROM rebuilt_records b
LEFT JOIN records l ON l.provider = b.provider AND l.id = b.id
WHERE l.id IS NULL
