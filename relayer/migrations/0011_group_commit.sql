-- Many payments in one statement. Each function takes its locks first (payers, then channels, each in one order everywhere) and looks
-- afterwards: in a volatile function every statement sees what was committed before it, so what is decided is decided on what is locked.
-- Their plans are kept by each connection, from when the tables were small too: so they go by the indexes whatever the statistics say.

-- Answers and stream chunks are sealed by the relayer (AES-256-GCM, bound to the payment); what was stored before stays readable.
ALTER TABLE answer ADD COLUMN sealed boolean NOT NULL DEFAULT false, ALTER COLUMN headers DROP NOT NULL;
ALTER TABLE stream_chunk ADD COLUMN sealed boolean NOT NULL DEFAULT false;

-- How many bytes of answers are kept for a payer. Statements add what they changed to a heap that nobody waits for; a sweep folds it.
CREATE TABLE answer_usage (
  payer address PRIMARY KEY,
  bytes bigint NOT NULL
);
CREATE TABLE answer_usage_delta (
  payer address NOT NULL,
  bytes bigint NOT NULL
);

CREATE FUNCTION answer_usage_added() RETURNS trigger LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_mergejoin = off SET enable_hashjoin = off AS $$
BEGIN
  INSERT INTO answer_usage_delta (payer, bytes) SELECT p.payer, octet_length(a.body) FROM after_rows a JOIN payment p USING (payment_id);
  RETURN NULL;
END $$;
CREATE FUNCTION answer_usage_removed() RETURNS trigger LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_mergejoin = off SET enable_hashjoin = off AS $$
BEGIN
  INSERT INTO answer_usage_delta (payer, bytes) SELECT p.payer, -octet_length(a.body) FROM before_rows a JOIN payment p USING (payment_id) WHERE octet_length(a.body) > 0;
  RETURN NULL;
END $$;
CREATE FUNCTION answer_usage_changed() RETURNS trigger LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_mergejoin = off SET enable_hashjoin = off AS $$
BEGIN
  INSERT INTO answer_usage_delta (payer, bytes)
  SELECT p.payer, octet_length(b.body) - octet_length(a.body) FROM before_rows a JOIN after_rows b USING (payment_id) JOIN payment p USING (payment_id) WHERE octet_length(b.body) <> octet_length(a.body);
  RETURN NULL;
END $$;
CREATE TRIGGER answer_usage_added AFTER INSERT ON answer REFERENCING NEW TABLE AS after_rows FOR EACH STATEMENT EXECUTE FUNCTION answer_usage_added();
CREATE TRIGGER answer_usage_removed AFTER DELETE ON answer REFERENCING OLD TABLE AS before_rows FOR EACH STATEMENT EXECUTE FUNCTION answer_usage_removed();
CREATE TRIGGER answer_usage_changed AFTER UPDATE ON answer REFERENCING OLD TABLE AS before_rows NEW TABLE AS after_rows FOR EACH STATEMENT EXECUTE FUNCTION answer_usage_changed();

-- Room on every page for the next version of a row: a reservation changes no index, so it need not write to any.
ALTER TABLE channel SET (fillfactor = 60);

-- What a payer still has to be settled for is summed over its channels.
DROP INDEX channel_payer;
CREATE INDEX channel_payer ON channel (payer) INCLUDE (channel_id);

/*
 * Money rule 3 for many payments at once. Items are judged in the order given, each as if those before it on its channel had been taken.
 * Outcomes: reserved; conflict (the payment, its voucher or its identifier is known); channel (the voucher does not cover it, logic.ts says
 * why); channel_exposure, payer_exposure (too much would be unsettled); unbilled (too many runs of this payer cost nothing); answers_full (as
 * many bytes are kept for it as may be).
 * A reservation that a crash of the database forgets is given back: nothing was charged. So its commit need not wait for the disk.
 */
CREATE FUNCTION reserve_payments(
  ids text[], channels bytea[], ceilings numeric[], prices numeric[], signatures bytea[], services text[], hashes bytea[], client_ids text[],
  deposit_txs bytea[], deposits numeric[], leases_ms bigint[], resources text[], most_per_channel numeric, most_per_payer numeric, most_unbilled bigint, most_stored bigint
) RETURNS TABLE (nth bigint, outcome text) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_mergejoin = off SET enable_hashjoin = off AS $$
BEGIN
  PERFORM set_config('synchronous_commit', 'off', true);
  PERFORM pg_advisory_xact_lock(key) FROM (
    SELECT DISTINCT hashtextextended('payer ' || encode(payer, 'hex'), 0) AS key FROM channel WHERE channel_id = ANY(channels) ORDER BY key) payers;
  PERFORM 1 FROM channel WHERE channel_id = ANY(channels) ORDER BY channel_id FOR NO KEY UPDATE;
  RETURN QUERY
  WITH asked AS MATERIALIZED (
    SELECT i.*, c.payer, c.payer_authorizer, c.charged, c.reserved, c.total_claimed, c.balance, c.withdraw_initiated_at, c.frozen_by,
      sum(i.price) OVER (PARTITION BY i.channel ORDER BY i.at) AS on_channel,
      sum(i.price) OVER (PARTITION BY c.payer ORDER BY i.at) AS of_payer,
      row_number() OVER (PARTITION BY i.id ORDER BY i.at) AS copy
    FROM unnest(ids, channels, ceilings, prices, signatures, services, hashes, client_ids, deposit_txs, deposits, leases_ms, resources)
      WITH ORDINALITY AS i(id, channel, ceiling, price, signature, service, hash, client_id, deposit_tx, deposit, lease_ms, resource, at)
    LEFT JOIN channel c ON c.channel_id = i.channel),
  payers AS MATERIALIZED (
    SELECT p.payer,
      (SELECT sum(x.charged + x.reserved - x.total_claimed) FROM channel x WHERE x.payer = p.payer) AS unsettled,
      (SELECT count(*) FROM payment r WHERE r.payer = p.payer AND r.state = 'released' AND r.resolved_at > now() - interval '1 minute') AS unbilled,
      (SELECT u.bytes FROM answer_usage u WHERE u.payer = p.payer) AS stored
    FROM (SELECT DISTINCT a.payer FROM asked a WHERE a.payer IS NOT NULL) p),
  judged AS MATERIALIZED (
    SELECT a.*, CASE
        WHEN a.payer IS NULL OR a.payer_authorizer = '\x0000000000000000000000000000000000000000'::bytea OR a.charged + a.reserved + a.on_channel > a.ceiling
          OR a.ceiling > a.balance OR a.withdraw_initiated_at <> 0 OR a.frozen_by IS NOT NULL THEN 'channel'
        WHEN a.copy > 1 THEN 'conflict'
        WHEN a.charged + a.reserved + a.on_channel - a.total_claimed > most_per_channel THEN 'channel_exposure'
        WHEN p.unsettled + a.of_payer > most_per_payer THEN 'payer_exposure'
        WHEN p.unbilled >= most_unbilled THEN 'unbilled'
        WHEN p.stored >= most_stored THEN 'answers_full'
        ELSE 'taken' END AS verdict
    FROM asked a LEFT JOIN payers p ON p.payer = a.payer),
  placed AS (
    INSERT INTO payment (payment_id, channel_id, payer, ceiling, signature, service, request_hash, client_id, price_atomic, deposit_tx, deposit_atomic, reserved_until, resource)
    SELECT j.id, j.channel, j.payer, j.ceiling, j.signature, j.service, j.hash, j.client_id, j.price, j.deposit_tx, j.deposit,
      now() + j.lease_ms * interval '1 millisecond', j.resource
    FROM judged j WHERE j.verdict = 'taken' ORDER BY j.id
    ON CONFLICT DO NOTHING RETURNING payment_id, channel_id, price_atomic),
  held AS (
    UPDATE channel c SET reserved = c.reserved + s.total
    FROM (SELECT p.channel_id, sum(p.price_atomic) AS total FROM placed p GROUP BY p.channel_id) s WHERE c.channel_id = s.channel_id)
  SELECT j.at, CASE WHEN j.verdict <> 'taken' THEN j.verdict WHEN p.payment_id IS NULL THEN 'conflict' ELSE 'reserved' END
  FROM judged j LEFT JOIN placed p ON p.payment_id = j.id AND j.verdict = 'taken';
END $$;

/*
 * Charges payments and stores their answers, together and durably. A payment without a row in the answer of this function was not charged:
 * its reservation is gone. The channel's standing is returned as the buyer is told it.
 */
CREATE FUNCTION charge_payments(
  ids text[], amounts numeric[], statuses integer[], bodies bytea[], output_hashes bytea[], starts timestamptz[], ends timestamptz[], ttl_s integer
) RETURNS TABLE (nth bigint, cumulative numeric, request_no bigint, now_balance numeric, now_claimed numeric, withdrawing_at bigint, next_refund numeric) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_mergejoin = off SET enable_hashjoin = off AS $$
BEGIN
  PERFORM 1 FROM channel WHERE channel_id IN (SELECT p.channel_id FROM payment p WHERE p.payment_id = ANY(ids)) ORDER BY channel_id FOR NO KEY UPDATE;
  RETURN QUERY
  WITH due AS MATERIALIZED (
    SELECT i.*, p.channel_id, p.price_atomic, p.ceiling, p.signature,
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
  SELECT d.at, m.before + d.upto, m.calls_before + d.place, m.balance::numeric, m.total_claimed::numeric, m.withdraw_initiated_at, m.refund_nonce::numeric
  FROM due d JOIN moved m ON m.channel_id = d.channel_id;
END $$;

/* Gives reservations back, nothing charged; those without a channel (exact, transfer) too. Returns the payments that were still reserved. */
CREATE FUNCTION release_payments(ids text[], reasons text[]) RETURNS TABLE (released_id text) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_mergejoin = off SET enable_hashjoin = off AS $$
BEGIN
  PERFORM 1 FROM channel WHERE channel_id IN (SELECT p.channel_id FROM payment p WHERE p.payment_id = ANY(ids)) ORDER BY channel_id FOR NO KEY UPDATE;
  RETURN QUERY
  WITH freed AS (
    UPDATE payment p SET state = 'released', release_reason = i.reason, resolved_at = now()
    FROM unnest(ids, reasons) AS i(id, reason) WHERE p.payment_id = i.id AND p.state = 'reserved' RETURNING p.payment_id, p.channel_id, p.price_atomic),
  back AS (
    UPDATE channel c SET reserved = c.reserved - s.total
    FROM (SELECT f.channel_id, sum(f.price_atomic) AS total FROM freed f WHERE f.channel_id IS NOT NULL GROUP BY f.channel_id) s WHERE c.channel_id = s.channel_id)
  SELECT f.payment_id FROM freed f;
END $$;

-- Events of payments, a statement at a time instead of a row at a time.
DROP TRIGGER payment_event ON payment;
DROP FUNCTION payment_event();

CREATE FUNCTION payments_began() RETURNS trigger LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_mergejoin = off SET enable_hashjoin = off AS $$
BEGIN
  INSERT INTO event (kind, parties, data)
  SELECT 'payment.' || n.state, ARRAY[n.payer::bytea, coalesce(c.payer_authorizer, n.payer)::bytea, coalesce(c.receiver, n.receiver)::bytea], payment_event_data(n)
  FROM new_rows n LEFT JOIN channel c ON c.channel_id = n.channel_id;
  RETURN NULL;
END $$;

CREATE FUNCTION payments_moved() RETURNS trigger LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_mergejoin = off SET enable_hashjoin = off AS $$
BEGIN
  INSERT INTO event (kind, parties, data)
  -- A stream is charged step by step and says at its end what it came to.
  SELECT CASE WHEN n.state <> o.state THEN 'payment.' || n.state ELSE 'payment.ended' END,
    ARRAY[n.payer::bytea, coalesce(c.payer_authorizer, n.payer)::bytea, coalesce(c.receiver, n.receiver)::bytea], payment_event_data(n)
  FROM new_rows n JOIN old_rows o ON o.payment_id = n.payment_id LEFT JOIN channel c ON c.channel_id = n.channel_id
  WHERE n.state <> o.state OR (n.state = 'charged' AND o.ended_at IS NULL AND n.ended_at IS NOT NULL);
  RETURN NULL;
END $$;

CREATE FUNCTION payment_event_data(p payment) RETURNS jsonb LANGUAGE sql STABLE AS $$
  SELECT jsonb_strip_nulls(jsonb_build_object('paymentId', p.payment_id, 'sessionId', hex0x(p.channel_id), 'scheme', p.scheme, 'service', p.service, 'priceAtomic', p.price_atomic::text,
    'chargedAtomic', p.charged_atomic::text, 'cumulativeAtomic', p.charged_cumulative::text, 'reason', p.release_reason, 'transaction', hex0x(p.settled_tx)))
$$;

CREATE TRIGGER payments_began AFTER INSERT ON payment REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION payments_began();
CREATE TRIGGER payments_moved AFTER UPDATE ON payment REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION payments_moved();
