// What a guard keeps, as an interface: a journal file (journal-node.ts) or a relayer's Postgres. Who implements it promises that what
// `transact` decided is durable when it returns, and that nobody else changed those accounts meanwhile.
import type { Address, Hex } from "viem";
import type { Lineage } from "../lineage.ts";
import type { ChannelConfig } from "../typed-data.ts";
import type { Accounts, ChannelAccount, MandateAccount } from "./logic.ts";

export type Scope = {
  /** Of the lineage, the mandate's own first. */
  ids: readonly Hex[];
  channelId: Hex;
  config: ChannelConfig;
  /** Of the requests: those answered before are told to `decide`. */
  digests: readonly Hex[];
  nowS: number;
};

export type Change = {
  channel: ChannelAccount;
  mandates: readonly MandateAccount[];
  /** What was answered, with the last second in which it may be asked again. */
  answered: readonly { digest: Hex; expiresAt: number; ceiling: bigint; price: bigint; url: string }[];
};

export type RefusalEntry = { mandateId: Hex; principal: Address; channelId: Hex; url: string; method: string; payTo: Address; priceAtomic: string; ceilingAtomic: string; code: string; rule: string; reason: string };

export type ChannelRecord = ChannelAccount & { channelId: Hex; config: ChannelConfig };

/** Where a refusal is written down. */
export type AuditRow = { seq: number; hash: Hex };

export type GuardStore = {
  /** Random, made with the store: part of every voucher key, so that a guard that lost its accounts cannot go on signing on its old channels. */
  readonly instance: Hex;
  addLineage(id: Hex, lineage: Lineage): Promise<void>;
  lineageOf(id: Hex): Promise<Lineage | undefined>;
  mandateIds(): Promise<Hex[]>;
  accounts(ids: readonly Hex[]): Promise<MandateAccount[]>;
  channels(mandateId: Hex): Promise<ChannelRecord[]>;
  transact<T>(scope: Scope, decide: (accounts: Accounts, answered: ReadonlySet<Hex>) => { outcome: T; change: Change | undefined }): Promise<T>;
  recordRefusal(entry: RefusalEntry, nowS: number): Promise<AuditRow | undefined>;
  close(): Promise<void>;
};
