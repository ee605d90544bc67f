// The lines of an exported audit log. One JSON object a line; binary values are 0x hex, whole numbers that may grow are decimal strings.
import type { Address, Hex } from "viem";
import { isAddress } from "viem";
import type { AuditEpoch, AuditSeal } from "./chain.ts";

/** The first line. `scope`: all, or whose entries alone. */
export type HeaderLine = { type: "audit"; version: 1; chainId: number; contract: Address; relayer: string; scope: "all" | Address; /** Cursor that this file goes on after. */ after: string | null };

/** Before the first seal of an epoch. `from`: where the chain stands when the file does not begin with its beginning. */
export type EpochLine = { type: "epoch"; epoch: Hex; opened: AuditEpoch; from?: { seals: string; seq: string; head: Hex; previous: Hex } };

/** `entry` is hashed in its canonical form. `previous` and `proof` (RFC 6962) stand where other entries of its seal do not. */
export type EntryLine = { type: "entry"; epoch: Hex; entry: { seq: number; kind: string; at: string; subject: string } & Record<string, unknown>; hash: Hex; previous?: Hex; proof?: Hex[] };

/** After its entries. The signed message is an AuditSeal. */
export type SealLine = { type: "seal"; epoch: Hex; number: string; firstSeq: string; entries: string; previous: Hex; root: Hex; head: Hex; sealedAtMs: string; signer: Address; signature: Hex };

/** After its seals: all since the anchor before. `root` is over their digests, and the chain has it in `transaction`. */
export type AnchorLine = { type: "anchor"; day: string; seals: string; root: Hex; contract: Address; transaction: Hex };

/** The last line: without it the file is cut off. `digest` is sha-256 of all bytes before it; the signed message is an AuditExport. */
export type EndLine = { type: "end"; lines: string; cursor: string; digest: Hex; exportedAtMs: string; signer: Address; signature: Hex };

export type AuditLine = HeaderLine | EpochLine | EntryLine | SealLine | AnchorLine | EndLine;

const count = (value: unknown): boolean => typeof value === "string" && /^(0|[1-9]\d{0,18})$/.test(value);
// One spelling each: lower-case hex, addresses with their checksum.
const hash = (value: unknown): boolean => typeof value === "string" && /^0x[0-9a-f]{64}$/.test(value);
const address = (value: unknown): boolean => typeof value === "string" && isAddress(value);
const signature = (value: unknown): boolean => typeof value === "string" && /^0x[0-9a-f]{130}$/.test(value);
const text = (value: unknown): boolean => typeof value === "string";
const object = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null && !Array.isArray(value);

type Shape = Record<string, (value: unknown) => boolean>;
const optional = (check: (value: unknown) => boolean) => (value: unknown) => value === undefined || check(value);
const shaped = (shape: Shape) => (value: unknown) => object(value) && mismatch(value, shape) === undefined;

const SHAPES: Record<AuditLine["type"], Shape> = {
  audit: { version: (value) => value === 1, chainId: Number.isSafeInteger, contract: address, relayer: text, scope: (value) => value === "all" || address(value), after: (value) => value === null || text(value) },
  epoch: {
    epoch: hash, opened: shaped({ chainId: Number.isSafeInteger, contract: text, process: text, startedAt: text }),
    from: optional(shaped({ seals: count, seq: count, head: hash, previous: hash })),
  },
  entry: {
    epoch: hash, hash, previous: optional(hash), proof: optional((value) => Array.isArray(value) && value.length <= 64 && value.every(hash)),
    entry: (value) => object(value) && Number.isSafeInteger(value["seq"]) && ["kind", "at", "subject"].every((name) => text(value[name])),
  },
  seal: { epoch: hash, number: count, firstSeq: count, entries: count, previous: hash, root: hash, head: hash, sealedAtMs: count, signer: address, signature },
  anchor: { day: count, seals: count, root: hash, contract: address, transaction: hash },
  end: { lines: count, cursor: text, digest: hash, exportedAtMs: count, signer: address, signature },
};

function mismatch(value: Record<string, unknown>, shape: Shape): string | undefined {
  for (const [name, check] of Object.entries(shape)) if (!check(value[name])) return name;
  return Object.keys(value).find((name) => name !== "type" && !(name in shape));
}

/** @returns the line, or what is wrong with it. */
export function readLine(written: string): AuditLine | string {
  let value: unknown;
  try {
    value = JSON.parse(written);
  } catch {
    return "is not JSON";
  }
  if (!object(value) || typeof value["type"] !== "string" || !Object.hasOwn(SHAPES, value["type"])) return "is not a line of an audit export";
  const wrong = mismatch(value, SHAPES[value["type"] as AuditLine["type"]]);
  return wrong === undefined ? (value as AuditLine) : `has a ${value["type"]} whose ${wrong} is not as it should be`;
}

export function sealOf({ epoch, number, firstSeq, entries, previous, root, head, sealedAtMs }: SealLine): AuditSeal {
  return { epoch, number: BigInt(number), firstSeq: BigInt(firstSeq), entries: BigInt(entries), previous, root, head, sealedAtMs: BigInt(sealedAtMs) };
}
