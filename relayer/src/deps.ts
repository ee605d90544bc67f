// What every service of the relayer is given. Built once by main (and by tests), never global.
import type { Chain } from "./chain/client.ts";
import type { Keyring } from "./chain/keyring.ts";
import type { Submitter } from "./chain/submitter.ts";
import type { AuditWriter } from "./capabilities/audit/writer.ts";
import type { LedgerGroups } from "./capabilities/ledger/groups.ts";
import type { Reached } from "./commit-points.ts";
import type { Config } from "./config.ts";
import type { Vault } from "./crypto/vault.ts";
import type { Db } from "./db/pool.ts";
import type { Outbound } from "./http/outbound.ts";
import type { Log } from "./telemetry/log.ts";
import type { Metrics } from "./telemetry/metrics.ts";

export type Deps = {
  config: Config;
  db: Db;
  chain: Chain;
  /** The ledger's writes, many to a commit. */
  groups: LedgerGroups;
  /** Seals answers at rest. */
  vault: Vault;
  /** Where approvals, refusals and decisions are written down. */
  audit: AuditWriter;
  keyring: Keyring;
  /** The only part that sends transactions. */
  submitter: Submitter;
  /** The only HTTP client for addresses that others chose. */
  outbound: Outbound;
  log: Log;
  metrics: Metrics;
  now: () => Date;
  /** Called right after each durable step; does nothing but in the chaos run. */
  reached: Reached;
  /** When the follower last read the chain to its end, or undefined before the first time. */
  chainReadAt: () => Date | undefined;
};
