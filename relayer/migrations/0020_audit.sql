-- The audit log: what was allowed, refused and decided, chained and sealed. See capabilities/audit/README.md.

-- One chain: one start of one process. `epoch` is the hash of `opened`, the canonical JSON that says which.
CREATE TABLE audit_epoch (
  epoch_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  epoch bytes32 NOT NULL UNIQUE,
  opened text NOT NULL
);

-- An entry as it is hashed: body is its canonical JSON, hash is over the hash before it and body. The other columns repeat what body
-- says, for those who look for it.
CREATE TABLE audit_entry (
  epoch_no bigint NOT NULL,
  seq bigint NOT NULL,
  at timestamptz NOT NULL,
  kind text NOT NULL,
  subject text NOT NULL,                    -- payment, channel or mandate
  payer bytea,
  payee bytea,
  body text NOT NULL,
  hash bytes32 NOT NULL,
  PRIMARY KEY (epoch_no, seq)
);
CREATE INDEX audit_entry_subject ON audit_entry (subject);
CREATE INDEX audit_entry_payer ON audit_entry (payer, at, epoch_no, seq) WHERE payer IS NOT NULL;
CREATE INDEX audit_entry_payee ON audit_entry (payee, at, epoch_no, seq) WHERE payee IS NOT NULL;

-- Written in the transaction that writes its entries. xid: in which order they became visible; anchors go by it.
CREATE TABLE audit_seal (
  epoch_no bigint NOT NULL REFERENCES audit_epoch,
  number bigint NOT NULL,
  first_seq bigint NOT NULL,
  entries bigint NOT NULL CHECK (entries > 0),
  previous bytes32 NOT NULL,
  root bytes32 NOT NULL,
  head bytes32 NOT NULL,
  sealed_at_ms bigint NOT NULL,
  digest bytes32 NOT NULL,
  signer address NOT NULL,
  signature bytea NOT NULL,
  xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  PRIMARY KEY (epoch_no, number)
);
CREATE UNIQUE INDEX audit_seal_of_entry ON audit_seal (epoch_no, first_seq);
CREATE INDEX audit_seal_xid ON audit_seal (xid, epoch_no, number);

CREATE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'check_violation', CONSTRAINT = 'audit_append_only', TABLE = TG_TABLE_NAME;
END $$;
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_epoch FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only();
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entry FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only();
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_seal FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only();

-- Entries that had to be durable at once, or were written in the transaction of what they tell. Any process moves them into its chain,
-- within about a second; the move is one transaction.
CREATE TABLE audit_outbox (
  outbox_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  kind text NOT NULL,
  subject text NOT NULL,
  rule text,
  reason text,
  policy_hash bytea,
  payer bytea,
  payee bytea,
  amount_atomic numeric(78, 0),
  data jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_outbox_subject ON audit_outbox (subject);

-- Up to here, every payment that was charged is known to have an entry.
CREATE TABLE audit_recovery (
  the_only boolean PRIMARY KEY DEFAULT true CHECK (the_only),
  xid xid8 NOT NULL,
  payment_id text NOT NULL
);
INSERT INTO audit_recovery (xid, payment_id) VALUES ('0', '');

-- What was in the ledger's own table of refusals goes where all of it is now.
INSERT INTO audit_outbox (at, kind, subject, rule, payer, payee, data)
SELECT a.at, CASE WHEN a.code = 'written_off' THEN 'payment.written_off' WHEN a.code LIKE 'stream\_%' THEN 'stream.broken' ELSE 'payment.rejected' END,
  a.payment_id, a.code, a.payer, c.receiver, a.detail || jsonb_strip_nulls(jsonb_build_object('service', a.service, 'channelId', hex0x(a.channel_id)))
FROM audit a LEFT JOIN channel c USING (channel_id) ORDER BY a.audit_id;
DROP TABLE audit;

-- What went against a payment, sealed or about to be: the part of the log that the ledger itself reads.
CREATE VIEW audit AS
  SELECT at, subject AS payment_id, rule AS code, 0::numeric AS moved_atomic, decode(substr(data->>'channelId', 3), 'hex') AS channel_id, data AS detail, reason
  FROM (
    SELECT at, subject, kind, body::jsonb->>'rule' AS rule, body::jsonb->>'reason' AS reason, coalesce(body::jsonb->'data', '{}') AS data FROM audit_entry
    UNION ALL
    SELECT at, subject, kind, rule, reason, data FROM audit_outbox) everything
  WHERE kind IN ('payment.rejected', 'payment.written_off', 'stream.broken');

ALTER TABLE chain_tx DROP CONSTRAINT chain_tx_purpose_check;
ALTER TABLE chain_tx ADD CONSTRAINT chain_tx_purpose_check CHECK (purpose IN ('deposit', 'claim', 'settle', 'refund', 'cancel', 'exact', 'fill', 'anchor'));

-- Roots over seals, shown to the chain. Seals of transactions from from_xid up to (not including) to_xid.
CREATE TABLE audit_anchor (
  day bigint PRIMARY KEY,                   -- number of the period since 1970; days, unless configured otherwise
  from_xid xid8 NOT NULL,
  to_xid xid8 NOT NULL,
  seals bigint NOT NULL CHECK (seals > 0),
  root bytes32 NOT NULL,
  contract address NOT NULL,
  tx_id bigint NOT NULL UNIQUE REFERENCES chain_tx,
  created_at timestamptz NOT NULL DEFAULT now()
);
