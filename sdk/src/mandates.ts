// A mandate in words of a person, and what one does with it: sign, hand on with less, revoke, allow on chain. Amounts are USDC as people
// write them or atomic units; durations are seconds or such as "30d".
import { keccak256, maxUint256, parseUnits, stringToBytes, toHex, zeroHash, type Address, type Hex } from "viem";
import { mandateRegistryAbi } from "./abi/mandate-registry.ts";
import type { ChainReader, ChainWriter } from "./agent/chain.ts";
import type { Signer } from "./agent/payments.ts";
import { TallystickError } from "./errors.ts";
import { checkLineage, checkNarrower, grantorOf, idsOf, refusingLevel, type Grant, type Lineage } from "./lineage.ts";
import { mandateIdOf, mandateRegistryDomain, mandateTypes, type Mandate } from "./mandate.ts";
import { mandateRevocationTypes } from "./mandate-messages.ts";
import { payeesRoot } from "./payees.ts";

/** Where a mandate counts. */
export type RegistryAt = { chainId: number; registry: Address };

/** `5` or `"0.25"` are USDC, a bigint is atomic units. */
export type AmountInWords = string | number | bigint;
/** Seconds, or such as `"12h"`, `"30d"`. */
export type DurationInWords = number | string;

export type MandateWishes = {
  /** The agent's address. */
  delegate: Address;
  token: Address;
  limit: AmountInWords;
  /** Of each period; together with `period`. */
  periodLimit?: AmountInWords;
  /** A day when left out and a periodLimit is given. */
  period?: DurationInWords;
  /** Of one payment, and one deposit; the limit when left out. */
  paymentLimit?: AmountInWords;
  /** Whom it may pay; anybody when left out. */
  payees?: readonly Address[];
  /** The one capability tag it may buy. */
  capability?: string;
  validFor: DurationInWords;
  /** Unix seconds; a minute ago when left out. */
  validAfter?: number;
  /** Hash of the terms in words (an AP2 mandate). */
  terms?: Hex;
};

export type RootWishes = MandateWishes & { /** The principal's epoch; read it with `epochOf`. */ epoch?: number };

/** Signs a mandate as its principal. @returns a lineage of one: what the agent is given. */
export async function createMandate(principal: Signer, at: RegistryAt, wishes: RootWishes): Promise<Lineage> {
  const mandate = mandateOf(wishes, { principal: principal.address, parent: zeroHash, epoch: wishes.epoch ?? 0 });
  return signed(principal, at, mandate, wishes.payees, []);
}

/**
 * Signs a sub-mandate as the delegate of `parent`: what is left out is as the parent has it; nothing may be wider.
 * @throws TallystickError `mandate_too_wide` that names the field; nothing is signed then.
 */
export async function delegateMandate(delegate: Signer, at: RegistryAt, parent: Lineage, wishes: Omit<MandateWishes, "token" | "limit" | "validFor"> & Partial<Pick<MandateWishes, "limit" | "validFor">>): Promise<Lineage> {
  const above = parent[0].mandate;
  const payees = wishes.payees ?? parent[0].payees;
  // From the parent's start: then their periods begin together.
  const validAfter = wishes.validAfter ?? above.validAfter;
  const mandate = mandateOf(
    {
      ...wishes, token: above.token, limit: wishes.limit ?? above.limit, validAfter,
      paymentLimit: wishes.paymentLimit ?? least(above.paymentLimit, amountInWords(wishes.limit ?? above.limit, "limit")), ...(payees === undefined ? {} : { payees }),
    },
    { principal: above.principal, parent: mandateIdOf(mandateRegistryDomain(at.chainId, at.registry), above), epoch: above.epoch, validUntil: above.validUntil },
  );
  const narrowed: Mandate = wishes.capability === undefined ? { ...mandate, capability: above.capability } : mandate;
  checkNarrower(narrowed, above);
  const foreign = (payees ?? []).find((payee) => refusingLevel(parent, payee) !== undefined);
  if (foreign !== undefined) throw new TallystickError({ code: "mandate_too_wide", status: 403, retry: "never", field: "payees", detail: `${foreign} is not among the payees of the mandate above.` });
  return signed(delegate, at, narrowed, payees, parent);
}

async function signed(grantor: Signer, at: RegistryAt, mandate: Mandate, payees: readonly Address[] | undefined, above: readonly Grant[]): Promise<Lineage> {
  const domain = mandateRegistryDomain(at.chainId, at.registry);
  const grant = (signature: Hex): Lineage => [{ mandate, signature, ...(payees === undefined ? {} : { payees }) }, ...above];
  const draft = grant("0x");
  checkLineage(domain, draft);
  const wanted = grantorOf(draft, 0);
  if (wanted.toLowerCase() !== grantor.address.toLowerCase()) throw new TallystickError({ code: "mandate_invalid", status: 403, retry: "never", field: "grantor", detail: `The mandate is granted by ${wanted}, not by ${grantor.address}.` });
  return grant(await grantor.signTypedData({ domain, types: mandateTypes, primaryType: "Mandate", message: mandate }));
}

/** The chain's clock may be a little behind ours. */
const CLOCK_SLACK_S = 60;

function mandateOf(wishes: Omit<MandateWishes, "validFor"> & { validFor?: DurationInWords }, fixed: Pick<Mandate, "principal" | "parent" | "epoch"> & { validUntil?: number }): Mandate {
  const limit = amountInWords(wishes.limit, "limit");
  const nowS = Math.floor(Date.now() / 1_000);
  const validAfter = wishes.validAfter ?? nowS - CLOCK_SLACK_S;
  const validUntil = wishes.validFor === undefined ? fixed.validUntil! : Math.max(nowS, wishes.validAfter ?? nowS) + secondsInWords(wishes.validFor, "validFor");
  const periodLimit = wishes.periodLimit === undefined ? 0n : amountInWords(wishes.periodLimit, "periodLimit");
  return {
    ...fixed, delegate: wishes.delegate, token: wishes.token, limit, periodLimit,
    paymentLimit: wishes.paymentLimit === undefined ? limit : amountInWords(wishes.paymentLimit, "paymentLimit"),
    period: periodLimit === 0n ? 0 : secondsInWords(wishes.period ?? "1d", "period"),
    validAfter, validUntil,
    payeesRoot: wishes.payees === undefined ? zeroHash : payeesRoot(wishes.payees),
    capability: wishes.capability === undefined ? zeroHash : capabilityHash(wishes.capability),
    terms: wishes.terms ?? zeroHash, salt: toHex(crypto.getRandomValues(new Uint8Array(32))),
  };
}

/** What a mandate's `capability` holds. */
export const capabilityHash = (tag: string): Hex => keccak256(stringToBytes(tag));

const least = (a: bigint, b: bigint): bigint => (a < b ? a : b);

const DECIMALS = 6; // of USDC, on every chain we know

/** @throws TallystickError `mandate_malformed`. */
export function amountInWords(amount: AmountInWords, field: string): bigint {
  if (typeof amount === "bigint" && amount >= 0n && amount < 1n << 128n) return amount;
  const text = String(amount).replace(/\s*USDC$/i, "");
  if (typeof amount === "bigint" || !/^\d{1,30}(\.\d{1,6})?$/.test(text)) throw unclear(field, `is no amount in USDC such as 5 or 0.25: ${amount}`);
  return parseUnits(text, DECIMALS);
}

const UNITS: Record<string, number> = { s: 1, m: 60, h: 3_600, d: 86_400, w: 604_800 };

/** @throws TallystickError `mandate_malformed`. */
export function secondsInWords(duration: DurationInWords, field: string): number {
  const [, count, unit = "s"] = /^(\d{1,12})\s*([smhdw])?$/.exec(String(duration)) ?? [];
  const seconds = count === undefined ? 0 : Number(count) * UNITS[unit]!;
  if (seconds > 0 && Number.isSafeInteger(seconds)) return seconds;
  throw unclear(field, `is no duration such as 12h or 30d: ${duration}`);
}

function unclear(field: string, why: string): TallystickError {
  return new TallystickError({ code: "mandate_malformed", status: 400, retry: "never", field, detail: `${field} ${why}.` });
}

// ------------------------------------------------------------------ on chain

/** The principal's epoch: what a new mandate has to name. */
export async function epochOf(reader: ChainReader, { registry }: Pick<RegistryAt, "registry">, principal: Address): Promise<number> {
  return reader.readContract({ address: registry, abi: mandateRegistryAbi, functionName: "epochs", args: [principal] });
}

/** What a revoker (the principal, or the parent's delegate) signs so that anybody may send it. It never expires. */
export function signRevocation(revoker: Signer, at: RegistryAt, lineage: Lineage): Promise<Hex> {
  const domain = mandateRegistryDomain(at.chainId, at.registry);
  const [mandateId] = idsOf(domain, lineage);
  return revoker.signTypedData({ domain, types: mandateRevocationTypes, primaryType: "MandateRevocation", message: { mandateId: mandateId! } });
}

/** Puts a mandate on the chain, which saves its signature in each deposit. The sender must be its grantor. */
export function approveMandate(writer: ChainWriter, reader: ChainReader, at: RegistryAt, lineage: Lineage): Promise<Hex> {
  return sent(writer, reader, { address: at.registry, abi: mandateRegistryAbi, functionName: "approve", args: [mandatesOf(lineage)] });
}

/** Ends a mandate and all below it, on chain, for ever. The sender is the principal or the parent's delegate. */
export function revokeMandate(writer: ChainWriter, reader: ChainReader, at: RegistryAt, lineage: Lineage): Promise<Hex> {
  return sent(writer, reader, { address: at.registry, abi: mandateRegistryAbi, functionName: "revoke", args: [mandatesOf(lineage)] });
}

/** Ends every mandate of the sender's. */
export function bumpEpoch(writer: ChainWriter, reader: ChainReader, at: RegistryAt): Promise<Hex> {
  return sent(writer, reader, { address: at.registry, abi: mandateRegistryAbi, functionName: "bumpEpoch", args: [] });
}

const approveAbi = [{ type: "function", name: "approve", stateMutability: "nonpayable", inputs: [{ name: "spender", type: "address" }, { name: "amount", type: "uint256" }], outputs: [{ name: "", type: "bool" }] }] as const;

/** Lets the registry move the principal's tokens, within mandates alone; once. */
export function allowRegistry(writer: ChainWriter, reader: ChainReader, at: RegistryAt, token: Address, amount: bigint = maxUint256): Promise<Hex> {
  return sent(writer, reader, { address: token, abi: approveAbi, functionName: "approve", args: [at.registry, amount] });
}

const mandatesOf = (lineage: Lineage): Mandate[] => lineage.map(({ mandate }) => mandate);

async function sent(writer: ChainWriter, reader: ChainReader, call: { address: Address; abi: readonly unknown[]; functionName: string; args: readonly unknown[] }): Promise<Hex> {
  const hash = await writer.writeContract({ ...call, account: writer.account, chain: writer.chain } as never);
  const { status } = await reader.waitForTransactionReceipt({ hash });
  if (status === "success") return hash;
  throw new TallystickError({ code: "transaction_reverted", status: 502, retry: "never", detail: `${call.functionName} was refused by the chain in ${hash}.`, extra: { txHash: hash } });
}
