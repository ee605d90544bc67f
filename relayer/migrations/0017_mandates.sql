-- Mandates: what a person allows its agent to spend, and what was spent of it here. Amounts are atomic token units, times unix seconds.

CREATE TABLE mandate (
  mandate_id bytes32 PRIMARY KEY,           -- the EIP-712 hash of all that is signed, so none of it ever changes
  principal address NOT NULL,
  delegate address NOT NULL,
  token address NOT NULL,
  limit_atomic atomic NOT NULL CHECK (limit_atomic > 0),
  period_limit_atomic atomic NOT NULL,
  payment_limit_atomic atomic NOT NULL CHECK (payment_limit_atomic > 0),
  period_s bigint NOT NULL CHECK (period_s >= 0),
  valid_after bigint NOT NULL,
  valid_until bigint NOT NULL,
  epoch bigint NOT NULL,
  payees_root bytes32 NOT NULL,             -- zero: any payee; else they are in mandate_payee
  capability bytes32 NOT NULL,
  parent bytes32 NOT NULL,                  -- zero: a root
  terms bytes32 NOT NULL,
  salt bytes32 NOT NULL,
  lineage bytea[] NOT NULL,                 -- itself, its parent, up to the root
  signature bytea,                          -- the grantor's; null when the chain knows the mandate as approved
  registered_by address NOT NULL,
  registered_at timestamptz NOT NULL DEFAULT now(),
  idempotency_key text,

  -- What was spent under it and under every mandate below it, but for what is still in mandate_move.
  spent_atomic atomic NOT NULL DEFAULT 0,
  reserved_atomic atomic NOT NULL DEFAULT 0,
  revoked_at timestamptz,                   -- revoked here, for good
  revoked_by address,

  -- A cache of the chain as of chain_block.
  chain_approved boolean NOT NULL DEFAULT false,
  chain_revoked boolean NOT NULL DEFAULT false,
  chain_spent_atomic atomic NOT NULL DEFAULT 0,
  chain_block bigint NOT NULL DEFAULT 0,
  chain_followed boolean NOT NULL DEFAULT false, -- false until the follower has read it since it is here: what came before is in no log it will ask for

  CHECK ((period_s = 0) = (period_limit_atomic = 0)),
  CHECK (valid_after <= valid_until),
  CHECK (lineage[1] = mandate_id AND cardinality(lineage) BETWEEN 1 AND 9),
  CHECK ((revoked_at IS NULL) = (revoked_by IS NULL)),
  CONSTRAINT mandate_within_limit CHECK (spent_atomic + reserved_atomic <= limit_atomic)
) WITH (fillfactor = 60);
CREATE INDEX mandate_of_principal ON mandate (principal, registered_at DESC);
CREATE INDEX mandate_of_delegate ON mandate (delegate, registered_at DESC);
CREATE INDEX mandate_lineage ON mandate USING gin (lineage);
CREATE INDEX mandate_chain_block ON mandate (chain_block);
CREATE INDEX mandate_not_followed ON mandate (mandate_id) WHERE NOT chain_followed;
CREATE UNIQUE INDEX mandate_idempotency ON mandate (registered_by, idempotency_key) WHERE idempotency_key IS NOT NULL;

-- Whom a mandate with a payeesRoot allows: the list that hashes to it.
CREATE TABLE mandate_payee (
  mandate_id bytes32 NOT NULL REFERENCES mandate,
  payee address NOT NULL,
  PRIMARY KEY (mandate_id, payee)
);

-- A principal's epoch on the chain, as of chain_block; 0 without a row.
CREATE TABLE mandate_account (
  principal address PRIMARY KEY,
  epoch bigint NOT NULL,
  chain_block bigint NOT NULL,
  chain_followed boolean NOT NULL DEFAULT false
);
CREATE INDEX mandate_account_chain_block ON mandate_account (chain_block);
CREATE INDEX mandate_account_not_followed ON mandate_account (principal) WHERE NOT chain_followed;

-- Which mandate a voucher key spends under, for channels of that principal. For good: a key names one mandate.
CREATE TABLE mandate_guard (
  principal address NOT NULL,
  authorizer address NOT NULL,
  mandate_id bytes32 NOT NULL REFERENCES mandate,
  signature bytea NOT NULL,
  bound_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (principal, authorizer)
);
CREATE INDEX mandate_guard_of ON mandate_guard (mandate_id);

-- What a period of a mandate has taken, but for what is still in mandate_move.
CREATE TABLE mandate_window (
  mandate_id bytes32 NOT NULL REFERENCES mandate,
  window_no bigint NOT NULL,                -- it begins at valid_after + window_no * period_s
  spent_atomic atomic NOT NULL,
  reserved_atomic atomic NOT NULL,
  PRIMARY KEY (mandate_id, window_no)
);

-- What payments did to budgets: a heap that is added to without waiting for anybody. Whoever decides holds the mandates' locks, adds it up
-- into `mandate` and `mandate_window`, and deletes it.
CREATE TABLE mandate_move (
  mandate_id bytea NOT NULL,
  window_no bigint,                         -- null where there are no periods
  reserved_atomic numeric(78, 0) NOT NULL,
  spent_atomic numeric(78, 0) NOT NULL
);
CREATE INDEX mandate_move_of ON mandate_move (mandate_id);

ALTER TABLE payment ADD COLUMN mandate_id bytes32; -- null: paid without one
CREATE INDEX payment_mandate ON payment (mandate_id, reserved_at DESC, payment_id DESC) WHERE mandate_id IS NOT NULL;
ALTER TABLE channel ADD COLUMN mandate_id bytes32; -- of mandate_guard, for its payer and payerAuthorizer

-- ------------------------------------------------------------------ which channels

CREATE FUNCTION mandate_guard_lock(payer bytea, authorizer bytea) RETURNS void LANGUAGE sql AS $$
  SELECT pg_advisory_xact_lock(hashtextextended('guard ' || encode(payer, 'hex') || encode(authorizer, 'hex'), 0))
$$;

-- Under the lock of its two keys, so that a channel that opens while its key is bound is not missed by both.
CREATE FUNCTION channel_finds_mandate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM mandate_guard_lock(NEW.payer, NEW.payer_authorizer);
  SELECT g.mandate_id INTO NEW.mandate_id FROM mandate_guard g WHERE g.principal = NEW.payer AND g.authorizer = NEW.payer_authorizer;
  RETURN NEW;
END $$;
CREATE TRIGGER channel_finds_mandate BEFORE INSERT ON channel FOR EACH ROW EXECUTE FUNCTION channel_finds_mandate();

/* True when the key is bound to that mandate now, or was before; false when it is bound to another one. */
CREATE FUNCTION mandate_bind_guard(payer bytea, key bytea, id bytea, proof bytea) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE bound bytea;
BEGIN
  PERFORM mandate_guard_lock(payer, key);
  INSERT INTO mandate_guard (principal, authorizer, mandate_id, signature) VALUES (payer, key, id, proof) ON CONFLICT DO NOTHING;
  SELECT g.mandate_id INTO bound FROM mandate_guard g WHERE g.principal = payer AND g.authorizer = key;
  IF bound <> id THEN RETURN false; END IF;
  UPDATE channel c SET mandate_id = id FROM (
    SELECT channel_id FROM channel WHERE channel.payer = mandate_bind_guard.payer AND payer_authorizer = key AND mandate_id IS NULL ORDER BY channel_id FOR NO KEY UPDATE) s
  WHERE c.channel_id = s.channel_id;
  RETURN true;
END $$;

-- A relayer that does not know (yet) that a channel is bound is told so by the database: nothing is reserved on it but within its mandate.
-- Channels without a mandate never get here.
CREATE FUNCTION channel_under_mandate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF current_setting('tallystick.within_mandate', true) = 'on' THEN RETURN NEW; END IF;
  RAISE EXCEPTION 'the channel spends under a mandate' USING ERRCODE = 'check_violation', CONSTRAINT = 'channel_under_mandate';
END $$;
CREATE TRIGGER channel_under_mandate BEFORE UPDATE OF reserved ON channel FOR EACH ROW
  WHEN (NEW.mandate_id IS NOT NULL AND NEW.reserved > OLD.reserved) EXECUTE FUNCTION channel_under_mandate();

-- ------------------------------------------------------------------ the budget

/* The period that a time falls into; null where there are none. */
CREATE FUNCTION mandate_window_at(m mandate, at timestamptz) RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT CASE WHEN m.period_s > 0 THEN floor((floor(extract(epoch FROM at)) - m.valid_after) / m.period_s)::bigint END
$$;

/*
 * Why a payment may not take `added` more, and which mandate of the lineage says so; nulls when it may. capabilities/mandates/logic.ts asks
 * the same in the same order, and a test compares them. From the root down, each in the contract's order.
 * `total`: of the whole payment. `began`: when it was reserved; what it takes counts in that period, and in no later one. The payee, the
 * token and the capability are null when they were looked at before. The caller holds the lineage's locks.
 */
CREATE FUNCTION mandate_refusal(leaf bytea, added numeric, total numeric, began timestamptz, payee_asked bytea, token_asked bytea, capability_asked bytea, OUT code text, OUT refused_by bytea)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_mergejoin = off SET enable_hashjoin = off AS $$
DECLARE
  at_s bigint := floor(extract(epoch FROM now()));
  zero CONSTANT bytea := '\x0000000000000000000000000000000000000000000000000000000000000000';
BEGIN
  SELECT judged.verdict, judged.mandate_id INTO code, refused_by FROM (
    SELECT m.mandate_id, l.nth, CASE
      WHEN m.revoked_at IS NOT NULL OR m.chain_revoked OR coalesce(a.epoch, 0) > m.epoch THEN 'mandate_revoked'
      WHEN coalesce(a.epoch, 0) < m.epoch OR at_s < m.valid_after THEN 'mandate_not_yet_valid'
      WHEN at_s > m.valid_until THEN 'mandate_expired'
      WHEN m.token <> token_asked THEN 'mandate_token'
      WHEN total > m.payment_limit_atomic THEN 'mandate_payment_limit'
      WHEN m.spent_atomic + m.reserved_atomic + added
        + (SELECT coalesce(sum(v.spent_atomic + v.reserved_atomic), 0) FROM mandate_move v WHERE v.mandate_id = m.mandate_id) > m.limit_atomic THEN 'mandate_exhausted'
      WHEN m.period_s > 0 AND (mandate_window_at(m, began) <> mandate_window_at(m, now())
        OR added
          + (SELECT coalesce(sum(w.spent_atomic + w.reserved_atomic), 0) FROM mandate_window w WHERE w.mandate_id = m.mandate_id AND w.window_no = mandate_window_at(m, began))
          + (SELECT coalesce(sum(v.spent_atomic + v.reserved_atomic), 0) FROM mandate_move v WHERE v.mandate_id = m.mandate_id AND v.window_no = mandate_window_at(m, began))
          > m.period_limit_atomic) THEN 'mandate_period_limit'
      WHEN payee_asked IS NOT NULL AND m.payees_root <> zero
        AND NOT EXISTS (SELECT 1 FROM mandate_payee p WHERE p.mandate_id = m.mandate_id AND p.payee = payee_asked) THEN 'mandate_payee'
      WHEN capability_asked IS NOT NULL AND m.capability <> zero AND m.capability <> capability_asked THEN 'mandate_capability'
      END AS verdict
    FROM mandate bottom CROSS JOIN LATERAL unnest(bottom.lineage) WITH ORDINALITY AS l(id, nth)
    JOIN mandate m ON m.mandate_id = l.id LEFT JOIN mandate_account a ON a.principal = m.principal
    WHERE bottom.mandate_id = leaf) judged
  WHERE judged.verdict IS NOT NULL ORDER BY judged.nth DESC LIMIT 1;
END $$;

CREATE FUNCTION mandate_lock(ids bytea[]) RETURNS void LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
  PERFORM 1 FROM mandate WHERE mandate_id = ANY(ids) ORDER BY mandate_id FOR NO KEY UPDATE;
END $$;

/* Adds up what is in the heap. The caller holds the locks. */
CREATE FUNCTION mandate_fold(ids bytea[]) RETURNS void LANGUAGE sql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_mergejoin = off SET enable_hashjoin = off AS $$
  WITH moved AS (DELETE FROM mandate_move WHERE mandate_id = ANY(ids) RETURNING *),
  totals AS (
    UPDATE mandate m SET spent_atomic = m.spent_atomic + s.spent, reserved_atomic = m.reserved_atomic + s.reserved
    FROM (SELECT mandate_id, sum(spent_atomic) AS spent, sum(reserved_atomic) AS reserved FROM moved GROUP BY mandate_id) s WHERE m.mandate_id = s.mandate_id),
  sums AS (SELECT mandate_id, window_no, sum(spent_atomic) AS spent, sum(reserved_atomic) AS reserved FROM moved WHERE window_no IS NOT NULL GROUP BY mandate_id, window_no),
  known AS (
    -- What is given back is less than nothing by itself, so a row is changed or made, never made and then merged.
    UPDATE mandate_window w SET spent_atomic = w.spent_atomic + s.spent, reserved_atomic = w.reserved_atomic + s.reserved
    FROM sums s WHERE w.mandate_id = s.mandate_id AND w.window_no = s.window_no RETURNING w.mandate_id, w.window_no)
  INSERT INTO mandate_window (mandate_id, window_no, spent_atomic, reserved_atomic)
  SELECT s.mandate_id, s.window_no, s.spent, s.reserved FROM sums s WHERE (s.mandate_id, s.window_no) NOT IN (SELECT mandate_id, window_no FROM known)
$$;

/* What a payment holds of its budget: its price while it runs; what it was charged; what an answer under way may still take. */
CREATE FUNCTION payment_budget(state text, price numeric, charged numeric, ended_at timestamptz, OUT spent numeric, OUT reserved numeric) LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN state = 'charged' THEN charged ELSE 0 END,
    CASE WHEN state IN ('reserved', 'settling') THEN price WHEN state = 'charged' AND ended_at IS NULL THEN price - charged ELSE 0 END
$$;

/*
 * The one place where budgets move: whatever is done to a payment, by whom, moves the budget of its mandate and of every mandate above it.
 * Who takes more must be allowed to, or the whole statement fails; who gives back waits for nobody. Payments without a mandate never get here.
 */
CREATE FUNCTION payment_moves_budget() RETURNS trigger LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_mergejoin = off SET enable_hashjoin = off AS $$
DECLARE
  above bytea[] := (SELECT lineage FROM mandate WHERE mandate_id = NEW.mandate_id);
  holds record;
  spent_more numeric;
  reserved_more numeric;
  refused record;
BEGIN
  SELECT * INTO holds FROM payment_budget(NEW.state, NEW.price_atomic, NEW.charged_atomic, NEW.ended_at);
  spent_more := holds.spent;
  reserved_more := holds.reserved;
  IF TG_OP = 'UPDATE' AND OLD.mandate_id IS NOT NULL THEN
    IF OLD.mandate_id IS DISTINCT FROM NEW.mandate_id THEN RAISE EXCEPTION 'a payment stays under its mandate' USING ERRCODE = 'check_violation', CONSTRAINT = 'payment_mandate_stays'; END IF;
    SELECT * INTO holds FROM payment_budget(OLD.state, OLD.price_atomic, OLD.charged_atomic, OLD.ended_at);
    spent_more := spent_more - holds.spent;
    reserved_more := reserved_more - holds.reserved;
  END IF;
  IF spent_more = 0 AND reserved_more = 0 THEN RETURN NULL; END IF;
  -- Who reserves has asked already, under the same locks.
  IF spent_more + reserved_more > 0 AND current_setting('tallystick.mandate_asked', true) IS DISTINCT FROM 'on' THEN
    PERFORM mandate_lock(above);
    SELECT * INTO refused FROM mandate_refusal(NEW.mandate_id, spent_more + reserved_more, NEW.price_atomic, NEW.reserved_at, NULL, NULL, NULL);
    IF refused.code IS NOT NULL THEN
      RAISE EXCEPTION 'the mandate does not allow it' USING ERRCODE = 'check_violation', CONSTRAINT = refused.code, DETAIL = hex0x(refused.refused_by);
    END IF;
  END IF;
  INSERT INTO mandate_move (mandate_id, window_no, reserved_atomic, spent_atomic)
  SELECT m.mandate_id, mandate_window_at(m, NEW.reserved_at), reserved_more, spent_more FROM mandate m WHERE m.mandate_id = ANY(above);
  RETURN NULL;
END $$;
CREATE TRIGGER payment_takes_budget AFTER INSERT ON payment FOR EACH ROW WHEN (NEW.mandate_id IS NOT NULL) EXECUTE FUNCTION payment_moves_budget();
CREATE TRIGGER payment_moves_budget AFTER UPDATE OF state, price_atomic, charged_atomic, ended_at, mandate_id ON payment FOR EACH ROW
  WHEN (NEW.mandate_id IS NOT NULL OR OLD.mandate_id IS NOT NULL) EXECUTE FUNCTION payment_moves_budget();

/*
 * reserve_payments for channels that spend under mandates: the same locks, then the mandates' in one order. When every mandate would allow
 * all of the items' prices together, it allows each; else they are asked one after the other. Outcomes as there, or mandate_*, and then the
 * mandate that refuses. Nothing of a refused item stays.
 */
CREATE FUNCTION reserve_within_mandates(
  ids text[], channels bytea[], ceilings numeric[], prices numeric[], signatures bytea[], services text[], hashes bytea[], client_ids text[],
  deposit_txs bytea[], deposits numeric[], leases_ms bigint[], resources text[], most_per_channel numeric, most_per_payer numeric, most_unbilled bigint, most_stored bigint,
  capabilities bytea[]
) RETURNS TABLE (nth bigint, outcome text, refused_by bytea) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_mergejoin = off SET enable_hashjoin = off AS $$
DECLARE
  place record;
  refused record;
  held bytea[];
  zero CONSTANT bytea := '\x0000000000000000000000000000000000000000000000000000000000000000';
  all_prices numeric;
  outcomes text[];
  taken text[];
BEGIN
  PERFORM set_config('synchronous_commit', 'off', true);
  PERFORM set_config('tallystick.within_mandate', 'on', true);
  PERFORM set_config('tallystick.mandate_asked', 'on', true);
  PERFORM pg_advisory_xact_lock(key) FROM (
    SELECT DISTINCT hashtextextended('payer ' || encode(c.payer, 'hex'), 0) AS key FROM channel c WHERE c.channel_id = ANY(channels) ORDER BY key) payers;
  PERFORM 1 FROM channel c WHERE c.channel_id = ANY(channels) ORDER BY c.channel_id FOR NO KEY UPDATE;
  held := ARRAY(SELECT DISTINCT unnest(m.lineage) FROM channel c JOIN mandate m ON m.mandate_id = c.mandate_id WHERE c.channel_id = ANY(channels));
  PERFORM mandate_lock(held);
  PERFORM mandate_fold(held);
  SELECT sum(p) INTO all_prices FROM unnest(prices) AS p;
  IF NOT EXISTS (
    SELECT 1 FROM (
      SELECT c.mandate_id, max(u.price) AS dearest FROM unnest(channels, prices) AS u(channel, price) JOIN channel c ON c.channel_id = u.channel
      WHERE c.mandate_id IS NOT NULL GROUP BY c.mandate_id) asked
    CROSS JOIN LATERAL mandate_refusal(asked.mandate_id, all_prices, asked.dearest, now(), NULL, NULL, NULL) refusal WHERE refusal.code IS NOT NULL
  ) AND NOT EXISTS (
    SELECT 1 FROM unnest(channels, capabilities) AS u(channel, capability) JOIN channel c ON c.channel_id = u.channel JOIN mandate bottom ON bottom.mandate_id = c.mandate_id
    CROSS JOIN LATERAL unnest(bottom.lineage) AS l(id) JOIN mandate m ON m.mandate_id = l.id
    WHERE m.token <> c.token OR (m.capability <> zero AND m.capability <> u.capability)
      OR (m.payees_root <> zero AND NOT EXISTS (SELECT 1 FROM mandate_payee p WHERE p.mandate_id = m.mandate_id AND p.payee = c.receiver))
  ) THEN
    SELECT array_agg(r.outcome ORDER BY r.nth), array_agg(ids[r.nth]) FILTER (WHERE r.outcome = 'reserved') INTO outcomes, taken
    FROM reserve_payments(ids, channels, ceilings, prices, signatures, services, hashes, client_ids, deposit_txs, deposits, leases_ms, resources, most_per_channel, most_per_payer, most_unbilled, most_stored) r;
    UPDATE payment p SET mandate_id = c.mandate_id FROM channel c WHERE p.payment_id = ANY(taken) AND c.channel_id = p.channel_id AND c.mandate_id IS NOT NULL;
    PERFORM set_config('tallystick.mandate_asked', 'off', true);
    RETURN QUERY SELECT g::bigint, outcomes[g], NULL::bytea FROM generate_series(1, cardinality(ids)) g;
    RETURN;
  END IF;
  FOR i IN 1 .. cardinality(ids) LOOP
    nth := i;
    refused_by := NULL;
    SELECT c.mandate_id, c.receiver, c.token INTO place FROM channel c WHERE c.channel_id = channels[i];
    IF place.mandate_id IS NOT NULL THEN
      SELECT * INTO refused FROM mandate_refusal(place.mandate_id, prices[i], prices[i], now(), place.receiver, place.token, capabilities[i]);
      IF refused.code IS NOT NULL THEN
        outcome := refused.code;
        refused_by := refused.refused_by;
        RETURN NEXT;
        CONTINUE;
      END IF;
    END IF;
    SELECT r.outcome INTO outcome FROM reserve_payments(ids[i:i], channels[i:i], ceilings[i:i], prices[i:i], signatures[i:i], services[i:i], hashes[i:i], client_ids[i:i],
      deposit_txs[i:i], deposits[i:i], leases_ms[i:i], resources[i:i], most_per_channel, most_per_payer, most_unbilled, most_stored) r;
    IF outcome = 'reserved' AND place.mandate_id IS NOT NULL THEN
      UPDATE payment SET mandate_id = place.mandate_id WHERE payment_id = ids[i];
    END IF;
    RETURN NEXT;
  END LOOP;
  PERFORM set_config('tallystick.mandate_asked', 'off', true);
END $$;

-- ------------------------------------------------------------------ who has to hear of it

-- By principal: all that is remembered of a mandate anywhere is forgotten.
CREATE FUNCTION mandate_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('mandate_changed', encode(NEW.principal, 'hex'));
  RETURN NULL;
END $$;
CREATE TRIGGER mandate_changed AFTER UPDATE OF revoked_at, chain_revoked ON mandate FOR EACH ROW
  WHEN (NEW.revoked_at IS DISTINCT FROM OLD.revoked_at OR NEW.chain_revoked <> OLD.chain_revoked) EXECUTE FUNCTION mandate_changed();
CREATE TRIGGER mandate_guard_changed AFTER INSERT ON mandate_guard FOR EACH ROW EXECUTE FUNCTION mandate_changed();
CREATE TRIGGER mandate_account_began AFTER INSERT ON mandate_account FOR EACH ROW EXECUTE FUNCTION mandate_changed();
CREATE TRIGGER mandate_account_changed AFTER UPDATE OF epoch ON mandate_account FOR EACH ROW WHEN (NEW.epoch <> OLD.epoch) EXECUTE FUNCTION mandate_changed();

CREATE FUNCTION mandate_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO event (kind, parties, data) VALUES (
    CASE WHEN TG_OP = 'INSERT' THEN 'mandate.registered' WHEN NEW.revoked_at IS NOT NULL OR NEW.chain_revoked THEN 'mandate.revoked' ELSE 'mandate.restored' END,
    ARRAY[NEW.principal::bytea, NEW.delegate::bytea], jsonb_build_object('mandateId', hex0x(NEW.mandate_id), 'onChain', NEW.chain_revoked));
  RETURN NULL;
END $$;
CREATE TRIGGER mandate_registered AFTER INSERT ON mandate FOR EACH ROW EXECUTE FUNCTION mandate_event();
CREATE TRIGGER mandate_ended AFTER UPDATE OF revoked_at, chain_revoked ON mandate FOR EACH ROW
  WHEN ((NEW.revoked_at IS NOT NULL OR NEW.chain_revoked) <> (OLD.revoked_at IS NOT NULL OR OLD.chain_revoked)) EXECUTE FUNCTION mandate_event();
