-- Agreed prices. First of all what a receipt says of them: which offer, session and mandate a payment was made under, and whether the answer
-- kept to what was promised. A receipt is made from the payment's row, and the same row always gives the same one: rows of before this
-- migration keep the receipts they had.
ALTER TABLE payment ADD COLUMN offer_hash bytes32, ADD COLUMN session_id bytes32,
  ADD COLUMN sla_met smallint NOT NULL DEFAULT 0 CHECK (sla_met BETWEEN 0 AND 2), -- 0 none agreed, 1 met, 2 missed
  ADD COLUMN receipt_format smallint NOT NULL DEFAULT 1 CHECK (receipt_format IN (1, 2)),
  ADD CONSTRAINT payment_offer_and_session CHECK ((offer_hash IS NULL) = (session_id IS NULL));
ALTER TABLE payment ALTER COLUMN receipt_format SET DEFAULT 2;

/* As in 0011; it also returns what the receipt says was agreed. */
DROP FUNCTION charge_payments(text[], numeric[], integer[], bytea[], bytea[], timestamptz[], timestamptz[], integer);
/*
 * Charges payments and stores their answers, together and durably. A payment without a row in the answer of this function was not charged:
 * its reservation is gone. The channel's standing is returned as the buyer is told it.
 */
CREATE FUNCTION charge_payments(
  ids text[], amounts numeric[], statuses integer[], bodies bytea[], output_hashes bytea[], starts timestamptz[], ends timestamptz[], ttl_s integer
) RETURNS TABLE (nth bigint, cumulative numeric, request_no bigint, now_balance numeric, now_claimed numeric, withdrawing_at bigint, next_refund numeric,
  mandate_id bytea, offer_hash bytea, session_id bytea, sla_met smallint, receipt_format smallint) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_mergejoin = off SET enable_hashjoin = off AS $$
#variable_conflict use_column
BEGIN
  PERFORM 1 FROM channel WHERE channel_id IN (SELECT p.channel_id FROM payment p WHERE p.payment_id = ANY(ids)) ORDER BY channel_id FOR NO KEY UPDATE;
  RETURN QUERY
  WITH due AS MATERIALIZED (
    SELECT i.*, p.channel_id, p.price_atomic, p.ceiling, p.signature, p.mandate_id, p.offer_hash, p.session_id, p.sla_met, p.receipt_format,
      sum(i.amount) OVER (PARTITION BY p.channel_id ORDER BY i.at) AS upto, row_number() OVER (PARTITION BY p.channel_id ORDER BY i.at) AS place
    FROM (
      SELECT DISTINCT ON (u.id) u.* FROM unnest(ids, amounts, statuses, bodies, output_hashes, starts, ends)
        WITH ORDINALITY AS u(id, amount, status, body, output_hash, started, ended, at) ORDER BY u.id, u.at) i
    -- By its key: the index of what is reserved is full of what was.
    CROSS JOIN LATERAL (SELECT * FROM payment k WHERE k.payment_id = i.id OFFSET 0) p
    WHERE p.state = 'reserved' AND p.channel_id IS NOT NULL AND i.amount <= p.price_atomic),
  totals AS (
    SELECT d.channel_id, sum(d.amount) AS amount, sum(d.price_atomic) AS price, count(*) AS calls, max(d.ceiling) AS ceiling,
      (array_agg(d.signature ORDER BY d.ceiling DESC))[1] AS signature
    FROM due d GROUP BY d.channel_id),
  moved AS (
    UPDATE channel c SET reserved = c.reserved - t.price, charged = c.charged + t.amount, request_count = c.request_count + t.calls,
      signed_signature = CASE WHEN t.ceiling > c.signed_ceiling THEN t.signature ELSE c.signed_signature END,
      signed_ceiling = GREATEST(c.signed_ceiling, t.ceiling)
    FROM totals t WHERE c.channel_id = t.channel_id
    RETURNING c.channel_id, c.charged - t.amount AS before, c.request_count - t.calls AS calls_before, c.balance, c.total_claimed, c.withdraw_initiated_at, c.refund_nonce),
  resolved AS (
    UPDATE payment p SET state = 'charged', charged_atomic = d.amount, charged_cumulative = m.before + d.upto, request_number = m.calls_before + d.place,
      resolved_at = now(), output_hash = d.output_hash, started_at = d.started, ended_at = d.ended
    FROM due d JOIN moved m ON m.channel_id = d.channel_id WHERE p.payment_id = d.id),
  kept AS (
    INSERT INTO answer (payment_id, status, body, sealed, expires_at)
    SELECT d.id, d.status, d.body, true, now() + ttl_s * interval '1 second' FROM due d)
  SELECT d.at, m.before + d.upto, m.calls_before + d.place, m.balance::numeric, m.total_claimed::numeric, m.withdraw_initiated_at, m.refund_nonce::numeric,
    d.mandate_id::bytea, d.offer_hash::bytea, d.session_id::bytea, d.sla_met, d.receipt_format
  FROM due d JOIN moved m ON m.channel_id = d.channel_id;
END $$;

-- ------------------------------------------------------------------ what is said before a price is agreed

-- What an owner lets this relayer offer in its name. The newest version of the service's owner stands.
CREATE TABLE price_policy (
  policy_hash bytes32 PRIMARY KEY,
  service text NOT NULL,
  provider address NOT NULL,
  capability text NOT NULL,
  version bigint NOT NULL,
  body jsonb NOT NULL,                      -- sdk/src/negotiation/messages.ts PricePolicy
  signature bytea NOT NULL,
  expires_at timestamptz NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (service, provider, version)
);
CREATE INDEX price_policy_capability ON price_policy (capability);

CREATE TABLE negotiation_intent (
  intent_id bytes32 PRIMARY KEY,
  intent_hash bytes32 NOT NULL UNIQUE,
  agent address NOT NULL,
  service text NOT NULL,                    -- empty: whoever has the capability
  capability text NOT NULL,
  body jsonb NOT NULL,
  signature bytea NOT NULL,
  expires_at timestamptz NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX negotiation_intent_of ON negotiation_intent (agent, created_at DESC);
CREATE INDEX negotiation_intent_service ON negotiation_intent (service, created_at DESC);
CREATE INDEX negotiation_intent_capability ON negotiation_intent (capability, created_at DESC);

CREATE TABLE negotiation_offer (
  offer_hash bytes32 PRIMARY KEY,
  intent_id bytes32 NOT NULL REFERENCES negotiation_intent,
  service text NOT NULL,
  provider address NOT NULL,
  round smallint NOT NULL,
  policy_hash bytes32 REFERENCES price_policy, -- null: signed by the provider itself
  renews bytes32,                           -- the session that had ended when it was made
  body jsonb NOT NULL,
  signature bytea NOT NULL,
  expires_at timestamptz NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);
-- One answer a service and round; a session that ended is offered one to go on with at a time.
CREATE UNIQUE INDEX negotiation_offer_round ON negotiation_offer (intent_id, service, round) WHERE renews IS NULL;
CREATE INDEX negotiation_offer_renews ON negotiation_offer (renews, created_at DESC) WHERE renews IS NOT NULL;

-- An offer is countered once.
CREATE TABLE negotiation_counter (
  offer_hash bytes32 PRIMARY KEY REFERENCES negotiation_offer,
  counter_hash bytes32 NOT NULL,
  body jsonb NOT NULL,
  signature bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);

-- ------------------------------------------------------------------ what is agreed

CREATE TABLE negotiated_session (
  session_id bytes32 PRIMARY KEY,           -- the acceptance's hash
  offer_hash bytes32 NOT NULL UNIQUE REFERENCES negotiation_offer, -- accepted once
  intent_id bytes32 NOT NULL,
  agent address NOT NULL,
  provider address NOT NULL,
  service text NOT NULL,
  pay_to address NOT NULL,
  token address NOT NULL,
  price_atomic atomic NOT NULL CHECK (price_atomic > 0),
  tier_calls bigint[] NOT NULL,
  tier_prices numeric[] NOT NULL,
  max_latency_ms bigint NOT NULL CHECK (max_latency_ms >= 0), -- 0: none promised
  min_uptime integer NOT NULL CHECK (min_uptime BETWEEN 0 AND 10000), -- hundredths of a percent
  latency_credit_bps integer NOT NULL CHECK (latency_credit_bps BETWEEN 0 AND 10000),
  failure_credit_bps integer NOT NULL CHECK (failure_credit_bps BETWEEN 0 AND 10000),
  budget_atomic atomic NOT NULL,
  calls bigint NOT NULL CHECK (calls > 0),
  expires_at timestamptz NOT NULL,
  acceptance jsonb NOT NULL,
  signature bytea NOT NULL,
  token_hash bytes32 NOT NULL,
  accepted_at timestamptz NOT NULL DEFAULT now(),

  channel_id bytes32,                       -- from its first call on
  calls_taken bigint NOT NULL DEFAULT 0,    -- charged or under way
  calls_charged bigint NOT NULL DEFAULT 0,
  calls_failed bigint NOT NULL DEFAULT 0,   -- by the service's fault; nothing was charged
  charged_atomic atomic NOT NULL DEFAULT 0,
  credit_atomic atomic NOT NULL DEFAULT 0,  -- comes off the next charges
  credited_atomic atomic NOT NULL DEFAULT 0, -- all that ever came to that
  CHECK (cardinality(tier_calls) = cardinality(tier_prices)),
  CONSTRAINT session_calls CHECK (calls_charged <= calls_taken AND calls_taken <= calls),
  CONSTRAINT session_budget CHECK (charged_atomic <= budget_atomic),
  CONSTRAINT session_credit CHECK (credit_atomic <= credited_atomic)
) WITH (fillfactor = 60);
CREATE INDEX negotiated_session_channel ON negotiated_session (channel_id, service, expires_at) WHERE channel_id IS NOT NULL;
CREATE INDEX negotiated_session_agent ON negotiated_session (agent, service, expires_at);

/* What the nth call costs at most. sdk/src/negotiation/terms.ts priceOfCall says the same, and a test compares them. */
CREATE FUNCTION session_price(s negotiated_session, nth bigint) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$
  SELECT LEAST(s.price_atomic::numeric, (SELECT min(t.price) FROM unnest(s.tier_calls, s.tier_prices) AS t(calls, price) WHERE nth >= t.calls))
$$;

-- What is agreed stays; what was used and charged is never taken back.
CREATE FUNCTION session_is_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' OR (to_jsonb(NEW) - '{channel_id,calls_taken,calls_charged,calls_failed,charged_atomic,credit_atomic,credited_atomic,token_hash}'::text[])
      IS DISTINCT FROM (to_jsonb(OLD) - '{channel_id,calls_taken,calls_charged,calls_failed,charged_atomic,credit_atomic,credited_atomic,token_hash}'::text[])
    OR (OLD.channel_id IS NOT NULL AND NEW.channel_id IS DISTINCT FROM OLD.channel_id) OR NEW.calls_charged < OLD.calls_charged OR NEW.charged_atomic < OLD.charged_atomic OR NEW.credited_atomic < OLD.credited_atomic THEN
    RAISE EXCEPTION 'what was agreed stays' USING ERRCODE = 'check_violation', CONSTRAINT = 'session_is_final';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER session_is_final BEFORE UPDATE OR DELETE ON negotiated_session FOR EACH ROW EXECUTE FUNCTION session_is_final();

ALTER TABLE payment ADD COLUMN session_call bigint, -- which call of its session it was when it was taken
  ADD COLUMN credit_atomic atomic NOT NULL DEFAULT 0, -- what came off its charge: late itself, or owed from before
  ADD CONSTRAINT payment_session_call CHECK ((session_id IS NULL) = (session_call IS NULL));
CREATE INDEX payment_session ON payment (session_id, session_call) WHERE session_id IS NOT NULL;

/*
 * Never above what is agreed, whoever writes: a payment of a session is on its channel, costs no more than its place in it, and stays in it.
 * Payments without a session never get here.
 */
CREATE FUNCTION payment_within_session() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE s negotiated_session;
BEGIN
  IF TG_OP = 'UPDATE' AND OLD.session_id IS NOT NULL AND (NEW.session_id IS DISTINCT FROM OLD.session_id OR NEW.offer_hash IS DISTINCT FROM OLD.offer_hash OR NEW.session_call IS DISTINCT FROM OLD.session_call
      OR NEW.channel_id IS DISTINCT FROM OLD.channel_id OR (OLD.ended_at IS NOT NULL AND NEW.sla_met <> OLD.sla_met)) THEN
    RAISE EXCEPTION 'a payment stays in its session' USING ERRCODE = 'check_violation', CONSTRAINT = 'payment_session_stays';
  END IF;
  SELECT * INTO s FROM negotiated_session n WHERE n.session_id = NEW.session_id;
  IF s.session_id IS NULL OR s.offer_hash <> NEW.offer_hash OR s.channel_id IS DISTINCT FROM NEW.channel_id OR s.service <> NEW.service THEN
    RAISE EXCEPTION 'the payment is not of that session' USING ERRCODE = 'check_violation', CONSTRAINT = 'payment_session_other';
  END IF;
  IF NEW.price_atomic > session_price(s, NEW.session_call) OR NEW.charged_atomic > session_price(s, NEW.session_call) THEN
    RAISE EXCEPTION 'above what was agreed' USING ERRCODE = 'check_violation', CONSTRAINT = 'payment_above_agreed';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER payment_begins_in_session BEFORE INSERT ON payment FOR EACH ROW WHEN (NEW.session_id IS NOT NULL) EXECUTE FUNCTION payment_within_session();
CREATE TRIGGER payment_within_session BEFORE UPDATE ON payment FOR EACH ROW WHEN (NEW.session_id IS NOT NULL OR OLD.session_id IS NOT NULL) EXECUTE FUNCTION payment_within_session();

-- Channels that had a session: a relayer that does not know is told by the database, and asks again within it.
ALTER TABLE channel ADD COLUMN negotiated boolean NOT NULL DEFAULT false;
CREATE FUNCTION channel_in_session() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF current_setting('tallystick.within_session', true) = 'on' THEN RETURN NEW; END IF;
  RAISE EXCEPTION 'the channel has an agreed price' USING ERRCODE = 'check_violation', CONSTRAINT = 'channel_in_session';
END $$;
CREATE TRIGGER channel_in_session BEFORE UPDATE OF reserved ON channel FOR EACH ROW WHEN (NEW.negotiated AND NEW.reserved > OLD.reserved) EXECUTE FUNCTION channel_in_session();

/*
 * charge_payments for calls of sessions: a late answer costs less by the refund policy, and what is owed from before comes off. `amount` is
 * what was charged.
 */
CREATE FUNCTION charge_in_sessions(
  ids text[], amounts numeric[], statuses integer[], bodies bytea[], output_hashes bytea[], starts timestamptz[], ends timestamptz[], ttl_s integer
) RETURNS TABLE (nth bigint, cumulative numeric, request_no bigint, now_balance numeric, now_claimed numeric, withdrawing_at bigint, next_refund numeric,
  mandate_id bytea, offer_hash bytea, session_id bytea, sla_met smallint, receipt_format smallint, amount numeric) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_mergejoin = off SET enable_hashjoin = off AS $$
#variable_conflict use_column
DECLARE
  s negotiated_session;
  p payment;
  late boolean;
  due numeric;
  used numeric;
  done record;
BEGIN
  PERFORM 1 FROM channel WHERE channel_id IN (SELECT k.channel_id FROM payment k WHERE k.payment_id = ANY(ids)) ORDER BY channel_id FOR NO KEY UPDATE;
  FOR i IN 1 .. cardinality(ids) LOOP
    SELECT * INTO p FROM payment k WHERE k.payment_id = ids[i];
    IF p.state IS DISTINCT FROM 'reserved' OR p.session_id IS NULL THEN CONTINUE; END IF;
    SELECT * INTO s FROM negotiated_session n WHERE n.session_id = p.session_id FOR NO KEY UPDATE;
    late := s.max_latency_ms > 0 AND session_latency_ms(starts[i], ends[i]) > s.max_latency_ms;
    due := CASE WHEN late THEN floor(amounts[i] * (10000 - s.latency_credit_bps) / 10000) ELSE amounts[i] END;
    used := LEAST(s.credit_atomic::numeric, due);
    UPDATE payment k SET sla_met = CASE WHEN s.max_latency_ms = 0 THEN 0 WHEN late THEN 2 ELSE 1 END, credit_atomic = amounts[i] - due + used WHERE k.payment_id = ids[i];
    SELECT * INTO done FROM charge_payments(ids[i:i], ARRAY[due - used], statuses[i:i], bodies[i:i], output_hashes[i:i], starts[i:i], ends[i:i], ttl_s);
    IF NOT FOUND THEN CONTINUE; END IF;
    UPDATE negotiated_session n SET credit_atomic = n.credit_atomic - used WHERE n.session_id = s.session_id;
    RETURN QUERY SELECT i::bigint, done.cumulative, done.request_no, done.now_balance, done.now_claimed, done.withdrawing_at, done.next_refund,
      done.mandate_id, done.offer_hash, done.session_id, done.sla_met, done.receipt_format, due - used;
  END LOOP;
END $$;

/* As a receipt says it: of times in whole milliseconds. */
CREATE FUNCTION session_latency_ms(started timestamptz, ended timestamptz) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
  SELECT floor(extract(epoch FROM ended) * 1000)::bigint - floor(extract(epoch FROM started) * 1000)::bigint
$$;

/* Whether a call of a session was given back because the service failed: not for what its buyer or this relayer did. */
CREATE FUNCTION is_service_fault(reason text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
  SELECT reason ~ '^upstream_' AND reason !~ '^upstream_4[0-9][0-9]$'
$$;

/* What is owed to a buyer: never more in all than it was charged. */
CREATE FUNCTION session_owes(id bytea, amount numeric) RETURNS void LANGUAGE sql AS $$
  UPDATE negotiated_session SET credit_atomic = credit_atomic + added, credited_atomic = credited_atomic + added
  FROM (SELECT GREATEST(0, LEAST(amount, n.charged_atomic - n.credited_atomic)) AS added FROM negotiated_session n WHERE n.session_id = id) a
  WHERE session_id = id AND added > 0
$$;

-- A call that is given back can be taken again; one that failed below the promised uptime is credited. A stream is charged before its first
-- byte and measured to its last, so its credit comes off the next charges.
CREATE FUNCTION session_call_over() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE s negotiated_session;
BEGIN
  IF NEW.state = 'released' THEN
    UPDATE negotiated_session n SET calls_taken = n.calls_taken - 1, calls_failed = n.calls_failed + CASE WHEN is_service_fault(NEW.release_reason) THEN 1 ELSE 0 END WHERE n.session_id = NEW.session_id RETURNING * INTO s;
    IF is_service_fault(NEW.release_reason) AND s.min_uptime > 0 AND s.calls_charged * 10000 < s.min_uptime * (s.calls_charged + s.calls_failed) THEN
      PERFORM session_owes(NEW.session_id, floor(session_price(s, NEW.session_call) * s.failure_credit_bps / 10000));
    END IF;
  ELSE
    UPDATE negotiated_session n SET calls_charged = n.calls_charged + CASE WHEN OLD.state = 'reserved' THEN 1 ELSE 0 END, charged_atomic = n.charged_atomic + NEW.charged_atomic - coalesce(OLD.charged_atomic, 0)
    WHERE n.session_id = NEW.session_id;
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER session_call_over AFTER UPDATE OF state, charged_atomic ON payment FOR EACH ROW
  WHEN (NEW.session_id IS NOT NULL AND ((OLD.state = 'reserved' AND NEW.state = 'released') OR NEW.charged_atomic IS DISTINCT FROM OLD.charged_atomic)) EXECUTE FUNCTION session_call_over();

CREATE FUNCTION session_stream_ended() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE s negotiated_session;
BEGIN
  SELECT * INTO s FROM negotiated_session n WHERE n.session_id = NEW.session_id;
  IF s.max_latency_ms = 0 THEN RETURN NEW; END IF;
  NEW.sla_met := CASE WHEN session_latency_ms(NEW.started_at, NEW.ended_at) > s.max_latency_ms THEN 2 ELSE 1 END;
  IF NEW.sla_met = 2 THEN PERFORM session_owes(NEW.session_id, ceil(NEW.charged_atomic * s.latency_credit_bps / 10000)); END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER a_session_stream_ended BEFORE UPDATE OF ended_at ON payment FOR EACH ROW
  WHEN (NEW.session_id IS NOT NULL AND OLD.state = 'charged' AND OLD.ended_at IS NULL AND NEW.ended_at IS NOT NULL) EXECUTE FUNCTION session_stream_ended();
