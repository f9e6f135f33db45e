-- Takes out the rows that differ, as they are held.
DELETE FROM records WHERE (provider, id) IN (SELECT provider, id FROM rebuilt_differences WHERE what = 'records')
