-- Takes the next change of each of some payers whose time has come: nobody else takes one of theirs until ?4. ?1 a name for
-- this run, ?2 how many, ?3 now. All that waits of one payer has one time, and the lowest sequence goes first, so a look at so
-- many rows finds something to send whenever there is something.
UPDATE outbox SET
  attempts = attempts + 1,
  claim = ?1
WHERE (payer, sequence) IN (
  SELECT o.payer, o.sequence
  FROM (SELECT payer, sequence FROM outbox WHERE dead_at IS NULL AND next_at <= ?3 ORDER BY next_at, sequence LIMIT 200) o
  WHERE NOT EXISTS (
    SELECT 1 FROM outbox e WHERE e.payer = o.payer AND e.sequence < o.sequence AND e.dead_at IS NULL)
  LIMIT ?2)
