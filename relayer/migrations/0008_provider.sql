-- Services that their owners list themselves, sales made by a provider's own server, and the export of vouchers to receivers.

ALTER TABLE service
  ADD COLUMN owner address,                 -- who may change it; null: the relayer's configuration
  ADD COLUMN url text,                      -- self-hosted: where the provider's own server sells it
  ADD COLUMN removed_at timestamptz,        -- off sale; the name stays its owner's, so that nobody inherits its buyers
  ALTER COLUMN origin DROP NOT NULL,
  ADD CONSTRAINT service_origin_or_url CHECK ((origin IS NULL) <> (url IS NULL)),
  ADD CONSTRAINT service_self_hosted_has_owner CHECK (url IS NULL OR owner IS NOT NULL);
CREATE INDEX service_owner ON service (owner) WHERE owner IS NOT NULL;

-- A payment that a provider's own server took: only its owner may charge or release it.
CREATE TABLE sale (
  payment_id text PRIMARY KEY REFERENCES payment ON DELETE CASCADE,
  owner address NOT NULL,
  take_key text,                            -- Idempotency-Key of the request that took it
  at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX sale_take_key ON sale (owner, take_key) WHERE take_key IS NOT NULL;

-- The transaction that last changed what a receiver may claim. Readers of the export go by it, see capabilities/export/README.md.
ALTER TABLE channel ADD COLUMN changed_xid xid8 NOT NULL DEFAULT pg_current_xact_id();
CREATE INDEX channel_changed ON channel (receiver, changed_xid, channel_id);

CREATE FUNCTION channel_claimable_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.changed_xid := pg_current_xact_id();
  RETURN NEW;
END $$;
CREATE TRIGGER channel_claimable_changed BEFORE UPDATE ON channel FOR EACH ROW
  WHEN (NEW.charged <> OLD.charged OR NEW.signed_ceiling <> OLD.signed_ceiling) EXECUTE FUNCTION channel_claimable_changed();
