// What the load client is asked to do, and what it says of it.
import type { Hex } from "viem";
import type { ChannelConfig } from "../../sdk/src/typed-data.ts";

export type LoadChannel = {
  config: ChannelConfig;
  channelId: Hex;
  /** Signs its vouchers: the payerAuthorizer's. */
  key: Hex;
  /** What its vouchers have come to so far, atomic units; the next one signs this and the price. */
  signed: bigint;
};

export type Job = {
  /** Origins; requests go round them, so that every process serves every channel. */
  origins: string[];
  /** Path without query; the number of the request follows. */
  path: string;
  /** Member of `accepts` in the server's 402; undefined asks without paying. */
  terms: Record<string, unknown> | undefined;
  /** Atomic units a request. */
  price: bigint;
  channels: LoadChannel[];
  inFlight: number;
  /** Before the clock starts. */
  warmUp: number;
  requests: number;
  /** Stops asking after so long, even when not all is asked. */
  atMostS: number;
  /** Every request asks for our receipt. */
  receiptEach: boolean;
  /** How many of them the SDK checks, after the clock. */
  receipts: number;
};

export type Measured = {
  requests: number;
  seconds: number;
  rps: number;
  p50Ms: number;
  p99Ms: number;
  maxMs: number;
  /** Of the load client itself, so that it is seen not to be the limit. */
  clientCpuMsPerRequest: number;
};

/** The highest voucher that was answered, by channel. */
export type Signed = Map<Hex, bigint>;

export type Finished = { receiptsChecked: number; signed: Signed };
