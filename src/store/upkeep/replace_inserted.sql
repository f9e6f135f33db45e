-- Puts in the rows that differ, as they were rebuilt. The columns are in the same order.
INSERT INTO records SELECT b.* FROM rebuilt_differences x
CROSS JOIN rebuilt_records b ON b.provider = x.provider AND b.id = x.id WHERE x.what = 'records'
