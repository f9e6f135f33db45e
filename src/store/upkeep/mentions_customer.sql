-- Whether a body that was not read holds an id that its provider knows the payer by. A short one may be part of any number.
EXISTS (
  SELECT 1 FROM (
    -- An order that stands for a customer has a name of ours.
    SELECT provider, replace(id, 'order:', '') AS id FROM customers WHERE payer = :payer
    UNION SELECT provider, customer FROM records WHERE payer = :payer) c
  -- Few, so no index is made of them.
  WHERE +c.provider = deliveries.provider AND length(c.id) >= 12 AND instr(body, c.id) > 0)
