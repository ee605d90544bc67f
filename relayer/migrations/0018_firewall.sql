-- The firewall: policies of owners, who decided about payments that had to wait for a person, and what was refused.

-- One counter for all policies. Every process asks it several times a second; whoever cannot takes no payment that a policy is about.
CREATE TABLE firewall_epoch (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  epoch bigint NOT NULL
);
INSERT INTO firewall_epoch (epoch) VALUES (0);

-- Every version that was ever in force. Owner and name are a policy's identity; the highest version is in force.
CREATE TABLE firewall_policy (
  owner address NOT NULL,
  name text NOT NULL,
  version integer NOT NULL CHECK (version > 0),
  policy_hash bytes32 NOT NULL,
  policy text NOT NULL,                     -- canonical JSON: what was hashed and signed
  signature bytea NOT NULL,
  epoch bigint NOT NULL,                    -- of the change that brought it
  applied_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (owner, name, version)
);
CREATE INDEX firewall_policy_epoch ON firewall_policy (epoch);

CREATE FUNCTION firewall_policy_is_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'an applied policy never changes' USING ERRCODE = 'check_violation', CONSTRAINT = 'firewall_policy_is_final';
END $$;
CREATE TRIGGER firewall_policy_is_final BEFORE UPDATE OR DELETE ON firewall_policy FOR EACH ROW EXECUTE FUNCTION firewall_policy_is_final();

-- A payment that waits for a person, by its own identity: a decision is good for it and for no other.
CREATE TABLE firewall_approval (
  approval_id text PRIMARY KEY,
  payment_key bytes32 NOT NULL,
  policy_hash bytes32 NOT NULL,
  owner address NOT NULL,
  policy_name text NOT NULL,
  approvers bytea[] NOT NULL,
  payer address NOT NULL,
  payee address NOT NULL,
  service text NOT NULL,
  resource text NOT NULL,
  amount_atomic atomic NOT NULL,
  payment_id text NOT NULL,                 -- of the attempt that asked
  state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'granted', 'refused')),
  decided_by address,
  signature bytea,
  asked_at timestamptz NOT NULL DEFAULT now(),
  decided_at timestamptz,
  expires_at timestamptz NOT NULL,
  UNIQUE (payment_key, policy_hash),
  CHECK ((state = 'pending') = (decided_by IS NULL)),
  CHECK ((decided_by IS NULL) = (signature IS NULL))
);
CREATE INDEX firewall_approval_payer ON firewall_approval (payer, expires_at);
CREATE INDEX firewall_approval_owner ON firewall_approval (owner, asked_at);
CREATE INDEX firewall_approval_approvers ON firewall_approval USING gin (approvers);

-- What the firewall did. One row an attempt, policy and outcome: the same attempt refused again is counted, not written again.
CREATE TABLE firewall_event (
  event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  kind text NOT NULL,                       -- payment.rejected, payment.pending, payment.approved, policy.applied, kill.set, kill.lifted, approval.granted, approval.refused
  rule text NOT NULL,
  reason text NOT NULL,
  payment_key bytes32,
  payment_id text,
  channel_id bytes32,
  scheme text,
  payer address,
  payee address,
  registered_payee address,
  service text,
  service_owner address,
  resource text,
  price_atomic atomic,
  listed_atomic atomic,
  policy_owner address NOT NULL,
  policy_name text NOT NULL,
  policy_version integer NOT NULL,
  policy_hash bytes32 NOT NULL,
  parties bytea[] NOT NULL,                 -- who may read it
  repeated bigint NOT NULL DEFAULT 0,
  last_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE UNIQUE INDEX firewall_event_once ON firewall_event (payment_id, payment_key, policy_hash, kind, rule) WHERE payment_key IS NOT NULL;
CREATE INDEX firewall_event_parties ON firewall_event USING gin (parties);
CREATE INDEX firewall_event_payment ON firewall_event (payment_id) WHERE payment_id IS NOT NULL;
CREATE INDEX firewall_event_at ON firewall_event (at);

CREATE FUNCTION firewall_event_told() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO event (kind, parties, data) VALUES ('firewall.' || NEW.kind, NEW.parties,
    jsonb_strip_nulls(jsonb_build_object('eventId', NEW.event_id::text, 'rule', NEW.rule, 'reason', NEW.reason, 'paymentId', NEW.payment_id, 'sessionId', hex0x(NEW.channel_id), 'scheme', NEW.scheme,
      'payer', hex0x(NEW.payer), 'payee', hex0x(NEW.payee), 'service', NEW.service, 'priceAtomic', NEW.price_atomic::text,
      'policy', jsonb_build_object('owner', hex0x(NEW.policy_owner), 'name', NEW.policy_name, 'version', NEW.policy_version, 'hash', hex0x(NEW.policy_hash)))));
  RETURN NULL;
END $$;
CREATE TRIGGER firewall_event_told AFTER INSERT ON firewall_event FOR EACH ROW EXECUTE FUNCTION firewall_event_told();

-- Action contracts that were answered: the same key gets the same answer.
CREATE TABLE firewall_action (
  caller address NOT NULL,
  idempotency_key text NOT NULL,
  content_hash bytes32 NOT NULL,
  answer jsonb NOT NULL,
  at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (caller, idempotency_key)
);
CREATE INDEX firewall_action_at ON firewall_action (at);
