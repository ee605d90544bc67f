-- What we sent to the chain and what came of it. A transaction's signed bytes are committed before they are broadcast.

CREATE TABLE chain_signer (
  address address PRIMARY KEY,
  next_nonce bigint NOT NULL
);

CREATE TABLE chain_tx (
  tx_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  signer address NOT NULL REFERENCES chain_signer,
  nonce bigint NOT NULL,
  purpose text NOT NULL CHECK (purpose IN ('deposit', 'claim', 'settle', 'refund', 'cancel')),
  payment_id text,                          -- what caused it, for logs
  hash bytes32 NOT NULL UNIQUE,
  raw bytea NOT NULL,
  -- signed -> broadcast -> confirmed | reverted, and back to broadcast when its block is reorganised away; dropped when
  -- its nonce was spent by a transaction that is not ours, so that it can never be mined.
  state text NOT NULL DEFAULT 'signed' CHECK (state IN ('signed', 'broadcast', 'confirmed', 'reverted', 'dropped')),
  block_number bigint,
  block_hash bytes32,
  gas_used bigint,
  gas_price_wei numeric(78, 0),
  created_at timestamptz NOT NULL DEFAULT now(),
  resolved_at timestamptz,
  UNIQUE (signer, nonce),
  CHECK ((state IN ('confirmed', 'reverted')) = (block_hash IS NOT NULL))
);
CREATE INDEX chain_tx_unresolved ON chain_tx (signer, nonce) WHERE state IN ('signed', 'broadcast');
CREATE INDEX chain_tx_block ON chain_tx (signer, block_number) WHERE state IN ('confirmed', 'reverted');

-- A buyer's deposit that we carried to the chain; the ERC-3009 nonce makes it happen once.
CREATE TABLE deposit (
  token address NOT NULL,
  payer address NOT NULL,
  nonce bytes32 NOT NULL,
  channel_id bytes32 NOT NULL,
  amount atomic NOT NULL CHECK (amount > 0),
  tx_id bigint NOT NULL REFERENCES chain_tx,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (token, payer, nonce)
);

-- A cooperative refund; its channel stays frozen until the transaction is resolved.
CREATE TABLE refund (
  channel_id bytes32 NOT NULL REFERENCES channel,
  nonce atomic NOT NULL,
  amount atomic NOT NULL CHECK (amount > 0),
  tx_id bigint NOT NULL REFERENCES chain_tx,
  state text NOT NULL DEFAULT 'sent' CHECK (state IN ('sent', 'done', 'failed')),
  refunded_atomic atomic,                   -- what the receipt says was paid back
  claimed_atomic atomic,                    -- what the same transaction claimed for the receiver
  created_at timestamptz NOT NULL DEFAULT now(),
  resolved_at timestamptz,
  PRIMARY KEY (channel_id, nonce, tx_id)
);
CREATE INDEX refund_open ON refund (tx_id) WHERE state = 'sent';
CREATE INDEX refund_tx ON refund (tx_id);

CREATE TABLE settlement_batch (
  batch_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tx_id bigint NOT NULL REFERENCES chain_tx,
  mode text NOT NULL CHECK (mode IN ('tallystick', 'canonical')),
  receiver address NOT NULL,
  token address NOT NULL,
  reason text NOT NULL,                     -- why now: age, value, withdrawal, flush
  state text NOT NULL DEFAULT 'sent' CHECK (state IN ('sent', 'done', 'failed')),
  settled_atomic atomic,                    -- what the receiver was paid by this transaction
  created_at timestamptz NOT NULL DEFAULT now(),
  resolved_at timestamptz
);
CREATE INDEX settlement_batch_open ON settlement_batch (batch_id) WHERE state = 'sent';

CREATE TABLE settlement_row (
  batch_id bigint NOT NULL REFERENCES settlement_batch,
  channel_id bytes32 NOT NULL REFERENCES channel,
  ceiling atomic NOT NULL,
  signature bytea NOT NULL,
  total_claimed atomic NOT NULL,            -- cumulative amount this row claims up to
  state text NOT NULL DEFAULT 'sent' CHECK (state IN ('sent', 'claimed', 'skipped', 'failed')),
  claimed_atomic atomic,
  reason text,
  PRIMARY KEY (batch_id, channel_id)
);
CREATE INDEX settlement_row_channel ON settlement_row (channel_id, batch_id);
CREATE INDEX settlement_row_open ON settlement_row (channel_id) WHERE state = 'sent';
CREATE INDEX settlement_batch_tx ON settlement_batch (tx_id);

-- A channel whose voucher the chain refused as it stands; tried again when something about it changed, or after a while.
CREATE TABLE settlement_quarantine (
  channel_id bytes32 PRIMARY KEY REFERENCES channel,
  reason text NOT NULL,
  signed_ceiling atomic NOT NULL,
  balance atomic NOT NULL,
  retry_at timestamptz NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);

-- The last attempt to pay out a receiver apart from a claim, so that only one is in flight and failures are paced.
CREATE TABLE settlement_payout (
  receiver address NOT NULL,
  token address NOT NULL,
  tx_id bigint REFERENCES chain_tx,
  failures integer NOT NULL DEFAULT 0,
  retry_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (receiver, token)
);

-- How far each follower of the chain has read.
CREATE TABLE chain_cursor (
  name text PRIMARY KEY,
  block_number bigint NOT NULL,
  block_hash bytes32 NOT NULL
);
