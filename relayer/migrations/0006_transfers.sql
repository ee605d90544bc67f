-- Payment by transaction hash: what was asked for at which price, before anybody paid. Kept while a late payment may still come, while the
-- answer is kept, and for good while the money came and nothing was delivered.
CREATE TABLE pay_request (
  request_id text PRIMARY KEY CHECK (request_id ~ '^req_[0-9a-f]{32}$'),
  service text NOT NULL,
  method text NOT NULL,
  path text NOT NULL,                       -- path and query below /s/<service>, normalised
  headers jsonb NOT NULL,                   -- content-type only
  body bytea NOT NULL,
  request_hash bytes32 NOT NULL,
  price_atomic atomic NOT NULL CHECK (price_atomic > 0),
  receiver address NOT NULL,
  token address NOT NULL,
  idempotency_key text,
  source text NOT NULL,                     -- who asked; keys of different clients are different
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz NOT NULL,          -- pay until here
  grace_until timestamptz NOT NULL,         -- a payment that comes later is taken until here, at the same price
  paid boolean NOT NULL DEFAULT false
);
CREATE UNIQUE INDEX pay_request_idempotency ON pay_request (source, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX pay_request_open ON pay_request (service, expires_at) WHERE NOT paid;
CREATE INDEX pay_request_grace ON pay_request (grace_until);

-- transfer: authorization_nonce is the transfer's key (chain, transaction, log), so payment_authorization makes it count once.
ALTER TABLE payment ADD COLUMN request_id text;
ALTER TABLE payment ADD CONSTRAINT payment_transfer_parts CHECK (scheme <> 'transfer' OR (request_id IS NOT NULL AND settled_tx IS NOT NULL));
CREATE INDEX payment_by_request ON payment (request_id) WHERE request_id IS NOT NULL;
CREATE INDEX payment_transfer_payer ON payment (payer, reserved_at) WHERE scheme = 'transfer';
