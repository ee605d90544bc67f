-- Who may read: challenges that were given out, each good once, and the tokens they were exchanged for. Nothing here moves money.
CREATE TABLE access_nonce (
  nonce text PRIMARY KEY CHECK (nonce ~ '^[0-9a-f]{32}$'),
  expires_at timestamptz NOT NULL
);
CREATE INDEX access_nonce_expiry ON access_nonce (expires_at);

CREATE TABLE access_token (
  token_hash bytes32 PRIMARY KEY, -- sha-256: a stolen table opens nothing
  address address NOT NULL,
  expires_at timestamptz NOT NULL
);
CREATE INDEX access_token_expiry ON access_token (expires_at);
