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
  hash bytes32 NOT NULL UNIQUE,
  raw bytea NOT NULL,
  state text NOT NULL DEFAULT 'signed' CHECK (state IN ('signed', 'broadcast', 'confirmed', 'reverted')),
  block_number bigint,
  gas_used bigint,
  gas_price_wei numeric(78, 0),
  created_at timestamptz NOT NULL DEFAULT now(),
  resolved_at timestamptz,
  UNIQUE (signer, nonce)
);
CREATE INDEX chain_tx_unresolved ON chain_tx (signer, nonce) WHERE state IN ('signed', 'broadcast');

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

CREATE TABLE refund (
  channel_id bytes32 NOT NULL REFERENCES channel,
  nonce atomic NOT NULL,
  amount atomic NOT NULL CHECK (amount > 0),
  tx_id bigint NOT NULL REFERENCES chain_tx,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (channel_id, nonce, tx_id)
);

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

-- How far each follower of the chain has read.
CREATE TABLE chain_cursor (
  name text PRIMARY KEY,
  block_number bigint NOT NULL,
  block_hash bytes32 NOT NULL
);
