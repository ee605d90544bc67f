-- The relayer's fee, its invoices, statements for receivers, and when receivers are paid out.

-- The transaction in which what a payment costs became final: charged, and its answer over (a stream is charged step by step). The books
-- are kept by it, see capabilities/fees/README.md; a paid call writes nothing more than this.
ALTER TABLE payment ADD COLUMN final_xid xid8;
UPDATE payment SET final_xid = pg_current_xact_id() WHERE state = 'charged' AND ended_at IS NOT NULL;
CREATE INDEX payment_final ON payment (final_xid, payment_id) WHERE final_xid IS NOT NULL;

CREATE FUNCTION payment_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.final_xid := pg_current_xact_id();
  RETURN NEW;
END $$;
CREATE TRIGGER payment_final BEFORE UPDATE OF state, ended_at ON payment FOR EACH ROW
  WHEN (NEW.state = 'charged' AND NEW.ended_at IS NOT NULL AND NEW.final_xid IS NULL) EXECUTE FUNCTION payment_final();
CREATE TRIGGER payment_final_at_once BEFORE INSERT ON payment FOR EACH ROW
  WHEN (NEW.state = 'charged' AND NEW.ended_at IS NOT NULL) EXECUTE FUNCTION payment_final();

-- How far the books go; its row lock makes one process at a time keep them.
CREATE TABLE fee_cursor (
  the_only boolean PRIMARY KEY DEFAULT true CHECK (the_only),
  xid xid8 NOT NULL,
  payment_id text NOT NULL,                 -- everything up to (xid, payment_id) is booked
  booked_at timestamptz                     -- when the books last held all that was final
);
INSERT INTO fee_cursor (xid, payment_id) VALUES ('0', '');

-- What is taken of payments charged from then on. The zero address is everybody without terms of their own.
CREATE TABLE fee_terms (
  receiver address NOT NULL,
  from_at timestamptz NOT NULL,
  fee_bps integer CHECK (fee_bps BETWEEN 0 AND 1000), -- null: everybody's terms again
  PRIMARY KEY (receiver, from_at)
);

-- draft: fees of its period still come in. open: issued, to be paid. paid.
CREATE TABLE invoice (
  invoice_id text PRIMARY KEY DEFAULT 'inv_' || replace(gen_random_uuid()::text, '-', ''),
  number bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  receiver address NOT NULL,                -- who owes it
  token address NOT NULL,
  period_from timestamptz NOT NULL,
  period_to timestamptz NOT NULL,           -- exclusive
  calls bigint NOT NULL DEFAULT 0,
  gross_atomic atomic NOT NULL DEFAULT 0,
  fee_atomic atomic NOT NULL DEFAULT 0,
  state text NOT NULL DEFAULT 'draft' CHECK (state IN ('draft', 'open', 'paid')),
  issued_at timestamptz,
  due_at timestamptz,
  paid_at timestamptz,
  payment_id text,                          -- the payment that pays it: one at a time, and for good once charged
  CHECK (period_from < period_to),
  CHECK (fee_atomic <= gross_atomic),
  CHECK ((state = 'draft') = (issued_at IS NULL) AND (issued_at IS NULL) = (due_at IS NULL)),
  CHECK ((state = 'paid') = (paid_at IS NOT NULL))
);
CREATE UNIQUE INDEX invoice_draft ON invoice (receiver, token, period_from, period_to) WHERE state = 'draft';
CREATE UNIQUE INDEX invoice_payment ON invoice (payment_id) WHERE payment_id IS NOT NULL;
CREATE INDEX invoice_of ON invoice (receiver, number);
CREATE INDEX invoice_open ON invoice (due_at) WHERE state = 'open';

-- The fee of one payment. The key makes each be taken once.
CREATE TABLE fee_line (
  payment_id text PRIMARY KEY,
  invoice_id text NOT NULL REFERENCES invoice,
  at timestamptz NOT NULL,                  -- when it was charged
  service text NOT NULL,
  charged_atomic atomic NOT NULL,
  fee_bps integer NOT NULL CHECK (fee_bps BETWEEN 1 AND 1000),
  fee_atomic atomic NOT NULL,
  CHECK (fee_atomic = div(charged_atomic * fee_bps, 10000))
);
CREATE INDEX fee_line_invoice ON fee_line (invoice_id, payment_id);

-- What a receiver earned, by day (UTC), service, scheme and fee: sums of payments.
CREATE TABLE booked_day (
  receiver address NOT NULL,
  token address NOT NULL,
  day date NOT NULL,
  service text NOT NULL,
  scheme text NOT NULL,
  fee_bps integer NOT NULL,
  calls bigint NOT NULL,
  gross_atomic atomic NOT NULL,
  fee_atomic atomic NOT NULL,
  PRIMARY KEY (receiver, token, day, service, scheme, fee_bps)
);

-- Vouchers that a provider left with us to pay its invoices: each pays one, none above its ceiling.
CREATE TABLE fee_voucher (
  channel_id bytes32 NOT NULL,
  ceiling atomic NOT NULL CHECK (ceiling > 0),
  receiver address NOT NULL,                -- whose invoices
  channel_config jsonb NOT NULL,
  signature bytea NOT NULL,
  invoice_id text REFERENCES invoice,       -- what it paid, or is paying
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (channel_id, ceiling)
);
CREATE INDEX fee_voucher_of ON fee_voucher (receiver, ceiling) WHERE invoice_id IS NULL;

-- Invoices are long overdue: not sold until they are paid. Only where the operator configured that.
CREATE TABLE service_pause (
  receiver address PRIMARY KEY,
  since timestamptz NOT NULL DEFAULT now()
);

-- What the chain paid to receivers, whoever sent the transaction. Rows above a reorganisation are read again.
CREATE TABLE settled_event (
  block_number bigint NOT NULL,
  log_index integer NOT NULL,
  tx_hash bytes32 NOT NULL,
  receiver address NOT NULL,
  token address NOT NULL,
  amount atomic NOT NULL,
  at timestamptz NOT NULL,                  -- the block's time
  PRIMARY KEY (block_number, log_index)
);
CREATE INDEX settled_event_of ON settled_event (receiver, token, at);

-- A receiver gave charged money back to a buyer: a transfer on chain, counted once.
CREATE TABLE provider_refund (
  tx_hash bytes32 NOT NULL,
  log_index integer NOT NULL,
  payment_id text NOT NULL,
  receiver address NOT NULL,
  token address NOT NULL,
  service text NOT NULL,
  amount atomic NOT NULL CHECK (amount > 0),
  at timestamptz NOT NULL,                  -- the block's time
  PRIMARY KEY (tx_hash, log_index)
);
CREATE INDEX provider_refund_of ON provider_refund (receiver, token, at);
CREATE INDEX provider_refund_payment ON provider_refund (payment_id);

-- When a receiver wants its money moved; without a row, with every claim.
CREATE TABLE payout_schedule (
  receiver address NOT NULL,
  token address NOT NULL,
  kind text NOT NULL CHECK (kind IN ('immediate', 'threshold', 'daily', 'on_demand')),
  threshold_atomic atomic,
  at_utc_hour integer CHECK (at_utc_hour BETWEEN 0 AND 23),
  served_until timestamptz NOT NULL DEFAULT clock_timestamp(), -- daily: hours up to here are done
  PRIMARY KEY (receiver, token),
  CHECK ((kind = 'threshold') = (threshold_atomic IS NOT NULL)),
  CHECK ((kind = 'daily') = (at_utc_hour IS NOT NULL))
);

-- Asked for by the receiver; open until the chain shows nothing left to pay.
CREATE TABLE payout_request (
  request_id text PRIMARY KEY DEFAULT 'out_' || replace(gen_random_uuid()::text, '-', ''),
  receiver address NOT NULL,
  token address NOT NULL,
  idempotency_key text,
  asked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  done_at timestamptz,
  amount atomic                             -- what was owed when it was sent
);
CREATE UNIQUE INDEX payout_request_open ON payout_request (receiver, token) WHERE done_at IS NULL;
CREATE UNIQUE INDEX payout_request_key ON payout_request (receiver, idempotency_key) WHERE idempotency_key IS NOT NULL;
