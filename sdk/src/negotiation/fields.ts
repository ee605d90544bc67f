// How the fields of what is negotiated are written in JSON, held in code and signed (EIP-712). One description of each message makes all three.
import { getAddress, isAddress, type Address, type Hex } from "viem";
import { formatAmount, malformedField, parseAmount, parsePercent } from "./decimal.ts";

/** What an answer has to keep to; 0: nothing is promised or asked. Percent with at most two decimals. */
export type Sla = { maxLatencyMs: number; minUptimePercent: number };
/** Share of a call's price that is credited when the SLA is missed, basis points: of a late answer, and of a failed call below the uptime. */
export type RefundPolicy = { latencyCreditBps: number; failureCreditBps: number };
/** From the `minCalls`-th call of a session on a call costs `pricePerRequest` (atomic units). */
export type VolumeTier = { minCalls: number; pricePerRequest: bigint };

export const MOST_TIERS = 8;
export const MOST_CALLS = 1_000_000_000;
const LONGEST_LATENCY_MS = 86_400_000;
const LATEST = 253_402_300_799; // the year 9999, unix seconds

export type Kind = "bytes32" | "address" | "name" | "price" | "time" | "seconds" | "calls" | "round" | "sla" | "refundPolicy" | "tiers";
export type Spec = readonly (readonly [name: string, kind: Kind])[];

const SIGNED_AS: Record<Kind, string> = {
  bytes32: "bytes32", address: "address", name: "string", price: "uint128", time: "uint64", seconds: "uint32", calls: "uint64", round: "uint8", sla: "SLA", refundPolicy: "RefundPolicy", tiers: "VolumeTier[]",
};
/** minUptimePercent is signed in hundredths of a percent, prices in atomic units. */
const STRUCTS = {
  sla: { SLA: [{ name: "maxLatencyMs", type: "uint64" }, { name: "minUptimePercent", type: "uint16" }] },
  refundPolicy: { RefundPolicy: [{ name: "latencyCreditBps", type: "uint16" }, { name: "failureCreditBps", type: "uint16" }] },
  tiers: { VolumeTier: [{ name: "minCalls", type: "uint64" }, { name: "pricePerRequest", type: "uint128" }] },
} as const;

export type SignedTypes = Record<string, readonly { name: string; type: string }[]>;

export function signedTypes(primaryType: string, spec: Spec): SignedTypes {
  const structs = spec.map(([, kind]) => (kind in STRUCTS ? STRUCTS[kind as keyof typeof STRUCTS] : {}));
  return Object.assign({ [primaryType]: spec.map(([name, kind]) => ({ name, type: SIGNED_AS[kind] })) }, ...structs) as SignedTypes;
}

/** The message as it is hashed. */
export function signedForm(spec: Spec, value: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(spec.map(([name, kind]) => [name, kind === "sla" ? signedSla(value[name] as Sla, name) : value[name]]));
}

const signedSla = ({ maxLatencyMs, minUptimePercent }: Sla, field: string) => ({ maxLatencyMs, minUptimePercent: parsePercent(minUptimePercent, `${field}.minUptimePercent`) });

/** The message as it is written in JSON. */
export function toJson(spec: Spec, value: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(spec.map(([name, kind]) => [name, wireOf(kind, value[name])]));
}

function wireOf(kind: Kind, value: unknown): unknown {
  if (kind === "price") return formatAmount(value as bigint);
  if (kind === "tiers") return (value as VolumeTier[]).map(({ minCalls, pricePerRequest }) => ({ minCalls, pricePerRequest: formatAmount(pricePerRequest) }));
  return value;
}

/** @throws TallystickError `negotiation_malformed` that names the field; fields that are not in the description are refused too. */
export function fromJson(spec: Spec, json: unknown, of: string): Record<string, unknown> {
  const fields = objectOf(json, of);
  const extra = Object.keys(fields).find((name) => !spec.some(([known]) => known === name));
  if (extra !== undefined) throw malformedField(`${of}.${extra}`, "is no field of it");
  return Object.fromEntries(spec.map(([name, kind]) => [name, READ[kind](fields[name], `${of}.${name}`)]));
}

const READ: Record<Kind, (value: unknown, field: string) => unknown> = {
  bytes32: (value, field) => {
    if (typeof value !== "string" || !/^0x[0-9a-fA-F]{64}$/.test(value)) throw malformedField(field, "is not 32 bytes of hex");
    return value.toLowerCase() as Hex;
  },
  address: (value, field): Address => {
    if (typeof value !== "string" || !isAddress(value, { strict: false })) throw malformedField(field, "is not an address");
    return getAddress(value);
  },
  name: (value, field) => {
    if (typeof value !== "string" || !/^(?:[a-z0-9][a-z0-9._-]{0,62})?$/.test(value)) throw malformedField(field, "has lower-case letters, digits, dots and dashes, at most 63");
    return value;
  },
  price: parseAmount,
  time: (value, field) => whole(value, field, 1, LATEST),
  seconds: (value, field) => whole(value, field, 1, 31_536_000),
  calls: (value, field) => whole(value, field, 1, MOST_CALLS),
  round: (value, field) => whole(value, field, 0, 255),
  sla: (value, field): Sla => {
    const { maxLatencyMs, minUptimePercent } = only(value, field, ["maxLatencyMs", "minUptimePercent"]);
    parsePercent(minUptimePercent, `${field}.minUptimePercent`);
    return { maxLatencyMs: whole(maxLatencyMs, `${field}.maxLatencyMs`, 0, LONGEST_LATENCY_MS), minUptimePercent: minUptimePercent as number };
  },
  refundPolicy: (value, field): RefundPolicy => {
    const { latencyCreditBps, failureCreditBps } = only(value, field, ["latencyCreditBps", "failureCreditBps"]);
    return { latencyCreditBps: whole(latencyCreditBps, `${field}.latencyCreditBps`, 0, 10_000), failureCreditBps: whole(failureCreditBps, `${field}.failureCreditBps`, 0, 10_000) };
  },
  tiers: (value, field): VolumeTier[] => {
    if (!Array.isArray(value) || value.length > MOST_TIERS) throw malformedField(field, `is a list of at most ${MOST_TIERS} tiers`);
    const tiers = value.map((one, index) => {
      const { minCalls, pricePerRequest } = only(one, `${field}.${index}`, ["minCalls", "pricePerRequest"]);
      return { minCalls: whole(minCalls, `${field}.${index}.minCalls`, 2, MOST_CALLS), pricePerRequest: parseAmount(pricePerRequest, `${field}.${index}.pricePerRequest`) };
    });
    for (const [index, tier] of tiers.entries()) {
      const before = tiers[index - 1];
      if (before !== undefined && (tier.minCalls <= before.minCalls || tier.pricePerRequest >= before.pricePerRequest)) throw malformedField(`${field}.${index}`, "must begin later and cost less than the tier before it");
    }
    return tiers;
  },
};

function whole(value: unknown, field: string, least: number, most: number): number {
  if (Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most) return value as number;
  throw malformedField(field, `is a whole number from ${least} to ${most}`);
}

function objectOf(value: unknown, field: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw malformedField(field, "is not an object");
  return value as Record<string, unknown>;
}

function only(value: unknown, field: string, names: readonly string[]): Record<string, unknown> {
  const fields = objectOf(value, field);
  const extra = Object.keys(fields).find((name) => !names.includes(name));
  if (extra !== undefined) throw malformedField(`${field}.${extra}`, "is no field of it");
  return fields;
}
