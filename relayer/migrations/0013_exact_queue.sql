-- Authorisations that are to be carried to the chain, many to a transaction. The row is the truth; what a process holds in memory only
-- wakes it up.
CREATE TABLE exact_queue (
  token address NOT NULL,
  payer address NOT NULL,
  nonce bytes32 NOT NULL,
  receiver address NOT NULL,
  amount atomic NOT NULL CHECK (amount > 0),
  valid_after atomic NOT NULL,              -- unix seconds
  valid_before atomic NOT NULL,
  signature bytea NOT NULL,
  payment_id text,                          -- of our own gateway, for logs
  -- queued -> sent (its transaction is in exact_settlement) -> moved, and back to sent when the block that moved it is gone; back to
  -- queued when the transaction did not move it though it could. A row whose authorisation can do nothing more is deleted.
  state text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'sent', 'moved')),
  tx_id bigint REFERENCES chain_tx,
  moved_block bytes32,
  attempts integer NOT NULL DEFAULT 0,      -- transactions that did not move it
  taken_until timestamptz NOT NULL,         -- until then a process has it in hand
  queued_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (token, payer, nonce),
  CHECK ((state = 'queued') = (tx_id IS NULL)),
  CHECK ((state = 'moved') = (moved_block IS NOT NULL))
);
CREATE INDEX exact_queue_waiting ON exact_queue (taken_until) WHERE state <> 'moved';
CREATE INDEX exact_queue_moved ON exact_queue (queued_at) WHERE state = 'moved';
CREATE INDEX exact_queue_tx ON exact_queue (tx_id);
