-- The tombstone of an erased payer; of one we never heard of too, so that nothing of it comes in. ?1 payer, ?2 now.
INSERT INTO payers (payer, version, deleted_at, erased_at) VALUES (?1, 1, ?2, ?2)
ON CONFLICT (payer) DO UPDATE SET
  version = version + 1,
  deleted_at = coalesce(deleted_at, excluded.deleted_at),
  erased_at = coalesce(erased_at, excluded.erased_at)
