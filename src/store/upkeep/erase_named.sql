-- Takes the content out of the deliveries that name the payer. The id and the times stay, so that a resend is a duplicate.
-- ?1 payer.
UPDATE deliveries SET payer = NULL, event = '{}', body = NULL, detail = 'erased' WHERE payer = ?1
