// A lineage: a mandate, its parent, and so on up to the root that the principal granted, each with its grantor's signature. What an agent
// shows to whoever is asked to pay under it. Pure; the contract keeps the same rules (IMandateRegistry).
import { isAddress, isAddressEqual, isHex, recoverTypedDataAddress, size, zeroHash, type Address, type Hex } from "viem";
import { TallystickError } from "./errors.ts";
import { isRoot, mandateIdOf, mandateTypes, type Mandate, type MandateRegistryDomain } from "./mandate.ts";
import { payeesRoot } from "./payees.ts";

/** Mandates above one; a root has none. */
export const MAX_DEPTH = 8;

export type Grant = {
  mandate: Mandate;
  /** The grantor's, over the mandate: the principal's of a root, else of the parent's delegate. */
  signature: Hex;
  /** The payees behind `payeesRoot`; left out where that is zero. */
  payees?: readonly Address[];
};

/** The mandate itself first, its root last. */
export type Lineage = readonly [Grant, ...Grant[]];

/** Who has to sign `lineage[index]`. */
export function grantorOf(lineage: Lineage, index: number): Address {
  return lineage[index + 1]?.mandate.delegate ?? lineage[index]!.mandate.principal;
}

export const idsOf = (domain: MandateRegistryDomain, lineage: Lineage): Hex[] => lineage.map(({ mandate }) => mandateIdOf(domain, mandate));

/**
 * Terms and structure: each names the next as its parent and is no wider; payees are those of the root hash.
 * @throws TallystickError `mandate_invalid`, `mandate_too_wide`, `mandate_too_deep`.
 */
export function checkLineage(domain: MandateRegistryDomain, lineage: Lineage): void {
  if (lineage.length > MAX_DEPTH + 1) throw fault("mandate_too_deep", `There are ${lineage.length - 1} mandates above it, ${MAX_DEPTH} at most`, "lineage");
  lineage.forEach(({ mandate, payees }, index) => {
    checkTerms(mandate, `lineage[${index}].mandate`);
    checkPayees(mandate, payees, `lineage[${index}].payees`);
    const parent = lineage[index + 1]?.mandate;
    if (parent === undefined) {
      if (!isRoot(mandate)) throw fault("mandate_invalid", "The last mandate of a lineage must be a root", `lineage[${index}].mandate.parent`);
      return;
    }
    if (mandate.parent.toLowerCase() !== mandateIdOf(domain, parent)) throw fault("mandate_invalid", "A mandate does not name the next one as its parent", `lineage[${index}].mandate.parent`);
    checkNarrower(mandate, parent, `lineage[${index}].mandate`);
  });
}

function checkTerms(mandate: Mandate, at: string): void {
  const wrong = (field: keyof Mandate, why: string) => fault("mandate_invalid", `${field} ${why}`, `${at}.${field}`);
  if (mandate.limit <= 0n) throw wrong("limit", "must be more than 0");
  if (mandate.paymentLimit <= 0n) throw wrong("paymentLimit", "must be more than 0");
  if ((mandate.period === 0) !== (mandate.periodLimit === 0n)) throw wrong("periodLimit", "and period go together");
  if (mandate.validUntil < mandate.validAfter) throw wrong("validUntil", "is before validAfter");
}

function checkPayees({ payeesRoot: root }: Mandate, payees: readonly Address[] | undefined, at: string): void {
  if (root === zeroHash && payees === undefined) return;
  if (payees === undefined || payees.length === 0 || payeesRoot(payees) !== root) throw fault("mandate_invalid", "The payees are not those of payeesRoot", at);
}

/** @throws TallystickError `mandate_too_wide` that names the field. Every ancestor is charged too, so periods of its own can only narrow. */
export function checkNarrower(mandate: Mandate, parent: Mandate, at = "mandate"): void {
  const wider = (field: keyof Mandate) => fault("mandate_too_wide", `${field} is ${mandate[field]}, the parent has ${parent[field]}`, `${at}.${field}`);
  if (!isAddressEqual(mandate.principal, parent.principal)) throw wider("principal");
  if (!isAddressEqual(mandate.token, parent.token)) throw wider("token");
  if (mandate.limit > parent.limit) throw wider("limit");
  if (mandate.paymentLimit > parent.paymentLimit) throw wider("paymentLimit");
  if (mandate.validAfter < parent.validAfter) throw wider("validAfter");
  if (mandate.validUntil > parent.validUntil) throw wider("validUntil");
  if (mandate.epoch !== parent.epoch) throw wider("epoch");
  if (parent.capability !== zeroHash && mandate.capability !== parent.capability) throw wider("capability");
}

/** Whether a contract wallet signed a digest: ERC-1271, asked of the chain. */
export type WalletCheck = (wallet: Address, mandate: Mandate, signature: Hex) => Promise<boolean>;

/** Every grantor signed. @throws TallystickError `mandate_signature_invalid`. */
export async function checkSignatures(domain: MandateRegistryDomain, lineage: Lineage, wallet?: WalletCheck): Promise<void> {
  for (const [index, { mandate, signature }] of lineage.entries()) {
    const grantor = grantorOf(lineage, index);
    const signer = await recoverTypedDataAddress({ domain, types: mandateTypes, primaryType: "Mandate", message: mandate, signature }).catch(() => undefined);
    if (signer !== undefined && isAddressEqual(signer, grantor)) continue;
    if (wallet !== undefined && (await wallet(grantor, mandate, signature))) continue;
    throw new TallystickError({ code: "mandate_signature_invalid", status: 403, retry: "never", field: `lineage[${index}].signature`, detail: `The mandate is not signed by its grantor ${grantor}.` });
  }
}

/** May this payee be paid, by the lists of every level? @returns the level that refuses, or undefined. */
export function refusingLevel(lineage: Lineage, payee: Address): number | undefined {
  const level = lineage.findIndex(({ mandate, payees }) => mandate.payeesRoot !== zeroHash && !(payees ?? []).some((allowed) => isAddressEqual(allowed, payee)));
  return level < 0 ? undefined : level;
}

// ------------------------------------------------------------------ as JSON: amounts are decimal strings

const AMOUNTS = ["limit", "periodLimit", "paymentLimit"] as const;
const WHOLE = ["period", "validAfter", "validUntil", "epoch"] as const;
const ADDRESSES = ["principal", "delegate", "token"] as const;
const HASHES = ["payeesRoot", "capability", "parent", "terms", "salt"] as const;
const MOST_WHOLE = { period: 2 ** 40 - 1, validAfter: 2 ** 40 - 1, validUntil: 2 ** 40 - 1, epoch: 2 ** 32 - 1 };
const MOST_PAYEES = 1_000;

export type MandateWire = Omit<Mandate, (typeof AMOUNTS)[number]> & Record<(typeof AMOUNTS)[number], string>;
export type GrantWire = { mandate: MandateWire; signature: Hex; payees?: Address[] };

export function toWireMandate(mandate: Mandate): MandateWire {
  return { ...mandate, limit: String(mandate.limit), periodLimit: String(mandate.periodLimit), paymentLimit: String(mandate.paymentLimit) };
}

export function toWireLineage(lineage: Lineage): GrantWire[] {
  return lineage.map(({ mandate, signature, payees }) => ({ mandate: toWireMandate(mandate), signature, ...(payees === undefined ? {} : { payees: [...payees] }) }));
}

/** Reads one, strictly. @throws TallystickError 400 `mandate_malformed` that names the field. */
export function parseMandate(input: unknown, at = "mandate"): Mandate {
  const wire = objectOf(input, at);
  const known: string[] = [...AMOUNTS, ...WHOLE, ...ADDRESSES, ...HASHES];
  const unknown = Object.keys(wire).find((field) => !known.includes(field));
  if (unknown !== undefined) throw malformed(`${at}.${unknown}`, "is not known");
  const read: Record<string, unknown> = {};
  for (const field of AMOUNTS) read[field] = amountOf(wire[field], `${at}.${field}`);
  for (const field of WHOLE) read[field] = wholeOf(wire[field], MOST_WHOLE[field], `${at}.${field}`);
  for (const field of ADDRESSES) read[field] = addressOf(wire[field], `${at}.${field}`);
  for (const field of HASHES) read[field] = hashOf(wire[field], `${at}.${field}`);
  return read as Mandate;
}

export function parseLineage(input: unknown, at = "lineage"): Lineage {
  if (!Array.isArray(input) || input.length === 0 || input.length > MAX_DEPTH + 1) throw malformed(at, `must be a list of 1 to ${MAX_DEPTH + 1} mandates, the root last`);
  return input.map((entry, index) => parseGrant(entry, `${at}[${index}]`)) as unknown as Lineage;
}

function parseGrant(input: unknown, at: string): Grant {
  const { mandate, signature, payees } = objectOf(input, at);
  if (!isHex(signature) || size(signature) > 4_096) throw malformed(`${at}.signature`, "must be hex");
  const read = { mandate: parseMandate(mandate, `${at}.mandate`), signature };
  if (payees === undefined) return read;
  if (!Array.isArray(payees) || payees.length > MOST_PAYEES) throw malformed(`${at}.payees`, `must be a list of at most ${MOST_PAYEES} addresses`);
  return { ...read, payees: payees.map((payee, index) => addressOf(payee, `${at}.payees[${index}]`)) };
}

function objectOf(input: unknown, at: string): Record<string, unknown> {
  if (typeof input === "object" && input !== null && !Array.isArray(input)) return input as Record<string, unknown>;
  throw malformed(at, "must be an object");
}

function amountOf(value: unknown, at: string): bigint {
  if (typeof value === "string" && /^\d{1,39}$/.test(value) && BigInt(value) < 1n << 128n) return BigInt(value);
  throw malformed(at, "must be an amount in atomic units, as a decimal string");
}

function wholeOf(value: unknown, most: number, at: string): number {
  if (Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= most) return value as number;
  throw malformed(at, `must be a whole number from 0 to ${most}`);
}

function addressOf(value: unknown, at: string): Address {
  if (typeof value === "string" && isAddress(value, { strict: false })) return value.toLowerCase() as Address;
  throw malformed(at, "must be an address");
}

function hashOf(value: unknown, at: string): Hex {
  if (typeof value === "string" && /^0x[0-9a-fA-F]{64}$/.test(value)) return value.toLowerCase() as Hex;
  throw malformed(at, "must be 32 bytes of hex");
}

function malformed(field: string, why: string): TallystickError {
  return new TallystickError({ code: "mandate_malformed", status: 400, retry: "never", field, detail: `${field} ${why}.` });
}

function fault(code: string, detail: string, field: string): TallystickError {
  return new TallystickError({ code, status: 403, retry: "never", field, detail: `${detail}.` });
}
