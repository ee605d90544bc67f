-- An EIP-3009 authorisation that we carry to the chain, for a payment of ours or for whoever asks the facilitator. Its nonce makes it
-- happen once, and the primary key makes us send it once.
CREATE TABLE exact_settlement (
  token address NOT NULL,
  payer address NOT NULL,
  nonce bytes32 NOT NULL,
  receiver address NOT NULL,
  amount atomic NOT NULL CHECK (amount > 0),
  tx_id bigint NOT NULL REFERENCES chain_tx,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (token, payer, nonce)
);
CREATE INDEX exact_settlement_tx ON exact_settlement (tx_id);

-- What a payment of scheme exact has to know to be settled by another process.
ALTER TABLE payment ADD COLUMN valid_after bigint, ADD COLUMN valid_before bigint; -- unix seconds
ALTER TABLE payment ADD CONSTRAINT payment_exact_times CHECK (scheme <> 'exact' OR (valid_after IS NOT NULL AND valid_before IS NOT NULL));
