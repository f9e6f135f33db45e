-- D1 bills an entry of an index as a row written. What is ignored or cannot be read is nobody's, and is not looked for by payer.
DROP INDEX deliveries_by_payer;
CREATE INDEX deliveries_of_payer ON deliveries (payer, seq) WHERE payer IS NOT NULL;
