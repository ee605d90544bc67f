-- Every receipt of a claim hangs under a root: what a claim without one left, receipts that are made after their charge, and calls that
-- cost nothing.

-- Of the last call under the root, its number: a call that costs nothing stands at the same cumulative charge and comes later.
ALTER TABLE settlement_row ADD COLUMN receipts_call bigint NOT NULL DEFAULT 0;

-- A stream is charged before its end, and its receipt is made at its end: anew each time it runs again. So streams are not covered by a
-- range of charges but one by one.
CREATE SEQUENCE stream_receipt_version;
CREATE TABLE stream_receipt (
  payment_id text PRIMARY KEY REFERENCES payment ON DELETE CASCADE,
  channel_id bytes32 NOT NULL,
  version bigint NOT NULL DEFAULT nextval('stream_receipt_version'), -- another one for another receipt
  batch_id bigint REFERENCES settlement_batch -- the last claim that named this version
);
CREATE INDEX stream_receipt_channel ON stream_receipt (channel_id);

INSERT INTO stream_receipt (payment_id, channel_id, batch_id)
SELECT p.payment_id, p.channel_id, (
  SELECT max(r.batch_id) FROM settlement_row r JOIN settlement_batch b USING (batch_id)
  WHERE r.channel_id = p.channel_id AND r.state = 'claimed' AND b.state = 'done' AND p.charged_cumulative > r.receipts_from AND p.charged_cumulative <= r.receipts_to)
FROM stream s JOIN payment p USING (payment_id)
WHERE s.state <> 'open' AND p.state = 'charged' AND p.channel_id IS NOT NULL AND p.output_hash IS NOT NULL;

-- Channels with something claimed under no root: by the published form, beside a refund, or before the receipt was made.
CREATE TABLE receipt_unrooted (
  channel_id bytes32 PRIMARY KEY REFERENCES channel,
  value_atomic atomic NOT NULL,             -- what was claimed so; grows, and is never taken back
  since timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX receipt_unrooted_value ON receipt_unrooted (value_atomic DESC);

CREATE FUNCTION stream_receipt_made() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO stream_receipt (payment_id, channel_id)
  SELECT p.payment_id, p.channel_id FROM payment p WHERE p.payment_id = NEW.payment_id AND p.state = 'charged' AND p.channel_id IS NOT NULL AND p.output_hash IS NOT NULL
  ON CONFLICT (payment_id) DO UPDATE SET version = EXCLUDED.version, batch_id = NULL;
  INSERT INTO receipt_unrooted (channel_id, value_atomic)
  SELECT p.channel_id, p.charged_atomic FROM payment p JOIN channel c USING (channel_id)
  WHERE p.payment_id = NEW.payment_id AND p.state = 'charged' AND p.charged_atomic > 0 AND p.charged_cumulative <= c.total_claimed
  ON CONFLICT (channel_id) DO UPDATE SET value_atomic = receipt_unrooted.value_atomic + EXCLUDED.value_atomic;
  RETURN NULL;
END $$;
CREATE TRIGGER stream_receipt_made AFTER UPDATE OF state ON stream FOR EACH ROW WHEN (OLD.state = 'open' AND NEW.state <> 'open') EXECUTE FUNCTION stream_receipt_made();
