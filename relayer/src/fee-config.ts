// The part of the configuration that says what the relayer takes of its providers' sales.
import { getAddress, isAddress, type Address, type Hex } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { SESSION_CHANNELS } from "../../sdk/src/constants.ts";

export type FeeConfig = {
  /** Hundredths of a percent of what is charged; of everybody without terms of their own. */
  bps: number;
  overrides: { receiver: Address; bps: number }[];
  /** Who invoices are paid to. */
  receiver: Address;
  invoicePeriod: "day" | "month";
  /** An invoice is issued before its period is over when it comes to this, atomic units; 0 is never. */
  invoiceThreshold: bigint;
  dueS: number;
  /** Services of a receiver are paused when its invoice is overdue for so long; undefined is never. */
  graceS: number | undefined;
};

const MAX_FEE_BPS = 1_000;
const LONGEST_S = 31_536_000;

export const FEE_KEYS = [
  { name: "RELAYER_FEE_BPS", about: "the relayer's fee of what is charged, hundredths of a percent, at most 1000; invoiced to the receivers", fallback: "0" },
  { name: "RELAYER_FEES", about: "fees of single receivers: address:bps pairs, comma separated", fallback: "" },
  { name: "RELAYER_FEE_RECEIVER", about: "whom fees are paid to; the first address that pays gas when left out", fallback: "" },
  { name: "RELAYER_INVOICE_PERIOD", about: "day or month (UTC)", fallback: "month" },
  { name: "RELAYER_INVOICE_THRESHOLD", about: "an invoice is issued early when it comes to this, atomic units; 0 is never", fallback: "10000000" },
  { name: "RELAYER_INVOICE_DUE_S", about: "time to pay an invoice", fallback: "1209600" },
  { name: "RELAYER_FEE_GRACE_S", about: "a receiver's services are paused when an invoice is overdue for so long; never when left out", fallback: "" },
];

/** How config.ts reads a key: mistakes are collected there. */
export type Read = {
  parse: <T>(name: string, read: (value: string) => T | undefined, expected: string, fallback: T) => T;
  integer: (name: string, min: number, max: number) => number;
};

/** @param submitterKeys may be empty or wrong: that is a mistake of its own, and told as such. */
export function readFeeConfig({ parse, integer }: Read, submitterKeys: readonly Hex[]): FeeConfig {
  return {
    bps: integer("RELAYER_FEE_BPS", 0, MAX_FEE_BPS),
    overrides: parse("RELAYER_FEES", readFees, `address:bps pairs, comma separated, each address once, at most ${MAX_FEE_BPS}`, []),
    receiver: parse("RELAYER_FEE_RECEIVER", (value) => (value === "" ? addressOf(submitterKeys[0]) : readAddress(value)), "a 20-byte address", SESSION_CHANNELS),
    invoicePeriod: parse("RELAYER_INVOICE_PERIOD", (value) => (value === "day" || value === "month" ? value : undefined), "day or month", "month"),
    invoiceThreshold: parse("RELAYER_INVOICE_THRESHOLD", (value) => (/^\d{1,38}$/.test(value) ? BigInt(value) : undefined), "atomic units", 0n),
    dueS: integer("RELAYER_INVOICE_DUE_S", 0, LONGEST_S),
    graceS: parse("RELAYER_FEE_GRACE_S", readGrace, `a whole number from 0 to ${LONGEST_S}, or nothing`, { s: undefined }).s,
  };
}

function readGrace(value: string): { s: number | undefined } | undefined {
  if (value === "") return { s: undefined };
  return /^\d{1,8}$/.test(value) && Number(value) <= LONGEST_S ? { s: Number(value) } : undefined;
}

function readFees(value: string): FeeConfig["overrides"] | undefined {
  const pairs = value === "" ? [] : value.split(",").map((pair) => /^(0x[0-9a-fA-F]{40}):(\d{1,4})$/.exec(pair.trim()));
  const fees = pairs.flatMap((pair) => (pair === null ? [] : [{ receiver: getAddress(pair[1]!.toLowerCase()), bps: Number(pair[2]) }]));
  const sound = fees.length === pairs.length && fees.every(({ bps }) => bps <= MAX_FEE_BPS) && new Set(fees.map(({ receiver }) => receiver)).size === fees.length;
  return sound ? fees : undefined;
}

const readAddress = (value: string): Address | undefined => (isAddress(value, { strict: false }) ? getAddress(value) : undefined);
const addressOf = (key: Hex | undefined): Address => (key === undefined ? SESSION_CHANNELS : privateKeyToAccount(key).address);
