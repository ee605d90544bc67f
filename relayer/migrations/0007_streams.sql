-- Answers that pass as they are written: fixed price (charged before the first byte) or metered (charged step by step).

-- Metered sale of streamed answers; both or neither.
ALTER TABLE service
  ADD COLUMN stream_unit text CHECK (stream_unit ~ '^[a-z][a-z0-9-]{0,31}$'),
  ADD COLUMN stream_price_atomic atomic CHECK (stream_price_atomic > 0),
  ADD CONSTRAINT service_stream_parts CHECK ((stream_unit IS NULL) = (stream_price_atomic IS NULL));

-- One row a streamed answer, beside its payment. An open stream's payment is reserved until the first charge, then charged, and
-- its price_atomic grows with every voucher: what it may still take is price_atomic - charged_atomic, part of channel.reserved.
CREATE TABLE stream (
  payment_id text PRIMARY KEY REFERENCES payment ON DELETE CASCADE,
  unit_price_atomic atomic CHECK (unit_price_atomic > 0), -- null: fixed price
  status integer NOT NULL,
  headers jsonb NOT NULL,
  ceiling atomic NOT NULL,                  -- the newest voucher of this stream
  signature bytea NOT NULL,
  state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'complete', 'money', 'upstream_broken', 'client_gone', 'relayer_lost')),
  runs integer NOT NULL DEFAULT 1,          -- a fixed price buys a whole answer, so a broken one runs again
  units bigint NOT NULL DEFAULT 0,
  started_at timestamptz NOT NULL,
  open_until timestamptz NOT NULL,          -- after it, another process ends what the first left behind
  ended_at timestamptz
);
CREATE INDEX stream_open ON stream (open_until) WHERE state = 'open';

-- What was committed, in order; moved into `answer` when the stream ends.
CREATE TABLE stream_chunk (
  payment_id text NOT NULL REFERENCES stream ON DELETE CASCADE,
  chunk_id bigint GENERATED ALWAYS AS IDENTITY,
  body bytea NOT NULL,
  PRIMARY KEY (payment_id, chunk_id)
);

-- A voucher that extended a stream, so that the same one sent twice extends it once.
CREATE TABLE stream_voucher (
  payment_id text NOT NULL REFERENCES stream ON DELETE CASCADE,
  ceiling atomic NOT NULL,
  added_atomic atomic NOT NULL CHECK (added_atomic > 0),
  at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (payment_id, ceiling)
);
