-- What is asked and written of many authorisations at once goes by their keys. As plain statements these were planned while the tables were
-- small, by reading all of them, and took longer with every payment until the tables were next analysed: 2 ms, and 9 ms after 3,000.

/* What is known of each, in the order asked. */
CREATE FUNCTION exact_look_up(asked_token bytea, payers bytea[], nonces bytea[])
RETURNS TABLE (payment_id text, receiver bytea, amount numeric, tx_id bigint, hash bytea, tx_state text, queued boolean)
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_mergejoin = off SET enable_hashjoin = off AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
    SELECT p.payment_id, s.receiver::bytea, s.amount::numeric, s.tx_id, tx.hash::bytea, tx.state, coalesce(q.state = 'queued', false)
    FROM unnest(payers, nonces) WITH ORDINALITY AS k (payer, nonce, ord)
    LEFT JOIN payment p ON p.token = asked_token AND p.payer = k.payer AND p.authorization_nonce = k.nonce AND p.state <> 'released' AND p.authorization_nonce IS NOT NULL
    LEFT JOIN exact_settlement s ON s.token = asked_token AND s.payer = k.payer AND s.nonce = k.nonce
    LEFT JOIN chain_tx tx ON tx.tx_id = s.tx_id
    LEFT JOIN exact_queue q ON q.token = asked_token AND q.payer = k.payer AND q.nonce = k.nonce
    ORDER BY k.ord;
END $$;

/*
 * For the database transaction that commits signed bytes: these are carried by it. `sent` and `recorded` are as many as were asked, unless one
 * is not in the queue any more, or an earlier transaction is still on its way.
 */
CREATE FUNCTION exact_mark_sent(asked_token bytea, payers bytea[], nonces bytea[], carried_by bigint) RETURNS TABLE (sent bigint, recorded bigint)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_mergejoin = off SET enable_hashjoin = off AS $$
BEGIN
  RETURN QUERY
    WITH gone AS (
      UPDATE exact_queue q SET state = 'sent', tx_id = carried_by FROM unnest(payers, nonces) AS k (payer, nonce)
      WHERE q.token = asked_token AND q.payer = k.payer AND q.nonce = k.nonce AND q.state = 'queued' RETURNING q.token, q.payer, q.nonce, q.receiver, q.amount),
    written AS (
      INSERT INTO exact_settlement AS s (token, payer, nonce, receiver, amount, tx_id) SELECT token, payer, nonce, receiver, amount, carried_by FROM gone
      ON CONFLICT (token, payer, nonce) DO UPDATE SET tx_id = EXCLUDED.tx_id, receiver = EXCLUDED.receiver, amount = EXCLUDED.amount
        WHERE (SELECT state FROM chain_tx WHERE chain_tx.tx_id = s.tx_id) NOT IN ('signed', 'broadcast') RETURNING 1)
    SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM written);
END $$;

/* The transaction moved these, in that block. */
CREATE FUNCTION exact_mark_moved(asked_token bytea, payers bytea[], nonces bytea[], carried_by bigint, block bytea) RETURNS void
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_mergejoin = off SET enable_hashjoin = off AS $$
BEGIN
  UPDATE exact_queue q SET state = 'moved', moved_block = block FROM unnest(payers, nonces) AS k (payer, nonce)
  WHERE q.token = asked_token AND q.payer = k.payer AND q.nonce = k.nonce AND q.state = 'sent' AND q.tx_id = carried_by;
END $$;

/* Takes the one time that success is told for each, and says in their order who has it. */
CREATE FUNCTION exact_tell(tokens bytea[], payers bytea[], nonces bytea[], tellers text[]) RETURNS TABLE (told_to text)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_mergejoin = off SET enable_hashjoin = off AS $$
#variable_conflict use_column
BEGIN
  INSERT INTO exact_told (token, payer, nonce, told_to)
    SELECT t.token, t.payer, t.nonce, t.teller FROM unnest(tokens, payers, nonces, tellers) AS t (token, payer, nonce, teller) ORDER BY 1, 2, 3
    ON CONFLICT (token, payer, nonce) DO NOTHING;
  -- A statement of its own: it sees what others have committed meanwhile.
  RETURN QUERY
    SELECT t.told_to FROM unnest(tokens, payers, nonces) WITH ORDINALITY AS k (token, payer, nonce, ord)
    LEFT JOIN exact_told t ON t.token = k.token AND t.payer = k.payer AND t.nonce = k.nonce ORDER BY k.ord;
END $$;
