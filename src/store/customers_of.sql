-- The customers of the providers that a payer is known to be, those told last first. ?1 payer.
-- What was bought by somebody without an account is linked by its order, which no API knows.
SELECT provider, id FROM (
  SELECT provider, id, version FROM customers WHERE payer = ?1 AND id NOT LIKE 'order:%'
  UNION ALL
  SELECT provider, customer, customer_version FROM records WHERE payer = ?1 AND customer IS NOT NULL)
GROUP BY provider, id ORDER BY max(version) DESC LIMIT 40
