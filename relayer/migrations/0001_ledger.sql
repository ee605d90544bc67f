-- The ledger: what was promised, delivered and charged. Amounts are atomic token units.

CREATE DOMAIN atomic AS numeric(78, 0) CHECK (VALUE >= 0);
CREATE DOMAIN address AS bytea CHECK (octet_length(VALUE) = 20);
CREATE DOMAIN bytes32 AS bytea CHECK (octet_length(VALUE) = 32);

-- What the gateway sells.
CREATE TABLE service (
  name text PRIMARY KEY CHECK (name ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  origin text NOT NULL,
  description text NOT NULL DEFAULT '',
  receiver address NOT NULL,
  token address NOT NULL,
  price_atomic atomic NOT NULL CHECK (price_atomic > 0),
  min_deposit_calls integer NOT NULL CHECK (min_deposit_calls > 0),
  withdraw_delay_s integer NOT NULL CHECK (withdraw_delay_s BETWEEN 900 AND 2592000),
  upstream_timeout_ms integer NOT NULL CHECK (upstream_timeout_ms > 0),
  updated_at timestamptz NOT NULL DEFAULT now()
);

-- One row a channel. The chain is the authority for the columns in the first block, we are for the second.
CREATE TABLE channel (
  channel_id bytes32 PRIMARY KEY,
  payer address NOT NULL,
  payer_authorizer address NOT NULL,
  receiver address NOT NULL,
  receiver_authorizer address NOT NULL,
  token address NOT NULL,
  withdraw_delay_s integer NOT NULL,
  salt bytes32 NOT NULL,

  -- A cache of the chain as of synced_block; only ever replaced by a read at the same block or later.
  balance atomic NOT NULL,
  total_claimed atomic NOT NULL,
  withdraw_amount atomic NOT NULL,
  withdraw_initiated_at bigint NOT NULL,
  refund_nonce atomic NOT NULL,
  synced_block bigint NOT NULL,

  -- Ours. charged and signed_ceiling never decrease.
  opening_charged atomic NOT NULL,          -- claimed on chain without us: before we knew the channel, or by others
  charged atomic NOT NULL,
  reserved atomic NOT NULL DEFAULT 0,       -- sum of the prices of this channel's reserved payments
  signed_ceiling atomic NOT NULL DEFAULT 0, -- the highest voucher of a charged payment
  signed_signature bytea,
  broadcast_ceiling atomic NOT NULL DEFAULT 0, -- the voucher last shown to the chain: its signature is public
  request_count bigint NOT NULL DEFAULT 0,
  frozen_by text,                           -- why no new payment is taken now (a refund under way), or null
  created_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT channel_charged_was_signed CHECK (charged <= GREATEST(signed_ceiling, opening_charged)),
  CONSTRAINT channel_signature_present CHECK (signed_ceiling = 0 OR signed_signature IS NOT NULL)
);
CREATE INDEX channel_payer ON channel (payer);
CREATE INDEX channel_claimable ON channel (receiver) WHERE charged > total_claimed;

CREATE FUNCTION channel_never_decreases() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.charged < OLD.charged OR NEW.signed_ceiling < OLD.signed_ceiling OR NEW.opening_charged < OLD.opening_charged
     OR NEW.broadcast_ceiling < OLD.broadcast_ceiling THEN
    RAISE EXCEPTION 'channel amounts never decrease' USING ERRCODE = 'check_violation', CONSTRAINT = 'channel_never_decreases';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER channel_never_decreases BEFORE UPDATE ON channel
  FOR EACH ROW EXECUTE FUNCTION channel_never_decreases();

-- One row an attempt to buy one answer. reserved -> charged (with its answer) | released (nothing charged).
CREATE TABLE payment (
  payment_id text PRIMARY KEY,
  channel_id bytes32 NOT NULL REFERENCES channel,
  payer address NOT NULL,
  ceiling atomic NOT NULL,
  signature bytea NOT NULL,
  service text NOT NULL,
  request_hash bytes32 NOT NULL,            -- method, URL and body
  client_id text,                           -- x402 payment-identifier, when the client sent one
  price_atomic atomic NOT NULL CHECK (price_atomic > 0),
  charged_atomic atomic,
  charged_cumulative atomic,                -- the channel's charged after this payment
  deposit_tx bytes32,                       -- the deposit that came with this payment, when one did
  deposit_atomic atomic,
  state text NOT NULL DEFAULT 'reserved' CHECK (state IN ('reserved', 'charged', 'released')),
  release_reason text,
  request_number bigint,
  reserved_at timestamptz NOT NULL DEFAULT now(),
  reserved_until timestamptz NOT NULL,
  resolved_at timestamptz,
  CHECK ((state = 'charged') = (charged_atomic IS NOT NULL)),
  CHECK ((charged_atomic IS NULL) = (charged_cumulative IS NULL)),
  CHECK (charged_atomic <= price_atomic),
  CHECK (state <> 'released' OR release_reason IS NOT NULL)
);
-- A voucher buys one answer. A released one may be used again.
CREATE UNIQUE INDEX payment_voucher ON payment (channel_id, ceiling) WHERE state <> 'released';
CREATE UNIQUE INDEX payment_client_id ON payment (channel_id, client_id) WHERE state <> 'released' AND client_id IS NOT NULL;
CREATE INDEX payment_unresolved ON payment (reserved_until) WHERE state = 'reserved';
CREATE INDEX payment_unbilled ON payment (payer, resolved_at) WHERE state = 'released';

-- What was delivered; kept so that the same payment can fetch it again.
CREATE TABLE answer (
  payment_id text PRIMARY KEY REFERENCES payment ON DELETE CASCADE,
  status integer NOT NULL,
  headers jsonb NOT NULL,
  body bytea NOT NULL,
  expires_at timestamptz NOT NULL
);
CREATE INDEX answer_expiry ON answer (expires_at);

-- Why a payment with a valid signature was refused, and that no money moved.
CREATE TABLE audit (
  audit_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT now(),
  payment_id text NOT NULL,
  channel_id bytes32 NOT NULL,
  payer address NOT NULL,
  service text NOT NULL,
  code text NOT NULL,
  moved_atomic atomic NOT NULL DEFAULT 0,
  detail jsonb NOT NULL
);
CREATE INDEX audit_payment ON audit (payment_id);
CREATE INDEX audit_at ON audit (at);
