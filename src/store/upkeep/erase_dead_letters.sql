-- Takes the content out of the dead letters that hold the payer's id, or one that the provider has for the payer. ?1 payer.
UPDATE deliveries INDEXED BY dead_letters SET event = '{}', body = NULL, detail = 'erased', outcome = 'ignored'
WHERE outcome = 'dead_letter' AND (is_about(?1))
