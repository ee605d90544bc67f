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
