-- Payments in more schemes than channels, and what a receipt says of each.

ALTER TABLE payment
  ADD COLUMN scheme text NOT NULL DEFAULT 'batch-settlement' CHECK (scheme IN ('batch-settlement', 'exact', 'transfer')),
  ADD COLUMN receiver address,               -- who is paid; a channel knows its own
  ADD COLUMN token address,
  ADD COLUMN authorization_nonce bytes32,    -- exact: the ERC-3009 nonce, or the transfer's (transaction, log) key
  ADD COLUMN settled_tx bytes32,             -- exact, transfer: the transaction that moved the money
  ADD COLUMN resource text NOT NULL DEFAULT '',
  ADD COLUMN output_hash bytes32,            -- status, content type and body of the answer
  ADD COLUMN started_at timestamptz,         -- the upstream run
  ADD COLUMN ended_at timestamptz,
  ALTER COLUMN channel_id DROP NOT NULL,
  ALTER COLUMN ceiling DROP NOT NULL,
  ADD CONSTRAINT payment_scheme_parts CHECK (
    (scheme = 'batch-settlement') = (channel_id IS NOT NULL AND ceiling IS NOT NULL)
    AND (scheme = 'batch-settlement' OR (receiver IS NOT NULL AND token IS NOT NULL AND authorization_nonce IS NOT NULL)));

-- settling: the answer is stored and withheld until the money has moved (exact).
ALTER TABLE payment DROP CONSTRAINT payment_state_check;
ALTER TABLE payment ADD CONSTRAINT payment_state_check CHECK (state IN ('reserved', 'settling', 'charged', 'released'));
ALTER TABLE payment ADD CONSTRAINT payment_settling_is_exact CHECK (state <> 'settling' OR scheme = 'exact');
ALTER TABLE payment ADD CONSTRAINT payment_charged_without_channel_moved CHECK (scheme = 'batch-settlement' OR state <> 'charged' OR settled_tx IS NOT NULL);

-- A voucher that was charged nothing has bought nothing: a client that signs charged + price signs the same one again.
DROP INDEX payment_voucher;
CREATE UNIQUE INDEX payment_voucher ON payment (channel_id, ceiling) WHERE state <> 'released' AND (charged_atomic IS NULL OR charged_atomic > 0);

-- An authorisation buys one answer, whatever it is shown to.
CREATE UNIQUE INDEX payment_authorization ON payment (token, payer, authorization_nonce) WHERE state <> 'released' AND authorization_nonce IS NOT NULL;
CREATE UNIQUE INDEX payment_client_id_by_payer ON payment (payer, service, client_id) WHERE state <> 'released' AND client_id IS NOT NULL AND channel_id IS NULL;
CREATE INDEX payment_settling ON payment (reserved_until) WHERE state = 'settling';

ALTER TABLE audit ALTER COLUMN channel_id DROP NOT NULL;

-- A buyer's signed statement that it has the receipt; receipts themselves are made from the payment row.
CREATE TABLE receipt_ack (
  payment_id text PRIMARY KEY REFERENCES payment ON DELETE CASCADE,
  receipt_hash bytes32 NOT NULL,
  signature bytea NOT NULL,
  at timestamptz NOT NULL DEFAULT now()
);
