// What an agent has to remember between runs: its channels, what it signed on them, and what it spent. Amounts are decimal strings.
import type { Address, Hex } from "viem";
import type { ChannelConfig } from "../typed-data.ts";
import type { SpendRecord } from "./limits.ts";

export type ChannelRecord = {
  channelId: Hex;
  chainId: number;
  contract: Address;
  config: ChannelConfig;
  /** Origin and scope that this channel pays. */
  origin: string;
  scope: string;
  /** Highest ceiling signed: what the seller can claim at most. */
  signed: bigint;
  /** What the seller says it charged, cumulative. */
  charged: bigint;
  /** Confirmed on chain, as last told or read. */
  balance: bigint;
};

export type AgentRecord = { version: 1; channels: ChannelRecord[]; spent: SpendRecord };

/** Keeps one text; `save` must be atomic: a reader never sees half of it. */
export type AgentStorage = {
  load(): Promise<string | undefined>;
  save(text: string): Promise<void>;
};

/** Forgets with the process. The spend limits `total` and `perHour` start anew with it. */
export function memoryStorage(): AgentStorage {
  let kept: string | undefined;
  return {
    load: async () => kept,
    save: async (text) => void (kept = text),
  };
}

/** Keeps the record in a browser's localStorage (or anything of its shape) under `key`. */
export function webStorage(storage: Pick<Storage, "getItem" | "setItem">, key = "tallystick-agent"): AgentStorage {
  return {
    load: async () => storage.getItem(key) ?? undefined,
    save: async (text) => storage.setItem(key, text),
  };
}

export function encodeRecord(record: AgentRecord): string {
  return JSON.stringify(record, (_name, value: unknown) => (typeof value === "bigint" ? value.toString() : value));
}

/** @throws SyntaxError or TypeError for a record that is none: an agent must not start over with its limits forgotten. */
export function decodeRecord(text: string | undefined): AgentRecord {
  if (text === undefined) return { version: 1, channels: [], spent: { total: 0n, recent: [] } };
  const { version, channels, spent } = JSON.parse(text) as { version: number; channels: Record<string, unknown>[]; spent: { total: string; recent: { atMs: number; amount: string }[] } };
  if (version !== 1) throw new TypeError(`the agent's record has version ${version}, this SDK reads 1`);
  return {
    version,
    channels: channels.map((channel) => ({ ...channel, signed: BigInt(channel["signed"] as string), charged: BigInt(channel["charged"] as string), balance: BigInt(channel["balance"] as string) }) as ChannelRecord),
    spent: { total: BigInt(spent.total), recent: spent.recent.map(({ atMs, amount }) => ({ atMs, amount: BigInt(amount) })) },
  };
}
