-- Services sold by the month: a payer's first delivered call is charged the price and starts a period; until it ends, its further calls are
-- charged nothing.
ALTER TABLE service ADD COLUMN period_s integer CHECK (period_s > 0), -- null: sold by the call
  -- Vouchers have room for the price on free calls too.
  ADD CONSTRAINT service_by_period CHECK (period_s IS NULL OR (url IS NULL AND stream_price_atomic IS NULL AND min_deposit_calls >= 2));
ALTER TABLE listing_terms ADD COLUMN period_s integer; -- of terms that were proposed here

/*
 * The last period of each buyer. A buyer is a payer and the key that signs for its channels: anybody can put money into a channel that names
 * another as its payer, and must not call for nothing by that.
 */
CREATE TABLE subscription (
  service text NOT NULL,
  payer address NOT NULL,
  payer_authorizer address NOT NULL,
  payment_id text NOT NULL UNIQUE,          -- the call that paid it
  price_atomic atomic NOT NULL CHECK (price_atomic > 0),
  started_at timestamptz NOT NULL,
  until timestamptz NOT NULL CHECK (until > started_at),
  PRIMARY KEY (service, payer, payer_authorizer)
);
CREATE INDEX subscription_payer ON subscription (payer);
CREATE INDEX subscription_authorizer ON subscription (payer_authorizer);

/* Whether a period is paid for and not over. One that its provider gave back whole is over; what is given back in part ends nothing. */
CREATE FUNCTION subscription_stands(s subscription, moment timestamptz) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT s.until > moment AND s.price_atomic > (SELECT coalesce(sum(r.amount), 0) FROM provider_refund r WHERE r.payment_id = s.payment_id)
$$;

/*
 * charge_payments for services sold by the month: `amounts` are the price, charged where no period of the buyer stands, which starts one;
 * else nothing is. Claim and charge are one transaction, so a crash leaves both or neither, and a buyer's calls take turns: of many first
 * calls at once, in whatever processes, one is charged. Locks: channels, then buyers, each in one order.
 */
CREATE FUNCTION charge_by_period(
  ids text[], amounts numeric[], statuses integer[], bodies bytea[], output_hashes bytea[], starts timestamptz[], ends timestamptz[], ttl_s integer, periods_s integer[]
) RETURNS TABLE (nth bigint, cumulative numeric, request_no bigint, now_balance numeric, now_claimed numeric, withdrawing_at bigint, next_refund numeric,
  mandate_id bytea, offer_hash bytea, session_id bytea, sla_met smallint, receipt_format smallint, amount numeric) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_mergejoin = off SET enable_hashjoin = off AS $$
#variable_conflict use_column
DECLARE
  p payment;
  c channel;
  due numeric;
  moment timestamptz;
  done record;
BEGIN
  PERFORM 1 FROM channel WHERE channel_id IN (SELECT k.channel_id FROM payment k WHERE k.payment_id = ANY(ids)) ORDER BY channel_id FOR NO KEY UPDATE;
  PERFORM pg_advisory_xact_lock(key) FROM (
    SELECT DISTINCT hashtextextended('subscription ' || k.service || ' ' || encode(x.payer, 'hex') || encode(x.payer_authorizer, 'hex'), 0) AS key
    FROM payment k JOIN channel x ON x.channel_id = k.channel_id WHERE k.payment_id = ANY(ids) ORDER BY key) buyers;
  FOR i IN 1 .. cardinality(ids) LOOP
    SELECT * INTO p FROM payment k WHERE k.payment_id = ids[i];
    IF p.state IS DISTINCT FROM 'reserved' THEN CONTINUE; END IF;
    SELECT * INTO c FROM channel x WHERE x.channel_id = p.channel_id;
    moment := clock_timestamp();
    due := CASE WHEN EXISTS (
      SELECT 1 FROM subscription s WHERE s.service = p.service AND s.payer = c.payer AND s.payer_authorizer = c.payer_authorizer AND subscription_stands(s, moment)) THEN 0 ELSE amounts[i] END;
    SELECT * INTO done FROM charge_payments(ids[i:i], ARRAY[due], statuses[i:i], bodies[i:i], output_hashes[i:i], starts[i:i], ends[i:i], ttl_s);
    IF NOT FOUND THEN CONTINUE; END IF;
    IF due > 0 THEN
      INSERT INTO subscription AS s (service, payer, payer_authorizer, payment_id, price_atomic, started_at, until)
      VALUES (p.service, c.payer, c.payer_authorizer, ids[i], due, moment, moment + periods_s[i] * interval '1 second')
      ON CONFLICT (service, payer, payer_authorizer) DO UPDATE SET payment_id = EXCLUDED.payment_id, price_atomic = EXCLUDED.price_atomic, started_at = EXCLUDED.started_at, until = EXCLUDED.until;
    END IF;
    RETURN QUERY SELECT i::bigint, done.cumulative, done.request_no, done.now_balance, done.now_claimed, done.withdrawing_at, done.next_refund,
      done.mandate_id, done.offer_hash, done.session_id, done.sla_met, done.receipt_format, due;
  END LOOP;
END $$;

-- What the registry's past says of services that were listed elsewhere, or by a database that is gone: terms are kept before anybody asks for
-- their service, and a listing without a name is one that nobody sells here.
ALTER TABLE listing_terms DROP CONSTRAINT listing_terms_service_id_fkey;
