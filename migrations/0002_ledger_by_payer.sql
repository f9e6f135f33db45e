-- What happened to one payer, without walking the ledger.
CREATE INDEX deliveries_by_payer ON deliveries (payer, seq);
