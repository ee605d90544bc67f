-- Authorisations that were moved by a transaction that is not ours: anybody may send one that is public. A reorganisation may take that
-- transaction back, and nobody but us would send the authorisation again.
CREATE TABLE exact_stranger (
  token address NOT NULL,
  payer address NOT NULL,
  nonce bytes32 NOT NULL,
  receiver address NOT NULL,
  amount atomic NOT NULL CHECK (amount > 0),
  valid_after atomic NOT NULL,              -- unix seconds
  valid_before atomic NOT NULL,
  signature bytea NOT NULL,
  payment_id text,                          -- of our own gateway
  seen_at timestamptz NOT NULL DEFAULT now(),
  looked_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (token, payer, nonce)
);
CREATE INDEX exact_stranger_due ON exact_stranger (looked_at);
