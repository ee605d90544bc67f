// A policy: what an owner allows, as data. JSON with a strict schema, a canonical form, a hash, and the owner's EIP-712 signature of it.
// Browser-safe: the relayer's firewall and the local guard read the same.
import { hashTypedData, isAddress, keccak256, stringToBytes, type Address, type Hex, type TypedDataDomain } from "viem";
import { TallystickError } from "../errors.ts";

export const POLICY_FORMAT = "tallystick-policy/1";

/** What a policy is about. Nobody can write one about what is not theirs: each kind is compared with the owner when a payment is judged. */
export type Subject =
  /** Everything that the owner pays. */
  | { kind: "payer" }
  /** What is paid under mandates of the owner: under these (and all below them), or under any. */
  | { kind: "mandate"; mandates?: Hex[] }
  /** What is sold by services of the owner: by these, or by any. */
  | { kind: "service"; services?: string[] }
  /** Everything that passes the relayer whose operator the owner is. */
  | { kind: "operator" };

export type Day = (typeof DAYS)[number];
export const DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"] as const;

/** `from` counts, `to` does not; "24:00" is the end of the day. A night is two windows. */
export type Window = { days: Day[]; from: string; to: string };

/**
 * Every rule narrows, and what is not listed in a buyer's policy is denied: without `payees.allow` and `capabilities.allow` it allows
 * nothing. Amounts are decimal strings of atomic units.
 */
export type Rules = {
  /** The kill switch: nothing passes. */
  stop?: boolean;
  /** Only under a mandate that is valid. */
  mandate?: "required";
  /** The payee must be the one that the service is registered with. */
  recipient?: "registered";
  payees?: { allow?: Address[] | "any"; deny?: Address[] };
  /** Capability tags, or `service:<name>` for one service. */
  capabilities?: { allow?: string[] | "any"; deny?: string[] };
  price?: {
    /** Most for one payment. */
    max?: string;
    /** Most over the listed price, in bps; 0: not a unit more. */
    overListedBps?: number;
    /** Most over the negotiated price, or over the listed one where none was negotiated. */
    overNegotiatedBps?: number;
  };
  /** Only then. `zone` is an IANA name, such as Europe/Berlin. */
  hours?: { zone: string; windows: Window[] };
  /** A person decides about payments above an amount, within `expiresS` seconds. */
  approval?: { above: string; approvers: Address[]; expiresS: number };
};

export type Policy = {
  format: typeof POLICY_FORMAT;
  /** Whose policy it is and who signs it: a key or a contract wallet. Addresses are in lower case. */
  owner: Address;
  /** Owner and name are its identity. */
  name: string;
  /** Only a higher version replaces. */
  version: number;
  subject: Subject;
  rules: Rules;
};

export const policyTypes = {
  Policy: [
    { name: "owner", type: "address" },
    { name: "name", type: "string" },
    { name: "version", type: "uint64" },
    { name: "policyHash", type: "bytes32" },
  ],
} as const;

/** What an approver signs about one payment that waits for it. `paymentKey` is the payment's own identity: it can be used for no other. */
export const approvalTypes = {
  Approval: [
    { name: "paymentKey", type: "bytes32" },
    { name: "policyHash", type: "bytes32" },
    { name: "payer", type: "address" },
    { name: "payee", type: "address" },
    { name: "amount", type: "uint256" },
    { name: "resource", type: "string" },
    { name: "granted", type: "bool" },
    { name: "expiresAt", type: "uint64" },
  ],
} as const;

export type Approval = { paymentKey: Hex; policyHash: Hex; payer: Address; payee: Address; amount: bigint; resource: string; granted: boolean; /** Unix seconds. */ expiresAt: bigint };

/** No contract verifies it; the chain binds it. */
export function firewallDomain(chainId: number) {
  return { name: "Tallystick Firewall", version: "1", chainId } as const satisfies TypedDataDomain;
}

/** What the owner signs: owner, name, version and hash, on one chain. */
export function policyTypedData(policy: Policy, chainId: number) {
  const message = { owner: policy.owner, name: policy.name, version: BigInt(policy.version), policyHash: policyHashOf(policy) };
  return { domain: firewallDomain(chainId), types: policyTypes, primaryType: "Policy", message } as const;
}

/** What an approver signs. */
export function approvalTypedData(approval: Approval, chainId: number) {
  return { domain: firewallDomain(chainId), types: approvalTypes, primaryType: "Approval", message: approval } as const;
}

export const policyDigest = (policy: Policy, chainId: number): Hex => hashTypedData(policyTypedData(policy, chainId));

/** keccak256 of the canonical JSON. */
export const policyHashOf = (policy: Policy): Hex => keccak256(stringToBytes(canonicalJson(policy)));

/** RFC 8785 for what policies hold: keys sorted, nothing between them, whole numbers. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  if (typeof value === "object" && value !== null) {
    const members = Object.entries(value).filter(([, member]) => member !== undefined).sort(([one], [other]) => (one < other ? -1 : 1));
    return `{${members.map(([key, member]) => `${JSON.stringify(key)}:${canonicalJson(member)}`).join(",")}}`;
  }
  return JSON.stringify(value);
}

const MOST = { entries: 1_000, approvers: 20, windows: 50, bps: 1_000_000, expiresS: 30 * 86_400, version: 2 ** 31 - 1 };
const NAME = /^[a-z0-9][a-z0-9-]{0,62}$/;
const TAG = /^(service:)?[a-z0-9][a-z0-9._/-]{0,127}$/;
const AMOUNT = /^(0|[1-9][0-9]{0,38})$/;
const CLOCK = /^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$/;

/** Reads a policy, strictly: what it does not know it refuses. @throws TallystickError 400 `policy_malformed` that names the field. */
export function parsePolicy(input: unknown): Policy {
  const top = members(input, "policy", ["format", "owner", "name", "version", "subject", "rules"]);
  if (top["format"] !== POLICY_FORMAT) throw bad("policy.format", `must be ${POLICY_FORMAT}`);
  return {
    format: POLICY_FORMAT,
    owner: address(top["owner"], "policy.owner"),
    name: text(top["name"], "policy.name", NAME, "has lower-case letters, digits and dashes, 63 at most"),
    version: whole(top["version"], "policy.version", 1, MOST.version),
    subject: readSubject(top["subject"]),
    rules: readRules(top["rules"]),
  };
}

function readSubject(input: unknown): Subject {
  const at = "policy.subject";
  const kind = typeof input === "object" && input !== null ? (input as { kind?: unknown }).kind : undefined;
  if (kind === "payer" || kind === "operator") {
    members(input, at, ["kind"]);
    return { kind };
  }
  if (kind === "mandate") {
    const { mandates } = members(input, at, ["kind", "mandates"]);
    return { kind, ...optional("mandates", mandates, (value) => list(value, `${at}.mandates`, hash)) };
  }
  if (kind === "service") {
    const { services } = members(input, at, ["kind", "services"]);
    return { kind, ...optional("services", services, (value) => list(value, `${at}.services`, (entry, where) => text(entry, where, NAME, "is a service's name"))) };
  }
  throw bad(`${at}.kind`, "must be payer, mandate, service or operator");
}

const RULES = ["stop", "mandate", "recipient", "payees", "capabilities", "price", "hours", "approval"] as const;

function readRules(input: unknown): Rules {
  const at = "policy.rules";
  const rules = members(input, at, RULES);
  return {
    ...optional("stop", rules["stop"], (value) => bool(value, `${at}.stop`)),
    ...optional("mandate", rules["mandate"], (value) => only(value, `${at}.mandate`, "required")),
    ...optional("recipient", rules["recipient"], (value) => only(value, `${at}.recipient`, "registered")),
    ...optional("payees", rules["payees"], (value) => readLists(value, `${at}.payees`, address)),
    ...optional("capabilities", rules["capabilities"], (value) => readLists(value, `${at}.capabilities`, (entry, where) => text(entry, where, TAG, "is a capability tag, or service:<name>"))),
    ...optional("price", rules["price"], (value) => readPrice(value, `${at}.price`)),
    ...optional("hours", rules["hours"], (value) => readHours(value, `${at}.hours`)),
    ...optional("approval", rules["approval"], (value) => readApproval(value, `${at}.approval`)),
  };
}

function readLists<T extends string>(input: unknown, at: string, entry: (value: unknown, at: string) => T): { allow?: T[] | "any"; deny?: T[] } {
  const { allow, deny } = members(input, at, ["allow", "deny"]);
  return {
    ...optional("allow", allow, (value) => (value === "any" ? "any" as const : list(value, `${at}.allow`, entry))),
    ...optional("deny", deny, (value) => list(value, `${at}.deny`, entry)),
  };
}

function readPrice(input: unknown, at: string): NonNullable<Rules["price"]> {
  const { max, overListedBps, overNegotiatedBps } = members(input, at, ["max", "overListedBps", "overNegotiatedBps"]);
  return {
    ...optional("max", max, (value) => amount(value, `${at}.max`)),
    ...optional("overListedBps", overListedBps, (value) => whole(value, `${at}.overListedBps`, 0, MOST.bps)),
    ...optional("overNegotiatedBps", overNegotiatedBps, (value) => whole(value, `${at}.overNegotiatedBps`, 0, MOST.bps)),
  };
}

function readHours(input: unknown, at: string): NonNullable<Rules["hours"]> {
  const { zone, windows } = members(input, at, ["zone", "windows"]);
  return { zone: timeZone(zone, `${at}.zone`), windows: list(windows, `${at}.windows`, readWindow, MOST.windows) };
}

function readWindow(input: unknown, at: string): Window {
  const { days, from, to } = members(input, at, ["days", "from", "to"]);
  const clock = (value: unknown, where: string) => text(value, where, CLOCK, "is a time such as 09:30");
  const read = { days: list(days, `${at}.days`, day, DAYS.length), from: clock(from, `${at}.from`), to: clock(to, `${at}.to`) };
  if (read.from >= read.to) throw bad(`${at}.to`, "must be later than from; a night is two windows");
  return read;
}

function readApproval(input: unknown, at: string): NonNullable<Rules["approval"]> {
  const { above, approvers, expiresS } = members(input, at, ["above", "approvers", "expiresS"]);
  const named = list(approvers, `${at}.approvers`, address, MOST.approvers);
  if (named.length === 0) throw bad(`${at}.approvers`, "must name somebody");
  return { above: amount(above, `${at}.above`), approvers: named, expiresS: whole(expiresS, `${at}.expiresS`, 1, MOST.expiresS) };
}

function day(value: unknown, at: string): Day {
  const found = DAYS.find((known) => known === value);
  if (found === undefined) throw bad(at, `must be one of ${DAYS.join(", ")}`);
  return found;
}

/** Only names: an offset would be wrong half of the year. */
function timeZone(value: unknown, at: string): string {
  const zone = text(value, at, /^[A-Za-z][A-Za-z0-9_+\/-]{0,63}$/, "is an IANA time zone, such as Europe/Berlin");
  try {
    return new Intl.DateTimeFormat("en", { timeZone: zone }) && zone;
  } catch (cause) {
    throw bad(at, `names no time zone: ${zone}`, cause);
  }
}

function members<K extends string>(input: unknown, at: string, known: readonly K[]): Partial<Record<K, unknown>> {
  if (typeof input !== "object" || input === null || Array.isArray(input)) throw bad(at, "must be an object");
  const unknown = Object.keys(input).find((key) => !known.includes(key as K));
  if (unknown !== undefined) throw bad(`${at}.${unknown}`, "is not known");
  return input as Partial<Record<K, unknown>>;
}

/** Absent stays absent; null is not absent. */
function optional<K extends string, T>(key: K, value: unknown, read: (value: unknown) => T): { [P in K]?: T } {
  return (value === undefined ? {} : { [key]: read(value) }) as { [P in K]?: T };
}

function list<T>(input: unknown, at: string, entry: (value: unknown, at: string) => T, most = MOST.entries): T[] {
  if (!Array.isArray(input)) throw bad(at, "must be a list");
  if (input.length > most) throw bad(at, `has ${input.length} entries, ${most} at most`);
  return input.map((value, index) => entry(value, `${at}[${index}]`));
}

function text(value: unknown, at: string, shape: RegExp, hint: string): string {
  if (typeof value === "string" && shape.test(value)) return value;
  throw bad(at, hint);
}

const amount = (value: unknown, at: string): string => text(value, at, AMOUNT, "is an amount in atomic units, as a decimal string");
const hash = (value: unknown, at: string): Hex => text(value, at, /^0x[0-9a-fA-F]{64}$/, "is 32 bytes of hex").toLowerCase() as Hex;

/** A mixed-case address with a bad checksum is a typing error. */
function address(value: unknown, at: string): Address {
  if (typeof value === "string" && isAddress(value)) return value.toLowerCase() as Address;
  throw bad(at, "is an address");
}

function whole(value: unknown, at: string, least: number, most: number): number {
  if (Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most) return value as number;
  throw bad(at, `is a whole number from ${least} to ${most}`);
}

function bool(value: unknown, at: string): boolean {
  if (typeof value === "boolean") return value;
  throw bad(at, "is true or false");
}

function only<T extends string>(value: unknown, at: string, wanted: T): T {
  if (value === wanted) return wanted;
  throw bad(at, `must be ${wanted}, or absent`);
}

function bad(field: string, hint: string, cause?: unknown): TallystickError {
  return new TallystickError({ code: "policy_malformed", status: 400, retry: "never", field, detail: `${field} ${hint}.`, cause });
}
