-- Services of the bazaar that were listed through this relayer. What the chain says wins: terms, status, version and revision here are a
-- cache of it as of chain_block. Amounts are atomic token units.

-- Metadata documents by the keccak256 of their bytes; never changed.
CREATE TABLE metadata_document (
  content_hash bytes32 PRIMARY KEY,
  body bytea NOT NULL CHECK (octet_length(body) BETWEEN 2 AND 65536),
  stored_by address NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX metadata_document_stored_by ON metadata_document (stored_by);

CREATE TABLE listing (
  service_id bytes32 PRIMARY KEY,           -- serviceIdOf (sdk/src/bazaar.ts)
  service text UNIQUE REFERENCES service,   -- the gateway's name of it
  owner address NOT NULL,                   -- who signs for it, as of registration or the follower's last look
  agent_key numeric(78, 0) NOT NULL CHECK (agent_key >= 0), -- agentId + 1 of an ERC-8004 identity, or 0
  salt bytes32 NOT NULL,

  pay_to address NOT NULL,
  token address NOT NULL,
  price_atomic atomic NOT NULL,
  capability text NOT NULL,                 -- '' where the word on chain is no tag
  categories bigint NOT NULL,
  schemes integer NOT NULL,
  visibility text NOT NULL CHECK (visibility IN ('public', 'unlisted')),
  content_hash bytes32 NOT NULL,
  uri text NOT NULL,
  terms_hash bytes32 NOT NULL,              -- of the terms above; what is not on chain yet are the terms that were proposed

  status text NOT NULL DEFAULT 'none' CHECK (status IN ('none', 'draft', 'pending_review', 'listed', 'suspended', 'delisted')),
  version integer NOT NULL DEFAULT 0,
  revision integer NOT NULL DEFAULT 0,
  chain_terms_tag bytea,                    -- the first 25 bytes of the terms' hash that the chain keeps; null: not on chain
  chain_block bigint NOT NULL DEFAULT 0,
  chain_followed boolean NOT NULL DEFAULT false,

  availability text NOT NULL DEFAULT 'online' CHECK (availability IN ('online', 'offline', 'busy')),
  available_at timestamptz,
  idempotency_key text,
  registered_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  -- Counts every change of any row: whoever keeps a copy asks for what came after.
  change bigint NOT NULL DEFAULT 0,
  CHECK (chain_terms_tag IS NULL OR octet_length(chain_terms_tag) = 25)
);
CREATE INDEX listing_owner ON listing (owner, registered_at DESC);
CREATE INDEX listing_chain_block ON listing (chain_block);
CREATE INDEX listing_by_change ON listing (change);
CREATE INDEX listing_not_followed ON listing (service_id) WHERE NOT chain_followed;
CREATE UNIQUE INDEX listing_idempotency ON listing (owner, idempotency_key) WHERE idempotency_key IS NOT NULL;

-- Every terms of a service that were proposed here or seen on chain, so that what the chain goes back to is known too.
CREATE TABLE listing_terms (
  service_id bytes32 NOT NULL REFERENCES listing,
  terms_hash bytes32 NOT NULL,
  pay_to address NOT NULL,
  token address NOT NULL,
  capability bytes32 NOT NULL,
  tag text NOT NULL,                        -- what the capability reads as; '' where it is no tag
  categories numeric(20, 0) NOT NULL,
  price_atomic atomic NOT NULL,
  schemes integer NOT NULL,
  visibility smallint NOT NULL,
  content_hash bytes32 NOT NULL,
  uri text NOT NULL,
  proposed boolean NOT NULL,                -- by the owner, signed in here: the gateway sells at these once the chain has them
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (service_id, terms_hash)
);

-- What this relayer sent for an owner, by the digest that the owner signed: it pays the gas, so they are counted.
CREATE TABLE listing_act (
  digest bytes32 PRIMARY KEY,
  service_id bytes32 NOT NULL REFERENCES listing,
  owner address NOT NULL,
  kind text NOT NULL CHECK (kind IN ('list', 'update', 'status')),
  revision integer NOT NULL,
  tx_id bigint NOT NULL REFERENCES chain_tx,
  attempts integer NOT NULL DEFAULT 1,      -- transactions that were sent for it: one that reverted cost gas too
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX listing_act_owner ON listing_act (owner, created_at);
CREATE INDEX listing_act_created ON listing_act (created_at);

CREATE SEQUENCE listing_change;
-- Copies are asked for by this number, so it must not be taken before what it numbers is committed in order: writers of one statement wait here.
CREATE FUNCTION listing_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(6100022);
  NEW.change := nextval('listing_change');
  NEW.updated_at := now();
  RETURN NEW;
END $$;
CREATE TRIGGER listing_changed BEFORE INSERT OR UPDATE ON listing FOR EACH ROW EXECUTE FUNCTION listing_changed();

-- When the registry was last read to the head, by whichever process follows it.
CREATE TABLE listing_follow (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  read_at timestamptz NOT NULL
);

ALTER TABLE chain_tx DROP CONSTRAINT chain_tx_purpose_check;
ALTER TABLE chain_tx ADD CONSTRAINT chain_tx_purpose_check CHECK (purpose IN ('deposit', 'claim', 'settle', 'refund', 'cancel', 'exact', 'fill', 'anchor', 'listing'));
