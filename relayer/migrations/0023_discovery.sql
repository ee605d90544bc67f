-- Finding a service. Everything here is a copy that search reads, or what the prober measured: nothing in it authorises money.

-- A service as search knows it: terms from the indexer (or, of what was listed here and is not indexed yet, from listing), what its metadata
-- says, and the numbers it is ranked by. Any row can be deleted and comes back.
CREATE TABLE discovery_service (
  service_id bytes32 PRIMARY KEY,
  source text NOT NULL CHECK (source IN ('indexer', 'listing')),
  service text,                             -- the gateway's name, where it is sold here
  owner address NOT NULL,
  agent_key numeric(78, 0) NOT NULL,
  pay_to address NOT NULL,
  token address NOT NULL,
  price_atomic atomic NOT NULL,
  capability text NOT NULL,                 -- '' where the word on chain is no tag
  categories numeric(20, 0) NOT NULL,
  schemes integer NOT NULL,
  visibility text NOT NULL CHECK (visibility IN ('public', 'unlisted')),
  status text NOT NULL,
  version integer NOT NULL,
  content_hash bytes32 NOT NULL,
  uri text NOT NULL,
  bond_atomic atomic NOT NULL DEFAULT 0,    -- what stands, of the registry's bond token
  rating_count integer NOT NULL DEFAULT 0,
  chain_updated_at bigint NOT NULL,         -- unix seconds of the block that last changed it
  availability text NOT NULL DEFAULT 'online',
  available_at timestamptz,

  -- From the document whose hash is content_hash; null until it was read.
  read_hash bytes32,                        -- of the document that the next columns come from
  url text,                                 -- where buyers call
  name text,
  description text,
  facts jsonb,                              -- what else of the document is shown
  max_latency_ms integer,                   -- promised
  min_uptime double precision,              -- promised, percent
  read_fault text,                          -- why it could not be read
  read_attempts integer NOT NULL DEFAULT 0,
  read_at timestamptz NOT NULL DEFAULT now(), -- when it is tried next

  -- From the indexer's scorer.
  reputation double precision,              -- 0 to 100
  reputation_detail jsonb,
  reputation_at bigint NOT NULL DEFAULT 0,

  -- From the prober (service_probe), copied so that search reads one table.
  uptime double precision,                  -- measured, percent
  p50_ms integer,
  p90_ms integer,
  p99_ms integer,
  honesty double precision,                 -- share of probes whose terms were the registry's, percent
  hidden_since timestamptz,

  blocked boolean NOT NULL DEFAULT false,   -- by the operator: the newest row of listing_block, copied with it

  quality double precision NOT NULL DEFAULT 0, -- of everything but the text: logic.ts says what goes in
  words tsvector NOT NULL DEFAULT ''::tsvector,
  updated_at timestamptz NOT NULL DEFAULT now(),
  -- What search shows; one column, so that the planner knows how many they are. The documents of the others are read too.
  shown boolean NOT NULL GENERATED ALWAYS AS (coalesce(status = 'listed' AND visibility = 'public' AND NOT blocked AND hidden_since IS NULL AND url IS NOT NULL AND read_hash::bytea = content_hash::bytea, false)) STORED
);
CREATE INDEX discovery_service_best ON discovery_service (quality DESC, service_id) WHERE shown;
CREATE INDEX discovery_service_words ON discovery_service USING gin (words) WITH (fastupdate = off);
CREATE INDEX discovery_service_capability ON discovery_service (capability, quality DESC);
CREATE INDEX discovery_service_pay_to ON discovery_service (pay_to);
CREATE INDEX discovery_service_service ON discovery_service (service) WHERE service IS NOT NULL;
CREATE INDEX discovery_service_chain ON discovery_service (chain_updated_at);
CREATE INDEX discovery_service_unread ON discovery_service (read_at) WHERE read_hash IS DISTINCT FROM content_hash;

-- Documents that were fetched from elsewhere; those stored here are in metadata_document.
CREATE TABLE discovery_document (
  content_hash bytes32 PRIMARY KEY,
  body bytea NOT NULL CHECK (octet_length(body) <= 65536),
  fetched_at timestamptz NOT NULL DEFAULT now()
);

-- How far the indexer was read; one row a kind of rows.
CREATE TABLE discovery_cursor (
  name text PRIMARY KEY,
  read_to bigint NOT NULL,                  -- unix seconds
  read_at timestamptz NOT NULL DEFAULT now()
);

-- Vectors of what services say of themselves, by model and the hash of the text: a text is sent once.
CREATE TABLE discovery_vector (
  text_hash bytes32 NOT NULL,
  model text NOT NULL,
  vector real[] NOT NULL CHECK (cardinality(vector) BETWEEN 1 AND 8192),
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (text_hash, model)
);

-- When a service is looked at next, and by whom: a lease, so that many processes do it once.
CREATE TABLE service_probe (
  service_id bytes32 PRIMARY KEY,
  due_at timestamptz NOT NULL DEFAULT now(),
  leased_until timestamptz NOT NULL DEFAULT '-infinity',
  failures integer NOT NULL DEFAULT 0,      -- in a row
  successes integer NOT NULL DEFAULT 0,     -- in a row
  hidden_since timestamptz,
  hidden_reason text,
  suspended_version integer,                -- the terms' version that the curator, this relayer, asked the registry to suspend
  canary_at timestamptz                     -- when it was last paid
);
CREATE INDEX service_probe_due ON service_probe (due_at);

CREATE TABLE probe_result (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  service_id bytes32 NOT NULL,
  kind text NOT NULL CHECK (kind IN ('terms', 'canary')),
  probed_at timestamptz NOT NULL DEFAULT now(),
  ok boolean NOT NULL,
  honest boolean,                           -- terms were the registry's; null: none were seen
  status integer,                           -- of the answer; null: none came
  latency_ms integer NOT NULL CHECK (latency_ms >= 0),
  fault text,                               -- code of what was wrong
  detail text,
  paid_atomic atomic NOT NULL DEFAULT 0
);
CREATE INDEX probe_result_service ON probe_result (service_id, probed_at DESC);
CREATE INDEX probe_result_time ON probe_result (probed_at);

-- What the canary was allowed to pay, a UTC day; reserved before anything is signed.
CREATE TABLE probe_budget (
  day date PRIMARY KEY,
  reserved_atomic atomic NOT NULL
);
