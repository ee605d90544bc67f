-- Calls of a session that bring no voucher: its agent leaves one with the relayer, for no more than the session's budget, and calls by the
-- session's token. The voucher's ceiling is cumulative, so one covers many calls: charged + reserved + price stays at or below it.
CREATE TABLE session_voucher (
  channel_id bytes32 NOT NULL,
  ceiling atomic NOT NULL,
  session_id bytes32 NOT NULL REFERENCES negotiated_session,
  signature bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (channel_id, ceiling)
);
CREATE INDEX session_voucher_of ON session_voucher (session_id, ceiling DESC);

-- A voucher that comes with a request buys one answer; one that stands here buys many, each told apart by its payment. Set while such a call
-- is reserved, and false for every other payment.
ALTER TABLE payment ADD COLUMN standing boolean NOT NULL DEFAULT false;
ALTER TABLE payment ALTER COLUMN standing SET DEFAULT (coalesce(current_setting('tallystick.standing', true), '') = 'on');
DROP INDEX payment_voucher;
CREATE UNIQUE INDEX payment_voucher ON payment (channel_id, ceiling) WHERE state <> 'released' AND (charged_atomic IS NULL OR charged_atomic > 0) AND NOT standing;

/*
 * Keeps a voucher for a session; its signature was verified. Outcomes: kept (this one, now or before); session_unknown, session_service,
 * session_payer, session_channel, session_expired, session_exhausted; below (it pays for no call), above_balance, above_budget; voucher_used.
 * Locks: the channel, then the session, as reserve_in_sessions.
 */
CREATE FUNCTION keep_session_voucher(for_session bytea, on_channel bytea, top numeric, signed bytea) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  s negotiated_session;
  c channel;
  refused text;
BEGIN
  SELECT * INTO c FROM channel x WHERE x.channel_id = on_channel FOR NO KEY UPDATE;
  SELECT * INTO s FROM negotiated_session n WHERE n.session_id = for_session FOR NO KEY UPDATE;
  IF c.channel_id IS NULL OR s.session_id IS NULL THEN RETURN 'session_unknown'; END IF;
  IF EXISTS (SELECT 1 FROM session_voucher v WHERE v.channel_id = on_channel AND v.ceiling = top AND v.session_id = for_session) THEN RETURN 'kept'; END IF;
  refused := CASE
    WHEN s.pay_to <> c.receiver OR s.token <> c.token THEN 'session_service'
    WHEN s.agent <> c.payer AND s.agent <> c.payer_authorizer AND NOT EXISTS (SELECT 1 FROM mandate m WHERE m.mandate_id = c.mandate_id AND m.delegate = s.agent) THEN 'session_payer'
    WHEN s.channel_id <> on_channel THEN 'session_channel'
    WHEN s.expires_at <= now() THEN 'session_expired'
    WHEN s.calls_taken >= s.calls THEN 'session_exhausted'
    WHEN top < c.charged + session_price(s, s.calls_taken + 1) THEN 'below'
    WHEN top > c.balance THEN 'above_balance'
    WHEN top > c.charged + s.budget_atomic - s.charged_atomic THEN 'above_budget'
    WHEN EXISTS (SELECT 1 FROM payment p WHERE p.channel_id = on_channel AND p.ceiling = top AND p.state <> 'released' AND (p.charged_atomic IS NULL OR p.charged_atomic > 0) AND NOT p.standing)
      OR EXISTS (SELECT 1 FROM session_voucher v WHERE v.channel_id = on_channel AND v.ceiling = top) THEN 'voucher_used' END;
  IF refused IS NOT NULL THEN RETURN refused; END IF;
  INSERT INTO session_voucher (channel_id, ceiling, session_id, signature) VALUES (on_channel, top, for_session, signed);
  UPDATE channel x SET negotiated = true WHERE x.channel_id = on_channel AND NOT x.negotiated;
  UPDATE negotiated_session n SET channel_id = on_channel WHERE n.session_id = for_session AND n.channel_id IS NULL;
  RETURN 'kept';
END $$;

/*
 * Reserves calls of sessions, in the order given. A call that names no session is in the one that its channel has for that service, as long
 * as that lasts: nobody pays more than it agreed by forgetting a header. The price is what was agreed, however much was offered. Outcomes:
 * those of reserve_within_mandates; session_unknown, session_service, session_payer, session_channel, session_expired, session_exhausted;
 * session_voucher. `standings`: paid by the voucher that was left for the session, which many calls share. Such a voucher buys nothing by itself.
 * Locks: payers, channels, mandates in their order, then sessions; a session is taken by one channel only, so it waits behind that.
 */
CREATE FUNCTION reserve_in_sessions(
  ids text[], channels bytea[], ceilings numeric[], prices numeric[], signatures bytea[], services text[], hashes bytea[], client_ids text[],
  deposit_txs bytea[], deposits numeric[], leases_ms bigint[], resources text[], most_per_channel numeric, most_per_payer numeric, most_unbilled bigint, most_stored bigint,
  capabilities bytea[], sessions bytea[], standings boolean[]
) RETURNS TABLE (nth bigint, outcome text, refused_by bytea, agreed_price numeric, agreed_session bytea, agreed_offer bytea) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_mergejoin = off SET enable_hashjoin = off AS $$
DECLARE
  s negotiated_session;
  c channel;
  price numeric;
BEGIN
  PERFORM set_config('synchronous_commit', 'off', true);
  PERFORM set_config('tallystick.within_session', 'on', true);
  PERFORM pg_advisory_xact_lock(key) FROM (
    SELECT DISTINCT hashtextextended('payer ' || encode(x.payer, 'hex'), 0) AS key FROM channel x WHERE x.channel_id = ANY(channels) ORDER BY key) payers;
  PERFORM 1 FROM channel x WHERE x.channel_id = ANY(channels) ORDER BY x.channel_id FOR NO KEY UPDATE;
  PERFORM mandate_lock(ARRAY(SELECT DISTINCT unnest(m.lineage) FROM channel x JOIN mandate m ON m.mandate_id = x.mandate_id WHERE x.channel_id = ANY(channels)));
  FOR i IN 1 .. cardinality(ids) LOOP
    nth := i;
    refused_by := NULL;
    agreed_session := NULL;
    agreed_offer := NULL;
    price := prices[i];
    SELECT * INTO c FROM channel x WHERE x.channel_id = channels[i];
    IF sessions[i] IS NULL THEN
      SELECT * INTO s FROM negotiated_session n
      WHERE n.channel_id = channels[i] AND n.service = services[i] AND n.expires_at > now() AND n.calls_taken < n.calls ORDER BY n.accepted_at, n.session_id LIMIT 1 FOR NO KEY UPDATE;
      IF FOUND AND s.calls_taken >= s.calls THEN s := NULL; END IF;
    ELSE
      SELECT * INTO s FROM negotiated_session n WHERE n.session_id = sessions[i] FOR NO KEY UPDATE;
      outcome := CASE
        WHEN NOT FOUND THEN 'session_unknown'
        WHEN s.service <> services[i] OR s.pay_to <> c.receiver OR s.token <> c.token THEN 'session_service'
        WHEN s.agent <> c.payer AND s.agent <> c.payer_authorizer AND NOT EXISTS (SELECT 1 FROM mandate m WHERE m.mandate_id = c.mandate_id AND m.delegate = s.agent) THEN 'session_payer'
        WHEN s.channel_id <> channels[i] THEN 'session_channel'
        -- A payment that is known is a repetition, and what it bought is fetched whatever became of the session.
        WHEN EXISTS (SELECT 1 FROM payment p WHERE p.channel_id = channels[i] AND p.state <> 'released'
          AND ((NOT standings[i] AND NOT p.standing AND p.ceiling = ceilings[i] AND (p.charged_atomic IS NULL OR p.charged_atomic > 0)) OR p.client_id = client_ids[i])) THEN 'conflict'
        WHEN s.expires_at <= now() THEN 'session_expired'
        WHEN s.calls_taken >= s.calls THEN 'session_exhausted' END;
      IF outcome IS NOT NULL THEN RETURN NEXT; CONTINUE; END IF;
    END IF;
    -- Claims show vouchers to the chain: whoever saw this one has to have the session's token too.
    IF standings[i] IS DISTINCT FROM EXISTS (
      SELECT 1 FROM session_voucher v WHERE v.channel_id = channels[i] AND v.ceiling = ceilings[i] AND (NOT standings[i] OR v.session_id = sessions[i])) THEN
      outcome := 'session_voucher';
      RETURN NEXT;
      CONTINUE;
    END IF;
    PERFORM set_config('tallystick.standing', CASE WHEN standings[i] THEN 'on' ELSE 'off' END, true);
    IF s.session_id IS NOT NULL THEN price := LEAST(price, session_price(s, s.calls_taken + 1)); END IF;
    SELECT r.outcome, r.refused_by INTO outcome, refused_by
    FROM reserve_within_mandates(ids[i:i], channels[i:i], ceilings[i:i], ARRAY[price], signatures[i:i], services[i:i], hashes[i:i], client_ids[i:i],
      deposit_txs[i:i], deposits[i:i], leases_ms[i:i], resources[i:i], most_per_channel, most_per_payer, most_unbilled, most_stored, capabilities[i:i]) r;
    IF outcome = 'reserved' AND s.session_id IS NOT NULL THEN
      UPDATE negotiated_session n SET calls_taken = n.calls_taken + 1, channel_id = channels[i] WHERE n.session_id = s.session_id;
      UPDATE channel x SET negotiated = true WHERE x.channel_id = channels[i] AND NOT x.negotiated;
      UPDATE payment p SET session_id = s.session_id, offer_hash = s.offer_hash, session_call = s.calls_taken + 1 WHERE p.payment_id = ids[i];
      agreed_session := s.session_id;
      agreed_offer := s.offer_hash;
    END IF;
    PERFORM set_config('tallystick.standing', 'off', true);
    agreed_price := price;
    RETURN NEXT;
  END LOOP;
END $$;
