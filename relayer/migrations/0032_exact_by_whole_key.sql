-- The functions of 0031 went by keys only in part: on small tables PostgreSQL read all that a token has by an index with the token alone, for
-- each batch. These look for one key at a time, and lock rows in the order given.

/* What is known of each, in the order asked. `OFFSET 0` keeps each look-up to itself: joined, a table that is small is read whole. */
CREATE OR REPLACE FUNCTION exact_look_up(asked_token bytea, payers bytea[], nonces bytea[])
RETURNS TABLE (payment_id text, receiver bytea, amount numeric, tx_id bigint, hash bytea, tx_state text, queued boolean)
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
    SELECT p.payment_id, s.receiver::bytea, s.amount::numeric, s.tx_id, tx.hash::bytea, tx.state, coalesce(q.state = 'queued', false)
    FROM unnest(payers, nonces) WITH ORDINALITY AS k (payer, nonce, ord)
    LEFT JOIN LATERAL (
      SELECT payment_id FROM payment WHERE token = asked_token AND payer = k.payer AND authorization_nonce = k.nonce AND state <> 'released' AND authorization_nonce IS NOT NULL OFFSET 0) p ON true
    LEFT JOIN LATERAL (SELECT receiver, amount, tx_id FROM exact_settlement WHERE token = asked_token AND payer = k.payer AND nonce = k.nonce OFFSET 0) s ON true
    LEFT JOIN LATERAL (SELECT hash, state FROM chain_tx WHERE tx_id = s.tx_id OFFSET 0) tx ON true
    LEFT JOIN LATERAL (SELECT state FROM exact_queue WHERE token = asked_token AND payer = k.payer AND nonce = k.nonce OFFSET 0) q ON true
    ORDER BY k.ord;
END $$;

/*
 * For the database transaction that commits signed bytes: these are carried by it. `sent` and `recorded` are as many as were asked, unless one
 * is not in the queue any more, or an earlier transaction is still on its way. Whoever locks several gives them in the order of payer and nonce.
 */
CREATE OR REPLACE FUNCTION exact_mark_sent(asked_token bytea, payers bytea[], nonces bytea[], carried_by bigint) RETURNS TABLE (sent bigint, recorded bigint)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
  gone record;
BEGIN
  sent := 0;
  recorded := 0;
  FOR i IN 1 .. cardinality(payers) LOOP
    UPDATE exact_queue q SET state = 'sent', tx_id = carried_by WHERE q.token = asked_token AND q.payer = payers[i] AND q.nonce = nonces[i] AND q.state = 'queued'
      RETURNING q.receiver, q.amount INTO gone;
    CONTINUE WHEN NOT FOUND;
    sent := sent + 1;
    INSERT INTO exact_settlement AS s (token, payer, nonce, receiver, amount, tx_id) VALUES (asked_token, payers[i], nonces[i], gone.receiver, gone.amount, carried_by)
      ON CONFLICT (token, payer, nonce) DO UPDATE SET tx_id = EXCLUDED.tx_id, receiver = EXCLUDED.receiver, amount = EXCLUDED.amount
        WHERE (SELECT state FROM chain_tx WHERE chain_tx.tx_id = s.tx_id) NOT IN ('signed', 'broadcast');
    IF FOUND THEN recorded := recorded + 1; END IF;
  END LOOP;
  RETURN NEXT;
END $$;

/* The transaction moved these, in that block. In the same order; by their keys, not by what the transaction carries, which is all of them. */
CREATE OR REPLACE FUNCTION exact_mark_moved(asked_token bytea, payers bytea[], nonces bytea[], carried_by bigint, block bytea) RETURNS void
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
  FOR i IN 1 .. cardinality(payers) LOOP
    UPDATE exact_queue q SET state = 'moved', moved_block = block
      WHERE q.token = asked_token AND q.payer = payers[i] AND q.nonce = nonces[i] AND q.state = 'sent' AND q.tx_id IS NOT DISTINCT FROM carried_by;
  END LOOP;
END $$;

/* Takes the one time that success is told for each, and says in their order who has it. */
CREATE OR REPLACE FUNCTION exact_tell(tokens bytea[], payers bytea[], nonces bytea[], tellers text[]) RETURNS TABLE (told_to text)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
  INSERT INTO exact_told (token, payer, nonce, told_to)
    SELECT t.token, t.payer, t.nonce, t.teller FROM unnest(tokens, payers, nonces, tellers) AS t (token, payer, nonce, teller) ORDER BY 1, 2, 3
    ON CONFLICT (token, payer, nonce) DO NOTHING;
  -- A statement of its own: it sees what others have committed meanwhile.
  RETURN QUERY
    SELECT t.told_to FROM unnest(tokens, payers, nonces) WITH ORDINALITY AS k (token, payer, nonce, ord)
    LEFT JOIN LATERAL (SELECT told_to FROM exact_told WHERE token = k.token AND payer = k.payer AND nonce = k.nonce OFFSET 0) t ON true ORDER BY k.ord;
END $$;
