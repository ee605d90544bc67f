-- What happened, for those whom it concerns, in an order that a reader can resume in. Written by triggers in the same transaction as the
-- thing itself. Readers go by (xid, event_id) and stop below the oldest transaction that is still running: numbers are drawn
-- before they are committed, so by event_id alone a slow transaction's event would be skipped.
CREATE TABLE event (
  event_id bigint GENERATED ALWAYS AS IDENTITY,
  xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  kind text NOT NULL,
  parties bytea[] NOT NULL,                 -- payer, payerAuthorizer, receiver
  data jsonb NOT NULL,
  PRIMARY KEY (xid, event_id)
);
CREATE INDEX event_at ON event (at);

CREATE FUNCTION hex0x(value bytea) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '0x' || encode(value, 'hex') $$;

CREATE FUNCTION payment_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  authorizer bytea := NEW.payer;
  paid bytea := NEW.receiver;
  what text := 'payment.' || NEW.state;
BEGIN
  IF TG_OP = 'UPDATE' AND NEW.state = OLD.state THEN
    -- A stream is charged step by step and says at its end what it came to.
    IF NEW.state <> 'charged' OR OLD.ended_at IS NOT NULL OR NEW.ended_at IS NULL THEN RETURN NULL; END IF;
    what := 'payment.ended';
  END IF;
  IF NEW.channel_id IS NOT NULL THEN
    SELECT payer_authorizer, receiver INTO authorizer, paid FROM channel WHERE channel_id = NEW.channel_id;
  END IF;
  INSERT INTO event (kind, parties, data) VALUES (what, ARRAY[NEW.payer::bytea, authorizer, paid],
    jsonb_strip_nulls(jsonb_build_object('paymentId', NEW.payment_id, 'sessionId', hex0x(NEW.channel_id), 'scheme', NEW.scheme, 'service', NEW.service, 'priceAtomic', NEW.price_atomic::text,
      'chargedAtomic', NEW.charged_atomic::text, 'cumulativeAtomic', NEW.charged_cumulative::text, 'reason', NEW.release_reason, 'transaction', hex0x(NEW.settled_tx))));
  RETURN NULL;
END $$;
CREATE TRIGGER payment_event AFTER INSERT OR UPDATE OF state, ended_at ON payment FOR EACH ROW EXECUTE FUNCTION payment_event();

-- Everything else that concerns a channel. TG_ARGV: the kind.
CREATE FUNCTION channel_part_event(kind text, id bytea, data jsonb) RETURNS void LANGUAGE sql AS $$
  INSERT INTO event (kind, parties, data)
  SELECT kind, ARRAY[payer::bytea, payer_authorizer::bytea, receiver::bytea], jsonb_strip_nulls(data || jsonb_build_object('sessionId', hex0x(id))) FROM channel WHERE channel_id = id
$$;

CREATE FUNCTION channel_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    PERFORM channel_part_event('session.opened', NEW.channel_id, jsonb_build_object('balanceAtomic', NEW.balance::text));
  ELSIF NEW.balance > OLD.balance THEN
    PERFORM channel_part_event('session.funded', NEW.channel_id, jsonb_build_object('balanceAtomic', NEW.balance::text));
  ELSIF NEW.withdraw_initiated_at > 0 AND OLD.withdraw_initiated_at = 0 THEN
    PERFORM channel_part_event('session.withdrawing', NEW.channel_id, jsonb_build_object('amountAtomic', NEW.withdraw_amount::text));
  ELSIF NEW.withdraw_initiated_at = 0 AND OLD.withdraw_initiated_at > 0 THEN
    PERFORM channel_part_event('session.withdrawal_ended', NEW.channel_id, jsonb_build_object('balanceAtomic', NEW.balance::text));
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER channel_opened AFTER INSERT ON channel FOR EACH ROW EXECUTE FUNCTION channel_event();
-- Only what the chain's follower writes: a paid call changes none of these columns.
CREATE TRIGGER channel_moved AFTER UPDATE OF balance, withdraw_initiated_at ON channel FOR EACH ROW
  WHEN (NEW.balance <> OLD.balance OR NEW.withdraw_initiated_at <> OLD.withdraw_initiated_at) EXECUTE FUNCTION channel_event();

CREATE FUNCTION settlement_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM channel_part_event('session.' || NEW.state, NEW.channel_id, jsonb_build_object('claimedAtomic', NEW.claimed_atomic::text, 'totalClaimedAtomic', NEW.total_claimed::text, 'reason', NEW.reason,
    'transaction', (SELECT hex0x(tx.hash) FROM settlement_batch b JOIN chain_tx tx USING (tx_id) WHERE b.batch_id = NEW.batch_id)));
  RETURN NULL;
END $$;
CREATE TRIGGER settlement_event AFTER UPDATE OF state ON settlement_row FOR EACH ROW
  WHEN (NEW.state <> OLD.state AND NEW.state IN ('claimed', 'skipped')) EXECUTE FUNCTION settlement_event();

CREATE FUNCTION refund_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM channel_part_event('session.refund_' || NEW.state, NEW.channel_id, jsonb_build_object('amountAtomic', coalesce(NEW.refunded_atomic, NEW.amount)::text,
    'transaction', (SELECT hex0x(hash) FROM chain_tx WHERE tx_id = NEW.tx_id)));
  RETURN NULL;
END $$;
CREATE TRIGGER refund_sent AFTER INSERT ON refund FOR EACH ROW EXECUTE FUNCTION refund_event();
CREATE TRIGGER refund_resolved AFTER UPDATE OF state ON refund FOR EACH ROW WHEN (NEW.state <> OLD.state) EXECUTE FUNCTION refund_event();

CREATE FUNCTION ack_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO event (kind, parties, data)
  SELECT 'receipt.acknowledged', ARRAY[p.payer::bytea, coalesce(c.payer_authorizer, p.payer)::bytea, coalesce(p.receiver, c.receiver)::bytea], jsonb_build_object('paymentId', p.payment_id, 'receiptHash', hex0x(NEW.receipt_hash))
  FROM payment p LEFT JOIN channel c USING (channel_id) WHERE p.payment_id = NEW.payment_id;
  RETURN NULL;
END $$;
CREATE TRIGGER ack_event AFTER INSERT ON receipt_ack FOR EACH ROW EXECUTE FUNCTION ack_event();
