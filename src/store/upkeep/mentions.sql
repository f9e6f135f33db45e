-- Whether a body that was not read holds a payer's id. A short id may be part of any word: it counts as a whole text only.
(instr(:body, substr(:payer, instr(:payer, ':') + 1)) > 0 AND (length(:payer) >= 16
  OR instr(:body, '"' || substr(:payer, instr(:payer, ':') + 1) || '"') > 0))
