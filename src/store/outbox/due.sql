-- What was taken, with the payer's facts as they are now. ?1 the run, ?3 now.
SELECT coalesce(json_group_array(json_object(
  'payer', who.payer, 'sequence', who.sequence, 'provider', who.provider, 'event_id', who.event_id,
  'created_at', who.created_at, 'attempts', who.attempts, 'event', d.event,
  -- As a text: joined to one, JSON is no longer JSON.
  'snapshot', '' || 
